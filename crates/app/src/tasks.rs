use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind};
use agentex_domain::ports::{
    Clock, DeletedTask, Stores, TaskChange, TaskFilter, TaskOrder, Transitioned, WorkflowError, WorkflowGateway,
};
use agentex_domain::{Agent, AgentId, Direction, JsonObject, PageRequest, Task, TaskId, TaskStatus, Transition};

use crate::feed::TaskFeed;
use crate::guard::{Guard, Sought, Visible};
use crate::lifecycle::Lifecycle;
use crate::{Absent, Caller, Error, TaskSelector};

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
    /// The workflow engine, where there is one.
    workflows: Option<Arc<dyn WorkflowGateway>>,
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
        Self { stores, guard, lifecycle, feed, clock, workflows: None }
    }

    /// The same where a workflow engine runs the tasks of some agents.
    pub(crate) fn with_workflows(self, workflows: Option<Arc<dyn WorkflowGateway>>) -> Self {
        Self { workflows, ..self }
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
        let Visible { scope, linked_to } = self.guard.visible(caller, ResourceKind::Task).await?;
        if scope.is_empty() {
            return Ok(Vec::new());
        }
        let TaskQuery { agent_id, agent_name, status, task_metadata, order, direction, page, with_agents } = query;
        let filter = TaskFilter { scope, linked_to, agent_id, agent_name, status, task_metadata };
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
        let departure = self.lifecycle.departure(caller);
        let deleted = self.stores.tasks.delete(&id, reason, self.clock.now(), departure).await?;
        let DeletedTask { task: deleted, intent } = deleted.ok_or_else(|| Error::NotFound(task.absent()))?;
        self.feed.task_updated(&deleted).await;
        self.lifecycle.departed(caller, intent.into_iter().collect()).await;
        Ok(id)
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

    /// Asks the workflow behind the task, which has the task's id. What it answers is any JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the workflow knows no such query, [`Error::NotFound`] when there is no workflow.
    #[tracing::instrument(name = "tasks.query_workflow", skip_all, fields(task.id = %id))]
    pub async fn query_workflow(&self, caller: &Caller, id: &TaskId, query: &str) -> Result<serde_json::Value, Error> {
        self.authorized(caller, Operation::Read, &TaskSelector::Id(id.clone())).await?;
        let not_connected = Error::Unavailable("Temporal client is not connected");
        let Some(workflows) = &self.workflows else { return Err(not_connected) };
        workflows.query(id.as_str(), query, None).await.map_err(|error| {
            let message = format!("Failed to execute query '{query}' on workflow '{id}'");
            match error {
                WorkflowError::Unavailable(source) => {
                    tracing::warn!(error = %source, "the workflow engine cannot be reached");
                    not_connected
                }
                WorkflowError::DeadlineExceeded(source) => Error::TimedOut { message, source },
                WorkflowError::NotFound => Error::NotFound(Absent::Workflow(id.as_str().to_owned())),
                WorkflowError::UnknownQuery => Error::Invalid(format!("Unknown query '{query}'")),
                WorkflowError::Invalid(why) => {
                    tracing::info!(why, "the workflow engine refused a query");
                    Error::Invalid(format!("Invalid arguments provided for workflow '{id}'"))
                }
                WorkflowError::Failed(source) => Error::Failed { message, source },
                WorkflowError::AlreadyExists => {
                    Error::Failed { message, source: "a query found that something exists".into() }
                }
            }
        })
    }

    async fn authorized(&self, caller: &Caller, operation: Operation, task: &TaskSelector) -> Result<Task, Error> {
        let found = match task {
            TaskSelector::Id(id) => self.stores.tasks.find(id).await?,
            TaskSelector::Name(name) => self.stores.tasks.find_by_name(name).await?,
        };
        let found = found.filter(|found| found.status != TaskStatus::Deleted);
        self.guard.require_sought(caller, operation, Sought::task(task, found.as_ref())).await?;
        found.ok_or_else(|| Error::NotFound(task.absent()))
    }

    async fn with_agents(&self, caller: &Caller, tasks: Vec<Task>, wanted: bool) -> Result<Vec<TaskWithAgents>, Error> {
        if !wanted || tasks.is_empty() {
            return Ok(tasks.into_iter().map(|task| TaskWithAgents { task, agents: None }).collect());
        }
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        let linked = self.stores.tasks.agents_of(&ids).await?;
        // A task may be readable where its agent is not.
        let scope = self.guard.visible(caller, ResourceKind::Agent).await?.scope;
        let mut by_task: HashMap<TaskId, Vec<Agent>> = HashMap::new();
        let mut seen = HashSet::new();
        for (task_id, agent) in linked {
            if scope.contains(agent.id.as_str()) && seen.insert((task_id.clone(), agent.id.clone())) {
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

#[cfg(test)]
mod tests {
    use agentex_authz::{AuthzError, Decision, MockAuthorizer, Principal, ResourceRef, Scope, Selectors};
    use agentex_domain::ports::{Cursor, Entry, EventStream, StartAt, StreamError, Subscription, SystemClock};
    use agentex_domain::{Intent, IntentId, IntentStep, NewTask};
    use async_trait::async_trait;
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::Absent;
    use crate::testing::{Log, MockStores, at, guard, lifecycle};

    /// A stream backend that is down.
    struct Down;

    #[async_trait]
    impl EventStream for Down {
        async fn publish(&self, _: &TaskId, _: Bytes) -> Result<Cursor, StreamError> {
            Err(StreamError::Unavailable("down".into()))
        }

        async fn subscribe(&self, _: &TaskId, _: StartAt) -> Result<Subscription, StreamError> {
            Err(StreamError::Unavailable("down".into()))
        }

        async fn read(&self, _: &TaskId, _: Cursor, _: usize) -> Result<Vec<Entry>, StreamError> {
            Err(StreamError::Unavailable("down".into()))
        }

        async fn clear(&self, _: &TaskId) -> Result<(), StreamError> {
            Err(StreamError::Unavailable("down".into()))
        }
    }

    fn alice() -> Caller {
        Caller::Principal(Principal::from_json(json!({"user_id": "alice"})))
    }

    fn task(status: TaskStatus) -> Task {
        let new = NewTask {
            id: "t".into(),
            agent_id: "a".into(),
            name: Some("n".into()),
            params: None,
            task_metadata: None,
            created_at: at(),
        };
        Task { status, ..new.into_task() }
    }

    fn tasks(stores: MockStores, authorizer: MockAuthorizer) -> Tasks {
        let authorizer: Arc<dyn agentex_authz::Authorizer> = Arc::new(authorizer);
        let feed = TaskFeed::new(Arc::new(Down));
        let (guard, lifecycle) = (guard(Some(Arc::clone(&authorizer))), lifecycle(Some(authorizer)));
        Tasks::new(stores.into_stores(), guard, lifecycle, feed, Arc::new(SystemClock))
    }

    fn with_task(log: &Log) -> MockStores {
        let mut stores = MockStores::default();
        stores.tasks.expect_find().returning(|_| Ok(Some(task(TaskStatus::Running))));
        stores.tasks.expect_find_by_name().returning(|_| Ok(Some(task(TaskStatus::Running))));
        let deletes = log.clone();
        stores.tasks.expect_delete().returning(move |id, reason, at, departure| {
            deletes.add(format!("delete {id}: {reason}"));
            let departure = departure.unwrap();
            let intent = Intent {
                id: IntentId::generate(),
                resource: ResourceRef::task(id.as_str()),
                parent: None,
                owner: departure.by,
                step: IntentStep::Deregistering,
                attempts: 0,
                last_error: None,
                created_at: at,
                due_at: departure.due_at,
            };
            Ok(Some(DeletedTask { task: task(TaskStatus::Deleted), intent: Some(intent) }))
        });
        let log = log.clone();
        stores.tasks.expect_transition().returning(move |id, transition, reason, _| {
            log.add(format!("{transition:?} {id}: {reason}"));
            Ok(Transitioned::Done(task(transition.target())))
        });
        stores
    }

    fn answering(log: &Log, allows: fn(Operation) -> bool) -> MockAuthorizer {
        let mut authorizer = MockAuthorizer::new();
        let log = log.clone();
        authorizer.expect_check().returning(move |_, operation, _| {
            log.add(format!("check {operation}"));
            Ok(if allows(operation) { Decision::Allow } else { Decision::Deny })
        });
        authorizer
    }

    /// authz §7: 107, 108
    /// tasks §10: 43
    #[tokio::test]
    async fn a_delete_takes_the_edges_away_after_the_row_and_succeeds_even_if_that_fails() {
        for selector in [TaskSelector::Id("t".into()), TaskSelector::Name("n".into())] {
            let log = Log::default();
            let mut authorizer = answering(&log, |_| true);
            let seen = log.clone();
            authorizer.expect_deregister().returning(move |_, resource| {
                seen.add(format!("deregister {resource}"));
                Err(AuthzError::Unavailable("down".into()))
            });
            let seen = log.clone();
            authorizer.expect_revoke().returning(move |_, _, resource| {
                seen.add(format!("revoke {resource}"));
                Err(AuthzError::Unavailable("down".into()))
            });

            let deleted = tasks(with_task(&log), authorizer).delete(&alice(), &selector).await;

            assert_eq!(deleted.unwrap().as_str(), "t");
            assert_eq!(
                log.entries(),
                ["check delete", "delete t: Task deleted successfully", "deregister task:t", "revoke task:t"]
            );
        }
    }

    /// authz §7: 103
    #[tokio::test]
    async fn cancelling_needs_cancel_and_every_other_transition_update() {
        for (transition, needed) in [
            (Transition::Cancel, "cancel"),
            (Transition::Complete, "update"),
            (Transition::Fail, "update"),
            (Transition::Terminate, "update"),
            (Transition::TimeOut, "update"),
            (Transition::Interrupt, "update"),
        ] {
            let log = Log::default();
            let use_case = tasks(with_task(&log), answering(&log, |_| true));

            let moved = use_case.transition(&alice(), &"t".into(), transition, Some(String::new())).await;

            assert_eq!(moved.unwrap().status, transition.target(), "although the stream backend is down");
            let reason = transition.default_reason();
            assert_eq!(log.entries(), [format!("check {needed}"), format!("{transition:?} t: {reason}")]);
        }
    }

    /// authz §7: 104, 106
    #[tokio::test]
    async fn an_editor_may_not_cancel_and_a_stranger_sees_no_task() {
        let log = Log::default();
        let editor = tasks(with_task(&log), answering(&log, |operation| operation != Operation::Cancel));
        let refused = editor.transition(&alice(), &"t".into(), Transition::Cancel, None).await;
        assert!(matches!(refused, Err(Error::Forbidden { operation: Operation::Cancel, .. })), "{refused:?}");

        let stranger = tasks(with_task(&log), answering(&log, |_| false));
        let by_name = stranger.get(&alice(), &TaskSelector::Name("n".into()), false).await;
        assert!(matches!(by_name, Err(Error::NotFound(Absent::Name(name))) if name == "n"));
    }

    #[tokio::test]
    async fn an_update_of_nothing_writes_nothing() {
        let log = Log::default();
        let use_case = tasks(with_task(&log), answering(&log, |_| true));

        for merge in [None, Some(JsonObject::new())] {
            let same = use_case.update(&alice(), &TaskSelector::Id("t".into()), None, merge).await.unwrap();
            assert_eq!(same, task(TaskStatus::Running));
        }
    }

    /// authz §7: 110
    #[tokio::test]
    async fn an_empty_scope_is_answered_without_a_query() {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_list_resources().returning(|_, _, _| Ok(Scope::Only(Selectors::default())));
        let use_case = tasks(MockStores::default(), authorizer);

        assert_eq!(use_case.list(&alice(), TaskQuery::default()).await.unwrap(), []);
    }

    #[test]
    fn reasons_are_cut_at_a_character_and_before_a_nul() {
        assert_eq!(bounded_reason("a\0b"), "a");
        let long = "é".repeat(600);
        assert_eq!(bounded_reason(&long).len(), 1024);
        assert_eq!(bounded_reason("short"), "short");
    }
}
