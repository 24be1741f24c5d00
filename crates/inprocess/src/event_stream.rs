use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use agentex_domain::ports::{Clock, Cursor, Entry, EventStream, StartAt, StreamError, Subscription, SystemClock};
use agentex_domain::{TaskId, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use self::topic::Topic;

mod ring;
mod subscriber;
mod topic;

/// How many idle tasks one call may forget, so that no call pays for a long quiet time.
const RETIRED_PER_CALL: usize = 16;

/// How much an [`InProcessStream`] keeps, and for how long.
#[derive(Clone)]
pub struct InProcessOptions {
    /// Entries kept per task; the oldest go first. At least one is kept. Default 10 000.
    pub max_entries: usize,
    /// A task without writes for this long, and without subscribers, is forgotten. Zero: never. Default one hour.
    pub idle_ttl: Duration,
    /// What time it is. Default: the machine's clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for InProcessOptions {
    fn default() -> Self {
        Self { max_entries: 10_000, idle_ttl: Duration::from_secs(3600), clock: Arc::new(SystemClock) }
    }
}

impl fmt::Debug for InProcessOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessOptions")
            .field("max_entries", &self.max_entries)
            .field("idle_ttl", &self.idle_ttl)
            .finish_non_exhaustive()
    }
}

/// Task streams in this process's memory.
///
/// Idle tasks are forgotten in passing, by the calls made on the stream; there is no timer. Dropping it ends all
/// subscriptions.
#[derive(Debug)]
pub struct InProcessStream {
    options: InProcessOptions,
    topics: Mutex<Topics>,
    waker: OnceLock<mpsc::UnboundedSender<Arc<Topic>>>,
}

#[derive(Debug, Default)]
struct Topics {
    by_task: HashMap<TaskId, Arc<Topic>>,
    /// When each task is next looked at for being idle, earliest first; every task is in it once. Unused when tasks are
    /// never forgotten.
    due: BinaryHeap<Reverse<(Timestamp, TaskId)>>,
    closed: bool,
}

impl InProcessStream {
    /// An empty stream.
    #[must_use]
    pub fn new(options: InProcessOptions) -> Self {
        Self { options, topics: Mutex::default(), waker: OnceLock::new() }
    }

    /// Ends all subscriptions, after what they have not read yet, and refuses new ones. Entries can still be published
    /// and read.
    pub fn shutdown(&self) {
        let mut topics = self.topics();
        topics.closed = true;
        topics.by_task.values().for_each(|topic| topic.close());
    }

    /// The topic of a task, made when it is new. `claim` runs while the topic cannot be forgotten.
    fn with_topic<T>(&self, task_id: &TaskId, now: Timestamp, claim: impl FnOnce(&Arc<Topic>) -> T) -> T {
        let mut topics = self.topics();
        topics.retire_idle(now, self.options.idle_ttl);
        if let Some(topic) = topics.by_task.get(task_id) {
            return claim(topic);
        }
        let topic = Arc::new(Topic::new(now, topics.closed));
        topics.by_task.insert(task_id.clone(), Arc::clone(&topic));
        topics.look_again(task_id.clone(), now, self.options.idle_ttl);
        claim(&topic)
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().expect("nothing panics while it holds the lock")
    }

    /// Has the subscribers of `topic` look at it, from a task of its own: waking a thousand of them takes time that a
    /// publisher should not spend.
    fn wake(&self, topic: Arc<Topic>) {
        if !topic.mark_dirty() {
            return;
        }
        let unsent = match self.waker.get() {
            Some(waker) => waker.send(topic).err().map(|unsent| unsent.0),
            None => Some(topic),
        };
        // The runtime that the waking task was started on is gone; another one may still have subscribers.
        if let Some(topic) = unsent {
            topic.wake();
        }
    }

    fn start_waker(&self) {
        self.waker.get_or_init(|| {
            let (waker, mut dirty) = mpsc::unbounded_channel::<Arc<Topic>>();
            tokio::spawn(async move {
                while let Some(topic) = dirty.recv().await {
                    topic.wake();
                }
            });
            waker
        });
    }
}

impl Drop for InProcessStream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Topics {
    fn retire_idle(&mut self, now: Timestamp, idle_ttl: Duration) {
        for _ in 0..RETIRED_PER_CALL {
            if self.due.peek().is_none_or(|Reverse((due, _))| *due > now) {
                return;
            }
            let Some(Reverse((_, task_id))) = self.due.pop() else { return };
            let Some(topic) = self.by_task.get(&task_id) else { continue };
            match topic.retire_if_idle(now, idle_ttl) {
                Some(in_use_since) => self.look_again(task_id, in_use_since, idle_ttl),
                None => drop(self.by_task.remove(&task_id)),
            }
        }
    }

    fn look_again(&mut self, task_id: TaskId, in_use_since: Timestamp, idle_ttl: Duration) {
        if !idle_ttl.is_zero() {
            self.due.push(Reverse((topic::after(in_use_since, idle_ttl), task_id)));
        }
    }
}

#[async_trait]
impl EventStream for InProcessStream {
    async fn publish(&self, task_id: &TaskId, data: Bytes) -> Result<Cursor, StreamError> {
        let now = self.options.clock.now();
        loop {
            let topic = self.with_topic(task_id, now, Arc::clone);
            // A topic can be forgotten between finding it and writing to it; the next one found is a new one.
            if let Some(cursor) = topic.append(data.clone(), now, self.options.max_entries.max(1)) {
                if topic.has_subscribers() {
                    self.wake(topic);
                }
                return Ok(cursor);
            }
        }
    }

    async fn subscribe(&self, task_id: &TaskId, start: StartAt) -> Result<Subscription, StreamError> {
        self.start_waker();
        let now = self.options.clock.now();
        self.with_topic(task_id, now, |topic| topic.subscribe(start))
            .ok_or_else(|| StreamError::Unavailable("the stream is shut down".into()))
    }

    async fn read(&self, task_id: &TaskId, after: Cursor, count: usize) -> Result<Vec<Entry>, StreamError> {
        let mut topics = self.topics();
        topics.retire_idle(self.options.clock.now(), self.options.idle_ttl);
        let topic = topics.by_task.get(task_id).cloned();
        drop(topics);
        Ok(topic.map(|topic| topic.read(after, count)).unwrap_or_default())
    }

    async fn clear(&self, task_id: &TaskId) -> Result<(), StreamError> {
        let topic = self.topics().by_task.get(task_id).cloned();
        if let Some(topic) = topic {
            topic.clear();
        }
        Ok(())
    }
}
