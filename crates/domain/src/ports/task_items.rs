use agentex_authz::Scope;

use crate::{AgentId, TaskId};

/// Which of the things that belong to tasks to list. Those of deleted tasks never are.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskItemFilter {
    /// The tasks the caller may see.
    pub scope: Scope,
    /// Only tasks linked to this agent: what an agent may see, whatever else is asked for.
    pub linked_to: Option<AgentId>,
    /// Only of this task.
    pub task_id: Option<TaskId>,
    /// Only of this agent.
    pub agent_id: Option<AgentId>,
}

impl TaskItemFilter {
    /// Whether it is clear without looking that nothing fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scope.is_empty() || self.task_id.as_ref().is_some_and(|task_id| !self.scope.contains(task_id.as_str()))
    }
}
