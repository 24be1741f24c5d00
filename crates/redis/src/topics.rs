use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use agentex_domain::ports::Cursor;
use futures::FutureExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::topic::Topic;

/// The topics this process follows: those with subscribers, and some whose last one has just left.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_key: Mutex<HashMap<String, Arc<Topic>>>,
    added: Notify,
    /// The reader waits before it tries again.
    reader_rests: AtomicBool,
    reachable: Notify,
    closing: CancellationToken,
}

impl Topics {
    /// The topic of `key`, followed from `newest` on when it is new, and a listener that keeps it followed. `None` when
    /// there are to be no more subscriptions.
    pub(crate) fn join(&self, key: String, newest: Cursor) -> Option<(Arc<Topic>, watch::Receiver<()>)> {
        let mut topics = self.topics();
        // Asked under the lock, so that no topic is added after all were closed.
        if self.closing.is_cancelled() {
            return None;
        }
        let topic = match topics.get(&key) {
            Some(topic) => Arc::clone(topic),
            None => {
                let topic = Arc::new(Topic::new(key.clone(), newest));
                topics.insert(key, Arc::clone(&topic));
                self.added.notify_one();
                topic
            }
        };
        let bell = topic.listen();
        Some((topic, bell))
    }

    /// The topics with subscribers; the others are dropped. Later additions are told by [`Self::added`].
    pub(crate) fn followed(&self) -> Vec<Arc<Topic>> {
        // Additions up to here are in the answer.
        self.added.notified().now_or_never();
        let mut topics = self.topics();
        topics.retain(|_, topic| topic.has_subscribers());
        topics.values().cloned().collect()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Topic>> {
        self.topics().get(std::str::from_utf8(key).ok()?).cloned()
    }

    /// Returns when topics were added since the last [`Self::followed`].
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Tells subscribers that reading failed.
    pub(crate) fn interrupt(&self) {
        self.topics().values().for_each(|topic| topic.interrupt());
    }

    /// Says that Redis has just answered, which ends the reader's rest.
    pub(crate) fn note_reachable(&self) {
        if self.reader_rests.load(Ordering::Relaxed) {
            self.reachable.notify_one();
        }
    }

    /// The reader rests from here on, until [`Self::end_rest`].
    pub(crate) fn begin_rest(&self) {
        self.reachable.notified().now_or_never();
        self.reader_rests.store(true, Ordering::Relaxed);
    }

    /// Returns when Redis has answered somebody since [`Self::begin_rest`].
    pub(crate) async fn reachable(&self) {
        self.reachable.notified().await;
    }

    pub(crate) fn end_rest(&self) {
        self.reader_rests.store(false, Ordering::Relaxed);
    }

    /// Ends all subscriptions; there are no more after.
    pub(crate) fn close(&self) {
        let mut topics = self.topics();
        self.closing.cancel();
        topics.drain().for_each(|(_, topic)| topic.close());
    }

    /// Cancelled when there are to be no more subscriptions.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Arc<Topic>>> {
        self.by_key.lock().expect("nothing panics while it holds the lock")
    }
}
