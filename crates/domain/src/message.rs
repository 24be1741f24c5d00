use serde::{Deserialize, Serialize};

use crate::{MessageContent, MessageId, TaskId, Timestamp};

/// One message of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Time-ordered for new messages, opaque to callers.
    pub id: MessageId,
    /// The task it belongs to.
    pub task_id: TaskId,
    /// What it says.
    pub content: MessageContent,
    /// Whether it is still being written; `None` when nobody said.
    pub streaming_status: Option<StreamingStatus>,
    /// When it was made, or the time its writer gave.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

impl Message {
    /// A new message of `task_id`.
    #[must_use]
    pub fn new(
        task_id: TaskId,
        content: MessageContent,
        streaming_status: Option<StreamingStatus>,
        at: Timestamp,
    ) -> Self {
        Self { id: MessageId::generate(), task_id, content, streaming_status, created_at: at, updated_at: at }
    }
}

/// Whether a message is still being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StreamingStatus {
    /// Fragments are still coming.
    InProgress,
    /// It is complete.
    Done,
}

impl StreamingStatus {
    /// Every status with its wire text.
    pub const ALL: [(&'static str, Self); 2] = [("IN_PROGRESS", Self::InProgress), ("DONE", Self::Done)];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Done => "DONE",
        }
    }

    /// The status with this wire text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, status)| *status)
    }
}
