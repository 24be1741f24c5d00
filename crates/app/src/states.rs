use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, ResourceRef, Scope};
use agentex_domain::ports::{Clock, StateOrder, Stores, TaskItemFilter};
use agentex_domain::{AgentId, Direction, JsonObject, PageRequest, StateId, TaskId, TaskState, TaskStatus, Timestamp};

use crate::guard::{Guard, Sought, Visible};
use crate::{Absent, Caller, Error, LinkRule};

const OUTDATED: &str = "The state has been changed since; read it again";

/// What agents remember about tasks. States have no permissions of their own; their task's count.
pub struct States {
    stores: Stores,
    guard: Guard,
    clock: Arc<dyn Clock>,
    link: LinkRule,
}

/// A state to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTaskState {
    /// The task it belongs to.
    pub task_id: TaskId,
    /// The agent it belongs to, which must be one of the task's.
    pub agent_id: AgentId,
    /// What to remember.
    pub state: JsonObject,
}

/// Which states to list, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateQuery {
    /// Only states of this task, which must be readable then.
    pub task_id: Option<TaskId>,
    /// Only states of this agent.
    pub agent_id: Option<AgentId>,
    /// What to sort by.
    pub order: StateOrder,
    /// Which way.
    pub direction: Direction,
    /// Which page.
    pub page: PageRequest,
}

impl States {
    pub(crate) fn new(stores: Stores, guard: Guard, clock: Arc<dyn Clock>, link: LinkRule) -> Self {
        Self { stores, guard, clock, link }
    }

    /// Stores one more state; an agent may have several for one task.
    #[tracing::instrument(name = "states.create", skip_all, fields(task.id = %new.task_id))]
    pub async fn create(&self, caller: &Caller, new: NewTaskState) -> Result<TaskState, Error> {
        let NewTaskState { task_id, agent_id, state } = new;
        self.require(caller, Operation::Update, &task_id).await?;
        self.check_link(&task_id, &agent_id).await?;
        let state = TaskState::new(task_id, agent_id, state, self.clock.now());
        if self.stores.states.insert(&state).await? {
            Ok(state)
        } else {
            Err(Error::NotFound(Absent::Id(state.task_id.into_string())))
        }
    }

    /// One state, if the caller may read its task.
    #[tracing::instrument(name = "states.get", skip_all, fields(state.id = %id))]
    pub async fn get(&self, caller: &Caller, id: &StateId) -> Result<TaskState, Error> {
        self.authorized(caller, Operation::Read, id).await
    }

    /// Replaces what is remembered as a whole; with `versions`, only while it was changed last at one of these moments.
    ///
    /// # Errors
    /// [`Error::Outdated`] when it was changed since.
    #[tracing::instrument(name = "states.update", skip_all, fields(state.id = %id))]
    pub async fn update(
        &self,
        caller: &Caller,
        id: &StateId,
        state: &JsonObject,
        versions: Option<&[Timestamp]>,
    ) -> Result<TaskState, Error> {
        let found = self.authorized(caller, Operation::Update, id).await?;
        let changed_at = versions.map(|_| found.updated_at);
        if versions.is_some_and(|versions| !versions.contains(&found.updated_at)) {
            return Err(Error::Outdated(OUTDATED));
        }
        match self.stores.states.replace(id, state, changed_at, self.clock.now()).await? {
            Some(replaced) => Ok(replaced),
            None if changed_at.is_some() && self.stores.states.find(id).await?.is_some() => {
                Err(Error::Outdated(OUTDATED))
            }
            None => Err(Error::NotFound(absent(id))),
        }
    }

    /// Removes a state and answers what it was. It takes `delete` on the task.
    #[tracing::instrument(name = "states.delete", skip_all, fields(state.id = %id))]
    pub async fn delete(&self, caller: &Caller, id: &StateId) -> Result<TaskState, Error> {
        self.authorized(caller, Operation::Delete, id).await?;
        self.stores.states.delete(id).await?.ok_or_else(|| Error::NotFound(absent(id)))
    }

    /// One page of the states of one readable task, or of all tasks the caller may read.
    #[tracing::instrument(name = "states.list", skip_all)]
    pub async fn list(&self, caller: &Caller, query: StateQuery) -> Result<Vec<TaskState>, Error> {
        let StateQuery { task_id, agent_id, order, direction, page } = query;
        let Visible { scope, linked_to } = match &task_id {
            Some(task_id) => {
                self.require(caller, Operation::Read, task_id).await?;
                Visible { scope: Scope::All, linked_to: None }
            }
            None => self.guard.visible(caller, ResourceKind::Task).await?,
        };
        let filter = TaskItemFilter { scope, linked_to, task_id, agent_id };
        Ok(self.stores.states.list(&filter, order, direction, page).await?)
    }

    async fn require(&self, caller: &Caller, operation: Operation, task_id: &TaskId) -> Result<(), Error> {
        let absent = Absent::Id(task_id.as_str().to_owned());
        self.guard.require(caller, operation, ResourceRef::task(task_id.as_str()), absent).await
    }

    async fn authorized(&self, caller: &Caller, operation: Operation, id: &StateId) -> Result<TaskState, Error> {
        let found = self.stores.states.find(id).await?;
        let task = found.as_ref().map(|state| state.task_id.as_str());
        let sought = Sought { kind: ResourceKind::Task, found: task, typed: None, absent: absent(id) };
        self.guard.require_sought(caller, operation, sought).await?;
        found.ok_or_else(|| Error::NotFound(absent(id)))
    }

    /// Of a task only its own agents can be told to remember something.
    async fn check_link(&self, task_id: &TaskId, agent_id: &AgentId) -> Result<(), Error> {
        if self.stores.tasks.is_linked(task_id, agent_id).await? {
            return Ok(());
        }
        match self.link {
            LinkRule::Enforce => {
                let task = self.stores.tasks.find(task_id).await?.filter(|task| task.status != TaskStatus::Deleted);
                let missing = if task.is_some() { agent_id.as_str() } else { task_id.as_str() };
                Err(Error::NotFound(Absent::Id(missing.to_owned())))
            }
            LinkRule::Warn => {
                tracing::warn!(task.id = %task_id, "a state for an agent that is not linked to the task");
                Ok(())
            }
        }
    }
}

fn absent(id: &StateId) -> Absent {
    Absent::Id(id.as_str().to_owned())
}
