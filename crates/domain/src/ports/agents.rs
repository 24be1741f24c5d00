use agentex_authz::Scope;
use async_trait::async_trait;

use crate::ports::{Departure, Settlement, StoreError};
use crate::{Agent, AgentId, ApiKey, Direction, Intent, JsonObject, PageRequest, Registration, TaskId, Timestamp};

/// Which agents to list. Deleted ones never are.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentFilter {
    /// What the caller may see.
    pub scope: Scope,
    /// Only agents joined to this task.
    pub task_id: Option<TaskId>,
    /// Only agents whose `registration_metadata.agent_card.metadata` is an object that contains this one (JSON
    /// containment: every member given must be there, nested objects likewise, arrays as subsets).
    pub card_metadata: Option<JsonObject>,
}

/// What agents can be sorted by; ties are broken by `updated_at`, `created_at`, then id, in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AgentOrder {
    /// Last change.
    #[default]
    UpdatedAt,
    /// First registration.
    CreatedAt,
    /// Id.
    Id,
    /// Name.
    Name,
    /// Status text.
    Status,
    /// Last registration that changed something; agents that never registered sort as oldest.
    RegisteredAt,
}

/// What a repeated registration did.
#[derive(Debug, Clone, PartialEq)]
pub struct Reregistered {
    /// The agent as it is now.
    pub agent: Agent,
    /// Whether the row was written.
    pub changed: bool,
    /// Whether it was soft-deleted before, so that it needs an owner again.
    pub revived: bool,
}

/// All that is needed to call an agent, read at once.
#[derive(Debug, Clone, PartialEq)]
pub struct DialTarget {
    /// The agent, whatever its status.
    pub agent: Agent,
    /// URL of its production deployment; absent when there is none or it is empty.
    pub production_url: Option<String>,
    /// Its newest internal key.
    pub internal_key: Option<ApiKey>,
}

impl DialTarget {
    /// The URL to call: production before the agent's own; empty counts as none.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.production_url.as_deref().or(self.agent.acp_url.as_deref()).filter(|url| !url.is_empty())
    }
}

/// Keeps agents. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait AgentRepository: Send + Sync {
    /// Stores a new agent exactly as given, settling the intent it is registered under, and with it its first
    /// [`DeploymentHistoryEntry`](crate::DeploymentHistoryEntry) if there is one to make.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the name (or id) is taken, by a deleted agent too; the intent stays as it was.
    async fn insert(&self, agent: &Agent, settles: Option<Settlement>) -> Result<(), StoreError>;

    /// The agent with this id, deleted or not.
    async fn find(&self, id: &AgentId) -> Result<Option<Agent>, StoreError>;

    /// The agent with this name, deleted or not.
    async fn find_by_name(&self, name: &str) -> Result<Option<Agent>, StoreError>;

    /// The agent with this id and what is needed to call it, in one round trip.
    async fn dial_target(&self, id: &AgentId) -> Result<Option<DialTarget>, StoreError>;

    /// The same by name.
    async fn dial_target_by_name(&self, name: &str) -> Result<Option<DialTarget>, StoreError>;

    /// Applies [`Agent::register_again`] under a lock on the row and, when it changed something, writes the row and takes
    /// `is_production` off the agent's production deployment, all in one transaction. `None` when there is no such row.
    /// In the same transaction a changed row adds its [`DeploymentHistoryEntry`](crate::DeploymentHistoryEntry), if there is
    /// one to make and the newest is of another commit.
    ///
    /// The intent is settled when, and only when, the row was soft-deleted before.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when it renames onto a taken name; nothing is changed then.
    async fn register_again(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
        settles: Option<Settlement>,
    ) -> Result<Option<Reregistered>, StoreError>;

    /// The same for a row that is not soft-deleted, whose owner it keeps. `None` when there is no such row, also when it is
    /// being deleted at the same time and the delete comes first: bringing it back takes an intent of its own.
    ///
    /// # Errors
    /// As [`Self::register_again`].
    async fn register_live(
        &self,
        id: &AgentId,
        registration: &Registration,
        always_stamp: bool,
        at: Timestamp,
    ) -> Result<Option<Reregistered>, StoreError>;

    /// Applies [`Agent::revive_as_build`] to a soft-deleted row and settles the intent. `None`, nothing settled, when there is no soft-deleted row with this id.
    async fn revive_as_build(
        &self,
        id: &AgentId,
        description: String,
        metadata: Option<JsonObject>,
        at: Timestamp,
        settles: Option<Settlement>,
    ) -> Result<Option<Agent>, StoreError>;

    /// Records that an agent answers its health checks again, or does not any more: one that is `Ready` becomes `Unhealthy`
    /// and the other way round, with `reason`; any other status stays. Answers whether the row was changed.
    async fn set_health(&self, id: &AgentId, healthy: bool, reason: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Soft-deletes the agent and drops its API keys and registration tokens in one transaction. With a departure, answers
    /// the intents it stored: the keys' first, the agent's last. `None` when the agent is absent or already deleted.
    async fn delete(
        &self,
        id: &AgentId,
        reason: &str,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError>;

    /// One page of agents that are not deleted. An empty scope is answered without a query.
    async fn list(
        &self,
        filter: &AgentFilter,
        order: AgentOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Agent>, StoreError>;
}
