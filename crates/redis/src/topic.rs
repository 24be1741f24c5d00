use std::collections::VecDeque;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agentex_domain::ports::{Cursor, Entry, StartAt};
use tokio::sync::watch;

use crate::wire::Extent;

/// How many entries, and how many bytes of them, are kept in memory for subscribers to share. One that is further
/// behind reads from Redis by itself.
const WINDOW_ENTRIES: usize = 1024;
const WINDOW_BYTES: usize = 1024 * 1024;

/// One task's stream as this process follows it: the newest entries read, and the bell its subscribers wait for.
#[derive(Debug)]
pub(crate) struct Topic {
    key: String,
    window: RwLock<Window>,
    bell: watch::Sender<()>,
}

/// Everything after `floor` up to `newest`, without a hole.
#[derive(Debug)]
struct Window {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    floor: Cursor,
    newest: Cursor,
    /// Counts how often the sequence was broken off and begun anew at `floor`.
    breaks: u64,
    /// Counts failures to read.
    failures: u64,
    /// The key does not hold a stream; it is left alone until it does.
    parked: bool,
    closed: bool,
}

/// Where a subscriber is, and what it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The last entry it took.
    pub(crate) cursor: Cursor,
    breaks: u64,
    failures: u64,
}

/// What a subscriber finds at its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The next entries, at least one; the place is after them now.
    Entries(Vec<Arc<Entry>>),
    /// What comes next is not in memory; from `floor` on it is.
    Behind { floor: Cursor },
    /// Entries after its place were lost; the place is where it goes on.
    Gap,
    /// Reading failed since it last looked, at least once.
    Interrupted,
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing more will come.
    Closed,
}

impl Topic {
    /// Follows `key` from `newest` on.
    pub(crate) fn new(key: String, newest: Cursor) -> Self {
        let window = Window {
            entries: VecDeque::new(),
            bytes: 0,
            floor: newest,
            newest,
            breaks: 0,
            failures: 0,
            parked: false,
            closed: false,
        };
        Self { key, window: RwLock::new(window), bell: watch::Sender::new(()) }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Where a subscriber begins, `extent` being what Redis held after it asked; and whether entries before that are
    /// lost.
    pub(crate) fn begin(&self, start: StartAt, extent: &Extent) -> (Place, bool) {
        let window = self.read();
        let (cursor, gap) = match start {
            // What this process has read already is older than the subscription, even if Redis has lost it since.
            StartAt::Now => (window.newest.max(extent.newest), false),
            StartAt::After(cursor) if window.covers(cursor) => (cursor, false),
            // Not of this stream, or of a former life of it.
            StartAt::After(cursor) if cursor > extent.newest => (Cursor::start(), true),
            StartAt::After(cursor) => (cursor, !extent.continues(cursor)),
        };
        (Place { cursor, breaks: window.breaks, failures: window.failures }, gap)
    }

    /// Rings when there is something to look for. Taken before looking.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        self.bell.receiver_count() > 0
    }

    /// What comes next for a subscriber, entries first; at most `count` of them.
    pub(crate) fn look(&self, place: &mut Place, count: usize) -> Found {
        let window = self.read();
        if place.breaks != window.breaks {
            place.breaks = window.breaks;
            place.cursor = window.floor;
            return Found::Gap;
        }
        if place.cursor < window.floor {
            return if window.closed { Found::Closed } else { Found::Behind { floor: window.floor } };
        }
        let from = window.entries.partition_point(|entry| entry.cursor <= place.cursor);
        let entries: Vec<_> = window.entries.iter().skip(from).take(count).cloned().collect();
        if let Some(last) = entries.last() {
            place.cursor = last.cursor;
            return Found::Entries(entries);
        }
        if place.failures != window.failures {
            place.failures = window.failures;
            return Found::Interrupted;
        }
        if window.closed { Found::Closed } else { Found::Nothing }
    }

    /// The last entry read.
    pub(crate) fn newest(&self) -> Cursor {
        self.read().newest
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.read().parked
    }

    /// Adds entries read after [`Self::newest`].
    pub(crate) fn extend(&self, entries: Vec<Entry>) {
        self.change(|window| {
            for entry in entries.into_iter().filter(|entry| entry.cursor > window.newest).collect::<Vec<_>>() {
                window.newest = entry.cursor;
                window.bytes += entry.data.len();
                window.entries.push_back(Arc::new(entry));
            }
            while window.entries.len() > 1
                && (window.entries.len() > WINDOW_ENTRIES || window.bytes > WINDOW_BYTES)
                && let Some(oldest) = window.entries.pop_front()
            {
                window.bytes -= oldest.data.len();
                window.floor = oldest.cursor;
            }
        });
    }

    /// Compares what was read with what Redis holds, and when entries in between are lost, breaks off and begins anew:
    /// at the start when the stream is not the one that was read.
    pub(crate) fn reconcile(&self, extent: &Extent) {
        let newest = self.newest();
        if extent.continues(newest) {
            self.write().parked = false;
            return;
        }
        self.change(|window| {
            window.parked = false;
            window.entries.clear();
            window.bytes = 0;
            window.newest = if newest > extent.newest { Cursor::start() } else { newest };
            window.floor = window.newest;
            window.breaks += 1;
        });
    }

