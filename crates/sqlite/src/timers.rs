use std::sync::Arc;

use agentex_domain::ports::{FinishedFire, FireLease, FireNow, SetAside, StoreError, TimerRepository};
use agentex_domain::{ClaimedFire, Fire, Misfire, Timer, Timestamp};
use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{FromRow as _, Row as _, Sqlite, SqliteConnection};

use crate::database::{Database, json_text};
use crate::error::store_error;
use crate::rows::{FireRow, TimerRow, action_columns, fire_columns, timer_columns};

pub(crate) struct SqliteTimers {
    database: Database,
    unreadable: SetAside,
}

const NAME: &str = "timer";

/// For how long a timer that cannot be read is left alone before it is tried again, in milliseconds: a later release may
/// have written it, or somebody may repair it.
const SET_ASIDE: i64 = 600_000;

impl SqliteTimers {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, unreadable: SetAside::default() }
    }

    /// The timer of the row, unless there is none in it: then it is set aside, so that the others fire.
    fn readable(&self, row: &SqliteRow, now: Timestamp) -> Result<Option<Timer>, StoreError> {
        let id: String = row.try_get("id").map_err(store_error(NAME))?;
        match TimerRow::from_row(row).map_err(|source| corrupt(&id, source)).and_then(Timer::try_from) {
            Ok(timer) => Ok(Some(timer)),
            Err(error) => {
                tracing::error!(timer.id = %id, %error, "a timer cannot be read and does not fire");
                self.unreadable.add(id, now.plus_millis(SET_ASIDE));
                Ok(None)
            }
        }
    }
}

fn corrupt(id: &str, source: sqlx::Error) -> StoreError {
    StoreError::Corrupt { table: "schedule_timers", id: id.to_owned(), source: source.into() }
}

#[async_trait]
impl TimerRepository for SqliteTimers {
    #[tracing::instrument(name = "db.timer.insert", level = "debug", skip_all, fields(timer.id = %timer.id))]
    async fn insert(&self, timer: &Timer) -> Result<(), StoreError> {
        let query = sqlx::query(
            r#"
            INSERT INTO schedule_timers
                   (id, version, timing, action, run_schedule_id, paused, note, definition, skipped, next_at,
                    actions_taken, missed, last_action_at, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
            "#,
        );
        bind_timer(query, timer)
            .bind(timer.created_at.as_micros())
            .execute(&self.database.writer)
            .await
            .map_err(store_error(NAME))?;
        Ok(())
    }

    #[tracing::instrument(name = "db.timer.find", level = "debug", skip_all, fields(timer.id = %id))]
    async fn find(&self, id: &str) -> Result<Option<Timer>, StoreError> {
        let row: Option<TimerRow> =
            sqlx::query_as(concat!("SELECT ", timer_columns!(), " FROM schedule_timers WHERE id = ?1"))
                .bind(id)
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error(NAME))?;

        row.map(Timer::try_from).transpose()
    }

