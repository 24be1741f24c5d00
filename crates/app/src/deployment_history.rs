use agentex_authz::{Operation, ResourceKind};
use agentex_domain::ports::{DeploymentHistoryOrder, Stores};
use agentex_domain::{DeploymentHistoryEntry, DeploymentHistoryId, Direction, PageRequest};

use crate::guard::{Guard, Sought};
use crate::{Absent, AgentSelector, Caller, Error};

/// Which commits of agents were deployed, as their registrations said. Entries have no permissions of their own; their
/// agent's count.
pub struct DeploymentHistory {
    stores: Stores,
    guard: Guard,
}

/// Which entries to list, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentHistoryQuery {
    /// The agent.
    pub agent: AgentSelector,
    /// What to sort by.
    pub order: DeploymentHistoryOrder,
    /// Which way.
    pub direction: Direction,
    /// Which page.
    pub page: PageRequest,
}

impl DeploymentHistory {
    pub(crate) const fn new(stores: Stores, guard: Guard) -> Self {
        Self { stores, guard }
    }

    /// One entry, if the caller may read its agent.
    #[tracing::instrument(name = "deployment_history.get", skip_all, fields(entry.id = %id))]
    pub async fn get(&self, caller: &Caller, id: &DeploymentHistoryId) -> Result<DeploymentHistoryEntry, Error> {
        let absent = || Absent::DeploymentHistory(id.as_str().to_owned());
        let found = self.stores.deployment_history.find(id).await?;
        let agent = found.as_ref().map(|entry| entry.agent_id.as_str());
        let sought = Sought { kind: ResourceKind::Agent, found: agent, typed: None, absent: absent() };
        self.guard.require_sought(caller, Operation::Read, sought).await?;
        found.ok_or_else(|| Error::NotFound(absent()))
    }

    /// One page of the entries of an agent that the caller may read.
    #[tracing::instrument(name = "deployment_history.list", skip_all, fields(agent = %query.agent))]
    pub async fn list(
        &self,
        caller: &Caller,
        query: DeploymentHistoryQuery,
    ) -> Result<Vec<DeploymentHistoryEntry>, Error> {
        let DeploymentHistoryQuery { agent, order, direction, page } = query;
        let found = match &agent {
            AgentSelector::Id(id) => self.stores.agents.find(id).await?,
            AgentSelector::Name(name) => self.stores.agents.find_by_name(name).await?,
        };
        let found = found.filter(|found| !found.is_deleted());
        self.guard.require_sought(caller, Operation::Read, Sought::agent(&agent, found.as_ref())).await?;
        let found = found.ok_or_else(|| Error::NotFound(agent.absent()))?;
        Ok(self.stores.deployment_history.list(&found.id, order, direction, page).await?)
    }
}
