use agentex_authz::Scope;
use async_trait::async_trait;

use crate::ports::{Departure, Settlement, StoreError};
use crate::{AgentId, ApiKey, ApiKeyId, ApiKeyKind, Intent, PageRequest, Timestamp};

/// Whose internal key was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The agent.
    pub agent_id: AgentId,
}

/// Which keys to list.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeyFilter {
    /// What the caller may see.
    pub scope: Scope,
    /// Only keys of this agent.
    pub agent_id: AgentId,
    /// Only keys of this kind.
    pub kind: Option<ApiKeyKind>,
}

/// An agent's internal key.
#[derive(Debug, Clone, PartialEq)]
pub struct InternalKey {
    /// The key.
    pub key: ApiKey,
    /// Whether it is the candidate, stored just now.
    pub stored: bool,
}

/// Keeps agents' API keys. Name and kind are unique within an agent, digests within the store. Every method is atomic by
/// itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait ApiKeyRepository: Send + Sync {
    /// The agent's newest internal key.
    async fn internal_key(&self, agent_id: &AgentId) -> Result<Option<ApiKey>, StoreError>;

    /// The agent's newest internal key; when it has none, `candidate` is stored and returned. Of several concurrent calls
    /// for one agent exactly one stores its candidate and all return it. A name that is taken gets a suffix. The intent is
    /// settled when the candidate is stored, and only then.
    ///
    /// # Errors
    /// [`StoreError::Dangling`] when there is no key and the agent does not exist or is deleted.
    async fn internal_key_or_insert(
        &self,
        candidate: &ApiKey,
        settles: Option<Settlement>,
    ) -> Result<InternalKey, StoreError>;

    /// Stores a new key exactly as given, settling the intent it is registered under.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] of `api key` when the agent has a key of that name and kind, of `api key value` when the
    /// digest is known; [`StoreError::Dangling`] when the agent does not exist or is deleted. The intent stays as it was.
    async fn insert(&self, key: &ApiKey, settles: Option<Settlement>) -> Result<(), StoreError>;

    /// The key with this row id, also of a deleted agent.
    async fn find(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError>;

    /// The agent's key of this name and kind.
    async fn find_by_name(
        &self,
        agent_id: &AgentId,
        name: &str,
        kind: ApiKeyKind,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// One page of keys, oldest first, ties by id. An empty scope is answered without a query.
    async fn list(&self, filter: &ApiKeyFilter, page: PageRequest) -> Result<Vec<ApiKey>, StoreError>;

    /// Removes the key and answers the intent its departure stored. `None` when there is no such key.
    async fn delete(
        &self,
        id: &ApiKeyId,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError>;

    /// The live agent whose internal key has this digest; rows without a digest (of other writers) are compared with
    /// `clear`. Keys of other kinds and of deleted agents match nothing.
    async fn find_internal_owner(&self, digest: &str, clear: &str) -> Result<Option<KeyOwner>, StoreError>;

    /// Whether this live agent has an external key with this digest; rows without one are compared with `clear`.
    async fn has_external(&self, agent_id: &AgentId, digest: &str, clear: &str) -> Result<bool, StoreError>;
}
