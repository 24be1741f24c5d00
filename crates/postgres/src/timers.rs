use std::collections::HashSet;
use std::sync::Arc;

use agentex_domain::ports::{FinishedFire, FireLease, FireNow, SetAside, StoreError, TimerRepository};
use agentex_domain::{ClaimedFire, Fire, JsonObject, Misfire, RunTrigger, Timer, TimerAction, Timestamp, Timing};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow as _, PgConnection, PgPool, Row as _};

use crate::error::{Unreadable, corrupt, nothing_if_unstorable, retry, store_error};
use crate::transaction::begin;

const NAME: &str = "timer";

/// For how long a timer that cannot be read is left alone before it is tried again, in milliseconds: a later release may
/// have written it, or somebody may repair it.
const SET_ASIDE: i64 = 600_000;

/// The columns of [`TimerRow`], of the table called `t`. A literal, so that statements stay constants.
macro_rules! timer_columns {
    () => {
        "t.id, t.timing, t.action, t.run_schedule_id, t.paused, t.note, t.definition, t.skipped, t.next_at,
         t.actions_taken, t.missed, t.last_action_at, t.created_at, t.version"
    };
}

#[derive(sqlx::FromRow)]
struct TimerRow {
    id: String,
    timing: Json<Timing>,
    action: String,
    run_schedule_id: Option<String>,
    paused: bool,
    note: Option<String>,
    definition: Option<Json<JsonObject>>,
    skipped: Vec<DateTime<Utc>>,
    next_at: Option<DateTime<Utc>>,
    actions_taken: i64,
    missed: i64,
    last_action_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    version: i64,
}

fn read_timer(row: TimerRow) -> Result<Timer, StoreError> {
    let TimerRow {
        id,
        timing: Json(timing),
        action,
        run_schedule_id,
        paused,
        note,
        definition,
        skipped,
        next_at,
        actions_taken,
        missed,
        last_action_at,
        created_at,
        version,
    } = row;
    Ok(Timer {
        timing,
        action: read_action("schedule_timers", &id, &action, run_schedule_id)?,
        paused,
        note,
        definition: definition.map(|Json(definition)| definition),
        skipped: skipped.into_iter().map(Timestamp::new).collect(),
        next_at: next_at.map(Timestamp::new),
        actions_taken: actions_taken.unsigned_abs(),
        missed: missed.unsigned_abs(),
        last_action_at: last_action_at.map(Timestamp::new),
        created_at: Timestamp::new(created_at),
        version,
        id,
    })
}

/// The columns of [`FireRow`], of the table called `f`.
macro_rules! fire_columns {
    () => {
        "f.id, f.timer_id, f.action, f.run_schedule_id, f.trigger_type, f.nominal_at, f.attempts, f.fence"
    };
}

#[derive(sqlx::FromRow)]
struct FireRow {
    id: String,
    timer_id: Option<String>,
    action: String,
    run_schedule_id: Option<String>,
    trigger_type: String,
    nominal_at: DateTime<Utc>,
    attempts: i32,
    fence: i64,
}

fn read_fire(row: FireRow) -> Result<ClaimedFire, StoreError> {
    let FireRow { id, timer_id, action, run_schedule_id, trigger_type, nominal_at, attempts, fence } = row;
    let trigger = RunTrigger::parse(&trigger_type)
        .ok_or_else(|| corrupt("schedule_fires", &id, Unreadable { column: "trigger_type" }))?;
    let action = read_action("schedule_fires", &id, &action, run_schedule_id)?;
    let fire = Fire { id, timer_id, action, trigger, nominal_at: Timestamp::new(nominal_at) };
    Ok(ClaimedFire { fire, attempt: attempts.unsigned_abs(), fence })
}

/// What actions are called in both tables.
fn action_columns(action: &TimerAction) -> (&'static str, Option<&str>) {
    match action {
        TimerAction::Run(schedule) => ("run", Some(schedule.as_str())),
        TimerAction::RetentionSweep => ("retention_sweep", None),
    }
}

