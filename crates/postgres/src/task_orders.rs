//! The order of the tasks that somebody may see, remembered from one list to the next.
//!
//! Of ten thousand visible tasks, the fifty newest can only be found by looking at each, unless they are among the
//! newest of all. So what was found is kept and brought up to date: every row carries the transaction that changed it
//! last, and an index leads to those that changed after a moment; rows are never removed, only marked. Nothing is shown
//! from memory but the order; the tasks of a page are read, and when one is not where it was thought to be, everything
//! is looked at again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentex_authz::Selectors;
use agentex_domain::ports::StoreError;
use agentex_domain::{Direction, PageRequest, Task, TaskStatus, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::error::{Unreadable, corrupt, store_error};
use crate::task_row::{TaskRow, task_columns};

/// How many visible tasks are remembered, over all scopes. Each takes 24 bytes and its id.
const CAPACITY: usize = 500_000;

/// A scope that was asked for more recently than this does not make room for another.
const IN_USE: Duration = Duration::from_secs(60);

/// With more changes than this, of whomever, everything is read anew.
const MANY_CHANGES: i64 = 2_000;

/// A scope that differs by up to as many selectors takes over what is known of the other.
const SIMILAR: usize = 500;

/// Selectors that are compared before it is worth comparing all.
const SAMPLES: usize = 16;

/// How often a page may turn out to have changed in between.
const ATTEMPTS: usize = 3;

/// What is known of the scopes that were asked for lately.
#[derive(Default)]
pub(crate) struct Orders(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    scopes: Vec<Known>,
    next_number: u64,
}

struct Known {
    number: u64,
    asked: Instant,
    scope: Selectors,
    /// `None` when the scope was asked for only once.
    order: Option<Order>,
}

/// Every task of a scope that is not deleted, as it was at one moment.
#[derive(Clone)]
struct Order {
    scope: Selectors,
    /// No transaction before this one was still running then.
    since: String,
    /// Ascending.
    places: Arc<Vec<Place>>,
}

/// Times are in microseconds. A missing one is larger than all others, as in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    updated_at: i64,
    created_at: i64,
    /// Where the id is in the scope, so ids are compared as bytes.
    id: u32,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Status(TaskStatus);

/// Nothing is sorted by it: no id is there twice.
impl Ord for Status {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl PartialOrd for Status {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

const MISSING: i64 = i64::MAX;

#[derive(sqlx::FromRow)]
struct ChangedRow {
    since: String,
    /// `None` in a row that says nothing about a task.
    id: Option<String>,
    status: Option<String>,
    created_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
}

impl Orders {
    /// The page, or `None` when nothing is known of the scope and it was not asked for before, or when the order cannot
    /// be told because it keeps changing.
    pub(crate) async fn page(
        &self,
        pool: &PgPool,
        visible: &Selectors,
        status: Option<TaskStatus>,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Option<Vec<Task>>, StoreError> {
        let Some((number, mut order)) = self.recall(visible) else { return Ok(None) };
        for _ in 0..ATTEMPTS {
            let known = match order.take() {
                Some(known) => known.brought_up_to_date(pool, visible).await?,
                None => None,
            };
            let known = match known {
                Some(known) => known,
                None => Order::read(pool, visible).await?,
            };
            self.remember(number, &known);
            if let Some(tasks) = known.page(pool, status, direction, page).await? {
                return Ok(Some(tasks));
            }
            order = Some(known);
        }
        Ok(None)
    }

    /// The number under which the scope, or one like it, was asked for before, and what is known of it.
    fn recall(&self, visible: &Selectors) -> Option<(u64, Option<Order>)> {
        let now = Instant::now();
        let mut recent = self.recent();
        let same = recent.scopes.iter().position(|known| known.scope == *visible);
        if let Some(place) = same.or_else(|| recent.scopes.iter().position(|known| are_alike(&known.scope, visible))) {
            let known = &mut recent.scopes[place];
            known.asked = now;
            return Some((known.number, known.order.clone()));
        }
        recent.make_room(visible.len(), now);
        if recent.size() + visible.len() <= CAPACITY {
            let number = recent.next_number;
            recent.next_number += 1;
            recent.scopes.push(Known { number, asked: now, scope: visible.clone(), order: None });
        }
        None
    }

    fn remember(&self, number: u64, order: &Order) {
        let mut recent = self.recent();
        if let Some(known) = recent.scopes.iter_mut().find(|known| known.number == number) {
            known.scope = order.scope.clone();
            known.order = Some(order.clone());
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn size(&self) -> usize {
        self.scopes.iter().map(|known| known.scope.len()).sum()
    }

    /// Forgets scopes that are out of use, those for the longest time first, until `more` selectors fit in.
    fn make_room(&mut self, more: usize, now: Instant) {
        while self.size() + more > CAPACITY {
            let oldest = self.scopes.iter().enumerate().min_by_key(|(_, known)| known.asked);
            match oldest.map(|(place, known)| (place, now.saturating_duration_since(known.asked) > IN_USE)) {
                Some((place, true)) => drop(self.scopes.swap_remove(place)),
                _ => return,
            }
        }
    }
}

impl Order {
    /// Looks every task of the scope up.
    async fn read(pool: &PgPool, scope: &Selectors) -> Result<Self, StoreError> {
        let nothing = Self { scope: scope.clone(), since: String::new(), places: Arc::default() };
        let rows = changed(pool, None, scope.iter().collect()).await?;
        nothing.with(rows)
    }

    /// As of now and for `visible`, or `None` when reading everything is less work.
    async fn brought_up_to_date(self, pool: &PgPool, visible: &Selectors) -> Result<Option<Self>, StoreError> {
        let since = self.since.clone();
        let (moved, added) = self.moved_to(visible);
        if added.len() > 2 * SIMILAR {
            return Ok(None);
        }
        let rows = changed(pool, Some(&since), added).await?;
        if rows.len() > usize::try_from(MANY_CHANGES).expect("a few thousand") {
            return Ok(None);
        }
        moved.with(rows).map(Some)
    }

    /// The same for another scope, and the selectors in there of which nothing is known.
    fn moved_to(self, visible: &Selectors) -> (Self, Vec<&str>) {
        if self.scope == *visible {
            return (self, Vec::new());
        }
        let mut new_places = vec![None; self.scope.len()];
        let mut added = Vec::new();
        let mut old = self.scope.iter().enumerate().peekable();
        for (new_place, selector) in (0..).zip(visible.iter()) {
            while old.next_if(|(_, known)| *known < selector).is_some() {}
            match old.next_if(|(_, known)| *known == selector) {
                Some((old_place, _)) => new_places[old_place] = Some(new_place),
                None => added.push(selector),
            }
        }
        let moved = self.places.iter().filter_map(|place| Some(Place { id: new_places[place.id as usize]?, ..*place }));
        let places = Arc::new(moved.collect());
        (Self { scope: visible.clone(), since: self.since, places }, added)
    }

    /// The same with what the rows say about tasks of the scope.
    fn with(mut self, rows: Vec<ChangedRow>) -> Result<Self, StoreError> {
        let mut changed: HashMap<u32, Option<Place>> = HashMap::new();
        for ChangedRow { since, id, status, created_at, updated_at } in rows {
            self.since = since;
            let Some((id, place)) = id.and_then(|id| self.scope.find(&id).map(|place| (id, place))) else { continue };
            let place = u32::try_from(place).expect("a scope has fewer selectors");
            let status = match status.as_deref().map(TaskStatus::parse) {
                Some(None) => return Err(corrupt("tasks", &id, Unreadable { column: "status" })),
                Some(Some(status)) if status != TaskStatus::Deleted => Some(Status(status)),
                // One without a status is in no list.
                _ => None,
            };
            let micros = |time: Option<DateTime<Utc>>| time.map_or(MISSING, |time| time.timestamp_micros());
            let now = status.map(|status| Place {
                updated_at: micros(updated_at),
                created_at: micros(created_at),
                id: place,
                status,
            });
            changed.insert(place, now);
        }
        if !changed.is_empty() {
            let stayed = self.places.iter().filter(|place| !changed.contains_key(&place.id)).copied();
            let mut places: Vec<Place> = stayed.chain(changed.values().copied().flatten()).collect();
            places.sort();
            self.places = Arc::new(places);
        }
        Ok(self)
    }

    /// Reads the tasks of the page; `None` when one of them is not what it was.
    async fn page(
        &self,
        pool: &PgPool,
        status: Option<TaskStatus>,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Option<Vec<Task>>, StoreError> {
        let fits = |place: &&Place| status.is_none_or(|status| place.status == Status(status));
        let (skipped, limit) = (usize::try_from(page.offset()).unwrap_or(usize::MAX), page.limit as usize);
        let places: Vec<&Place> = match direction {
            Direction::Ascending => self.places.iter().filter(fits).skip(skipped).take(limit).collect(),
            Direction::Descending => self.places.iter().rev().filter(fits).skip(skipped).take(limit).collect(),
        };
        if places.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let id = |place: &Place| self.scope.get(place.id as usize).expect("places are in the scope");
        let ids: Vec<&str> = places.iter().map(|place| id(place)).collect();
        let rows: Vec<TaskRow> = sqlx::query_as(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              WHERE t.id = ANY($1) AND t.status <> 'DELETED'"
        ))
        .bind(ids)
        .fetch_all(pool)
        .await
        .map_err(store_error("task"))?;
        let mut tasks = HashMap::with_capacity(rows.len());
        for row in rows {
            let task = Task::try_from(row)?;
            tasks.insert(task.id.as_str().to_owned(), task);
        }
        Ok(places.into_iter().map(|place| tasks.remove(id(place)).filter(|task| place.is_of(task))).collect())
    }
}

impl Place {
    fn is_of(&self, task: &Task) -> bool {
        let shown = |time, instead| match (time, instead) {
            (MISSING, MISSING) => 0,
            (MISSING, instead) => instead,
            (time, _) => time,
        };
        let is = |micros, time| DateTime::from_timestamp_micros(micros).map(Timestamp::new) == Some(time);
        self.status == Status(task.status)
            && is(shown(self.updated_at, self.created_at), task.updated_at)
            && is(shown(self.created_at, self.updated_at), task.created_at)
    }
}

/// What the tasks that changed in `since` or later, and those `looked_up`, are now. The first row says from when on to
/// ask the next time. Changes are cut off when they are too many.
///
/// Transaction ids beyond those that this server has given out come from another one, out of a backup.
async fn changed(pool: &PgPool, since: Option<&str>, looked_up: Vec<&str>) -> Result<Vec<ChangedRow>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS since, t.id, t.status, t.created_at, t.updated_at
           FROM (SELECT NULL::text AS id, NULL::text AS status, NULL::timestamptz AS created_at,
                        NULL::timestamptz AS updated_at",
    );
    if let Some(since) = since {
        query.push(
            " UNION ALL
              (SELECT id, status::text, created_at, updated_at
                 FROM tasks
                WHERE changed_in >= ",
        );
        query.push_bind(since.to_owned()).push("::text::xid8 AND changed_in < pg_snapshot_xmax(pg_current_snapshot())");
        query.push(" LIMIT ").push_bind(MANY_CHANGES).push(")");
    }
    if !looked_up.is_empty() {
        query.push(" UNION ALL SELECT found.* FROM unnest(").push_bind(looked_up);
        query.push(
            ") AS visible (id)
               CROSS JOIN LATERAL (SELECT id, status::text, created_at, updated_at
                                     FROM tasks
                                    WHERE tasks.id = visible.id
                                   OFFSET 0) AS found",
        );
    }
    query.push(") AS t");
    query.build_query_as().fetch_all(pool).await.map_err(store_error("task"))
}

/// Whether it seems that the two differ in little. What is not known of the new one is looked up, so a wrong guess costs
/// time only.
fn are_alike(known: &Selectors, new: &Selectors) -> bool {
    let step = new.len().div_ceil(SAMPLES).max(1);
    let samples = (0..new.len()).step_by(step).filter_map(|place| new.get(place));
    known.len().abs_diff(new.len()) <= SIMILAR && samples.filter(|id| !known.contains(id)).count() <= 2
}
