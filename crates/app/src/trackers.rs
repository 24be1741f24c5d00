use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind};
use agentex_domain::ports::{Clock, Stores, TaskItemFilter, TrackerChange, TrackerOrder, TrackerUpdate};
use agentex_domain::{AgentId, Direction, PageRequest, TaskId, Tracker, TrackerId};

use crate::guard::{Guard, Sought, Visible};
use crate::{Absent, Caller, Error};

/// How far agents have processed the events of tasks. Trackers have no permissions of their own; their task's count.
pub struct Trackers {
    stores: Stores,
    guard: Guard,
    clock: Arc<dyn Clock>,
}

/// Which trackers to list, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrackerQuery {
    /// Only of this task. One the caller may not read has none.
    pub task_id: Option<TaskId>,
    /// Only of this agent.
    pub agent_id: Option<AgentId>,
    /// What to sort by.
    pub order: TrackerOrder,
    /// Which way.
    pub direction: Direction,
    /// Which page.
    pub page: PageRequest,
}

impl Trackers {
    pub(crate) fn new(stores: Stores, guard: Guard, clock: Arc<dyn Clock>) -> Self {
        Self { stores, guard, clock }
    }

    /// One tracker, if the caller may read its task.
    #[tracing::instrument(name = "trackers.get", skip_all, fields(tracker.id = %id))]
    pub async fn get(&self, caller: &Caller, id: &TrackerId) -> Result<Tracker, Error> {
        self.authorized(caller, Operation::Read, id).await
    }

    /// One page of the trackers of tasks the caller may read.
    #[tracing::instrument(name = "trackers.list", skip_all)]
    pub async fn list(&self, caller: &Caller, query: TrackerQuery) -> Result<Vec<Tracker>, Error> {
        let TrackerQuery { task_id, agent_id, order, direction, page } = query;
        let Visible { scope, linked_to } = self.guard.visible(caller, ResourceKind::Task).await?;
        let filter = TaskItemFilter { scope, linked_to, task_id, agent_id };
        Ok(self.stores.trackers.list(&filter, order, direction, page).await?)
    }

    /// Notes progress. It takes `execute` on the task: progress is the agent's to report. Status and reason are replaced even
    /// by nothing; the cursor stays where none is given, and never moves backwards.
    #[tracing::instrument(name = "trackers.update", skip_all, fields(tracker.id = %id))]
    pub async fn update(&self, caller: &Caller, id: &TrackerId, change: &TrackerChange) -> Result<Tracker, Error> {
        self.authorized(caller, Operation::Execute, id).await?;
        match self.stores.trackers.update(id, change, self.clock.now()).await? {
            TrackerUpdate::Done(tracker) => Ok(tracker),
            TrackerUpdate::UnknownEvent => {
                let event = change.last_processed_event_id.as_ref().map_or("", |event| event.as_str());
                Err(Error::Invalid(format!("Event with ID {event} not found")))
            }
            TrackerUpdate::Backwards { from, to } => Err(Error::Invalid(format!(
                "Cannot move cursor backwards: new sequence ID {to} < current sequence ID {from}"
            ))),
            TrackerUpdate::Absent => Err(Error::NotFound(absent(id))),
        }
    }

    async fn authorized(&self, caller: &Caller, operation: Operation, id: &TrackerId) -> Result<Tracker, Error> {
        let found = self.stores.trackers.find(id).await?;
        let task = found.as_ref().map(|tracker| tracker.task_id.as_str());
        let sought = Sought { kind: ResourceKind::Task, found: task, typed: None, absent: absent(id) };
        self.guard.require_sought(caller, operation, sought).await?;
        found.ok_or_else(|| Error::NotFound(absent(id)))
    }
}

fn absent(id: &TrackerId) -> Absent {
    Absent::Id(id.as_str().to_owned())
}
