use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::TaskId;
use crate::ports::StreamError;

/// A place in one task's stream: the id of an entry, or the place before the first.
///
/// As text `<milliseconds>-<number>`, the form of Redis stream ids; every backend uses it, so cursors that clients hold
/// look alike everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Milliseconds since 1970 at the time of writing.
    pub millis: u64,
    /// Tells apart entries of one millisecond.
    pub number: u64,
}

impl Cursor {
    /// Before the oldest entry.
    #[must_use]
    pub const fn start() -> Self {
        Self { millis: 0, number: 0 }
    }

    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (millis, number) = text.split_once('-')?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (digits(millis) && digits(number))
            .then(|| Some(Self { millis: millis.parse().ok()?, number: number.parse().ok()? }))
            .flatten()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// One entry of a task's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub cursor: Cursor,
    /// The JSON text it was written with; empty when the writer left it out. Writers are agents, so nothing is certain
    /// about it.
    pub data: Bytes,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With the first entry written after the subscription was made.
    Now,
    /// With the first entry after this place, entries already retained included.
    After(Cursor),
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The next entry. Entries are shared between all subscribers of the process.
    Entry(Arc<Entry>),
    /// Entries between the last delivery (or the starting place) and the next one are gone: they were trimmed before they
    /// could be read. Sent once per gap.
    Gap,
    /// Reading failed; the subscription goes on by itself where it was and may deliver again. Sent once per failure.
    Interrupted,
}

/// A running subscription: entries of one task in order, each once. It ends only when dropped or when the backend shuts
/// down.
pub struct Subscription {
    /// The place the subscription began at; entries delivered come after it.
    pub began_at: Cursor,
    /// The deliveries.
    pub deliveries: BoxStream<'static, Delivery>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("began_at", &self.began_at).finish_non_exhaustive()
    }
}

/// Carries what happens in a task to everybody who watches it, live, and keeps a bounded tail for those who come back.
///
/// All writers of a task share one total order; every subscriber sees it. Delivery is a hint channel: the store is the
/// truth. Memory per subscriber is bounded; one that does not keep up gets [`Delivery::Gap`] or is served from the
/// retained tail, and never delays others.
#[async_trait]
pub trait EventStream: Send + Sync {
    /// Appends one entry and returns its place. The tail of the task is trimmed to the configured length and forgotten
    /// after the configured idle time.
    ///
    /// # Errors
    /// [`StreamError::Unavailable`] when it was not, or not certainly, written.
    async fn publish(&self, task_id: &TaskId, data: Bytes) -> Result<Cursor, StreamError>;

    /// Starts a subscription. When this returns the starting place is fixed: an entry published afterwards is delivered.
    async fn subscribe(&self, task_id: &TaskId, start: StartAt) -> Result<Subscription, StreamError>;

    /// Retained entries after `after`, oldest first, at most `count`, without waiting.
    async fn read(&self, task_id: &TaskId, after: Cursor, count: usize) -> Result<Vec<Entry>, StreamError>;

    /// Forgets every retained entry of the task, as if they had been trimmed. Subscriptions go on; entries that are already
    /// on their way to one may still be delivered.
    ///
    /// # Errors
    /// [`StreamError::Unavailable`] when they were not, or not certainly, forgotten.
    async fn clear(&self, task_id: &TaskId) -> Result<(), StreamError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_order_by_time_then_number_and_reject_other_text() {
        let cursor = |text: &str| Cursor::parse(text).unwrap();

        assert!(cursor("9-5") < cursor("10-0") && cursor("10-0") < cursor("10-1"));
        assert_eq!(cursor("1722470400000-3").to_string(), "1722470400000-3");
        for bad in ["", "5", "-1", "1-", "a-b", "1-2-3", "+1-2", "99999999999999999999-0", "$"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
