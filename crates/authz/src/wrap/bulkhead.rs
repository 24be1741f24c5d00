use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::authorizer_through;
use crate::{Authorizer, AuthzError};

/// Bounds how many calls are under way, so that a slow backend cannot hold every request of the process.
///
/// A call that finds no free slot waits a bounded time in the order of arrival, and is then [`AuthzError::Busy`] without
/// having reached the backend.
pub struct Bulkhead {
    inner: Arc<dyn Authorizer>,
    slots: Semaphore,
    wait: Duration,
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("free", &self.slots.available_permits())
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl Bulkhead {
    /// Lets `max_in_flight` calls (at least one) pass at a time, and others wait for `wait`. A `check_many` is one call.
    pub fn new(inner: Arc<dyn Authorizer>, max_in_flight: usize, wait: Duration) -> Self {
        Self { inner, slots: Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS)), wait }
    }

    async fn through<T>(&self, call: impl Future<Output = Result<T, AuthzError>>) -> Result<T, AuthzError> {
        let Ok(slot) = timeout(self.wait, self.slots.acquire()).await else {
            return Err(AuthzError::Busy("too many calls are under way".into()));
        };
        let _slot = slot.expect("the semaphore is never closed");
        call.await
    }
}

authorizer_through!(Bulkhead);

#[cfg(test)]
mod tests {
    use super::super::scripted::{Answer, Scripted, ask, every_verb, kind};
    use super::*;

    #[tokio::test]
    async fn a_full_bulkhead_is_busy_and_does_not_ask() {
        let inner = Scripted::new([Answer::Hang]);
        let bulkhead = Arc::new(Bulkhead::new(inner.clone(), 1, Duration::from_millis(1)));
        let held = tokio::spawn({
            let bulkhead = Arc::clone(&bulkhead);
            async move { ask(&*bulkhead).await }
        });
        inner.wait_asked(1).await;

        let outcomes = every_verb(&*bulkhead).await;

        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|error| kind(error) == "busy")));
        assert_eq!(inner.asked(), 1);
        held.abort();
        assert!(held.await.unwrap_err().is_cancelled());
        assert!(ask(&*bulkhead).await.is_ok(), "the slot of a call that was given up is free again");
    }

    #[tokio::test]
    async fn a_waiting_call_takes_the_slot_that_becomes_free() {
        let inner = Scripted::new([Answer::Hang]);
        let bulkhead = Arc::new(Bulkhead::new(inner.clone(), 1, Duration::from_secs(60)));
        let spawn = |bulkhead: &Arc<Bulkhead>| {
            let bulkhead = Arc::clone(bulkhead);
            tokio::spawn(async move { ask(&*bulkhead).await })
        };
        let held = spawn(&bulkhead);
        inner.wait_asked(1).await;
        let waiting = spawn(&bulkhead);

        held.abort();

        assert!(waiting.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn free_slots_are_taken_without_waiting() {
        let bulkhead = Bulkhead::new(Scripted::always(Answer::Allow), 1, Duration::ZERO);

        assert!(every_verb(&bulkhead).await.iter().all(Result::is_ok));
    }
}
