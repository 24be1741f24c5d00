//! A clock that tests move.

use std::sync::Arc;
use std::time::Duration;

use agentex_domain::Timestamp;
use agentex_domain::ports::{Clock, Sleeper};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::build;

/// Stands still until told otherwise. Clones share the time, so a test keeps one and hands the other to the code. Whoever
/// sleeps by it wakes when it is moved.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<watch::Sender<i64>>);

impl TestClock {
    /// A clock that shows `moment`.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(moment.as_micros())))
    }

    /// Shows `moment` from now on; it may lie in the past.
    pub fn set(&self, moment: Timestamp) {
        self.0.send_replace(moment.as_micros());
    }

    /// Moves the time forward and returns the new one.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let micros = i64::try_from(by.as_micros()).unwrap();
        let mut moved = 0;
        self.0.send_modify(|now| {
            *now += micros;
            moved = *now;
        });
        timestamp(moved)
    }

    /// How many sleep by it at this moment.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.0.receiver_count()
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
        timestamp(*self.0.borrow())
    }
}

#[async_trait]
impl Sleeper for TestClock {
    async fn sleep_until(&self, moment: Timestamp) {
        // The clock itself holds the sender, so it cannot go.
        let _ = self.0.subscribe().wait_for(|now| *now >= moment.as_micros()).await;
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
