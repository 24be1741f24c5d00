use std::collections::VecDeque;
use std::sync::Arc;

use agentex_domain::ports::{Cursor, Delivery, Entry};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::commands::Commands;
use crate::topic::{Found, Place, Topic};

/// How many entries a subscriber takes at a time, from memory or from Redis.
const TAKEN_AT_ONCE: usize = 32;

/// One subscriber's place in a topic.
pub(crate) struct Subscriber {
    commands: Arc<Commands>,
    topic: Arc<Topic>,
    bell: watch::Receiver<()>,
    closing: CancellationToken,
    place: Place,
    /// Taken, not delivered yet.
    taken: VecDeque<Delivery>,
    /// A gap was announced and no entry delivered since.
    gap_told: bool,
    /// Failures in a row to read from Redis for this subscriber alone.
    failures: u32,
}

impl Subscriber {
    pub(crate) fn new(
        commands: Arc<Commands>,
        topic: Arc<Topic>,
        bell: watch::Receiver<()>,
        closing: CancellationToken,
        place: Place,
        gap: bool,
    ) -> Self {
        let mut subscriber =
            Self { commands, topic, bell, closing, place, taken: VecDeque::new(), gap_told: false, failures: 0 };
        if gap {
            subscriber.tell_gap();
        }
        subscriber
    }

    pub(crate) fn into_stream(self) -> BoxStream<'static, Delivery> {
        stream::unfold(self, |mut subscriber| async move { Some((subscriber.next().await?, subscriber)) }).boxed()
    }

    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.taken.pop_front() {
                return Some(delivery);
            }
            match self.topic.look(&mut self.place, TAKEN_AT_ONCE) {
                Found::Entries(entries) => self.take(entries),
                Found::Gap => self.tell_gap(),
                Found::Interrupted => self.taken.push_back(Delivery::Interrupted),
                Found::Behind { floor } => {
                    let closing = self.closing.clone();
                    tokio::select! {
                        () = closing.cancelled() => return None,
                        () = self.catch_up(floor) => {}
                    }
                }
                Found::Nothing => self.bell.changed().await.ok()?,
                Found::Closed => return None,
            }
        }
    }

    /// Reads one page from Redis, of what is not in memory any more. `floor` is where memory begins.
    async fn catch_up(&mut self, floor: Cursor) {
        if self.failures > 0 {
            tokio::time::sleep(self.commands.options().pause(self.failures)).await;
        }
        match self.commands.page(self.topic.key(), self.place.cursor, TAKEN_AT_ONCE).await {
            Ok((extent, entries)) => {
                self.failures = 0;
                if !extent.continues(self.place.cursor) {
                    self.tell_gap();
                }
                match entries.last() {
                    Some(last) => self.place.cursor = last.cursor,
                    // Nothing between here and there is left.
                    None => self.place.cursor = self.place.cursor.max(floor),
                }
                self.take(entries.into_iter().map(Arc::new));
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                tracing::debug!(error = %error, failures = self.failures, "a subscriber cannot catch up");
                self.taken.push_back(Delivery::Interrupted);
            }
        }
    }

    fn take(&mut self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        for entry in entries {
            self.gap_told = false;
            self.taken.push_back(Delivery::Entry(entry));
        }
    }

    fn tell_gap(&mut self) {
        if !std::mem::replace(&mut self.gap_told, true) {
            self.taken.push_back(Delivery::Gap);
        }
    }
}
