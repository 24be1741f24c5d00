use std::fmt;

use async_trait::async_trait;

use crate::Timestamp;
use crate::ports::StoreError;

/// The wish to carry out a request under a caller's idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// Names the key: a hash over the caller, the method, the path and the key.
    pub digest: String,
    /// Names what is asked for: a hash over the query and the body.
    pub request: String,
    /// Who carries it out, should the claim be granted: a text nobody else uses.
    pub holder: String,
    /// When.
    pub at: Timestamp,
    /// Until when the holder is taken to be alive without another word of it.
    pub lease_until: Timestamp,
    /// From when on the key is unused again, whatever became of it.
    pub expires_at: Timestamp,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Claimed {
    /// The claimant holds the key and carries the request out.
    Granted,
    /// Somebody else carries the same request out.
    Running,
    /// The same request has been carried out.
    Answered(StoredAnswer),
    /// The key was used for another request.
    Other,
}

/// The answer of a request that was carried out, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to the body, in order.
    pub headers: Vec<(String, String)>,
    /// The body, sealed or not; `None` when it was not kept.
    pub body: Option<String>,
}

impl fmt::Debug for StoredAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAnswer")
            .field("status", &self.status)
            .field("kept", &self.body.is_some())
            .finish_non_exhaustive()
    }
}

/// Remembers which requests were carried out under which idempotency key.
///
/// A key is held by at most one holder at a time: of concurrent claims of one unused key exactly one is granted.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait IdempotencyRepository: Send + Sync {
    /// Takes the key if it is unused, expired at `claim.at`, or held for the same request by somebody whose lease has
    /// ended by then; else says what became of it. A key once used for one request is [`Claimed::Other`] for every other
    /// one until it expires, even when its holder has gone.
    async fn claim(&self, claim: &IdempotencyClaim) -> Result<Claimed, StoreError>;

    /// Moves the end of the holder's lease. `false` when the holder does not hold the key any more, or has answered.
    async fn renew(&self, digest: &str, holder: &str, lease_until: Timestamp) -> Result<bool, StoreError>;

    /// Records the answer of the holder's request. `false`, and nothing changed, when the holder does not hold the key any
    /// more.
    async fn finish(&self, digest: &str, holder: &str, answer: &StoredAnswer) -> Result<bool, StoreError>;

    /// Makes the key unused again, because the request was not carried out. `false`, and nothing changed, when the holder
    /// does not hold the key any more.
    async fn release(&self, digest: &str, holder: &str) -> Result<bool, StoreError>;

    /// Drops keys that have expired at `now`, at most `limit`, and says how many that were.
    async fn purge(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
