use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, Event, MessageContent, TaskId, Timestamp};

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
}
