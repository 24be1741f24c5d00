use std::sync::Arc;
use std::time::Duration;

use agentex_domain::ports::Entry;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::{Instant, sleep, timeout};

use crate::commands::{Commands, extents_of, is_connection_failure, timed_out};
use crate::topic::Topic;
use crate::topics::Topics;
use crate::wire::{self, Extent};

/// How long a read waits for entries. After it a lost connection is noticed and abandoned topics are dropped.
const BLOCK: Duration = Duration::from_secs(5);
/// The same where Redis does not let us interrupt a read: it is how long a new topic may have to wait.
const SHORT_BLOCK: Duration = Duration::from_millis(100);
/// How long a key that does not hold a stream is left alone before it is looked at again.
const PARKED_FOR: Duration = Duration::from_secs(1);
/// How many entries of one stream a read returns at most.
const BATCH: usize = 100;

/// Reads all followed topics for the whole process, over one connection that does nothing else.
pub(crate) struct Reader {
    commands: Arc<Commands>,
    topics: Arc<Topics>,
    /// Failures in a row.
    failures: u32,
    may_unblock: bool,
}

impl Reader {
    pub(crate) fn new(commands: Arc<Commands>, topics: Arc<Topics>) -> Self {
        Self { commands, topics, failures: 0, may_unblock: true }
    }

    /// Reads until aborted. Without topics there is no connection.
    pub(crate) async fn run(mut self) {
        loop {
            while self.topics.followed().is_empty() {
                self.topics.added().await;
            }
            let Err(error) = self.read_until_idle().await else { continue };
            self.failures = self.failures.saturating_add(1);
            if is_connection_failure(&error) {
                self.commands.distrust();
            }
            if self.failures == 1 {
                tracing::warn!(error = %error, "task streams are interrupted");
            } else {
                tracing::debug!(error = %error, failures = self.failures, "task streams are still interrupted");
            }
            self.topics.interrupt();
            self.rest(&error).await;
        }
    }

    /// Waits longer after each failure; but not much longer than Redis is out of reach, if others notice when it is
    /// back.
    async fn rest(&self, error: &redis::RedisError) {
        let options = self.commands.options();
        let shortest = options.retry_base;
        let longest = options.pause(self.failures);
        if !is_connection_failure(error) {
            return sleep(longest).await;
        }
        self.topics.begin_rest();
        sleep(shortest).await;
        tokio::select! {
            () = sleep(longest.saturating_sub(shortest)) => {}
            () = self.topics.reachable() => {}
        }
        self.topics.end_rest();
    }

