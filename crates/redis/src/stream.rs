use std::fmt;
use std::sync::Arc;

use agentex_domain::TaskId;
use agentex_domain::ports::{Cursor, Entry, EventStream, Probe, ProbeError, StartAt, StreamError, Subscription};
use async_trait::async_trait;
use bytes::Bytes;
use redis::RedisError;
use tokio::task::AbortHandle;

use crate::RedisOptions;
use crate::commands::Commands;
use crate::reader::Reader;
use crate::subscriber::Subscriber;
use crate::topics::Topics;

/// Task streams on Redis, shared by all replicas and by agents that write to them directly.
///
/// Two connections however many subscribers there are: one for commands, and while there are subscribers one that reads
/// for all of them. Both are made when needed and remade when they break. Dropping it ends all subscriptions.
pub struct RedisStream {
    commands: Arc<Commands>,
    topics: Arc<Topics>,
    reader: AbortHandle,
}

impl RedisStream {
    /// Prepares everything and connects at the first use, so it does not matter whether Redis is up yet.
    ///
    /// # Errors
    /// [`StreamError::Unavailable`] when the URL is not one.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn connect(options: RedisOptions) -> Result<Self, StreamError> {
        let commands = Arc::new(Commands::new(options).map_err(unavailable)?);
        let topics = Arc::new(Topics::default());
        let reader = tokio::spawn(Reader::new(Arc::clone(&commands), Arc::clone(&topics)).run()).abort_handle();
        Ok(Self { commands, topics, reader })
    }

    /// Ends all subscriptions, after the entries already in memory for them, and refuses new ones. Entries can still be
    /// published and read.
    pub fn shutdown(&self) {
        self.reader.abort();
        self.topics.close();
    }

    fn key(&self, task_id: &TaskId) -> String {
        format!("{}task:{task_id}", self.commands.options().key_prefix)
    }

    /// Passes an answer on, and has the reader know that there was one.
    fn answered<T>(&self, answer: Result<T, RedisError>) -> Result<T, StreamError> {
        if answer.is_ok() {
            self.topics.note_reachable();
        }
        answer.map_err(unavailable)
    }
}

#[async_trait]
impl EventStream for RedisStream {
    #[tracing::instrument(name = "redis.stream.publish", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn publish(&self, task_id: &TaskId, data: Bytes) -> Result<Cursor, StreamError> {
        self.answered(self.commands.append(&self.key(task_id), &data).await)
    }

    #[tracing::instrument(name = "redis.stream.subscribe", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn subscribe(&self, task_id: &TaskId, start: StartAt) -> Result<Subscription, StreamError> {
        let key = self.key(task_id);
        let extent = self.answered(self.commands.extent(&key).await)?;
        let (topic, bell) = self
            .topics
            .join(key, extent.newest)
            .ok_or_else(|| StreamError::Unavailable("the stream is shut down".into()))?;
        let (place, gap) = topic.begin(start, &extent);
        let commands = Arc::clone(&self.commands);
        let subscriber = Subscriber::new(commands, topic, bell, self.topics.closing(), place, gap);
        Ok(Subscription { began_at: place.cursor, deliveries: subscriber.into_stream() })
    }

    #[tracing::instrument(name = "redis.stream.read", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn read(&self, task_id: &TaskId, after: Cursor, count: usize) -> Result<Vec<Entry>, StreamError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.answered(self.commands.range(&self.key(task_id), after, count).await)
    }

    #[tracing::instrument(name = "redis.stream.clear", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn clear(&self, task_id: &TaskId) -> Result<(), StreamError> {
        self.answered(self.commands.clear(&self.key(task_id)).await)
    }
}

#[async_trait]
impl Probe for RedisStream {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn probe(&self) -> Result<(), ProbeError> {
        self.commands.ping().await.map_err(|error| ProbeError(format!("no answer to PING: {}", error.category())))
    }
}

impl Drop for RedisStream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for RedisStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStream").field("options", self.commands.options()).finish_non_exhaustive()
    }
}

fn unavailable(error: RedisError) -> StreamError {
    StreamError::Unavailable(error.into())
}
