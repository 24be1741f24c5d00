use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::{Clock, MessageOrder, Stores, UpdateMany};
use agentex_domain::{
    Direction, Message, MessageContent, MessageCursor, MessageFilter, MessageId, MessagePage, PageRequest,
    StreamingStatus, TaskId, TimeDirection, Timestamp,
};

use crate::guard::{Guard, Sought};
use crate::{Absent, Caller, Error, Settings};

/// Messages of tasks. They have no permissions of their own; their task's count.
pub struct Messages {
    stores: Stores,
    guard: Guard,
    clock: Arc<dyn Clock>,
    max_content_bytes: usize,
    max_batch: usize,
}

/// A message to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// The task it belongs to.
    pub task_id: TaskId,
    /// What it says.
    pub content: MessageContent,
    /// Whether it is still being written.
    pub streaming_status: Option<StreamingStatus>,
    /// The writer's own clock, which then counts instead of the server's.
    pub created_at: Option<Timestamp>,
}

impl Messages {
    pub(crate) fn new(stores: Stores, guard: Guard, clock: Arc<dyn Clock>, settings: &Settings) -> Self {
        let Settings { max_content_bytes, max_batch, .. } = *settings;
        Self { stores, guard, clock, max_content_bytes, max_batch }
    }

    /// Stores one message. Terminal tasks take messages too: agents write last words after completing.
    #[tracing::instrument(name = "messages.create", skip_all, fields(task.id = %new.task_id))]
    pub async fn create(&self, caller: &Caller, new: NewMessage) -> Result<Message, Error> {
        self.require(caller, Operation::Update, &new.task_id).await?;
        self.check_size(&new.content)?;
        let at = new.created_at.unwrap_or_else(|| self.clock.now());
        let message = Message::new(new.task_id, new.content, new.streaming_status, at);
        self.insert(&message.task_id, std::slice::from_ref(&message)).await?;
        Ok(message)
    }

    /// Stores several messages, all or none, a millisecond apart and in this order.
    #[tracing::instrument(name = "messages.create_batch", skip_all, fields(task.id = %task_id, count = contents.len()))]
    pub async fn create_batch(
        &self,
        caller: &Caller,
        task_id: TaskId,
        contents: Vec<MessageContent>,
        created_at: Option<Timestamp>,
    ) -> Result<Vec<Message>, Error> {
        self.require(caller, Operation::Update, &task_id).await?;
        self.check_batch(contents.len())?;
        contents.iter().try_for_each(|content| self.check_size(content))?;
        let base = created_at.unwrap_or_else(|| self.clock.now());
        let messages: Vec<Message> = contents
            .into_iter()
            .zip(0_i64..)
            .map(|(content, offset)| Message::new(task_id.clone(), content, None, base.plus_millis(offset)))
            .collect();
        self.insert(&task_id, &messages).await?;
        Ok(messages)
    }

    /// Replaces a message's content, and its streaming status when one is given.
    #[tracing::instrument(name = "messages.update", skip_all, fields(task.id = %task_id, message.id = %id))]
    pub async fn update(
        &self,
        caller: &Caller,
        task_id: TaskId,
        id: MessageId,
        content: MessageContent,
        streaming_status: Option<StreamingStatus>,
    ) -> Result<Message, Error> {
        self.require(caller, Operation::Update, &task_id).await?;
        self.check_size(&content)?;
        let updated = self.stores.messages.update(&task_id, &id, &content, streaming_status, self.clock.now()).await?;
        updated.ok_or_else(|| Error::NotFound(Absent::Id(id.into_string())))
    }

    /// Replaces the contents of several messages of one task, all or none.
    #[tracing::instrument(name = "messages.update_batch", skip_all, fields(task.id = %task_id, count = updates.len()))]
    pub async fn update_batch(
        &self,
        caller: &Caller,
        task_id: TaskId,
        updates: Vec<(MessageId, MessageContent)>,
    ) -> Result<Vec<Message>, Error> {
        self.require(caller, Operation::Update, &task_id).await?;
        self.check_batch(updates.len())?;
        updates.iter().try_for_each(|(_, content)| self.check_size(content))?;
        match self.stores.messages.update_many(&task_id, &updates, self.clock.now()).await? {
            UpdateMany::Updated(messages) => Ok(messages),
            UpdateMany::Missing(id) => Err(Error::NotFound(Absent::Id(id.into_string()))),
        }
    }

