use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::{AgentFilter, AgentOrder, Clock, Stores};
use agentex_domain::{Agent, AgentId, Direction, JsonObject, PageRequest, TaskId};

use crate::guard::{Guard, Sought};
use crate::lifecycle::Lifecycle;
use crate::{AgentSelector, Caller, Error, Schedules};

/// Reading and deleting agents.
#[derive(Clone)]
pub struct Agents {
    stores: Stores,
    guard: Guard,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    /// Whose go when their agent goes.
    schedules: Option<Schedules>,
}

/// Which agents to list, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentQuery {
    /// Only agents that work on this task.
    pub task_id: Option<TaskId>,
    /// Only agents whose card metadata contains this object.
    pub card_metadata: Option<JsonObject>,
    /// What to sort by.
    pub order: AgentOrder,
    /// Which way.
    pub direction: Direction,
    /// Which page.
    pub page: PageRequest,
}

impl Agents {
    pub(crate) fn new(stores: Stores, guard: Guard, lifecycle: Lifecycle, clock: Arc<dyn Clock>) -> Self {
        Self { stores, guard, lifecycle, clock, schedules: None }
    }

    /// The same where agents have schedules.
    pub(crate) fn with_schedules(self, schedules: Schedules) -> Self {
        Self { schedules: Some(schedules), ..self }
    }

    /// The agent, if the caller may read it.
    #[tracing::instrument(name = "agents.get", skip_all, fields(agent = %agent))]
    pub async fn get(&self, caller: &Caller, agent: &AgentSelector) -> Result<Agent, Error> {
        self.authorized(caller, Operation::Read, agent).await
    }

    /// One page of the agents the caller may read, deleted ones excluded. A task the caller may not read has no agents.
    #[tracing::instrument(name = "agents.list", skip_all)]
    pub async fn list(&self, caller: &Caller, query: AgentQuery) -> Result<Vec<Agent>, Error> {
        if let Some(task_id) = &query.task_id
            && !self.guard.may_read(caller, &ResourceRef::task(task_id.as_str())).await?
        {
            return Ok(Vec::new());
        }
        let scope = self.guard.visible(caller, ResourceKind::Agent).await?.scope;
        if scope.is_empty() {
            return Ok(Vec::new());
        }
        let AgentQuery { task_id, card_metadata, order, direction, page } = query;
        let filter = AgentFilter { scope, task_id, card_metadata };
        Ok(self.stores.agents.list(&filter, order, direction, page).await?)
    }

    /// Soft-deletes the agent, drops its keys and schedules and answers its id. The name stays taken.
    #[tracing::instrument(name = "agents.delete", skip_all, fields(agent = %agent))]
    pub async fn delete(&self, caller: &Caller, agent: &AgentSelector) -> Result<AgentId, Error> {
        let id = self.authorized(caller, Operation::Delete, agent).await?.id;
        let departure = self.lifecycle.departure(caller);
        let intents = self.stores.agents.delete(&id, Agent::REASON_DELETED, self.clock.now(), departure).await?;
        self.lifecycle.departed(caller, intents.ok_or_else(|| Error::NotFound(agent.absent()))?).await;
        if let Some(schedules) = &self.schedules {
            schedules.forget_agent(caller, &id).await;
        }
        Ok(id)
    }

    async fn authorized(&self, caller: &Caller, operation: Operation, agent: &AgentSelector) -> Result<Agent, Error> {
        let found = match agent {
            AgentSelector::Id(id) => self.stores.agents.find(id).await?,
            AgentSelector::Name(name) => self.stores.agents.find_by_name(name).await?,
        };
        let found = found.filter(|found| !found.is_deleted());
        self.guard.require_sought(caller, operation, Sought::agent(agent, found.as_ref())).await?;
        found.ok_or_else(|| Error::NotFound(agent.absent()))
    }
}
