use std::collections::HashMap;
use std::sync::Arc;

use agentex_domain::ports::{Departure, RunScheduleRepository, Settlement, StoreError};
use agentex_domain::{AgentId, Cadence, Intent, RunSchedule, RunScheduleId, ScheduleInput, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Json;

use crate::batching::{Batch, Batched, by_key, distinct};
use crate::error::{Unreadable, corrupt, nothing_if_unstorable, retry, store_error};
use crate::json::{from_column, to_column};
use crate::lifecycle::{depart, settle};
use crate::store::Pools;
use crate::transaction::begin;

const NAME: &str = "run schedule";
const TABLE: &str = "agent_run_schedules";

/// The columns of [`ScheduleRow`], of the table called `s`. A literal, so that statements stay constants.
macro_rules! schedule_columns {
    () => {
        "s.id, s.agent_id, s.name, s.description, s.cron_expression, s.interval_seconds, s.timezone, s.start_at, s.end_at,
         s.paused, s.creator_principal, s.task_params, s.task_metadata, s.initial_input,
         COALESCE(s.created_at, 'epoch') AS created_at, COALESCE(s.updated_at, s.created_at, 'epoch') AS updated_at,
         s.deleted_at, s.version"
    };
}

#[derive(sqlx::FromRow)]
struct ScheduleRow {
    id: String,
    agent_id: String,
    name: String,
    description: Option<String>,
    cron_expression: Option<String>,
    interval_seconds: Option<i32>,
    timezone: String,
    start_at: Option<DateTime<Utc>>,
    end_at: Option<DateTime<Utc>>,
    paused: bool,
    creator_principal: Json<Value>,
    task_params: Option<Json<Value>>,
    task_metadata: Option<Json<Value>>,
    initial_input: Json<Value>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    version: i32,
}

fn read_schedule(row: ScheduleRow) -> Result<RunSchedule, StoreError> {
    let ScheduleRow {
        id,
        agent_id,
        name,
        description,
        cron_expression,
        interval_seconds,
        timezone,
        start_at,
        end_at,
        paused,
        creator_principal,
        task_params,
        task_metadata,
        initial_input: Json(initial_input),
        created_at,
        updated_at,
        deleted_at,
        version,
    } = row;
    let unreadable = |column: &'static str| corrupt(TABLE, &id, Unreadable { column });
    let cadence = match (cron_expression, interval_seconds.map(u32::try_from)) {
        (Some(expression), _) => Cadence::Cron(expression),
        (None, Some(Ok(seconds))) => Cadence::Interval(seconds),
        (None, _) => return Err(unreadable("interval_seconds")),
    };
    let initial_input: ScheduleInput =
        serde_json::from_value(initial_input).map_err(|error| corrupt(TABLE, &id, error))?;
    Ok(RunSchedule {
        agent_id: agent_id.into(),
        name,
        description,
        cadence,
        timezone,
        start_at: start_at.map(Timestamp::new),
        end_at: end_at.map(Timestamp::new),
        paused,
        creator_principal: from_column(TABLE, &id, "creator_principal", Some(creator_principal))?.unwrap_or_default(),
        task_params: from_column(TABLE, &id, "task_params", task_params)?,
        task_metadata: from_column(TABLE, &id, "task_metadata", task_metadata)?,
        initial_input,
        created_at: Timestamp::new(created_at),
        updated_at: Timestamp::new(updated_at),
        deleted_at: deleted_at.map(Timestamp::new),
        version,
        id: id.into(),
    })
}

/// A schedule, deleted or not: many are read at one moment when they come due.
struct ById(PgPool);

impl Batch for ById {
    type Item = RunScheduleId;
    type Answer = Option<RunSchedule>;

    async fn alone(&self, id: &RunScheduleId) -> Result<Option<RunSchedule>, StoreError> {
        let row = sqlx::query_as::<_, ScheduleRow>(concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM agent_run_schedules s
              WHERE s.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(&self.0)
        .await;
        nothing_if_unstorable(row).map_err(store_error(NAME))?.map(read_schedule).transpose()
    }

    async fn together(&self, ids: &[Arc<RunScheduleId>]) -> Result<Vec<Option<Option<RunSchedule>>>, StoreError> {
        let rows = sqlx::query_as::<_, ScheduleRow>(concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM agent_run_schedules s
              WHERE s.id = ANY($1)"
        ))
        .bind(distinct(ids, RunScheduleId::as_str))
        .fetch_all(&self.0)
        .await
        .map_err(store_error(NAME))?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in rows {
            let schedule = read_schedule(row)?;
            found.insert(schedule.id.clone(), schedule);
        }
        Ok(by_key(ids, &found, RunScheduleId::clone))
    }
}

/// Run schedules in the table `agent_run_schedules`, which other servers write, too.
pub(crate) struct PgRunSchedules {
    pools: Pools,
    by_id: Batched<ById>,
}

impl PgRunSchedules {
    pub(crate) fn new(pools: Pools) -> Self {
        Self { by_id: Batched::new(ById(pools.primary.clone())), pools }
    }

    /// The lock on the agent makes this wait for somebody who is deleting it, and them wait for this.
    async fn insert_once(&self, schedule: &RunSchedule, settles: Option<&Settlement>) -> Result<(), StoreError> {
        let RunSchedule {
            id,
            agent_id,
            name,
            description,
            cadence,
            timezone,
            start_at,
            end_at,
            paused,
            creator_principal,
            task_params,
            task_metadata,
            initial_input,
            created_at,
            updated_at,
            deleted_at,
            version,
        } = schedule;
        let (cron, interval) = cadence_columns(cadence);
        let mut transaction = begin(&self.pools.primary).await.map_err(store_error(NAME))?;
        let inserted = sqlx::query(
            "WITH agent AS (
                 SELECT id
                   FROM agents
                  WHERE id = $2 AND status <> 'DELETED'
                    FOR SHARE
             )
             INSERT INTO agent_run_schedules
                    (id, agent_id, name, description, cron_expression, interval_seconds, timezone, start_at, end_at, paused,
                     creator_principal, task_params, task_metadata, initial_input, created_at, updated_at, deleted_at,
                     version)
             SELECT $1, agent.id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18
               FROM agent",
        )
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .bind(name)
        .bind(description)
        .bind(cron)
        .bind(interval)
        .bind(timezone)
        .bind(start_at.map(Timestamp::as_datetime))
        .bind(end_at.map(Timestamp::as_datetime))
        .bind(paused)
        .bind(Json(creator_principal))
        .bind(to_column(task_params.as_ref()))
        .bind(to_column(task_metadata.as_ref()))
        .bind(input_column(initial_input))
        .bind(created_at.as_datetime())
        .bind(updated_at.as_datetime())
        .bind(deleted_at.map(Timestamp::as_datetime))
        .bind(version)
        .execute(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::Dangling { what: NAME });
        }
        settle(&mut transaction, settles).await?;
        transaction.commit().await.map_err(store_error(NAME))
    }

    async fn delete_once(
        &self,
        id: &RunScheduleId,
        at: Timestamp,
        departure: Option<&Departure>,
    ) -> Result<Option<Option<Intent>>, StoreError> {
        let mut transaction = begin(&self.pools.primary).await.map_err(store_error(NAME))?;
        let agent: Option<String> = sqlx::query_scalar(
            "UPDATE agent_run_schedules
                SET deleted_at = $2, version = version + 1
              WHERE id = $1 AND deleted_at IS NULL
             RETURNING agent_id",
        )
        .bind(id.as_str())
        .bind(at.as_datetime())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        let Some(agent) = agent else { return Ok(None) };
        let resource = RunSchedule::resource(&agent.into(), id);
        let intents = depart(&mut transaction, &[resource], at, departure).await?;
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(Some(intents.into_iter().next()))
    }
}

