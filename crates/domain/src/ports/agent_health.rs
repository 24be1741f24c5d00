use async_trait::async_trait;

use crate::AgentId;

/// Asks agents how they are.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait AgentHealthProbe: Send + Sync {
    /// Whether the agent at `url` says within a few seconds that it is healthy, and does not say that it is another one.
    /// Whatever else happens, a broken connection included, is a no.
    async fn is_healthy(&self, agent: &AgentId, url: &str) -> bool;
}
