use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{
    AgentId, Deployment, DeploymentId, DeploymentRegistration, Direction, NotPromotable, PageRequest, Timestamp,
};

/// What became of a pod registering for a deployment.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per call, taken apart at once")]
pub enum DeploymentUpsert {
    /// The deployment is now `Ready` with the pod's URL.
    Stored(Deployment),
    /// The id belongs to another agent's deployment; nothing was changed.
    OtherAgent,
    /// The deployment has been removed; nothing was changed.
    Expired,
}

/// What became of a promotion.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per call, taken apart at once")]
pub enum Promotion {
    /// The deployment is production now, and no other of the agent is.
    Promoted(Deployment),
    /// It cannot be yet; nothing was changed.
    Refused(NotPromotable),
    /// The agent, absent or deleted, has no such deployment, or it was removed; nothing was changed.
    Absent,
}

/// What became of removing a deployment.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per call, taken apart at once")]
pub enum Removal {
    /// It is removed.
    Removed(Deployment),
    /// Calls to the agent go there; nothing was changed.
    IsProduction,
    /// The agent has no such deployment, or it was removed before; nothing was changed.
    Absent,
}

/// What deployments can be sorted by; ties are broken by `created_at`, then id, in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeploymentOrder {
    /// When it was made.
    #[default]
    CreatedAt,
    /// Id.
    Id,
    /// Image.
    DockerImage,
    /// Status text.
    Status,
    /// Last promotion; deployments that never were production sort as oldest.
    PromotedAt,
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

    /// Stores a new deployment exactly as given. `false`, and nothing stored, when its agent is absent or deleted.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the id is taken.
    async fn insert(&self, deployment: &Deployment) -> Result<bool, StoreError>;

    /// The agent's deployment with this id, removed or not. That of another agent is none.
    async fn find(&self, agent_id: &AgentId, id: &DeploymentId) -> Result<Option<Deployment>, StoreError>;

    /// One page of the agent's deployments that are not removed.
    async fn list(
        &self,
        agent_id: &AgentId,
        order: DeploymentOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Deployment>, StoreError>;

    /// Makes a deployment the agent's production one, and applies [`Agent::promote`](crate::Agent::promote), all in one
    /// transaction under a lock on the agent's row: of promotions at the same time each happens, one after the other.
    /// Promoting the present one again moves `promoted_at`.
    async fn promote(&self, agent_id: &AgentId, id: &DeploymentId, at: Timestamp) -> Result<Promotion, StoreError>;

    /// Removes a deployment that is not production. The row stays, with `expires_at`.
    async fn remove(&self, agent_id: &AgentId, id: &DeploymentId, at: Timestamp) -> Result<Removal, StoreError>;
}
