use agentex_domain::ports::StoreError;
use agentex_domain::{Message, StreamingStatus};

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct MessageRow {
    /// Place in insertion order; not part of the entity.
    pub(crate) seq: i64,
    id: String,
    task_id: String,
    content: String,
    streaming_status: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// The columns of [`MessageRow`].
macro_rules! message_columns {
    () => {
        "task_messages.seq, task_messages.id, task_messages.task_id, task_messages.content, \
         task_messages.streaming_status, task_messages.created_at, task_messages.updated_at"
    };
}
pub(crate) use message_columns;

impl TryFrom<MessageRow> for Message {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        let MessageRow { seq: _, id, task_id, content, streaming_status, created_at, updated_at } = row;
        let read = Reader { table: "task_messages", id: &id };
        Ok(Self {
            task_id: task_id.into(),
            content: read.json(&content)?,
            streaming_status: read.optional_word(streaming_status.as_deref(), &StreamingStatus::ALL)?,
            created_at: read.time(created_at)?,
            updated_at: read.time(updated_at)?,
            id: id.into(),
        })
    }
}
