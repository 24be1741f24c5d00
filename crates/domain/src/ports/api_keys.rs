use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, ApiKey};

/// Whose internal key was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The agent.
    pub agent_id: AgentId,
}

/// Keeps agents' API keys. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait ApiKeyRepository: Send + Sync {
    /// The agent's newest internal key; when it has none, `candidate` is stored and returned. Of several concurrent calls
    /// for one agent exactly one stores its candidate and all return it.
    async fn internal_key_or_insert(&self, candidate: &ApiKey) -> Result<ApiKey, StoreError>;

    /// The live agent whose internal key has this digest; rows without a digest (of other writers) are compared with
    /// `clear`. Keys of other kinds and of deleted agents match nothing.
    async fn find_internal_owner(&self, digest: &str, clear: &str) -> Result<Option<KeyOwner>, StoreError>;
}
