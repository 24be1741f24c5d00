use std::fmt;

use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, Timestamp};

/// Permission to register one agent, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrationToken {
    /// Keyed hash of the token; the token itself is not kept.
    pub digest: String,
    /// The agent it is good for.
    pub agent_id: AgentId,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is good for nothing.
    pub expires_at: Timestamp,
}

impl fmt::Debug for RegistrationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationToken")
            .field("agent_id", &self.agent_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Keeps registration tokens. They go with their agent: deleting it drops them in the same transaction.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RegistrationTokenRepository: Send + Sync {
    /// Stores a token and drops the agent's expired ones.
    ///
    /// # Errors
    /// [`StoreError::Dangling`] when the agent does not exist or is deleted.
    async fn insert(&self, token: &RegistrationToken) -> Result<(), StoreError>;

    /// The agent (not a deleted one) that the token with this digest is good for at `now`.
    async fn find_agent(&self, digest: &str, now: Timestamp) -> Result<Option<AgentId>, StoreError>;
}
