use std::sync::Arc;
use std::time::Duration;

use agentex_domain::Timestamp;
use agentex_domain::ports::{Clock, Sleeper};
use async_trait::async_trait;

/// Sleeps by the machine's timers.
pub(super) struct TimerSleeper(pub(super) Arc<dyn Clock>);

#[async_trait]
impl Sleeper for TimerSleeper {
    async fn sleep_until(&self, moment: Timestamp) {
        // Timers and clock do not run alike, so the clock has the last word.
        while let Some(left) = micros_until(self.0.now(), moment) {
            tokio::time::sleep(Duration::from_micros(left)).await;
        }
    }
}

fn micros_until(now: Timestamp, moment: Timestamp) -> Option<u64> {
    u64::try_from(moment.as_micros() - now.as_micros()).ok().filter(|left| *left > 0)
}

/// `moment` and so much later; the last moment there is when that is too late.
pub(super) fn later(moment: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX).min(100 * 366 * 86_400_000);
    moment.plus_millis(millis)
}
