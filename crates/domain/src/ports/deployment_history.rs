use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, DeploymentHistoryEntry, DeploymentHistoryId, Direction, PageRequest};

/// What deployment history can be sorted by; ties are broken by `deployment_timestamp`, then id, in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeploymentHistoryOrder {
    /// When it was deployed.
    #[default]
    DeploymentTimestamp,
    /// When it was built.
    BuildTimestamp,
    /// Id.
    Id,
    /// Author's name.
    AuthorName,
    /// Author's address.
    AuthorEmail,
    /// Branch.
    BranchName,
    /// Commit.
    CommitHash,
}

/// Reads which commits of agents were deployed. The entries are written with the agents' rows: by
/// [`AgentRepository::insert`](crate::ports::AgentRepository::insert) and the repeated registrations there.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait DeploymentHistoryRepository: Send + Sync {
    /// The entry with this id, unless its agent is deleted.
    async fn find(&self, id: &DeploymentHistoryId) -> Result<Option<DeploymentHistoryEntry>, StoreError>;

    /// One page of the entries of an agent.
    async fn list(
        &self,
        agent_id: &AgentId,
        order: DeploymentHistoryOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<DeploymentHistoryEntry>, StoreError>;
}
