use std::sync::Arc;
use std::vec;

use agentex_domain::ports::{Delivery, Entry};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;

use super::ring::Beginning;
use super::topic::{Found, Topic};

/// How many entries a subscriber takes out of the ring at a time: enough to rarely lock it, few enough to cost nothing.
const TAKEN_AT_ONCE: usize = 64;

/// One subscriber's place in a topic.
pub(super) struct Subscriber {
    topic: Arc<Topic>,
    bell: watch::Receiver<()>,
    /// Taken from the ring, not delivered yet.
    taken: vec::IntoIter<Arc<Entry>>,
    /// The running number of the entry after those.
    next: u64,
    gap: bool,
}

impl Subscriber {
    pub(super) fn new(topic: Arc<Topic>, bell: watch::Receiver<()>, beginning: Beginning) -> Self {
        Self { topic, bell, taken: Vec::new().into_iter(), next: beginning.number, gap: beginning.gap }
    }

    pub(super) fn into_stream(self) -> BoxStream<'static, Delivery> {
        stream::unfold(self, |mut subscriber| async move { Some((subscriber.next().await?, subscriber)) }).boxed()
    }

    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if std::mem::take(&mut self.gap) {
                return Some(Delivery::Gap);
            }
            if let Some(entry) = self.taken.next() {
                return Some(Delivery::Entry(entry));
            }
            match self.topic.look(self.next, TAKEN_AT_ONCE) {
                Found::Entries(entries) => {
                    self.next += entries.len() as u64;
                    self.taken = entries.into_iter();
                }
                Found::Trimmed { oldest } => {
                    self.next = oldest;
                    self.gap = true;
                }
                Found::Nothing => self.bell.changed().await.ok()?,
                Found::Closed => return None,
            }
        }
    }
}