#[async_trait]
impl RunScheduleRepository for PgRunSchedules {
    #[tracing::instrument(level = "debug", name = "db.run_schedule.insert", skip_all, fields(schedule.id = %schedule.id))]
    async fn insert(&self, schedule: &RunSchedule, settlement: Option<Settlement>) -> Result<(), StoreError> {
        retry(|| self.insert_once(schedule, settlement.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.find", skip_all, fields(schedule.id = %id))]
    async fn find(&self, id: &RunScheduleId) -> Result<Option<RunSchedule>, StoreError> {
        self.by_id.run(id.clone()).await
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.find_by_name", skip_all, fields(agent.id = %agent))]
    async fn find_by_name(&self, agent: &AgentId, name: &str) -> Result<Option<RunSchedule>, StoreError> {
        let row = sqlx::query_as::<_, ScheduleRow>(concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM agent_run_schedules s
              WHERE s.agent_id = $1 AND s.name = $2 AND s.deleted_at IS NULL"
        ))
        .bind(agent.as_str())
        .bind(name)
        .fetch_optional(&self.pools.primary)
        .await;
        nothing_if_unstorable(row).map_err(store_error(NAME))?.map(read_schedule).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.list", skip_all, fields(agent.id = %agent))]
    async fn list(
        &self,
        agent: &AgentId,
        only: Option<Arc<[String]>>,
        limit: u32,
    ) -> Result<Vec<RunSchedule>, StoreError> {
        if only.as_ref().is_some_and(|only| only.is_empty()) {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as::<_, ScheduleRow>(concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM agent_run_schedules s
              WHERE s.agent_id = $1 AND s.deleted_at IS NULL AND ($2::text[] IS NULL OR s.id = ANY($2))
              ORDER BY s.created_at DESC NULLS LAST, s.id COLLATE \"C\" DESC
              LIMIT $3"
        ))
        .bind(agent.as_str())
        .bind(only.as_deref())
        .bind(i64::from(limit))
        .fetch_all(&self.pools.reader)
        .await;
        nothing_if_unstorable(rows).map_err(store_error(NAME))?.into_iter().map(read_schedule).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.update", skip_all, fields(schedule.id = %schedule.id))]
    async fn update(&self, schedule: &RunSchedule) -> Result<Option<RunSchedule>, StoreError> {
        let RunSchedule {
            id,
            agent_id: _,
            name,
            description,
            cadence,
            timezone,
            start_at,
            end_at,
            paused,
            creator_principal: _,
            task_params,
            task_metadata,
            initial_input,
            created_at: _,
            updated_at,
            deleted_at: _,
            version,
        } = schedule;
        let (cron, interval) = cadence_columns(cadence);
        sqlx::query_as::<_, ScheduleRow>(concat!(
            "UPDATE agent_run_schedules AS s
                SET name = $3, description = $4, cron_expression = $5, interval_seconds = $6, timezone = $7, start_at = $8,
                    end_at = $9, paused = $10, task_params = $11, task_metadata = $12, initial_input = $13,
                    updated_at = $14, version = s.version + 1
              WHERE s.id = $1 AND s.version = $2 AND s.deleted_at IS NULL
             RETURNING ",
            schedule_columns!()
        ))
        .bind(id.as_str())
        .bind(version)
        .bind(name)
        .bind(description)
        .bind(cron)
        .bind(interval)
        .bind(timezone)
        .bind(start_at.map(Timestamp::as_datetime))
        .bind(end_at.map(Timestamp::as_datetime))
        .bind(paused)
        .bind(to_column(task_params.as_ref()))
        .bind(to_column(task_metadata.as_ref()))
        .bind(input_column(initial_input))
        .bind(updated_at.as_datetime())
        .fetch_optional(&self.pools.primary)
        .await
        .map_err(store_error(NAME))?
        .map(read_schedule)
        .transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.set_paused", skip_all, fields(schedule.id = %id))]
    async fn set_paused(
        &self,
        id: &RunScheduleId,
        paused: bool,
        at: Timestamp,
    ) -> Result<Option<RunSchedule>, StoreError> {
        let row = sqlx::query_as::<_, ScheduleRow>(concat!(
            "UPDATE agent_run_schedules AS s
                SET paused = $2, updated_at = $3, version = s.version + 1
              WHERE s.id = $1 AND s.deleted_at IS NULL
             RETURNING ",
            schedule_columns!()
        ))
        .bind(id.as_str())
        .bind(paused)
        .bind(at.as_datetime())
        .fetch_optional(&self.pools.primary)
        .await;
        nothing_if_unstorable(row).map_err(store_error(NAME))?.map(read_schedule).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.delete", skip_all, fields(schedule.id = %id))]
    async fn delete(
        &self,
        id: &RunScheduleId,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Option<Intent>>, StoreError> {
        retry(|| self.delete_once(id, at, departure.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.page", skip_all)]
    async fn page(&self, after: Option<RunScheduleId>, limit: u32) -> Result<Vec<RunSchedule>, StoreError> {
        let rows = sqlx::query_as::<_, ScheduleRow>(concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM agent_run_schedules s
              WHERE s.deleted_at IS NULL AND s.id > $1
              ORDER BY s.id
              LIMIT $2"
        ))
        .bind(after.as_ref().map_or("", RunScheduleId::as_str))
        .bind(i64::from(limit))
        .fetch_all(&self.pools.primary)
        .await;
        nothing_if_unstorable(rows).map_err(store_error(NAME))?.into_iter().map(read_schedule).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.run_schedule.of_agent", skip_all, fields(agent.id = %agent))]
    async fn of_agent(&self, agent: &AgentId) -> Result<Vec<RunScheduleId>, StoreError> {
        let ids = sqlx::query_scalar::<_, String>(
            "SELECT id
               FROM agent_run_schedules
              WHERE agent_id = $1 AND deleted_at IS NULL
              ORDER BY created_at DESC NULLS LAST, id COLLATE \"C\" DESC",
        )
        .bind(agent.as_str())
        .fetch_all(&self.pools.primary)
        .await;
        let ids = nothing_if_unstorable(ids).map_err(store_error(NAME))?;
        Ok(ids.into_iter().map(RunScheduleId::from).collect())
    }
}

fn cadence_columns(cadence: &Cadence) -> (Option<&str>, Option<i32>) {
    match cadence {
        Cadence::Cron(expression) => (Some(expression), None),
        Cadence::Interval(seconds) => (None, Some(i32::try_from(*seconds).unwrap_or(i32::MAX))),
    }
}

/// As other servers read it, who know other types than text.
fn input_column(input: &ScheduleInput) -> Json<Value> {
    let ScheduleInput { author, content } = input;
    Json(json!({"type": "text", "author": author, "content": content}))
}
