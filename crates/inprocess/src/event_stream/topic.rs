use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use agentex_domain::Timestamp;
use agentex_domain::ports::{Cursor, Entry, StartAt, Subscription};
use bytes::Bytes;
use tokio::sync::watch;

use super::ring::Ring;
use super::subscriber::Subscriber;

/// One task's entries, and the bell its subscribers wait for.
#[derive(Debug)]
pub(super) struct Topic {
    state: RwLock<State>,
    bell: watch::Sender<()>,
    /// Somebody wrote since the bell last rang, and it will ring again by itself.
    dirty: AtomicBool,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    last_write: Timestamp,
    /// Nobody finds this topic any more: what is written to it would be lost.
    forgotten: bool,
    closed: bool,
}

/// What a subscriber finds at its place.
#[derive(Debug)]
pub(super) enum Found {
    /// The next entries, at least one.
    Entries(Vec<Arc<Entry>>),
    /// The place was trimmed; the oldest entry has this running number.
    Trimmed { oldest: u64 },
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing more will come.
    Closed,
}

impl Topic {
    pub(super) fn new(now: Timestamp, closed: bool) -> Self {
        Self {
            state: RwLock::new(State { ring: Ring::default(), last_write: now, forgotten: false, closed }),
            bell: watch::Sender::new(()),
            dirty: AtomicBool::new(false),
        }
    }

    /// Appends an entry and trims to `max_entries`; `None`, and nothing written, when the topic was forgotten.
    pub(super) fn append(&self, data: Bytes, now: Timestamp, max_entries: usize) -> Option<Cursor> {
        let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
        let mut state = self.write();
        if state.forgotten {
            return None;
        }
        state.last_write = now;
        Some(state.ring.append(data, millis, max_entries))
    }

    /// A subscription from `start` on; `None` when the topic is closed. The topic must be kept from being forgotten
    /// meanwhile.
    pub(super) fn subscribe(self: &Arc<Self>, start: StartAt) -> Option<Subscription> {
        // Listening first: what is written after looking rings the bell.
        let bell = self.bell.subscribe();
        let state = self.read_state();
        if state.closed {
            return None;
        }
        let beginning = state.ring.begin(start);
        drop(state);
        let deliveries = Subscriber::new(Arc::clone(self), bell, beginning).into_stream();
        Some(Subscription { began_at: beginning.cursor, deliveries })
    }

    pub(super) fn look(&self, number: u64, count: usize) -> Found {
        let state = self.read_state();
        let Some(slice) = state.ring.slice(number, count) else {
            return Found::Trimmed { oldest: state.ring.first_number() };
        };
        let entries: Vec<_> = slice.collect();
        match entries.is_empty() {
            false => Found::Entries(entries),
            true if state.closed => Found::Closed,
            true => Found::Nothing,
        }
    }

    pub(super) fn read(&self, after: Cursor, count: usize) -> Vec<Entry> {
        self.read_state().ring.read(after, count)
    }

    pub(super) fn clear(&self) {
        self.write().ring.clear();
    }

    pub(super) fn has_subscribers(&self) -> bool {
        self.bell.receiver_count() > 0
    }

    /// Whether the caller is the one who has to have the bell rung.
    pub(super) fn mark_dirty(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    pub(super) fn wake(&self) {
        // Cleared first: whoever writes from here on asks for another ring.
        self.dirty.store(false, Ordering::Release);
        self.bell.send_replace(());
    }

    pub(super) fn close(&self) {
        self.write().closed = true;
        self.wake();
    }

    /// Forgets the topic when nobody subscribes to it and nothing was written for `idle_ttl`. Otherwise says since when
    /// at the earliest it may be idle. Nobody may be subscribing meanwhile.
    pub(super) fn retire_if_idle(&self, now: Timestamp, idle_ttl: Duration) -> Option<Timestamp> {
        if self.has_subscribers() {
            return Some(now);
        }
        let mut state = self.write();
        if after(state.last_write, idle_ttl) > now {
            return Some(state.last_write);
        }
        state.forgotten = true;
        None
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("nothing panics while it holds the lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("nothing panics while it holds the lock")
    }
}

/// `moment` plus `duration`, which counts as a thousand years when it is longer: dates end somewhere.
pub(super) fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    const LONGEST: Duration = Duration::from_secs(1000 * 365 * 86_400);
    moment.plus_millis(i64::try_from(duration.min(LONGEST).as_millis()).expect("a thousand years fit"))
}
