use std::sync::Arc;

use agentex_domain::ports::{Departure, RunScheduleRepository, Settlement, StoreError};
use agentex_domain::{AgentId, Cadence, Intent, RunSchedule, RunScheduleId, Timestamp};
use async_trait::async_trait;

use crate::database::{Database, json_text};
use crate::error::store_error;
use crate::lifecycle::{depart, settle};
use crate::rows::{RunScheduleRow, run_schedule_columns};

pub(crate) struct SqliteRunSchedules {
    pub(crate) database: Database,
}

const NAME: &str = "run schedule";

#[async_trait]
impl RunScheduleRepository for SqliteRunSchedules {
    #[tracing::instrument(name = "db.run_schedule.insert", level = "debug", skip_all, fields(agent.id = %schedule.agent_id))]
    async fn insert(&self, schedule: &RunSchedule, settlement: Option<Settlement>) -> Result<(), StoreError> {
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
        let mut transaction = self.database.begin().await.map_err(store_error(NAME))?;
        let inserted = sqlx::query(
            r#"
            INSERT INTO agent_run_schedules
                   (id, agent_id, name, description, cron_expression, interval_seconds, timezone, start_at, end_at,
                    paused, creator_principal, task_params, task_metadata, initial_input, created_at, updated_at,
                    deleted_at, version)
            SELECT ?1, agents.id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18
              FROM agents
             WHERE agents.id = ?2
               AND agents.status <> 'Deleted'
            "#,
        )
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .bind(name)
        .bind(description)
        .bind(cron)
        .bind(interval)
        .bind(timezone)
        .bind(start_at.map(Timestamp::as_micros))
        .bind(end_at.map(Timestamp::as_micros))
        .bind(paused)
        .bind(json_text(creator_principal))
        .bind(task_params.as_ref().map(json_text))
        .bind(task_metadata.as_ref().map(json_text))
        .bind(json_text(initial_input))
        .bind(created_at.as_micros())
        .bind(updated_at.as_micros())
        .bind(deleted_at.map(Timestamp::as_micros))
        .bind(version)
        .execute(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::Dangling { what: NAME });
        }
        if let Some(settlement) = &settlement {
            settle(&mut transaction, settlement).await?;
        }
        transaction.commit().await.map_err(store_error(NAME))
    }

    #[tracing::instrument(name = "db.run_schedule.find", level = "debug", skip_all, fields(schedule.id = %id))]
    async fn find(&self, id: &RunScheduleId) -> Result<Option<RunSchedule>, StoreError> {
        let row: Option<RunScheduleRow> =
            sqlx::query_as(concat!("SELECT ", run_schedule_columns!(), " FROM agent_run_schedules WHERE id = ?1"))
                .bind(id.as_str())
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error(NAME))?;

        row.map(RunSchedule::try_from).transpose()
    }

    #[tracing::instrument(name = "db.run_schedule.find_by_name", level = "debug", skip_all, fields(agent.id = %agent))]
    async fn find_by_name(&self, agent: &AgentId, name: &str) -> Result<Option<RunSchedule>, StoreError> {
        let row: Option<RunScheduleRow> = sqlx::query_as(concat!(
            "SELECT ",
            run_schedule_columns!(),
            " FROM agent_run_schedules WHERE agent_id = ?1 AND name = ?2 AND deleted_at IS NULL"
        ))
        .bind(agent.as_str())
        .bind(name)
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error(NAME))?;

        row.map(RunSchedule::try_from).transpose()
    }

    #[tracing::instrument(name = "db.run_schedule.list", level = "debug", skip_all, fields(agent.id = %agent))]
    async fn list(
        &self,
        agent: &AgentId,
        only: Option<Arc<[String]>>,
        limit: u32,
    ) -> Result<Vec<RunSchedule>, StoreError> {
        if only.as_ref().is_some_and(|only| only.is_empty()) {
            return Ok(Vec::new());
        }
        let rows: Vec<RunScheduleRow> = sqlx::query_as(concat!(
            "SELECT ",
            run_schedule_columns!(),
            r#"
              FROM agent_run_schedules
             WHERE agent_id = ?1
               AND deleted_at IS NULL
               AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2)))
             ORDER BY created_at DESC, id DESC
             LIMIT ?3
            "#
        ))
        .bind(agent.as_str())
        .bind(only.as_deref().map(|only| json_text(&only)))
        .bind(limit)
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error(NAME))?;

        rows.into_iter().map(RunSchedule::try_from).collect()
    }

    #[tracing::instrument(name = "db.run_schedule.update", level = "debug", skip_all, fields(schedule.id = %schedule.id))]
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
        let rows: Vec<RunScheduleRow> = sqlx::query_as(concat!(
            r#"
            UPDATE agent_run_schedules
               SET name = ?3, description = ?4, cron_expression = ?5, interval_seconds = ?6, timezone = ?7, start_at = ?8,
                   end_at = ?9, paused = ?10, task_params = ?11, task_metadata = ?12, initial_input = ?13,
                   updated_at = ?14, version = version + 1
             WHERE id = ?1
               AND version = ?2
               AND deleted_at IS NULL
            RETURNING "#,
            run_schedule_columns!()
        ))
        .bind(id.as_str())
        .bind(version)
        .bind(name)
        .bind(description)
        .bind(cron)
        .bind(interval)
        .bind(timezone)
        .bind(start_at.map(Timestamp::as_micros))
        .bind(end_at.map(Timestamp::as_micros))
        .bind(paused)
        .bind(task_params.as_ref().map(json_text))
        .bind(task_metadata.as_ref().map(json_text))
        .bind(json_text(initial_input))
        .bind(updated_at.as_micros())
        .fetch_all(&self.database.writer)
        .await
        .map_err(store_error(NAME))?;

        only(rows)
    }

    #[tracing::instrument(name = "db.run_schedule.set_paused", level = "debug", skip_all, fields(schedule.id = %id))]
    async fn set_paused(
        &self,
        id: &RunScheduleId,
        paused: bool,
        at: Timestamp,
    ) -> Result<Option<RunSchedule>, StoreError> {
        let rows: Vec<RunScheduleRow> = sqlx::query_as(concat!(
            r#"
            UPDATE agent_run_schedules
               SET paused = ?2, updated_at = ?3, version = version + 1
             WHERE id = ?1
               AND deleted_at IS NULL
            RETURNING "#,
            run_schedule_columns!()
        ))
        .bind(id.as_str())
        .bind(paused)
        .bind(at.as_micros())
        .fetch_all(&self.database.writer)
        .await
        .map_err(store_error(NAME))?;

        only(rows)
    }

    #[tracing::instrument(name = "db.run_schedule.delete", level = "debug", skip_all, fields(schedule.id = %id))]
    async fn delete(
        &self,
        id: &RunScheduleId,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Option<Intent>>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error(NAME))?;
        let agent: Vec<String> = sqlx::query_scalar(
            r#"
            UPDATE agent_run_schedules
               SET deleted_at = ?2, version = version + 1
             WHERE id = ?1
               AND deleted_at IS NULL
            RETURNING agent_id
            "#,
        )
        .bind(id.as_str())
        .bind(at.as_micros())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        let Some(agent) = agent.into_iter().next() else { return Ok(None) };

        let resource = RunSchedule::resource(&agent.into(), id);
        let intent = depart(&mut transaction, resource, at, departure.as_ref()).await?;
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(Some(intent))
    }

    #[tracing::instrument(name = "db.run_schedule.page", level = "debug", skip_all)]
    async fn page(&self, after: Option<RunScheduleId>, limit: u32) -> Result<Vec<RunSchedule>, StoreError> {
        let rows: Vec<RunScheduleRow> = sqlx::query_as(concat!(
            "SELECT ",
            run_schedule_columns!(),
            " FROM agent_run_schedules WHERE deleted_at IS NULL AND id > ?1 ORDER BY id LIMIT ?2"
        ))
        .bind(after.as_ref().map_or("", RunScheduleId::as_str))
        .bind(limit)
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error(NAME))?;

        rows.into_iter().map(RunSchedule::try_from).collect()
    }

    #[tracing::instrument(name = "db.run_schedule.of_agent", level = "debug", skip_all, fields(agent.id = %agent))]
    async fn of_agent(&self, agent: &AgentId) -> Result<Vec<RunScheduleId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            r#"
            SELECT id
              FROM agent_run_schedules
             WHERE agent_id = ?1
               AND deleted_at IS NULL
             ORDER BY created_at DESC, id DESC
            "#,
        )
        .bind(agent.as_str())
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error(NAME))?;

        Ok(ids.into_iter().map(RunScheduleId::from).collect())
    }
}

fn cadence_columns(cadence: &Cadence) -> (Option<&str>, Option<u32>) {
    match cadence {
        Cadence::Cron(expression) => (Some(expression), None),
        Cadence::Interval(seconds) => (None, Some(*seconds)),
    }
}

/// The row of a statement by id.
fn only(mut rows: Vec<RunScheduleRow>) -> Result<Option<RunSchedule>, StoreError> {
    rows.pop().map(RunSchedule::try_from).transpose()
}