    /// Reads over one connection until nobody subscribes to anything.
    async fn read_until_idle(&mut self) -> RedisResult<()> {
        let (mut connection, id) = self.commands.dedicated().await?;
        if self.failures > 0 {
            // Much can have happened to the streams since they were last read.
            self.reconcile(&mut connection, &self.topics.followed()).await?;
        }
        let mut reconciled = Instant::now();
        loop {
            let followed = self.topics.followed();
            if followed.is_empty() {
                return Ok(());
            }
            let (parked, readable): (Vec<_>, Vec<_>) = followed.into_iter().partition(|topic| topic.is_parked());
            if !parked.is_empty() && reconciled.elapsed() >= PARKED_FOR {
                self.reconcile(&mut connection, &parked).await?;
                reconciled = Instant::now();
                continue;
            }
            if readable.is_empty() {
                let _ = timeout(PARKED_FOR, self.topics.added()).await;
                continue;
            }
            let block = match self.may_unblock {
                false => SHORT_BLOCK,
                true if !parked.is_empty() => PARKED_FOR,
                true => BLOCK,
            };
            match self.read(&mut connection, id, &readable, block).await {
                Ok(streams) => self.deliver(&mut connection, streams).await?,
                // One key that does not hold a stream fails the read of all.
                Err(error) if !is_connection_failure(&error) => {
                    if !self.reconcile(&mut connection, &readable).await? {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            if std::mem::take(&mut self.failures) > 0 {
                tracing::info!("task streams are read again");
            }
        }
    }

    /// The next entries of `topics`; none after `block` without, or when topics were added.
    async fn read(
        &mut self,
        connection: &mut MultiplexedConnection,
        id: i64,
        topics: &[Arc<Topic>],
        block: Duration,
    ) -> RedisResult<Vec<(Vec<u8>, Vec<Entry>)>> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(self.batch()).arg("BLOCK").arg(block.as_millis().to_string()).arg("STREAMS");
        for topic in topics {
            command.arg(topic.key());
        }
        for topic in topics {
            command.arg(topic.newest().to_string());
        }

        // Redis answers in time or never: without a limit, a connection that died silently would be waited for.
        let limit = block + self.commands.options().response_timeout;
        let mut reading = std::pin::pin!(timeout(limit, command.query_async::<Value>(connection)));
        let reply = if self.may_unblock {
            tokio::select! {
                reply = &mut reading => reply,
                () = self.unblock_when_added(id) => {
                    self.may_unblock = false;
                    reading.await
                }
            }
        } else {
            reading.await
        };
        wire::streams(reply.unwrap_or_else(|elapsed| Err(timed_out(elapsed)))?)
    }

    /// Interrupts the read on connection `id` when topics were added, so that the next one includes them; goes on
    /// trying for as long as the read lasts. Returns when Redis does not permit it.
    async fn unblock_when_added(&self, id: i64) {
        self.topics.added().await;
        loop {
            match self.commands.unblock(id).await {
                // The answer to the read is on its way.
                Ok(true) => std::future::pending().await,
                // The read has not reached Redis yet, or has just been answered.
                Ok(false) => sleep(Duration::from_millis(1)).await,
                Err(error) if is_connection_failure(&error) => sleep(SHORT_BLOCK).await,
                Err(error) => {
                    tracing::warn!(error = %error, "CLIENT UNBLOCK is refused; new task streams wait longer");
                    return;
                }
            }
        }
    }

    /// Hands entries to their topics.
    async fn deliver(
        &self,
        connection: &mut MultiplexedConnection,
        streams: Vec<(Vec<u8>, Vec<Entry>)>,
    ) -> RedisResult<()> {
        let streams = streams.into_iter().filter_map(|(key, entries)| Some((self.topics.get(&key)?, entries)));
        let streams: Vec<_> = streams.collect();
        // Entries that were trimmed before they could be read leave a full batch behind them.
        let full = streams.iter().filter(|(_, entries)| entries.len() >= self.batch());
        let full: Vec<_> = full.map(|(topic, _)| Arc::clone(topic)).collect();
        if !full.is_empty() {
            self.reconcile(connection, &full).await?;
        }
        for (topic, entries) in streams {
            topic.extend(entries);
        }
        Ok(())
    }

    /// Compares topics with what Redis holds. Those whose key does not hold a stream are parked; says whether there are
    /// new ones of these.
    async fn reconcile(&self, connection: &mut MultiplexedConnection, topics: &[Arc<Topic>]) -> RedisResult<bool> {
        let pipeline = extents_of(topics.iter().map(|topic| topic.key()));
        let limit = self.commands.options().response_timeout;
        let replies: Vec<Value> =
            timeout(limit, pipeline.query_async(connection)).await.unwrap_or_else(|elapsed| Err(timed_out(elapsed)))?;
        let mut parked = false;
        for (topic, reply) in topics.iter().zip(replies) {
            match Extent::parse(reply) {
                Ok(extent) => topic.reconcile(&extent),
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    if topic.park() {
                        parked = true;
                        tracing::warn!(key = topic.key(), "not a task stream; it is left alone");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(parked)
    }

    fn batch(&self) -> usize {
        BATCH.min(self.commands.options().max_len.max(1))
    }
}
