use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, Deployment, DeploymentRegistration, Timestamp};

/// What became of a pod registering for a deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum DeploymentUpsert {
    /// The deployment is now `Ready` with the pod's URL.
    Stored(Deployment),
    /// The id belongs to another agent's deployment; nothing was changed.
    OtherAgent,
    /// The deployment has been removed; nothing was changed.
    Expired,
}

/// Keeps deployments. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait DeploymentRepository: Send + Sync {
    /// Records a pod's registration: an existing deployment of this agent gets the URL and `Ready`, and when it is the
    /// production one the agent's own URL follows in the same transaction; a missing one is created `Ready`, not
    /// production, with the given image and metadata. Repeating it changes nothing more.
    async fn register(
        &self,
        agent_id: &AgentId,
        registration: &DeploymentRegistration,
        at: Timestamp,
    ) -> Result<DeploymentUpsert, StoreError>;
}