fn read_action(
    table: &'static str,
    id: &str,
    action: &str,
    schedule: Option<String>,
) -> Result<TimerAction, StoreError> {
    match (action, schedule) {
        ("run", Some(schedule)) => Ok(TimerAction::Run(schedule.into())),
        ("retention_sweep", None) => Ok(TimerAction::RetentionSweep),
        _ => Err(corrupt(table, id, Unreadable { column: "action" })),
    }
}

/// Timers and fires in the tables `schedule_timers` and `schedule_fires`.
pub(crate) struct PgTimers {
    pool: PgPool,
    unreadable: SetAside,
}

impl PgTimers {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, unreadable: SetAside::default() }
    }

    async fn fire_due_once(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        misfire: Misfire,
    ) -> Result<Vec<ClaimedFire>, StoreError> {
        let mut transaction = begin(&self.pool).await.map_err(store_error(NAME))?;
        let rows = sqlx::query(concat!(
            "SELECT ",
            timer_columns!(),
            " FROM schedule_timers t
              WHERE t.next_at <= $1 AND t.id <> ALL($3)
              ORDER BY t.next_at
              LIMIT $2
                FOR NO KEY UPDATE SKIP LOCKED"
        ))
        .bind(now.as_datetime())
        .bind(i64::from(limit))
        .bind(self.unreadable.at(now))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;

        let mut timers = self.readable(&rows, now)?;
        if timers.is_empty() {
            return Ok(Vec::new());
        }
        let running = running(&mut transaction, &timers).await?;
        let mut fires = Vec::new();
        for timer in &mut timers {
            fires.extend(timer.come_due(now, running.contains(&timer.id), &misfire));
        }
        move_on(&mut transaction, &timers, now).await?;
        let stored = insert_fires(&mut transaction, &fires, 1, until).await?;
        transaction.commit().await.map_err(store_error(NAME))?;
        fires.retain(|fire| stored.contains(&fire.id));
        Ok(fires.into_iter().map(|fire| ClaimedFire { fire, attempt: 1, fence: 1 }).collect())
    }

    /// The timers among the rows; what is none is set aside, so that the others fire.
    fn readable(&self, rows: &[PgRow], now: Timestamp) -> Result<Vec<Timer>, StoreError> {
        let mut timers = Vec::with_capacity(rows.len());
        for row in rows {
            let id: String = row.try_get("id").map_err(store_error(NAME))?;
            match TimerRow::from_row(row).map_err(|source| corrupt("schedule_timers", &id, source)).and_then(read_timer)
            {
                Ok(timer) => timers.push(timer),
                Err(error) => {
                    tracing::error!(timer.id = %id, %error, "a timer cannot be read and does not fire");
                    self.unreadable.add(id, now.plus_millis(SET_ASIDE));
                }
            }
        }
        Ok(timers)
    }

    async fn fire_now_once(&self, fire: &Fire, at: Timestamp) -> Result<FireNow, StoreError> {
        let mut transaction = begin(&self.pool).await.map_err(store_error("fire"))?;
        if insert_fires(&mut transaction, std::slice::from_ref(fire), 0, at).await?.is_empty() {
            return Ok(FireNow::Known);
        }
        if let Some(timer) = &fire.timer_id {
            let counted = sqlx::query(
                "UPDATE schedule_timers
                    SET actions_taken = actions_taken + 1, last_action_at = $2, version = version + 1
                  WHERE id = $1",
            )
            .bind(timer)
            .bind(at.as_datetime())
            .execute(&mut *transaction)
            .await
            .map_err(store_error(NAME))?;
            if counted.rows_affected() == 0 {
                return Ok(FireNow::NoTimer);
            }
        }
        transaction.commit().await.map_err(store_error("fire"))?;
        Ok(FireNow::Stored)
    }

    async fn claim_once(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<ClaimedFire>, StoreError> {
        let fires = sqlx::query_as::<_, FireRow>(concat!(
            "WITH due AS (
                 SELECT id, due_at
                   FROM schedule_fires
                  WHERE finished_at IS NULL AND due_at <= $1
                  ORDER BY due_at, id
                  LIMIT $3
                    FOR NO KEY UPDATE SKIP LOCKED
             ), f AS (
                 UPDATE schedule_fires AS f
                    SET due_at = $2, attempts = f.attempts + 1, fence = f.fence + 1
                   FROM due
                  WHERE f.id = due.id
                 RETURNING due.due_at AS was_due_at, ",
            fire_columns!(),
            ")
             SELECT ",
            fire_columns!(),
            " FROM f
              ORDER BY was_due_at, id"
        ))
        .bind(now.as_datetime())
        .bind(until.as_datetime())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(store_error("fire"))?;
        // The others are claimed all the same; it comes again when its lease ends.
        let readable = fires.into_iter().filter_map(|row| {
            read_fire(row)
                .inspect_err(|error| tracing::error!(%error, "a fire cannot be read and is not carried out"))
                .ok()
        });
        Ok(readable.collect())
    }

    async fn extend_once(&self, leases: &[FireLease], until: Timestamp) -> Result<Vec<String>, StoreError> {
        let (ids, fences) = lease_columns(leases);
        let held: Vec<(String, i64)> = sqlx::query_as(
            "UPDATE schedule_fires AS f
                SET due_at = $3
               FROM unnest($1::text[], $2::bigint[]) AS l (id, fence)
              WHERE f.id = l.id AND f.fence = l.fence AND f.finished_at IS NULL
             RETURNING f.id, f.fence",
        )
        .bind(ids)
        .bind(fences)
        .bind(until.as_datetime())
        .fetch_all(&self.pool)
        .await
        .map_err(store_error("fire"))?;
        let held: HashSet<(String, i64)> = held.into_iter().collect();
        let lost = leases.iter().filter(|lease| !held.contains(&(lease.fire_id.clone(), lease.fence)));
        Ok(lost.map(|lease| lease.fire_id.clone()).collect())
    }

    async fn finish_once(&self, fires: &[FinishedFire], at: Timestamp) -> Result<u64, StoreError> {
        let ids: Vec<&str> = fires.iter().map(|fire| fire.lease.fire_id.as_str()).collect();
        let fences: Vec<i64> = fires.iter().map(|fire| fire.lease.fence).collect();
        let errors: Vec<Option<String>> = fires.iter().map(|fire| fire.error.as_deref().map(storable)).collect();
        let finished = sqlx::query(
            "UPDATE schedule_fires AS f
                SET finished_at = $4, last_error = l.error
               FROM unnest($1::text[], $2::bigint[], $3::text[]) AS l (id, fence, error)
              WHERE f.id = l.id AND f.fence = l.fence AND f.finished_at IS NULL",
        )
        .bind(ids)
        .bind(fences)
        .bind(errors)
        .bind(at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("fire"))?;
        Ok(finished.rows_affected())
    }
}

