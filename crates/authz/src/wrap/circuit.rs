use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::authorizer_through;
use crate::{Authorizer, AuthzError};

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitOptions {
    /// Outages in a row that open it; at least one. Default 5.
    pub outages: u32,
    /// How long it stays open before one call is let through to try. Default 5 s.
    pub open_for: Duration,
}

impl Default for CircuitOptions {
    fn default() -> Self {
        Self { outages: 5, open_for: Duration::from_secs(5) }
    }
}

/// Stops asking a backend that is down: while open, every call is [`AuthzError::Unavailable`] at once.
///
/// After a while one call is let through; its outcome closes the circuit or keeps it open. Only outages count
/// ([`AuthzError::Unavailable`] and [`AuthzError::Busy`]). Errors that a caller can provoke with a particular request do
/// not, or one caller could lock out all.
pub struct CircuitBreaker {
    inner: Arc<dyn Authorizer>,
    options: CircuitOptions,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many outages in a row.
    Closed(u32),
    /// Since then.
    Open(Instant),
    /// The next call tries.
    Ready,
    /// One call is trying.
    Trying,
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("options", &self.options)
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

impl CircuitBreaker {
    /// A closed circuit before `inner`.
    pub fn new(inner: Arc<dyn Authorizer>, options: CircuitOptions) -> Self {
        Self { inner, options, state: Mutex::new(State::Closed(0)) }
    }

    async fn through<T>(&self, call: impl Future<Output = Result<T, AuthzError>>) -> Result<T, AuthzError> {
        let attempt = self.begin()?;
        let outcome = call.await;
        attempt.end(matches!(&outcome, Err(AuthzError::Unavailable(_) | AuthzError::Busy(_))));
        outcome
    }

    fn begin(&self) -> Result<Attempt<'_>, AuthzError> {
        let mut state = self.state();
        let trying = match *state {
            State::Closed(_) => false,
            State::Ready => true,
            State::Open(since) if since.elapsed() >= self.options.open_for => true,
            State::Open(_) | State::Trying => {
                return Err(AuthzError::Unavailable("the circuit to the backend is open".into()));
            }
        };
        if trying {
            *state = State::Trying;
        }
        Ok(Attempt { circuit: self, trying, ended: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

authorizer_through!(CircuitBreaker);

/// One call that was let through.
struct Attempt<'a> {
    circuit: &'a CircuitBreaker,
    trying: bool,
    ended: bool,
}

impl Attempt<'_> {
    fn end(mut self, outage: bool) {
        self.ended = true;
        let mut state = self.circuit.state();
        let next = match *state {
            State::Trying if self.trying && outage => State::Open(Instant::now()),
            State::Trying if self.trying => {
                tracing::info!("the authorization backend answers again");
                State::Closed(0)
            }
            State::Closed(_) if !outage => State::Closed(0),
            State::Closed(outages) if outages + 1 >= self.circuit.options.outages => {
                tracing::warn!(outages = outages + 1, "the authorization backend is down and not asked for a while");
                State::Open(Instant::now())
            }
            State::Closed(outages) => State::Closed(outages + 1),
            // A call from before the circuit opened says nothing new.
            unchanged => unchanged,
        };
        *state = next;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // The caller gave up, so nothing was learnt; without this the circuit would stay open for ever.
        if self.trying && !self.ended {
            *self.circuit.state() = State::Ready;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{Answer, Scripted, ask, every_verb, kind};
    use super::*;

    const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);
    const DOWN: Answer = Answer::Error(|| AuthzError::Unavailable("down".into()));
    const BUSY: Answer = Answer::Error(|| AuthzError::Busy("busy".into()));

    fn circuit(inner: &Arc<Scripted>, outages: u32, open_for: Duration) -> CircuitBreaker {
        CircuitBreaker::new(inner.clone(), CircuitOptions { outages, open_for })
    }

    #[tokio::test]
    async fn outages_in_a_row_open_it_for_every_verb() {
        let inner = Scripted::new([DOWN, BUSY]);
        let circuit = circuit(&inner, 2, FOREVER);
        assert_eq!(kind(&ask(&circuit).await.unwrap_err()), "unavailable");
        assert_eq!(kind(&ask(&circuit).await.unwrap_err()), "busy");

        let outcomes = every_verb(&circuit).await;

        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|error| kind(error) == "unavailable")));
        assert_eq!(inner.asked(), 2);
    }

    #[tokio::test]
    async fn an_answer_between_outages_starts_the_count_again() {
        for answer in [Answer::Allow, Answer::Deny, Answer::Error(|| AuthzError::Refused)] {
            let inner = Scripted::new([DOWN, answer, DOWN]);
            let circuit = circuit(&inner, 2, FOREVER);
            for _ in 0..3 {
                let _ = ask(&circuit).await;
            }

            assert!(ask(&circuit).await.is_ok());
        }
    }

    #[tokio::test]
    async fn errors_that_are_no_outage_never_open_it() {
        let errors: [fn() -> AuthzError; 6] = [
            || AuthzError::Unauthenticated,
            || AuthzError::Refused,
            || AuthzError::Deferred,
            || AuthzError::Protocol("x".into()),
            || AuthzError::Gateway("x".into()),
            || AuthzError::Service("x".into()),
        ];
        let inner = Scripted::new(errors.map(Answer::Error));
        let circuit = circuit(&inner, 1, FOREVER);

        for error in errors {
            assert_eq!(kind(&ask(&circuit).await.unwrap_err()), kind(&error()));
        }

        assert!(ask(&circuit).await.is_ok());
    }

    #[tokio::test]
    async fn an_attempt_that_succeeds_closes_it() {
        let inner = Scripted::new([DOWN]);
        let circuit = circuit(&inner, 1, Duration::ZERO);
        assert!(ask(&circuit).await.is_err());

        assert!(ask(&circuit).await.is_ok());

        assert_eq!(*circuit.state(), State::Closed(0));
    }

    #[tokio::test]
    async fn a_single_failed_attempt_keeps_it_open() {
        let inner = Scripted::new([DOWN, DOWN, DOWN]);
        let circuit = circuit(&inner, 2, FOREVER);
        assert!(ask(&circuit).await.is_err() && ask(&circuit).await.is_err());
        *circuit.state() = State::Ready;

        assert!(ask(&circuit).await.is_err());

        assert!(matches!(*circuit.state(), State::Open(_)));
        assert!(ask(&circuit).await.is_err());
        assert_eq!(inner.asked(), 3);
    }

    #[tokio::test]
    async fn only_one_call_tries_and_giving_it_up_lets_the_next_one_try() {
        let inner = Scripted::new([DOWN, Answer::Hang]);
        let circuit = Arc::new(circuit(&inner, 1, Duration::ZERO));
        assert!(ask(&*circuit).await.is_err());
        let trying = tokio::spawn({
            let circuit = Arc::clone(&circuit);
            async move { ask(&*circuit).await }
        });
        inner.wait_asked(2).await;

        assert_eq!(kind(&ask(&*circuit).await.unwrap_err()), "unavailable");
        assert_eq!(inner.asked(), 2);

        trying.abort();
        assert!(trying.await.unwrap_err().is_cancelled());
        assert!(ask(&*circuit).await.is_ok());
        assert_eq!(*circuit.state(), State::Closed(0));
    }
}
