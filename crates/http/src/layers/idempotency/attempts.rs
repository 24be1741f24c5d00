use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::answer::Outcome;

/// What identifies requests that look the same.
pub(super) type Fingerprint = [u8; 32];

/// How long the outcome of an attempt is remembered whose caller was there to take the answer. Only an answer lost on its
/// way makes them try again, at once or after the client's longest pause (8 s); a longer memory would only make it more
/// likely to take the retry of another, equal request for one of this.
const DELIVERED_KEPT: Duration = Duration::from_secs(30);
/// How long it is remembered when the caller had gone: longer than the client's longest time-out (300 s).
const UNDELIVERED_KEPT: Duration = Duration::from_secs(600);
/// Most memory for outcomes, and what each takes beside its body.
const MAX_BYTES: usize = 32 * 1024 * 1024;
const BYTES_EACH: usize = 512;

/// The attempts that are being carried out and what became of recent ones, in the memory of this process.
pub(crate) struct Attempts {
    known: Mutex<Known>,
    max_bytes: usize,
}

#[derive(Default)]
struct Known {
    /// Oldest first.
    of: HashMap<Fingerprint, Vec<Entry>>,
    /// What has ended, by the end of its time.
    delivered: VecDeque<Ended>,
    undelivered: VecDeque<Ended>,
    bytes: usize,
}

struct Entry {
    attempt: Arc<Attempt>,
    /// The number of the latest attempt that this one is or that was answered with its outcome.
    claimed: u32,
}

struct Ended {
    until: Instant,
    attempt: Arc<Attempt>,
    bytes: usize,
}

/// One attempt to carry a request out.
pub(super) struct Attempt {
    fingerprint: Fingerprint,
    outcome: OnceLock<Outcome>,
    ended: Notify,
}

impl Attempt {
    /// Its outcome, once there is one.
    pub(super) async fn outcome(&self) -> Outcome {
        loop {
            // Made before the look, so that an end between the look and the wait is noticed.
            let ended = self.ended.notified();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            ended.await;
        }
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self { known: Mutex::default(), max_bytes: MAX_BYTES }
    }
}

impl Attempts {
    /// Remembers the beginning of the attempt with this number.
    pub(super) fn begin(&self, fingerprint: Fingerprint, number: u32) -> Arc<Attempt> {
        let attempt = Arc::new(Attempt { fingerprint, outcome: OnceLock::new(), ended: Notify::new() });
        let entry = Entry { attempt: Arc::clone(&attempt), claimed: number };
        self.known().of.entry(fingerprint).or_default().push(entry);
        attempt
    }

    /// The attempt that the one with this number repeats: the newest of its fingerprint that no other attempt of this
    /// number, or a later one, repeats.
    pub(super) fn join(&self, fingerprint: &Fingerprint, number: u32, now: Instant) -> Option<Arc<Attempt>> {
        let mut known = self.known();
        known.forget(now, self.max_bytes);
        let entry = known.of.get_mut(fingerprint)?.iter_mut().rev().find(|entry| entry.claimed < number)?;
        entry.claimed = number;
        Some(Arc::clone(&entry.attempt))
    }

