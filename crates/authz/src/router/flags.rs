use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// How far an account is on its way to Spark. Both off is where every account begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutFlags {
    /// Lifecycle writes (register, deregister) reach Spark.
    pub dual_write: bool,
    /// Decisions and lists come from Spark.
    pub read: bool,
}

impl RolloutFlags {
    /// Whether the flags make sense: reading where nothing is written would answer from ever older relationships.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.dual_write || !self.read
    }
}

/// Why flags could not be read or set.
#[derive(Debug, thiserror::Error)]
pub enum RolloutStoreError {
    /// The store could not be reached or did not answer in time.
    #[error("rollout store unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refused the statement, or what it holds cannot be read.
    #[error("rollout store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The flags make no sense ([`RolloutFlags::is_valid`]), or the account is not a non-empty text without U+0000;
    /// nothing was changed.
    #[error("reading needs dual-write, and an account needs a name")]
    Invalid,
}

/// Keeps the flags of accounts.
///
/// An answered [`RolloutStore::set`] is seen by every later call, whichever process makes it.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RolloutStore: Send + Sync {
    /// The flags of `account`; `None` when they were never set, which means both off. What a foreign writer stored is
    /// answered as it is, valid or not: the router refuses to write then.
    async fn flags(&self, account: &str) -> Result<Option<RolloutFlags>, RolloutStoreError>;

    /// Replaces both flags of `account`. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`RolloutStoreError::Invalid`] before anything is asked of the store.
    async fn set(&self, account: &str, flags: RolloutFlags) -> Result<(), RolloutStoreError>;

    /// Every account whose flags were ever set, by account in ascending byte order.
    async fn list(&self) -> Result<Vec<(String, RolloutFlags)>, RolloutStoreError>;
}