    #[tracing::instrument(name = "db.timer.list", level = "debug", skip_all)]
    async fn list(&self, prefix: &str, only: Option<Arc<[String]>>, limit: u32) -> Result<Vec<Timer>, StoreError> {
        let rows: Vec<TimerRow> = sqlx::query_as(concat!(
            "SELECT ",
            timer_columns!(),
            r#"
              FROM schedule_timers
             WHERE id >= ?1
               AND substr(id, 1, length(?1)) = ?1
               AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2)))
             ORDER BY id
             LIMIT ?3
            "#
        ))
        .bind(prefix)
        .bind(only.as_deref().map(|only| json_text(&only)))
        .bind(limit)
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error(NAME))?;

        rows.into_iter().map(Timer::try_from).collect()
    }

    #[tracing::instrument(name = "db.timer.replace", level = "debug", skip_all, fields(timer.id = %timer.id))]
    async fn replace(&self, timer: &Timer) -> Result<bool, StoreError> {
        let mut writer = self.database.writer.acquire().await.map_err(store_error(NAME))?;
        replace(&mut writer, timer).await
    }

    #[tracing::instrument(name = "db.timer.delete", level = "debug", skip_all, fields(timer.id = %id))]
    async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM schedule_timers WHERE id = ?1")
            .bind(id)
            .execute(&self.database.writer)
            .await
            .map_err(store_error(NAME))?;
        Ok(deleted.rows_affected() == 1)
    }

    #[tracing::instrument(name = "db.timer.fire_due", level = "debug", skip_all)]
    async fn fire_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        misfire: Misfire,
    ) -> Result<Vec<ClaimedFire>, StoreError> {
        // Nearly always nothing is due; that is found out without the writer.
        let unreadable = json_text(&self.unreadable.at(now));
        let waiting: bool = sqlx::query_scalar(
            r#"
            SELECT EXISTS (SELECT 1
                             FROM schedule_timers
                            WHERE next_at <= ?1 AND id NOT IN (SELECT value FROM json_each(?2)))
            "#,
        )
        .bind(now.as_micros())
        .bind(&unreadable)
        .fetch_one(&self.database.readers)
        .await
        .map_err(store_error(NAME))?;
        if !waiting {
            return Ok(Vec::new());
        }

        let mut transaction = self.database.begin().await.map_err(store_error(NAME))?;
        let due = sqlx::query(concat!(
            "SELECT ",
            timer_columns!(),
            r#"
              FROM schedule_timers
             WHERE next_at <= ?1
               AND id NOT IN (SELECT value FROM json_each(?3))
             ORDER BY next_at, id
             LIMIT ?2
            "#
        ))
        .bind(now.as_micros())
        .bind(limit)
        .bind(&unreadable)
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;

        let mut fired = Vec::new();
        for row in &due {
            let Some(mut timer) = self.readable(row, now)? else { continue };
            let running = is_running(&mut transaction, &timer.id).await?;
            let fires = timer.come_due(now, running, &misfire);
            replace(&mut transaction, &timer).await?;
            for fire in fires {
                if insert_fire(&mut transaction, &fire, 1, until).await? {
                    fired.push(ClaimedFire { fire, attempt: 1, fence: 1 });
                }
            }
        }
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(fired)
    }

    #[tracing::instrument(name = "db.timer.fire_now", level = "debug", skip_all, fields(fire.id = %fire.id))]
    async fn fire_now(&self, fire: &Fire, at: Timestamp) -> Result<FireNow, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error(NAME))?;
        if !insert_fire(&mut transaction, fire, 0, at).await? {
            return Ok(FireNow::Known);
        }
        if let Some(timer) = &fire.timer_id {
            let counted = sqlx::query(
                r#"
                UPDATE schedule_timers
                   SET actions_taken = actions_taken + 1, last_action_at = ?2, version = version + 1
                 WHERE id = ?1
                "#,
            )
            .bind(timer)
            .bind(at.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error(NAME))?;
            if counted.rows_affected() == 0 {
                return Ok(FireNow::NoTimer);
            }
        }
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(FireNow::Stored)
    }

    #[tracing::instrument(name = "db.timer.claim", level = "debug", skip_all)]
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<ClaimedFire>, StoreError> {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM schedule_fires WHERE finished_at IS NULL AND due_at <= ?1)",
        )
        .bind(now.as_micros())
        .fetch_one(&self.database.readers)
        .await
        .map_err(store_error("fire"))?;
        if !waiting {
            return Ok(Vec::new());
        }

        let mut transaction = self.database.begin().await.map_err(store_error("fire"))?;
        let ids: Vec<String> = sqlx::query_scalar(
            r#"
            SELECT id
              FROM schedule_fires
             WHERE finished_at IS NULL
               AND due_at <= ?1
             ORDER BY due_at, id
             LIMIT ?2
            "#,
        )
        .bind(now.as_micros())
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error("fire"))?;
        let rows: Vec<FireRow> = sqlx::query_as(concat!(
            r#"
            UPDATE schedule_fires
               SET due_at = ?2, attempts = attempts + 1, fence = fence + 1
             WHERE id IN (SELECT value FROM json_each(?1))
            RETURNING "#,
            fire_columns!()
        ))
        .bind(json_text(&ids))
        .bind(until.as_micros())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error("fire"))?;
        transaction.commit().await.map_err(store_error("fire"))?;
        // The others are claimed all the same; it comes again when its lease ends.
        let readable = rows.into_iter().filter_map(|row| {
            let fire = ClaimedFire::try_from(row);
            fire.inspect_err(|error| tracing::error!(%error, "a fire cannot be read and is not carried out")).ok()
        });
        let mut claimed: Vec<ClaimedFire> = readable.collect();
        claimed.sort_by_key(|claimed| ids.iter().position(|id| *id == claimed.fire.id));
        Ok(claimed)
    }

    #[tracing::instrument(name = "db.timer.extend", level = "debug", skip_all)]
    async fn extend(&self, leases: &[FireLease], until: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("fire"))?;
        let mut lost = Vec::new();
        for FireLease { fire_id, fence } in leases {
            let extended = sqlx::query(
                "UPDATE schedule_fires SET due_at = ?3 WHERE id = ?1 AND fence = ?2 AND finished_at IS NULL",
            )
            .bind(fire_id)
            .bind(fence)
            .bind(until.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("fire"))?;
            if extended.rows_affected() == 0 {
                lost.push(fire_id.clone());
            }
        }
        transaction.commit().await.map_err(store_error("fire"))?;
        Ok(lost)
    }

    #[tracing::instrument(name = "db.timer.finish", level = "debug", skip_all)]
    async fn finish(&self, fires: &[FinishedFire], at: Timestamp) -> Result<u64, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("fire"))?;
        let mut finished = 0;
        for FinishedFire { lease: FireLease { fire_id, fence }, error } in fires {
            finished += sqlx::query(
                r#"
                UPDATE schedule_fires
                   SET finished_at = ?3, last_error = ?4
                 WHERE id = ?1
                   AND fence = ?2
                   AND finished_at IS NULL
                "#,
            )
            .bind(fire_id)
            .bind(fence)
            .bind(at.as_micros())
            .bind(error)
            .execute(&mut *transaction)
            .await
            .map_err(store_error("fire"))?
            .rows_affected();
        }
        transaction.commit().await.map_err(store_error("fire"))?;
        Ok(finished)
    }

    #[tracing::instrument(name = "db.timer.retry", level = "debug", skip_all, fields(fire.id = %lease.fire_id))]
    async fn retry(&self, lease: &FireLease, due_at: Timestamp, error: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            r#"
            UPDATE schedule_fires
               SET due_at = ?3, last_error = ?4, fence = fence + 1
             WHERE id = ?1
               AND fence = ?2
               AND finished_at IS NULL
            "#,
        )
        .bind(&lease.fire_id)
        .bind(lease.fence)
        .bind(due_at.as_micros())
        .bind(error)
        .execute(&self.database.writer)
        .await
        .map_err(store_error("fire"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(name = "db.timer.release", level = "debug", skip_all)]
    async fn release(&self, leases: &[FireLease], at: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("fire"))?;
        for FireLease { fire_id, fence } in leases {
            sqlx::query(
                r#"
                UPDATE schedule_fires
                   SET due_at = ?3, attempts = attempts - 1, fence = fence + 1
                 WHERE id = ?1
                   AND fence = ?2
                   AND finished_at IS NULL
                "#,
            )
            .bind(fire_id)
            .bind(fence)
            .bind(at.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("fire"))?;
        }
        transaction.commit().await.map_err(store_error("fire"))
    }

    #[tracing::instrument(name = "db.timer.next_due", level = "debug", skip_all)]
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let micros: Option<i64> = sqlx::query_scalar(
            r#"
            SELECT min(at)
              FROM (SELECT (SELECT min(next_at)
                              FROM schedule_timers
                             WHERE next_at IS NOT NULL AND id NOT IN (SELECT value FROM json_each(?1))) AS at
                    UNION ALL
                    SELECT (SELECT min(due_at) FROM schedule_fires WHERE finished_at IS NULL))
            "#,
        )
        .bind(json_text(&self.unreadable.all()))
        .fetch_one(&self.database.readers)
        .await
        .map_err(store_error(NAME))?;
        Ok(micros.and_then(Timestamp::from_micros).into_iter().chain(self.unreadable.next()).min())
    }

    #[tracing::instrument(name = "db.timer.prune", level = "debug", skip_all)]
    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let pruned = sqlx::query(
            r#"
            DELETE FROM schedule_fires
             WHERE id IN (SELECT id FROM schedule_fires WHERE finished_at < ?1 ORDER BY finished_at LIMIT ?2)
            "#,
        )
        .bind(before.as_micros())
        .bind(limit)
        .execute(&self.database.writer)
        .await
        .map_err(store_error("fire"))?;
        Ok(pruned.rows_affected())
    }
}