    /// Remembers how an attempt ended, for a while, and tells those who wait for it.
    pub(super) fn end(&self, attempt: &Arc<Attempt>, outcome: Outcome, delivered: bool, now: Instant) {
        let bytes = BYTES_EACH + outcome.size();
        // An attempt ends once; a second end would change nothing.
        let _ = attempt.outcome.set(outcome);
        attempt.ended.notify_waiters();
        let mut known = self.known();
        let attempt = Arc::clone(attempt);
        if delivered {
            known.delivered.push_back(Ended { until: now + DELIVERED_KEPT, attempt, bytes });
        } else {
            known.undelivered.push_back(Ended { until: now + UNDELIVERED_KEPT, attempt, bytes });
        }
        known.bytes += bytes;
        known.forget(now, self.max_bytes);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Drops what has had its time, and the oldest of the rest while they take too much memory: first those that are less
    /// likely to be asked for.
    fn forget(&mut self, now: Instant, max_bytes: usize) {
        while let Some(ended) = self.delivered.pop_front_if(|ended| ended.until <= now || self.bytes > max_bytes) {
            self.drop_ended(&ended);
        }
        while let Some(ended) = self.undelivered.pop_front_if(|ended| ended.until <= now || self.bytes > max_bytes) {
            self.drop_ended(&ended);
        }
    }

    fn drop_ended(&mut self, ended: &Ended) {
        self.bytes -= ended.bytes;
        let fingerprint = &ended.attempt.fingerprint;
        if let Some(entries) = self.of.get_mut(fingerprint) {
            entries.retain(|entry| !Arc::ptr_eq(&entry.attempt, &ended.attempt));
            if entries.is_empty() {
                self.of.remove(fingerprint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::{IntoResponse as _, Response};
    use futures::FutureExt as _;

    use super::*;

    const A: Fingerprint = [1; 32];

    async fn kept(body: &str) -> Outcome {
        Outcome::of(body.to_owned().into_response()).await.1
    }

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn told(attempt: &Attempt) -> Option<String> {
        match attempt.outcome().now_or_never()? {
            Outcome::Kept(kept) => Some(body(kept.replay()).await),
            Outcome::Failed => Some("failed".to_owned()),
            Outcome::NotKept => Some("not kept".to_owned()),
        }
    }

    #[tokio::test]
    async fn each_of_equal_requests_is_repeated_once_per_number_the_newest_first() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for text in ["first", "second"] {
            let attempt = attempts.begin(A, 0);
            attempts.end(&attempt, kept(text).await, true, now);
        }

        assert!(attempts.join(&[2; 32], 1, now).is_none());
        for number in [1, 2] {
            let mut seen = Vec::new();
            while let Some(attempt) = attempts.join(&A, number, now) {
                seen.push(told(&attempt).await.unwrap());
            }
            assert_eq!(seen, ["second", "first"], "attempt {number}");
        }
    }

    #[tokio::test]
    async fn a_retry_waits_for_the_attempt_that_is_carried_out() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let attempt = attempts.begin(A, 0);
        let joined = attempts.join(&A, 1, now).unwrap();
        let mut waiting = Box::pin(told(&joined));
        assert!(joined.outcome().now_or_never().is_none());

        attempts.end(&attempt, kept("done").await, false, now);

        assert_eq!((&mut waiting).await, Some("done".to_owned()));
    }

    #[tokio::test]
    async fn a_retry_that_was_carried_out_is_repeated_by_later_ones_only() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let attempt = attempts.begin(A, 1);
        attempts.end(&attempt, Outcome::Failed, true, now);

        assert!(attempts.join(&A, 1, now).is_none());
        assert_eq!(told(&attempts.join(&A, 2, now).unwrap()).await, Some("failed".to_owned()));
    }

    #[tokio::test]
    async fn outcomes_are_forgotten_in_time_but_running_attempts_are_not() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let running = attempts.begin(A, 0);
        for (fingerprint, delivered) in [([2; 32], true), ([3; 32], false)] {
            let attempt = attempts.begin(fingerprint, 0);
            attempts.end(&attempt, kept("x").await, delivered, now);
        }

        let later = now + DELIVERED_KEPT;
        assert!(attempts.join(&[2; 32], 1, later).is_none());
        assert!(attempts.join(&[3; 32], 1, later).is_some());
        let later = now + UNDELIVERED_KEPT;
        assert!(attempts.join(&[3; 32], 2, later).is_none());
        assert!(Arc::ptr_eq(&attempts.join(&A, 1, later).unwrap(), &running));
        assert_eq!(attempts.known().of.len(), 1);
        assert_eq!(attempts.known().bytes, 0);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let attempts = Attempts { max_bytes: 10 * (BYTES_EACH + 100), ..Attempts::default() };
        let (now, text) = (Instant::now(), "x".repeat(100));
        for number in 0..50 {
            let attempt = attempts.begin([number; 32], 0);
            attempts.end(&attempt, kept(&text).await, number != 0, now);
        }

        let known: usize = (0..50).filter(|number| attempts.join(&[*number; 32], 1, now).is_some()).count();
        assert_eq!(known, 10);
        assert!(attempts.join(&[0; 32], 2, now).is_some(), "what was not delivered goes last");
        assert!(attempts.join(&[49; 32], 2, now).is_some());
    }
}
