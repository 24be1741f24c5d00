use std::collections::VecDeque;
use std::sync::Arc;

use agentex_domain::ports::{Cursor, Entry, StartAt};
use bytes::Bytes;

/// The newest entries of one task. Besides its cursor every entry has a running number, by which subscribers find their
/// place without searching.
#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Arc<Entry>>,
    /// The running number of the oldest entry kept: how many were trimmed.
    first_number: u64,
    /// The newest entry trimmed; the start when none was.
    trimmed: Cursor,
    /// The newest entry written; the start when none was.
    newest: Cursor,
}

/// Where in a ring a subscriber begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning {
    /// The place its entries come after.
    pub(super) cursor: Cursor,
    /// The running number of its first entry.
    pub(super) number: u64,
    /// Whether entries before that one may be missing.
    pub(super) gap: bool,
}

impl Ring {
    /// Appends an entry written at `millis`, or right after the newest when the clock shows less, and trims to `max`.
    pub(super) fn append(&mut self, data: Bytes, millis: u64, max: usize) -> Cursor {
        let cursor = if millis > self.newest.millis {
            Cursor { millis, number: 0 }
        } else {
            Cursor { number: self.newest.number + 1, ..self.newest }
        };
        self.newest = cursor;
        self.entries.push_back(Arc::new(Entry { cursor, data }));
        self.trim(max);
        cursor
    }

    /// Forgets every entry.
    pub(super) fn clear(&mut self) {
        self.trim(0);
    }

    fn trim(&mut self, max: usize) {
        while self.entries.len() > max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.trimmed = oldest.cursor;
            self.first_number += 1;
        }
    }

    pub(super) fn begin(&self, start: StartAt) -> Beginning {
        let oldest = Beginning { cursor: self.trimmed, number: self.first_number, gap: true };
        match start {
            StartAt::Now => Beginning { cursor: self.newest, number: self.number_after(self.newest), gap: false },
            // Not of this history: from before a restart, or from before the task was forgotten.
            StartAt::After(cursor) if cursor > self.newest => oldest,
            StartAt::After(cursor) if !self.reaches_back_to(cursor) => Beginning { cursor, ..oldest },
            StartAt::After(cursor) => Beginning { cursor, number: self.number_after(cursor), gap: false },
        }
    }

    /// At most `count` entries from the one with this running number on, and the running number after them. `None` when
    /// that entry was trimmed.
    pub(super) fn slice(&self, number: u64, count: usize) -> Option<impl Iterator<Item = Arc<Entry>>> {
        let skip = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        Some(self.entries.iter().skip(skip).take(count).cloned())
    }

    pub(super) fn first_number(&self) -> u64 {
        self.first_number
    }

    pub(super) fn read(&self, after: Cursor, count: usize) -> Vec<Entry> {
        let from = self.entries.partition_point(|entry| entry.cursor <= after);
        self.entries.iter().skip(from).take(count).map(|entry| Entry::clone(entry)).collect()
    }

    fn number_after(&self, cursor: Cursor) -> u64 {
        self.first_number + self.entries.partition_point(|entry| entry.cursor <= cursor) as u64
    }

    /// Whether everything ever written after `cursor` is here. What was before the first entry of this ring is not
    /// known, so only the very start counts as there.
    fn reaches_back_to(&self, cursor: Cursor) -> bool {
        if self.trimmed == Cursor::start() {
            cursor == Cursor::start() || self.entries.front().is_some_and(|oldest| oldest.cursor <= cursor)
        } else {
            cursor >= self.trimmed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(written_at: &[u64], max: usize) -> Ring {
        let mut ring = Ring::default();
        for millis in written_at {
            ring.append(Bytes::new(), *millis, max);
        }
        ring
    }

    fn at(millis: u64, number: u64) -> Cursor {
        Cursor { millis, number }
    }

    #[test]
    fn cursors_grow_within_a_millisecond_and_when_the_clock_goes_back() {
        let written = ring(&[0, 5, 5, 3, 6], 10).read(Cursor::start(), 10);

        let cursors: Vec<_> = written.iter().map(|entry| entry.cursor).collect();
        assert_eq!(cursors, [at(0, 1), at(5, 0), at(5, 1), at(5, 2), at(6, 0)]);
    }

    #[test]
    fn a_subscriber_begins_where_it_asked_when_nothing_after_that_is_gone() {
        let ring = ring(&[1, 2, 3, 4], 2);

        for (start, cursor, number) in [
            (StartAt::Now, at(4, 0), 4),
            (StartAt::After(at(4, 0)), at(4, 0), 4),
            (StartAt::After(at(3, 0)), at(3, 0), 3),
            (StartAt::After(at(2, 0)), at(2, 0), 2),
        ] {
            assert_eq!(ring.begin(start), Beginning { cursor, number, gap: false }, "{start:?}");
        }
    }

    #[test]
    fn a_subscriber_begins_with_a_gap_at_the_oldest_entry_when_something_is_gone_or_nothing_is_known() {
        let trimmed = ring(&[1, 2, 3, 4], 2);
        let whole = ring(&[3, 4], 2);

        assert_eq!(trimmed.begin(StartAt::After(at(1, 0))), Beginning { cursor: at(1, 0), number: 2, gap: true });
        assert_eq!(trimmed.begin(StartAt::After(at(0, 0))), Beginning { cursor: at(0, 0), number: 2, gap: true });
        assert_eq!(trimmed.begin(StartAt::After(at(9, 0))), Beginning { cursor: at(2, 0), number: 2, gap: true });
        assert_eq!(whole.begin(StartAt::After(at(1, 0))), Beginning { cursor: at(1, 0), number: 0, gap: true });
        assert_eq!(whole.begin(StartAt::After(at(0, 0))), Beginning { cursor: at(0, 0), number: 0, gap: false });
    }

    #[test]
    fn a_slice_of_trimmed_entries_is_refused() {
        let ring = ring(&[1, 2, 3, 4], 2);

        assert!(ring.slice(1, 10).is_none());
        assert_eq!(ring.slice(2, 10).unwrap().count(), 2);
        assert_eq!(ring.slice(4, 10).unwrap().count(), 0);
    }
}