/// Binds ?1 to ?13: id and version first, then what may change.
fn bind_timer<'q>(query: Query<'q, Sqlite, SqliteArguments>, timer: &'q Timer) -> Query<'q, Sqlite, SqliteArguments> {
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
    let skipped: Vec<i64> = skipped.iter().map(|at| at.as_micros()).collect();
    query
        .bind(id)
        .bind(version)
        .bind(json_text(timing))
        .bind(action)
        .bind(schedule)
        .bind(paused)
        .bind(note)
        .bind(definition.as_ref().map(json_text))
        .bind(json_text(&skipped))
        .bind(next_at.map(Timestamp::as_micros))
        .bind(count(*actions_taken))
        .bind(count(*missed))
        .bind(last_action_at.map(Timestamp::as_micros))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn replace(connection: &mut SqliteConnection, timer: &Timer) -> Result<bool, StoreError> {
    let query = sqlx::query(
        r#"
        UPDATE schedule_timers
           SET timing = ?3, action = ?4, run_schedule_id = ?5, paused = ?6, note = ?7, definition = ?8, skipped = ?9,
               next_at = ?10, actions_taken = ?11, missed = ?12, last_action_at = ?13, version = version + 1
         WHERE id = ?1
           AND version = ?2
        "#,
    );
    let replaced = bind_timer(query, timer).execute(connection).await.map_err(store_error(NAME))?;
    Ok(replaced.rows_affected() == 1)
}

async fn is_running(connection: &mut SqliteConnection, timer: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM schedule_fires WHERE timer_id = ?1 AND finished_at IS NULL)")
        .bind(timer)
        .fetch_one(connection)
        .await
        .map_err(store_error("fire"))
}

/// Whether the fire was not known; with an attempt, it is claimed until `due_at`.
async fn insert_fire(
    connection: &mut SqliteConnection,
    fire: &Fire,
    attempts: u32,
    due_at: Timestamp,
) -> Result<bool, StoreError> {
    let Fire { id, timer_id, action, trigger, nominal_at } = fire;
    let (action, schedule) = action_columns(action);
    let inserted = sqlx::query(
        r#"
        INSERT INTO schedule_fires
               (id, timer_id, action, run_schedule_id, trigger_type, nominal_at, attempts, due_at, fence)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?7)
            ON CONFLICT (id) DO NOTHING
        "#,
    )
    .bind(id)
    .bind(timer_id)
    .bind(action)
    .bind(schedule)
    .bind(trigger.as_str())
    .bind(nominal_at.as_micros())
    .bind(attempts)
    .bind(due_at.as_micros())
    .execute(connection)
    .await
    .map_err(store_error("fire"))?;
    Ok(inserted.rows_affected() == 1)
}
