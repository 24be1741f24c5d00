use agentex_authz::{Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::Stores;
use agentex_domain::{AgentId, Event, EventId, TaskId};

use crate::guard::{Guard, Need, Sought};
use crate::{Absent, Caller, Error};

/// Reading what agents were told about tasks. Events are made by calling agents. Whoever reads one must be allowed to read
/// both its task and its agent.
pub struct Events {
    stores: Stores,
    guard: Guard,
}

/// Which events to list.
#[derive(Debug, Clone, PartialEq)]
pub struct EventQuery {
    /// The task.
    pub task_id: TaskId,
    /// The agent they are for.
    pub agent_id: AgentId,
    /// Only those that follow this event; one that is absent or of another task counts as not given.
    pub after: Option<EventId>,
    /// At most so many; all when not given.
    pub limit: Option<u32>,
}

impl Events {
    pub(crate) fn new(stores: Stores, guard: Guard) -> Self {
        Self { stores, guard }
    }

    /// One event.
    #[tracing::instrument(name = "events.get", skip_all, fields(event.id = %id))]
    pub async fn get(&self, caller: &Caller, id: &EventId) -> Result<Event, Error> {
        let absent = || Absent::Id(id.as_str().to_owned());
        let found = self.stores.events.find(id).await?;
        let needed = |kind, found| Need::sought(Operation::Read, Sought { kind, found, typed: None, absent: absent() });
        let task = needed(ResourceKind::Task, found.as_ref().map(|event| event.task_id.as_str()));
        let agent = needed(ResourceKind::Agent, found.as_ref().map(|event| event.agent_id.as_str()));
        self.guard.require_all(caller, vec![task, agent]).await?;
        found.ok_or_else(|| Error::NotFound(absent()))
    }

    /// Events of a task for an agent in the order in which they were accepted. An unknown task or agent has none.
    #[tracing::instrument(name = "events.list", skip_all, fields(task.id = %query.task_id, agent.id = %query.agent_id))]
    pub async fn list(&self, caller: &Caller, query: EventQuery) -> Result<Vec<Event>, Error> {
        let EventQuery { task_id, agent_id, after, limit } = query;
        let needed = |resource: ResourceRef| {
            let absent = Absent::Id(resource.selector.clone());
            Need::on(Operation::Read, resource, absent)
        };
        let (task, agent) = (ResourceRef::task(task_id.as_str()), ResourceRef::agent(agent_id.as_str()));
        self.guard.require_all(caller, vec![needed(task), needed(agent)]).await?;
        Ok(self.stores.events.list(&task_id, &agent_id, after, limit).await?)
    }
}
