use async_trait::async_trait;

use crate::ports::{StoreError, TaskItemFilter};
use crate::{Direction, JsonObject, PageRequest, StateId, TaskState, Timestamp};

/// What states can be sorted by; ties are broken by insertion order in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StateOrder {
    /// Insertion order.
    #[default]
    Insertion,
    /// Id.
    Id,
    /// Id of the task.
    TaskId,
    /// Id of the agent, bytewise.
    AgentId,
    /// When they were made.
    CreatedAt,
    /// Last change.
    UpdatedAt,
}

/// Keeps states of tasks. Every method is atomic by itself. The states of a deleted task are absent for all of them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait StateRepository: Send + Sync {
    /// Stores a new state; `false` when its task is absent or deleted, and nothing is stored then.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the id is taken.
    async fn insert(&self, state: &TaskState) -> Result<bool, StoreError>;

    /// The state with this id, as it is now.
    async fn find(&self, id: &StateId) -> Result<Option<TaskState>, StoreError>;

    /// Replaces what was stored as a whole; `None` when there is no such state, or when it was changed last at another
    /// moment than `changed_at`. Without that the last writer wins. `updated_at` becomes `at`, or a microsecond more than it
    /// was if that is later, so that it tells one version of a state from the next.
    async fn replace(
        &self,
        id: &StateId,
        state: &JsonObject,
        changed_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<Option<TaskState>, StoreError>;

    /// Removes a state and answers what it was; `None` when there is no such state.
    async fn delete(&self, id: &StateId) -> Result<Option<TaskState>, StoreError>;

    /// One page of states, as they are now. A filter that nothing fits is answered without a query.
    async fn list(
        &self,
        filter: &TaskItemFilter,
        order: StateOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<TaskState>, StoreError>;
}
