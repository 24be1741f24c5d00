use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, ResourceRef, Scope};
use agentex_domain::ports::{Clock, Stores, TaskChange, TaskFilter, TaskOrder, Transitioned};
use agentex_domain::{Agent, AgentId, Direction, JsonObject, PageRequest, Task, TaskId, TaskStatus, Transition};

use crate::feed::TaskFeed;
use crate::guard::Guard;
use crate::lifecycle::Lifecycle;
use crate::{Caller, Error, TaskSelector};

/// Longest status reason kept, in bytes.
const MAX_REASON_BYTES: usize = 1024;

/// Reading and changing tasks. Tasks are made by calling agents.
#[derive(Clone)]
pub struct Tasks {
    stores: Stores,
    guard: Guard,
    lifecycle: Lifecycle,
    feed: TaskFeed,
    clock: Arc<dyn Clock>,
}

/// Which tasks to list, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskQuery {
    /// Only tasks of the agent with this id.
    pub agent_id: Option<AgentId>,
    /// Only tasks of the agent with this name.
    pub agent_name: Option<String>,
    /// Only tasks in this status.
    pub status: Option<TaskStatus>,
    /// Only tasks whose metadata contains this object.
    pub task_metadata: Option<JsonObject>,
    /// What to sort by.
    pub order: TaskOrder,
    /// Which way.
    pub direction: Direction,
    /// Which page.
    pub page: PageRequest,
    /// Whether to answer the tasks' agents too.
    pub with_agents: bool,
}

/// A task and, when they were asked for, its agents.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskWithAgents {
    /// The task.
    pub task: Task,
    /// Its agents, deleted ones included; `None` when not asked for.
    pub agents: Option<Vec<Agent>>,
}

impl Tasks {
    pub(crate) fn new(
        stores: Stores,
        guard: Guard,
        lifecycle: Lifecycle,
        feed: TaskFeed,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { stores, guard, lifecycle, feed, clock }
    }

    /// The task, if the caller may read it.
    #[tracing::instrument(name = "tasks.get", skip_all, fields(task = %task))]
    pub async fn get(&self, caller: &Caller, task: &TaskSelector, with_agents: bool) -> Result<TaskWithAgents, Error> {
        let found = self.authorized(caller, Operation::Read, task).await?;
        let mut answer = self.with_agents(caller, vec![found], with_agents).await?;
        answer.pop().ok_or_else(|| Error::NotFound(task.absent()))
    }

    /// One page of the tasks the caller may read, deleted ones excluded.
    #[tracing::instrument(name = "tasks.list", skip_all)]
    pub async fn list(&self, caller: &Caller, query: TaskQuery) -> Result<Vec<TaskWithAgents>, Error> {
        if query.status == Some(TaskStatus::Deleted) {
            let text = "Cannot filter by DELETED status; deleted tasks are not returned by list_tasks.";
            return Err(Error::Invalid(text.to_owned()));
        }
        let scope = self.guard.readable(caller, ResourceKind::Task).await?;
        if scope.is_empty() {
            return Ok(Vec::new());
        }
        let TaskQuery { agent_id, agent_name, status, task_metadata, order, direction, page, with_agents } = query;
        let filter = TaskFilter { scope, agent_id, agent_name, status, task_metadata };
        let tasks = self.stores.tasks.list(&filter, order, direction, page).await?;
        self.with_agents(caller, tasks, with_agents).await
    }

    /// Replaces the metadata and merges into the parameters, each when given. Allowed in every status but deleted. Nothing
    /// given, or an empty merge alone, changes nothing and tells nobody.
    #[tracing::instrument(name = "tasks.update", skip_all, fields(task = %task))]
    pub async fn update(
        &self,
        caller: &Caller,
        task: &TaskSelector,
        task_metadata: Option<JsonObject>,
        merge_params: Option<JsonObject>,
    ) -> Result<Task, Error> {
        let found = self.authorized(caller, Operation::Update, task).await?;
        let merge_params = merge_params.filter(|params| !params.is_empty());
        if task_metadata.is_none() && merge_params.is_none() {
            return Ok(found);
        }
        let change = TaskChange { task_metadata, merge_params, replace_params: None };
        let changed = self.stores.tasks.update(&found.id, &change, self.clock.now()).await?;
        let changed = changed.ok_or_else(|| Error::NotFound(task.absent()))?;
        self.feed.task_updated(&changed).await;
        Ok(changed)
    }

