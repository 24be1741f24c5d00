use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{
    Direction, Message, MessageContent, MessageCursor, MessageFilter, MessageId, MessagePage, PageRequest,
    StreamingStatus, TaskId, TimeDirection, Timestamp,
};

/// What messages can be sorted by; ties are broken by insertion order in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MessageOrder {
    /// When they were made.
    #[default]
    CreatedAt,
    /// Last change.
    UpdatedAt,
    /// Id.
    Id,
    /// Streaming status; messages without one sort as the smallest.
    StreamingStatus,
}

/// What a batch update did.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateMany {
    /// All were updated; in the order asked.
    Updated(Vec<Message>),
    /// This id is unknown or belongs to another task; nothing was changed.
    Missing(MessageId),
}

/// Keeps messages. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait MessageRepository: Send + Sync {
    /// Stores messages of `task_id` in this order, all or nothing, in one statement. `false` when the task is absent or
    /// deleted; nothing is stored then. No messages is `true`.
    async fn insert(&self, task_id: &TaskId, messages: &[Message]) -> Result<bool, StoreError>;

    /// The message with this id.
    async fn find(&self, id: &MessageId) -> Result<Option<Message>, StoreError>;

    /// Replaces the content of a message of this task, and its streaming status when one is given; `None` when the id is
    /// unknown or belongs to another task. The last writer wins as a whole.
    async fn update(
        &self,
        task_id: &TaskId,
        id: &MessageId,
        content: &MessageContent,
        streaming_status: Option<StreamingStatus>,
        at: Timestamp,
    ) -> Result<Option<Message>, StoreError>;

    /// Replaces the contents of several messages of this task, all or nothing.
    async fn update_many(
        &self,
        task_id: &TaskId,
        updates: &[(MessageId, MessageContent)],
        at: Timestamp,
    ) -> Result<UpdateMany, StoreError>;

    /// One page of the task's messages that match `filter`.
    async fn list(
        &self,
        task_id: &TaskId,
        filter: &MessageFilter,
        order: MessageOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Message>, StoreError>;

    /// At most `limit` messages of the task that match `filter`, newest first: with a cursor those next to it on the given
    /// side, without one the newest (`Older`) or the oldest (`Newer`) ones. The next cursor continues in the same
    /// direction without gap or repeat, whatever is written meanwhile. A cursor without `seq` stands before every message
    /// of the same time when reading older, after when reading newer, unless its message still exists.
    async fn page(
        &self,
        task_id: &TaskId,
        filter: &MessageFilter,
        cursor: Option<MessageCursor>,
        direction: TimeDirection,
        limit: u32,
    ) -> Result<MessagePage, StoreError>;
}