    /// One message, if the caller may read its task.
    #[tracing::instrument(name = "messages.get", skip_all, fields(message.id = %id))]
    pub async fn get(&self, caller: &Caller, id: &MessageId) -> Result<Message, Error> {
        let absent = || Absent::Id(id.as_str().to_owned());
        let message = self.stores.messages.find(id).await?;
        let task = message.as_ref().map(|message| message.task_id.as_str());
        let sought = Sought { kind: ResourceKind::Task, found: task, typed: None, absent: absent() };
        self.guard.require_sought(caller, Operation::Read, sought).await?;
        message.ok_or_else(|| Error::NotFound(absent()))
    }

    /// One page of a task's messages. An unknown task has none.
    #[tracing::instrument(name = "messages.list", skip_all, fields(task.id = %task_id))]
    pub async fn list(
        &self,
        caller: &Caller,
        task_id: &TaskId,
        filter: MessageFilter,
        order: MessageOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Message>, Error> {
        self.require(caller, Operation::Read, task_id).await?;
        Ok(self.stores.messages.list(task_id, &filter, order, direction, page).await?)
    }

    /// At most `limit` messages next to a cursor, newest first.
    #[tracing::instrument(name = "messages.page", skip_all, fields(task.id = %task_id))]
    pub async fn page(
        &self,
        caller: &Caller,
        task_id: &TaskId,
        filter: MessageFilter,
        cursor: Option<MessageCursor>,
        direction: TimeDirection,
        limit: u32,
    ) -> Result<MessagePage, Error> {
        self.require(caller, Operation::Read, task_id).await?;
        if let Some(cursor) = &cursor {
            self.check_cursor(task_id, cursor).await?;
        }
        Ok(self.stores.messages.page(task_id, &filter, cursor, direction, limit).await?)
    }

    /// Cursors of the reference's format do not say which task they belong to; their message does, while it exists.
    async fn check_cursor(&self, task_id: &TaskId, cursor: &MessageCursor) -> Result<(), Error> {
        let of_task = match &cursor.task_id {
            Some(of_task) => Some(of_task.clone()),
            None => self.stores.messages.find(&cursor.id).await?.map(|message| message.task_id),
        };
        match of_task {
            Some(of_task) if of_task != *task_id => {
                Err(Error::Invalid("Invalid cursor format: cursor belongs to another task".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn insert(&self, task_id: &TaskId, messages: &[Message]) -> Result<(), Error> {
        if self.stores.messages.insert(task_id, messages).await? {
            Ok(())
        } else {
            Err(Error::NotFound(Absent::Id(task_id.as_str().to_owned())))
        }
    }

    async fn require(&self, caller: &Caller, operation: Operation, task_id: &TaskId) -> Result<(), Error> {
        let absent = Absent::Id(task_id.as_str().to_owned());
        self.guard.require(caller, operation, ResourceRef::task(task_id.as_str()), absent).await
    }

    fn check_batch(&self, count: usize) -> Result<(), Error> {
        if count <= self.max_batch {
            Ok(())
        } else {
            Err(Error::TooLarge(format!("A batch holds at most {} messages.", self.max_batch)))
        }
    }

    fn check_size(&self, content: &MessageContent) -> Result<(), Error> {
        let mut counter = ByteCounter(0);
        let written = serde_json::to_writer(&mut counter, content);
        if written.is_ok() && counter.0 <= self.max_content_bytes {
            Ok(())
        } else {
            Err(Error::TooLarge(format!("A message content holds at most {} bytes.", self.max_content_bytes)))
        }
    }
}

/// Counts what would be written.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
