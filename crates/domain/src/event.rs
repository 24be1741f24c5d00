use serde::Serialize;

use crate::{AgentId, EventId, MessageContent, TaskId, Timestamp};

/// Something a caller told an agent about a task; the durable record behind `event/send`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Server-made id.
    pub id: EventId,
    /// Rises with every event of the store; the order agents replay in.
    pub sequence_id: i64,
    /// The task it belongs to.
    pub task_id: TaskId,
    /// The agent it is for.
    pub agent_id: AgentId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What was said; an event may be a bare nudge.
    pub content: Option<MessageContent>,
}
