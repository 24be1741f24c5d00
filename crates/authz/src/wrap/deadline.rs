use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::authorizer_through;
use crate::{Authorizer, AuthzError};

/// Bounds how long each call takes. A call that runs out of time is dropped and [`AuthzError::Unavailable`]; a write may
/// then have been made or not, as with any outage.
pub struct Deadline {
    inner: Arc<dyn Authorizer>,
    limit: Duration,
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Deadline {
    /// Gives each call `limit`; the questions of one `check_many` share it.
    pub fn new(inner: Arc<dyn Authorizer>, limit: Duration) -> Self {
        Self { inner, limit }
    }

    async fn through<T>(&self, call: impl Future<Output = Result<T, AuthzError>>) -> Result<T, AuthzError> {
        match timeout(self.limit, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AuthzError::Unavailable(format!("no answer within {:?}", self.limit).into())),
        }
    }
}

authorizer_through!(Deadline);

#[cfg(test)]
mod tests {
    use super::super::scripted::{Answer, Scripted, every_verb, kind};
    use super::*;

    #[tokio::test]
    async fn a_verb_that_is_not_answered_in_time_is_unavailable() {
        let inner = Scripted::always(Answer::Hang);
        let deadline = Deadline::new(inner.clone(), Duration::from_millis(1));

        let outcomes = every_verb(&deadline).await;

        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|error| kind(error) == "unavailable")));
        assert_eq!(inner.asked(), 8);
    }

    #[tokio::test]
    async fn what_is_answered_in_time_passes_unchanged() {
        let deadline = |answer| Deadline::new(Scripted::always(answer), Duration::from_secs(60));

        assert!(every_verb(&deadline(Answer::Allow)).await.iter().all(Result::is_ok));
        let refused = every_verb(&deadline(Answer::Error(|| AuthzError::Refused))).await;
        assert!(refused.iter().all(|outcome| outcome.as_ref().is_err_and(|error| kind(error) == "refused")));
    }
}
