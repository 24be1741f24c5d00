use agentex_domain::Event;
use agentex_domain::ports::StoreError;

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct EventRow {
    sequence_id: i64,
    id: String,
    task_id: String,
    agent_id: String,
    content: Option<String>,
    created_at: i64,
}

/// The columns of [`EventRow`].
macro_rules! event_columns {
    () => {
        "events.sequence_id, events.id, events.task_id, events.agent_id, events.content, events.created_at"
    };
}
pub(crate) use event_columns;

impl TryFrom<EventRow> for Event {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let EventRow { sequence_id, id, task_id, agent_id, content, created_at } = row;
        let read = Reader { table: "events", id: &id };
        Ok(Self {
            sequence_id,
            task_id: task_id.into(),
            agent_id: agent_id.into(),
            created_at: read.time(created_at)?,
            content: content.map(|content| read.json(&content)).transpose()?,
            id: id.into(),
        })
    }
}
