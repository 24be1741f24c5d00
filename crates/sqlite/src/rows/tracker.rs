use agentex_domain::Tracker;
use agentex_domain::ports::StoreError;

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct TrackerRow {
    id: String,
    pub(crate) agent_id: String,
    pub(crate) task_id: String,
    status: Option<String>,
    status_reason: Option<String>,
    pub(crate) last_processed_event_id: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// The columns of [`TrackerRow`].
macro_rules! tracker_columns {
    () => {
        "agent_task_tracker.id, agent_task_tracker.agent_id, agent_task_tracker.task_id, agent_task_tracker.status, \
         agent_task_tracker.status_reason, agent_task_tracker.last_processed_event_id, \
         agent_task_tracker.created_at, agent_task_tracker.updated_at"
    };
}
pub(crate) use tracker_columns;

impl TryFrom<TrackerRow> for Tracker {
    type Error = StoreError;

    fn try_from(row: TrackerRow) -> Result<Self, StoreError> {
        let TrackerRow {
            id,
            agent_id,
            task_id,
            status,
            status_reason,
            last_processed_event_id,
            created_at,
            updated_at,
        } = row;
        let read = Reader { table: "agent_task_tracker", id: &id };
        Ok(Self {
            agent_id: agent_id.into(),
            task_id: task_id.into(),
            status,
            status_reason,
            last_processed_event_id: last_processed_event_id.map(Into::into),
            created_at: read.time(created_at)?,
            updated_at: read.time(updated_at)?,
            id: id.into(),
        })
    }
}
