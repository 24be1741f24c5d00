use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, Event, EventId, MessageContent, TaskId, Timestamp};

/// Keeps events. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait EventRepository: Send + Sync {
    /// Appends an event; its `sequence_id` is larger than that of every event of the task seen before.
    ///
    /// # Errors
    /// [`StoreError::Dangling`] when the task or the agent does not exist.
    async fn append(
        &self,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<MessageContent>,
        at: Timestamp,
    ) -> Result<Event, StoreError>;

    /// Appends an event under an id of the caller's choosing. Where an event of that id is there already, that one is answered
    /// and nothing is stored: whoever repeats a call cannot say the same thing twice.
    ///
    /// # Errors
    /// [`StoreError::Dangling`] when the task or the agent does not exist.
    async fn append_as(
        &self,
        id: &EventId,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<MessageContent>,
        at: Timestamp,
    ) -> Result<Event, StoreError>;

    /// The event with this id, unless its task is deleted.
    async fn find(&self, id: &EventId) -> Result<Option<Event>, StoreError>;

    /// The events of a task for an agent in the order of their sequence ids, at most `limit`; none of a deleted task. With
    /// `after`, only those that follow this event of the task; an unknown event and one of another task count as not given.
    async fn list(
        &self,
        task_id: &TaskId,
        agent_id: &AgentId,
        after: Option<EventId>,
        limit: Option<u32>,
    ) -> Result<Vec<Event>, StoreError>;
}
