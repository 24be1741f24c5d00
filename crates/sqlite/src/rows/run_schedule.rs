use agentex_domain::ports::StoreError;
use agentex_domain::{Cadence, RunSchedule};

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct RunScheduleRow {
    id: String,
    agent_id: String,
    name: String,
    description: Option<String>,
    cron_expression: Option<String>,
    interval_seconds: Option<u32>,
    timezone: String,
    start_at: Option<i64>,
    end_at: Option<i64>,
    paused: bool,
    creator_principal: String,
    task_params: Option<String>,
    task_metadata: Option<String>,
    initial_input: String,
    created_at: i64,
    updated_at: i64,
    deleted_at: Option<i64>,
    version: i32,
}

/// The columns of [`RunScheduleRow`].
macro_rules! run_schedule_columns {
    () => {
        "id, agent_id, name, description, cron_expression, interval_seconds, timezone, start_at, end_at, paused, \
         creator_principal, task_params, task_metadata, initial_input, created_at, updated_at, deleted_at, version"
    };
}
pub(crate) use run_schedule_columns;

impl TryFrom<RunScheduleRow> for RunSchedule {
    type Error = StoreError;

    fn try_from(row: RunScheduleRow) -> Result<Self, StoreError> {
        let RunScheduleRow {
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
            initial_input,
            created_at,
            updated_at,
            deleted_at,
            version,
        } = row;
        let read = Reader { table: "agent_run_schedules", id: &id };
        let cadence = match (cron_expression, interval_seconds) {
            (Some(expression), _) => Cadence::Cron(expression),
            (None, Some(seconds)) => Cadence::Interval(seconds),
            (None, None) => return Err(read.corrupt("it has no cadence")),
        };
        Ok(Self {
            agent_id: agent_id.into(),
            name,
            description,
            cadence,
            timezone,
            start_at: read.optional_time(start_at)?,
            end_at: read.optional_time(end_at)?,
            paused,
            creator_principal: read.json(&creator_principal)?,
            task_params: read.optional_object(task_params)?,
            task_metadata: read.optional_object(task_metadata)?,
            initial_input: read.json(&initial_input)?,
            created_at: read.time(created_at)?,
            updated_at: read.time(updated_at)?,
            deleted_at: read.optional_time(deleted_at)?,
            version,
            id: id.into(),
        })
    }
}
