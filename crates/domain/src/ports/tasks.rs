use agentex_authz::Scope;
use async_trait::async_trait;

use crate::ports::{Departure, Settlement, StoreError};
use crate::{
    Agent, AgentId, Direction, Intent, JsonObject, NewTask, PageRequest, Task, TaskId, TaskStatus, Timestamp,
    Transition,
};

/// What an insert did.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskInsert {
    /// The task was stored.
    Created(Task),
    /// A live task already has the name; nothing was changed. This is it.
    NameTaken(Task),
}

/// What a guarded change of status did.
#[derive(Debug, Clone, PartialEq)]
pub enum Transitioned {
    /// The status changed; this is the task now.
    Done(Task),
    /// The transition is not legal from the status the task has; nothing was changed. This is the task.
    Refused(Task),
    /// There is no such task.
    Absent,
}

/// A task that was just deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedTask {
    /// The task as it is now.
    pub task: Task,
    /// What is left to be done in the authorization graph.
    pub intent: Option<Intent>,
}

/// A change of fields; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskChange {
    /// Replaces the metadata as a whole.
    pub task_metadata: Option<JsonObject>,
    /// Merged into `params` by top-level key.
    pub merge_params: Option<JsonObject>,
    /// Replaces `params` as a whole; not used together with `merge_params`.
    pub replace_params: Option<JsonObject>,
}

/// Which tasks to list. Deleted ones never are.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskFilter {
    /// What the caller may see.
    pub scope: Scope,
    /// Only tasks linked to this agent: what an agent may see, whatever else is asked for.
    pub linked_to: Option<AgentId>,
    /// Only tasks of the agent with this id.
    pub agent_id: Option<AgentId>,
    /// Only tasks of the agent with this name.
    pub agent_name: Option<String>,
    /// Only tasks in this status.
    pub status: Option<TaskStatus>,
    /// Only tasks whose metadata contains this object (JSON containment as in [`crate::ports::AgentFilter`]).
    pub task_metadata: Option<JsonObject>,
}

/// What tasks can be sorted by; ties are broken by `updated_at`, `created_at`, then id, in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskOrder {
    /// Last change.
    #[default]
    UpdatedAt,
    /// When it was made.
    CreatedAt,
    /// Id.
    Id,
    /// Name; unnamed tasks sort as the smallest.
    Name,
    /// Status text.
    Status,
    /// When retention cleaned it; others sort as the oldest.
    CleanedAt,
}

/// Keeps tasks and their links to agents. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait TaskRepository: Send + Sync {
    /// Stores a new task, its link to the agent and an empty tracker row, all or nothing. A deleted task's name counts as
    /// free and is taken off the dead row. The intent it is registered under is settled when the task is stored, and only
    /// then.
    ///
    /// # Errors
    /// [`StoreError::Dangling`] when the agent does not exist.
    async fn insert(&self, task: &NewTask, settles: Option<Settlement>) -> Result<TaskInsert, StoreError>;

    /// The task with this id, deleted or not.
    async fn find(&self, id: &TaskId) -> Result<Option<Task>, StoreError>;

    /// The live (not deleted) task with this name.
    async fn find_by_name(&self, name: &str) -> Result<Option<Task>, StoreError>;

    /// The task with this id if it is linked to the agent, deleted or not.
    async fn find_for_agent(&self, id: &TaskId, agent_id: &AgentId) -> Result<Option<Task>, StoreError>;

    /// Whether the task is linked to the agent.
    async fn is_linked(&self, id: &TaskId, agent_id: &AgentId) -> Result<bool, StoreError>;

    /// The agents of each of these tasks, deleted agents included, oldest link first, in one query.
    async fn agents_of(&self, ids: &[TaskId]) -> Result<Vec<(TaskId, Agent)>, StoreError>;

    /// Performs `transition` if the task's status is one of its legal sources, in one guarded statement, so a concurrent
    /// writer can never be overwritten. `reason` is stored as it is.
    async fn transition(
        &self,
        id: &TaskId,
        transition: Transition,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transitioned, StoreError>;

    /// Soft-deletes a task that is not deleted: its status becomes `DELETED`, whatever it was. With a departure, answers the
    /// intent it stored. `None` when it is absent or already deleted.
    async fn delete(
        &self,
        id: &TaskId,
        reason: &str,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<DeletedTask>, StoreError>;

    /// Sets one member of the metadata of a task that is not deleted to `true`, in one statement that touches nothing else
    /// but the time of the last change; answers whether there is such a task.
    async fn set_metadata_flag(&self, id: &TaskId, name: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Changes the named fields of a task that is not deleted, in one statement; `None` when it is absent or deleted.
    async fn update(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError>;

    /// One page of tasks that are not deleted. An empty scope is answered without a query.
    async fn list(
        &self,
        filter: &TaskFilter,
        order: TaskOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Task>, StoreError>;
}
