use crate::{AgentId, JsonObject, StateId, TaskId, Timestamp};

/// What an agent remembers about a task. An agent may keep several for one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskState {
    /// Server-made id.
    pub id: StateId,
    /// The task it belongs to.
    pub task_id: TaskId,
    /// The agent it belongs to; nothing is promised about it beyond what was checked when the state was made.
    pub agent_id: AgentId,
    /// Whatever the agent put there.
    pub state: JsonObject,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last replacement of `state`, at another moment than each before: the version of the state.
    pub updated_at: Timestamp,
}

impl TaskState {
    /// A new state of `task_id`.
    #[must_use]
    pub fn new(task_id: TaskId, agent_id: AgentId, state: JsonObject, at: Timestamp) -> Self {
        Self { id: StateId::generate(), task_id, agent_id, state, created_at: at, updated_at: at }
    }
}
