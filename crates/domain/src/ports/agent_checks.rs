use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, Timestamp};

/// An agent whose health is to be asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCheck {
    /// The agent.
    pub agent_id: AgentId,
    /// How often in a row it has failed.
    pub failures: u32,
    /// Whether it is known not to answer.
    pub unhealthy: bool,
}

/// Keeps how often agents have failed to answer. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait AgentCheckRepository: Send + Sync {
    /// Up to `limit` agents that are ready or unhealthy and have not been taken for a time that is not over at `now`, longest
    /// waiting first; agents never taken come before all others. They are taken until `until`. Of several callers at once
    /// each gets others.
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<AgentCheck>, StoreError>;

    /// Keeps how often the agent has failed in a row. An agent that was never taken is left alone.
    async fn record(&self, agent: &AgentId, failures: u32) -> Result<(), StoreError>;
}
