use async_trait::async_trait;

use crate::Timestamp;

/// What time it is.
pub trait Clock: Send + Sync {
    /// Now, in UTC, with microsecond precision.
    fn now(&self) -> Timestamp;
}

/// Waits for moments of a [`Clock`].
#[async_trait]
pub trait Sleeper: Send + Sync {
    /// Returns once the clock shows `moment` or later; at once when it does already.
    async fn sleep_until(&self, moment: Timestamp);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the machine's clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp::new(chrono::Utc::now())
    }
}