    /// Stops following until the next [`Self::reconcile`]; subscribers hear of it once. False when it had stopped
    /// already.
    pub(crate) fn park(&self) -> bool {
        if self.is_parked() {
            return false;
        }
        self.change(|window| {
            window.parked = true;
            window.failures += 1;
        });
        true
    }

    /// Tells subscribers that reading failed.
    pub(crate) fn interrupt(&self) {
        self.change(|window| window.failures += 1);
    }

    /// Ends all subscriptions, after what is in memory for them.
    pub(crate) fn close(&self) {
        self.change(|window| window.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Window)) {
        change(&mut self.write());
        self.bell.send_replace(());
    }

    fn read(&self) -> RwLockReadGuard<'_, Window> {
        self.window.read().expect("nothing panics while it holds the lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Window> {
        self.window.write().expect("nothing panics while it holds the lock")
    }
}

impl Window {
    /// Whether everything after `place` is here. A place before the first entry may stem from a former life of the
    /// stream.
    fn covers(&self, place: Cursor) -> bool {
        let oldest = self.entries.front().map(|entry| entry.cursor);
        place == self.floor || place <= self.newest && oldest.is_some_and(|oldest| oldest <= place)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn at(millis: u64) -> Cursor {
        Cursor { millis, number: 0 }
    }

    fn entries(millis: impl IntoIterator<Item = u64>, data: &Bytes) -> Vec<Entry> {
        millis.into_iter().map(|millis| Entry { cursor: at(millis), data: data.clone() }).collect()
    }

    fn cursors(found: Found) -> Vec<u64> {
        match found {
            Found::Entries(entries) => entries.iter().map(|entry| entry.cursor.millis).collect(),
            other => panic!("expected entries, got {other:?}"),
        }
    }

    #[test]
    fn the_window_is_bounded_by_number_and_by_bytes() {
        let many = Topic::new("task:a".into(), at(0));
        let large = Topic::new("task:b".into(), at(0));
        let (mut of_many, _) = many.begin(StartAt::Now, &Extent::default());
        let mut of_large = of_many;

        many.extend(entries(1..=2 * WINDOW_ENTRIES as u64, &Bytes::new()));
        large.extend(entries(1..=5, &Bytes::from(vec![0; WINDOW_BYTES / 2])));

        assert_eq!(many.look(&mut of_many, 9), Found::Behind { floor: at(WINDOW_ENTRIES as u64) });
        assert_eq!(large.look(&mut of_large, 9), Found::Behind { floor: at(3) });
        of_large.cursor = at(3);
        assert_eq!(cursors(large.look(&mut of_large, 9)), [4, 5]);
    }

    #[test]
    fn an_entry_larger_than_the_window_is_still_shared() {
        let topic = Topic::new("task:a".into(), at(0));
        let (mut place, _) = topic.begin(StartAt::Now, &Extent::default());

        topic.extend(entries([1], &Bytes::from(vec![0; 2 * WINDOW_BYTES])));

        assert_eq!(cursors(topic.look(&mut place, 9)), [1]);
    }

    #[test]
    fn entries_come_before_the_news_of_a_failure_and_failures_in_between_are_told_once() {
        let topic = Topic::new("task:a".into(), at(0));
        let (mut place, _) = topic.begin(StartAt::Now, &Extent::default());
        topic.extend(entries([1, 2], &Bytes::new()));
        topic.interrupt();
        topic.interrupt();

        assert_eq!(cursors(topic.look(&mut place, 1)), [1]);
        assert_eq!(cursors(topic.look(&mut place, 1)), [2]);
        assert_eq!(topic.look(&mut place, 1), Found::Interrupted);
        assert_eq!(topic.look(&mut place, 1), Found::Nothing);
        topic.close();
        assert_eq!(topic.look(&mut place, 1), Found::Closed);
    }

    #[test]
    fn a_stream_that_began_anew_is_read_from_its_start_after_one_gap() {
        let topic = Topic::new("task:a".into(), at(7));
        let (mut place, _) = topic.begin(StartAt::After(at(7)), &Extent::default());

        topic.reconcile(&Extent::default());
        topic.extend(entries([3], &Bytes::new()));

        assert_eq!(topic.look(&mut place, 9), Found::Gap);
        assert_eq!(cursors(topic.look(&mut place, 9)), [3]);
        assert_eq!(topic.look(&mut place, 9), Found::Nothing);
    }

    #[test]
    fn an_entry_read_twice_is_kept_once() {
        let topic = Topic::new("task:a".into(), at(0));
        let (mut place, _) = topic.begin(StartAt::Now, &Extent::default());

        topic.extend(entries([1, 2], &Bytes::new()));
        topic.extend(entries([2, 3], &Bytes::new()));

        assert_eq!(cursors(topic.look(&mut place, 9)), [1, 2, 3]);
    }
}