#[async_trait]
impl TimerRepository for PgTimers {
    #[tracing::instrument(level = "debug", name = "db.timer.insert", skip_all, fields(timer.id = %timer.id))]
    async fn insert(&self, timer: &Timer) -> Result<(), StoreError> {
        let Timer {
            id,
            timing,
            action,
            paused,
            note,
            definition,
            skipped,
            next_at,
            actions_taken,
            missed,
            last_action_at,
            created_at,
            version,
        } = timer;
        let (action, schedule) = action_columns(action);
        sqlx::query(
            "INSERT INTO schedule_timers
                    (id, timing, action, run_schedule_id, paused, note, definition, skipped, next_at, actions_taken, missed,
                     last_action_at, created_at, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(id)
        .bind(Json(timing))
        .bind(action)
        .bind(schedule)
        .bind(paused)
        .bind(note.as_deref().map(storable))
        .bind(definition.as_ref().map(Json))
        .bind(moments(skipped))
        .bind(next_at.map(Timestamp::as_datetime))
        .bind(count(*actions_taken))
        .bind(count(*missed))
        .bind(last_action_at.map(Timestamp::as_datetime))
        .bind(created_at.as_datetime())
        .bind(version)
        .execute(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(())
    }

    #[tracing::instrument(level = "debug", name = "db.timer.find", skip_all, fields(timer.id = %id))]
    async fn find(&self, id: &str) -> Result<Option<Timer>, StoreError> {
        let row = sqlx::query_as::<_, TimerRow>(concat!(
            "SELECT ",
            timer_columns!(),
            " FROM schedule_timers t
              WHERE t.id = $1"
        ))
        .bind(id)
        .fetch_optional(&self.pool)
        .await;
        nothing_if_unstorable(row).map_err(store_error(NAME))?.map(read_timer).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.timer.list", skip_all)]
    async fn list(&self, prefix: &str, only: Option<Arc<[String]>>, limit: u32) -> Result<Vec<Timer>, StoreError> {
        let rows = sqlx::query_as::<_, TimerRow>(concat!(
            "SELECT ",
            timer_columns!(),
            " FROM schedule_timers t
              WHERE t.id >= $1 AND starts_with(t.id, $1) AND ($2::text[] IS NULL OR t.id = ANY($2))
              ORDER BY t.id
              LIMIT $3"
        ))
        .bind(prefix)
        .bind(only.as_deref())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await;
        nothing_if_unstorable(rows).map_err(store_error(NAME))?.into_iter().map(read_timer).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.timer.replace", skip_all, fields(timer.id = %timer.id))]
    async fn replace(&self, timer: &Timer) -> Result<bool, StoreError> {
        let Timer {
            id,
            timing,
            action,
            paused,
            note,
            definition,
            skipped,
            next_at,
            actions_taken,
            missed,
            last_action_at,
            created_at: _,
            version,
        } = timer;
        let (action, schedule) = action_columns(action);
        let replaced = sqlx::query(
            "UPDATE schedule_timers
                SET timing = $3, action = $4, run_schedule_id = $5, paused = $6, note = $7, definition = $8, skipped = $9,
                    next_at = $10, actions_taken = $11, missed = $12, last_action_at = $13, version = version + 1
              WHERE id = $1 AND version = $2",
        )
        .bind(id)
        .bind(version)
        .bind(Json(timing))
        .bind(action)
        .bind(schedule)
        .bind(paused)
        .bind(note.as_deref().map(storable))
        .bind(definition.as_ref().map(Json))
        .bind(moments(skipped))
        .bind(next_at.map(Timestamp::as_datetime))
        .bind(count(*actions_taken))
        .bind(count(*missed))
        .bind(last_action_at.map(Timestamp::as_datetime))
        .execute(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(replaced.rows_affected() == 1)
    }

    #[tracing::instrument(level = "debug", name = "db.timer.delete", skip_all, fields(timer.id = %id))]
    async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM schedule_timers WHERE id = $1").bind(id).execute(&self.pool).await;
        match deleted.map(|deleted| deleted.rows_affected()) {
            Ok(rows) => Ok(rows == 1),
            Err(error) => nothing_if_unstorable(Err(error)).map_err(store_error(NAME)),
        }
    }

    #[tracing::instrument(level = "debug", name = "db.timer.fire_due", skip_all)]
    async fn fire_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        misfire: Misfire,
    ) -> Result<Vec<ClaimedFire>, StoreError> {
        retry(|| self.fire_due_once(now, until, limit, misfire)).await
    }

    #[tracing::instrument(level = "debug", name = "db.timer.fire_now", skip_all, fields(fire.id = %fire.id))]
    async fn fire_now(&self, fire: &Fire, at: Timestamp) -> Result<FireNow, StoreError> {
        retry(|| self.fire_now_once(fire, at)).await
    }

    #[tracing::instrument(level = "debug", name = "db.timer.claim", skip_all)]
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<ClaimedFire>, StoreError> {
        retry(|| self.claim_once(now, until, limit)).await
    }

    #[tracing::instrument(level = "debug", name = "db.timer.extend", skip_all)]
    async fn extend(&self, leases: &[FireLease], until: Timestamp) -> Result<Vec<String>, StoreError> {
        retry(|| self.extend_once(leases, until)).await
    }

    #[tracing::instrument(level = "debug", name = "db.timer.finish", skip_all)]
    async fn finish(&self, fires: &[FinishedFire], at: Timestamp) -> Result<u64, StoreError> {
        retry(|| self.finish_once(fires, at)).await
    }

    #[tracing::instrument(level = "debug", name = "db.timer.retry", skip_all, fields(fire.id = %lease.fire_id))]
    async fn retry(&self, lease: &FireLease, due_at: Timestamp, error: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE schedule_fires
                SET due_at = $3, last_error = $4, fence = fence + 1
              WHERE id = $1 AND fence = $2 AND finished_at IS NULL",
        )
        .bind(&lease.fire_id)
        .bind(lease.fence)
        .bind(due_at.as_datetime())
        .bind(storable(error))
        .execute(&self.pool)
        .await
        .map_err(store_error("fire"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(level = "debug", name = "db.timer.release", skip_all)]
    async fn release(&self, leases: &[FireLease], at: Timestamp) -> Result<(), StoreError> {
        let (ids, fences) = lease_columns(leases);
        sqlx::query(
            "UPDATE schedule_fires AS f
                SET due_at = $3, attempts = f.attempts - 1, fence = f.fence + 1
               FROM unnest($1::text[], $2::bigint[]) AS l (id, fence)
              WHERE f.id = l.id AND f.fence = l.fence AND f.finished_at IS NULL",
        )
        .bind(ids)
        .bind(fences)
        .bind(at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("fire"))?;
        Ok(())
    }

    #[tracing::instrument(level = "debug", name = "db.timer.next_due", skip_all)]
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<DateTime<Utc>> = sqlx::query_scalar(
            "SELECT LEAST((SELECT min(next_at) FROM schedule_timers WHERE next_at IS NOT NULL AND id <> ALL($1)),
                          (SELECT min(due_at) FROM schedule_fires WHERE finished_at IS NULL))",
        )
        .bind(self.unreadable.all())
        .fetch_one(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(next.map(Timestamp::new).into_iter().chain(self.unreadable.next()).min())
    }

    #[tracing::instrument(level = "debug", name = "db.timer.prune", skip_all)]
    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let pruned = sqlx::query(
            "DELETE FROM schedule_fires
              WHERE id IN (SELECT id
                             FROM schedule_fires
                            WHERE finished_at < $1
                            ORDER BY finished_at
                            LIMIT $2
                              FOR UPDATE SKIP LOCKED)",
        )
        .bind(before.as_datetime())
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await
        .map_err(store_error("fire"))?;
        Ok(pruned.rows_affected())
    }
}

/// Those of the timers, locked by now, of which a fire has not ended.
async fn running(transaction: &mut PgConnection, timers: &[Timer]) -> Result<HashSet<String>, StoreError> {
    let ids: Vec<&str> = timers.iter().map(|timer| timer.id.as_str()).collect();
    let running: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT timer_id
           FROM schedule_fires
          WHERE timer_id = ANY($1) AND finished_at IS NULL",
    )
    .bind(ids)
    .fetch_all(transaction)
    .await
    .map_err(store_error("fire"))?;
    Ok(running.into_iter().collect())
}

/// Stores what [`Timer::come_due`] changes.
async fn move_on(transaction: &mut PgConnection, timers: &[Timer], now: Timestamp) -> Result<(), StoreError> {
    let ids: Vec<&str> = timers.iter().map(|timer| timer.id.as_str()).collect();
    let next: Vec<Option<DateTime<Utc>>> =
        timers.iter().map(|timer| timer.next_at.map(Timestamp::as_datetime)).collect();
    let taken: Vec<i64> = timers.iter().map(|timer| count(timer.actions_taken)).collect();
    let missed: Vec<i64> = timers.iter().map(|timer| count(timer.missed)).collect();
    let last: Vec<Option<DateTime<Utc>>> =
        timers.iter().map(|timer| timer.last_action_at.map(Timestamp::as_datetime)).collect();
    // Arrays of different lengths cannot be sent as one; what has passed is cut off on the server.
    sqlx::query(
        "UPDATE schedule_timers AS t
            SET next_at = m.next_at, actions_taken = m.actions_taken, missed = m.missed,
                last_action_at = m.last_action_at, version = t.version + 1,
                skipped = CASE WHEN t.skipped = '{}' THEN t.skipped
                               ELSE ARRAY(SELECT s FROM unnest(t.skipped) AS s WHERE s > $6 ORDER BY s) END
           FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::timestamptz[])
                AS m (id, next_at, actions_taken, missed, last_action_at)
          WHERE t.id = m.id",
    )
    .bind(ids)
    .bind(next)
    .bind(taken)
    .bind(missed)
    .bind(last)
    .bind(now.as_datetime())
    .execute(transaction)
    .await
    .map_err(store_error(NAME))?;
    Ok(())
}

/// Stores the fires that are not known, and answers their ids. With an attempt, they are claimed until `due_at`.
async fn insert_fires(
    transaction: &mut PgConnection,
    fires: &[Fire],
    attempts: i32,
    due_at: Timestamp,
) -> Result<HashSet<String>, StoreError> {
    if fires.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<&str> = fires.iter().map(|fire| fire.id.as_str()).collect();
    let timers: Vec<Option<&str>> = fires.iter().map(|fire| fire.timer_id.as_deref()).collect();
    let (actions, schedules): (Vec<&str>, Vec<Option<&str>>) =
        fires.iter().map(|fire| action_columns(&fire.action)).unzip();
    let triggers: Vec<&str> = fires.iter().map(|fire| fire.trigger.as_str()).collect();
    let nominal: Vec<DateTime<Utc>> = fires.iter().map(|fire| fire.nominal_at.as_datetime()).collect();
    let stored: Vec<String> = sqlx::query_scalar(
        "INSERT INTO schedule_fires
                (id, timer_id, action, run_schedule_id, trigger_type, nominal_at, attempts, due_at, fence)
         SELECT n.id, n.timer_id, n.action, n.run_schedule_id, n.trigger_type, n.nominal_at, $7, $8, $7
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
                AS n (id, timer_id, action, run_schedule_id, trigger_type, nominal_at)
             ON CONFLICT (id) DO NOTHING
         RETURNING id",
    )
    .bind(ids)
    .bind(timers)
    .bind(actions)
    .bind(schedules)
    .bind(triggers)
    .bind(nominal)
    .bind(attempts)
    .bind(due_at.as_datetime())
    .fetch_all(transaction)
    .await
    .map_err(store_error("fire"))?;
    Ok(stored.into_iter().collect())
}

fn lease_columns(leases: &[FireLease]) -> (Vec<&str>, Vec<i64>) {
    leases.iter().map(|lease| (lease.fire_id.as_str(), lease.fence)).unzip()
}

fn moments(times: &[Timestamp]) -> Vec<DateTime<Utc>> {
    times.iter().map(|at| at.as_datetime()).collect()
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Somebody else's words, without what PostgreSQL cannot hold.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
