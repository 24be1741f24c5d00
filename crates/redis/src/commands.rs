use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agentex_domain::ports::{Cursor, Entry};
use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisResult, Value};

use crate::RedisOptions;
use crate::wire::{self, DATA, Extent};

/// How long a connection is taken to be alive after it was last seen so.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Ordinary commands, all on one shared connection that is remade when it breaks. Nothing that blocks may go over it:
/// everything behind would wait too.
pub(crate) struct Commands {
    client: Client,
    shared: ConnectionManager,
    options: RedisOptions,
    /// When Redis last answered; `None` when the connection failed since.
    answered: Mutex<Option<Instant>>,
}

impl Commands {
    /// Does not connect yet. Must be called in a Tokio runtime.
    pub(crate) fn new(options: RedisOptions) -> RedisResult<Self> {
        let client = Client::open(options.url.as_str())?;
        // No retries here: whoever asks again makes a new attempt, and a request should not wait for several.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(options.connection_timeout))
            .set_response_timeout(Some(options.response_timeout));
        let shared = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Self { client, shared, options, answered: Mutex::default() })
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// A connection for nothing but blocking reads, and its id. Answers on it take as long as they take.
    pub(crate) async fn dedicated(&self) -> RedisResult<(MultiplexedConnection, i64)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connection_timeout))
            .set_response_timeout(None);
        let connecting = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            let id = redis::cmd("CLIENT").arg("ID").query_async(&mut connection).await?;
            Ok((connection, id))
        };
        let limit = self.options.connection_timeout + self.options.response_timeout;
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(|elapsed| Err(timed_out(elapsed)))
    }

    pub(crate) async fn ping(&self) -> RedisResult<()> {
        self.repeatable(&redis::cmd("PING")).await.map(drop)
    }

    /// Appends an entry, trims the stream and has it expire. An expiry that cannot be set is only logged: the entry is
    /// written, and a caller who tried again would write it twice.
    pub(crate) async fn append(&self, key: &str, data: &Bytes) -> RedisResult<Cursor> {
        // An append cannot be repeated when its connection turns out dead, so one that may be is asked first.
        if !self.is_trusted() {
            self.ping().await?;
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("XADD").arg(key).arg("MAXLEN").arg("~").arg(self.options.max_len).arg("*");
        pipeline.arg(DATA).arg(data.as_ref());
        if self.options.ttl_seconds > 0 {
            pipeline.cmd("EXPIRE").arg(key).arg(self.options.ttl_seconds);
        }
        pipeline.ignore_errors();
        let mut replies = self.pipeline(&pipeline).await?.into_iter();
        let cursor = wire::added(replies.next().unwrap_or_default())?;
        if let Some(Err(error)) = replies.next().map(Value::extract_error) {
            tracing::warn!(key, error = %error, "no expiry set on a task stream");
        }
        Ok(cursor)
    }

    pub(crate) async fn extent(&self, key: &str) -> RedisResult<Extent> {
        let pipeline = extents_of([key]);
        let mut replies = self.repeatable_pipeline(&pipeline).await?;
        Extent::parse(replies.pop().unwrap_or_default())
    }

    pub(crate) async fn range(&self, key: &str, after: Cursor, count: usize) -> RedisResult<Vec<Entry>> {
        wire::entries(self.repeatable(&range_of(key, after, count)).await?)
    }

    /// Trims the stream to nothing. It stays, so that the ids of later entries go on from those that were there.
    pub(crate) async fn clear(&self, key: &str) -> RedisResult<()> {
        let trimmed = self.repeatable(redis::cmd("XTRIM").arg(key).arg("MAXLEN").arg(0)).await?;
        trimmed.extract_error().map(drop)
    }

    /// At most `count` entries after `after`, with what the stream holds at the same moment.
    pub(crate) async fn page(&self, key: &str, after: Cursor, count: usize) -> RedisResult<(Extent, Vec<Entry>)> {
        let mut pipeline = extents_of([key]);
        pipeline.atomic().add_command(range_of(key, after, count));
        let mut replies = self.repeatable_pipeline(&pipeline).await?.into_iter();
        let extent = Extent::parse(replies.next().unwrap_or_default())?;
        let entries = wire::entries(replies.next().unwrap_or_default().extract_error()?)?;
        Ok((extent, entries))
    }

    /// Makes the blocking read of the connection `id` return. False when it is not blocked.
    pub(crate) async fn unblock(&self, id: i64) -> RedisResult<bool> {
        let reply = self.repeatable(redis::cmd("CLIENT").arg("UNBLOCK").arg(id)).await?;
        Ok(reply == Value::Int(1))
    }

    /// Runs a command that does no harm when it runs twice. The shared connection only learns that it is dead by
    /// failing, so a first failure says little about Redis.
    async fn repeatable(&self, command: &Cmd) -> RedisResult<Value> {
        let mut connection = self.shared.clone();
        let mut result = command.query_async(&mut connection).await;
        if worth_repeating(&result) {
            result = command.query_async(&mut connection).await;
        }
        self.note(&result);
        result
    }

    async fn repeatable_pipeline(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let result = self.pipeline(pipeline).await;
        if worth_repeating(&result) { self.pipeline(pipeline).await } else { result }
    }

    async fn pipeline(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let result = pipeline.query_async(&mut self.shared.clone()).await;
        self.note(&result);
        result
    }

    fn note<T>(&self, result: &RedisResult<T>) {
        let failed = result.as_ref().is_err_and(is_connection_failure);
        *self.answered() = (!failed).then(Instant::now);
    }

    /// Says that another connection failed, so the shared one may be dead too.
    pub(crate) fn distrust(&self) {
        *self.answered() = None;
    }

    fn is_trusted(&self) -> bool {
        self.answered().is_some_and(|at| at.elapsed() < TRUSTED_FOR)
    }

    fn answered(&self) -> MutexGuard<'_, Option<Instant>> {
        self.answered.lock().expect("nothing panics while it holds the lock")
    }
}

/// Asks for the extents of streams; an answer that is an error stands for that stream alone.
pub(crate) fn extents_of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Pipeline {
    let mut pipeline = redis::pipe();
    for key in keys {
        pipeline.cmd("XINFO").arg("STREAM").arg(key);
    }
    pipeline.ignore_errors();
    pipeline
}

pub(crate) fn timed_out(elapsed: tokio::time::error::Elapsed) -> redis::RedisError {
    std::io::Error::from(elapsed).into()
}

/// Whether the connection failed, rather than Redis answered with an error.
pub(crate) fn is_connection_failure(error: &redis::RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

fn range_of(key: &str, after: Cursor, count: usize) -> Cmd {
    let mut range = redis::cmd("XRANGE");
    range.arg(key).arg(format!("({after}")).arg("+").arg("COUNT").arg(count);
    range
}

fn worth_repeating<T>(result: &RedisResult<T>) -> bool {
    // After a time-out the caller has waited long enough.
    result.as_ref().is_err_and(|error| is_connection_failure(error) && !error.is_timeout())
}
