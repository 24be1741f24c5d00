//! A clock that tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use agentex_domain::Timestamp;
use agentex_domain::ports::Clock;

use crate::build;

/// Stands still until told otherwise. Clones share the time, so a test keeps one and hands the other to the code.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// A clock that shows `moment`.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(moment.as_micros())))
    }

    /// Shows `moment` from now on; it may lie in the past.
    pub fn set(&self, moment: Timestamp) {
        self.0.store(moment.as_micros(), Ordering::SeqCst);
    }

    /// Moves the time forward and returns the new one.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let micros = i64::try_from(by.as_micros()).unwrap();
        timestamp(self.0.fetch_add(micros, Ordering::SeqCst) + micros)
    }
}

impl Default for TestClock {
    /// Shows [`build::at`]`(0)`.
    fn default() -> Self {
        Self::at(build::at(0))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        timestamp(self.0.load(Ordering::SeqCst))
    }
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_show_the_same_moved_time() {
        let clock = TestClock::default();
        let other = clock.clone();

        let moved = clock.advance(Duration::from_millis(1500));

        assert_eq!(moved, build::at(0).plus_millis(1500));
        assert_eq!(other.now(), moved);
        other.set(build::at(-5));
        assert_eq!(clock.now(), build::at(-5));
    }
}
