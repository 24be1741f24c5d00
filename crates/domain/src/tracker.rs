use crate::{AgentId, EventId, TaskId, Timestamp, TrackerId};

/// How far an agent has processed the events of a task. One is made together with every task.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracker {
    /// Server-made id.
    pub id: TrackerId,
    /// The agent that processes.
    pub agent_id: AgentId,
    /// The task whose events are processed.
    pub task_id: TaskId,
    /// The agent's own word for how it is doing.
    pub status: Option<String>,
    /// Why.
    pub status_reason: Option<String>,
    /// The last event that was processed; `None` before the first, and again after retention removed the events.
    pub last_processed_event_id: Option<EventId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}