    /// Soft-deletes the task and answers its id. Its messages stay; its name becomes free.
    #[tracing::instrument(name = "tasks.delete", skip_all, fields(task = %task))]
    pub async fn delete(&self, caller: &Caller, task: &TaskSelector) -> Result<TaskId, Error> {
        let id = self.authorized(caller, Operation::Delete, task).await?.id;
        let reason = Transition::Delete.default_reason();
        match self.stores.tasks.transition(&id, Transition::Delete, reason, self.clock.now()).await? {
            Transitioned::Done(deleted) => {
                self.feed.task_updated(&deleted).await;
                self.lifecycle.removed(&caller.principal(), &ResourceRef::task(id.as_str())).await;
                Ok(id)
            }
            Transitioned::Refused(_) | Transitioned::Absent => Err(Error::NotFound(task.absent())),
        }
    }

    /// Moves the task to another status. An empty reason counts as none.
    #[tracing::instrument(name = "tasks.transition", skip_all, fields(task.id = %id, ?transition))]
    pub async fn transition(
        &self,
        caller: &Caller,
        id: &TaskId,
        transition: Transition,
        reason: Option<String>,
    ) -> Result<Task, Error> {
        let selector = TaskSelector::Id(id.clone());
        let operation = if transition == Transition::Cancel { Operation::Cancel } else { Operation::Update };
        self.authorized(caller, operation, &selector).await?;
        let reason = reason.filter(|reason| !reason.is_empty());
        let reason = bounded_reason(reason.as_deref().unwrap_or(transition.default_reason()));
        match self.stores.tasks.transition(id, transition, reason, self.clock.now()).await? {
            Transitioned::Done(task) => {
                self.feed.task_updated(&task).await;
                Ok(task)
            }
            Transitioned::Refused(task) if task.status == TaskStatus::Deleted => {
                Err(Error::NotFound(selector.absent()))
            }
            Transitioned::Refused(task) if transition == Transition::Interrupt => Err(Error::Invalid(format!(
                "Task {id} is not running (current status: {}). Only running tasks can be interrupted.",
                task.status
            ))),
            Transitioned::Refused(task) => Err(Error::Invalid(format!(
                "Task {id} cannot be transitioned (current status: {}). Only running or interrupted tasks can have \
                 their status updated.",
                task.status
            ))),
            Transitioned::Absent => Err(Error::NotFound(selector.absent())),
        }
    }

    /// Asks the workflow behind the task. No workflow engine is part of this build yet, so every query is refused once the
    /// task is known to be readable.
    #[tracing::instrument(name = "tasks.query_workflow", skip_all, fields(task.id = %id))]
    pub async fn query_workflow(&self, caller: &Caller, id: &TaskId, _query: &str) -> Result<serde_json::Value, Error> {
        self.authorized(caller, Operation::Read, &TaskSelector::Id(id.clone())).await?;
        Err(Error::Unavailable("Temporal client is not connected"))
    }

    async fn authorized(&self, caller: &Caller, operation: Operation, task: &TaskSelector) -> Result<Task, Error> {
        let found = match task {
            TaskSelector::Id(id) => self.stores.tasks.find(id).await?,
            TaskSelector::Name(name) => self.stores.tasks.find_by_name(name).await?,
        };
        let found =
            found.filter(|found| found.status != TaskStatus::Deleted).ok_or_else(|| Error::NotFound(task.absent()))?;
        self.guard.require(caller, operation, ResourceRef::task(found.id.as_str()), task.absent()).await?;
        Ok(found)
    }

    async fn with_agents(&self, caller: &Caller, tasks: Vec<Task>, wanted: bool) -> Result<Vec<TaskWithAgents>, Error> {
        if !wanted || tasks.is_empty() {
            return Ok(tasks.into_iter().map(|task| TaskWithAgents { task, agents: None }).collect());
        }
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        let linked = self.stores.tasks.agents_of(&ids).await?;
        // A task may be readable where its agent is not.
        let scope = self.guard.readable(caller, ResourceKind::Agent).await?;
        let mut by_task: HashMap<TaskId, Vec<Agent>> = HashMap::new();
        let mut seen = HashSet::new();
        for (task_id, agent) in linked {
            let visible = match &scope {
                Scope::All => true,
                Scope::Only(ids) => ids.contains(agent.id.as_str()),
            };
            if visible && seen.insert((task_id.clone(), agent.id.clone())) {
                by_task.entry(task_id).or_default().push(agent);
            }
        }
        Ok(tasks
            .into_iter()
            .map(|task| {
                let agents = Some(by_task.remove(&task.id).unwrap_or_default());
                TaskWithAgents { task, agents }
            })
            .collect())
    }
}

/// The reason as it may be stored: at most [`MAX_REASON_BYTES`] and without characters no store can keep.
pub(crate) fn bounded_reason(reason: &str) -> &str {
    let reason = reason.split('\0').next().unwrap_or_default();
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}
