use agentex_authz::{Operation, ResourceKind};
use agentex_domain::ports::DialTarget;
use agentex_domain::{AgentId, Deployment, Task, TaskId, TaskStatus};

use super::{AuthorizedCall, CallTarget, Inner, Rpc, RpcRequest};
use crate::deployments::without_url;
use crate::guard::{NOTHING, Need, Sought};
use crate::{AgentSelector, Caller, Error, LinkRule, RequestContext, TaskSelector};

/// The task a call was authorized for.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// This one; the caller may act on it.
    Existing(Task),
    /// One that does not exist yet; the caller may create tasks.
    New {
        /// Its name.
        name: Option<String>,
    },
}

impl Rpc {
    /// Decides whether the caller may make this call. Agent and task are resolved here, once, and the decisions asked for
    /// together.
    ///
    /// # Errors
    /// Refusals and absences of the agent or the task; these are HTTP errors, not JSON-RPC ones.
    pub async fn authorize(
        &self,
        caller: &Caller,
        target: impl Into<CallTarget>,
        request: RpcRequest,
        context: RequestContext,
    ) -> Result<AuthorizedCall, Error> {
        self.authorize_target(caller, target.into(), request, context).await
    }

    #[tracing::instrument(name = "rpc.authorize", skip_all, fields(target = %target, rpc.method = request.method()))]
    async fn authorize_target(
        &self,
        caller: &Caller,
        target: CallTarget,
        request: RpcRequest,
        context: RequestContext,
    ) -> Result<AuthorizedCall, Error> {
        let inner = &self.inner;
        let deployment = async {
            match &target {
                CallTarget::Agent(_) => Ok(None),
                CallTarget::Deployment { agent, deployment } => inner.stores.deployments.find(agent, deployment).await,
            }
        };
        // What is addressed by id is read at once.
        let (dial, task, deployment) = match (&target.agent(), request.task_id()) {
            (AgentSelector::Id(agent), Some(task)) => tokio::try_join!(
                inner.stores.agents.dial_target(agent),
                inner.stores.tasks.find_for_agent(task, agent),
                deployment,
            )?,
            (AgentSelector::Id(agent), None) => {
                let (dial, deployment) = tokio::try_join!(inner.stores.agents.dial_target(agent), deployment)?;
                (dial, None, deployment)
            }
            (AgentSelector::Name(name), task) => {
                let dial = inner.stores.agents.dial_target_by_name(name).await?;
                let task = match task {
                    Some(task) => {
                        let agent = dial.as_ref().map_or_else(nothing, |dial| dial.agent.id.clone());
                        inner.stores.tasks.find_for_agent(task, &agent).await?
                    }
                    None => None,
                };
                (dial, task, None)
            }
        };
        let found = target.found(dial.as_ref().map(|dial| &dial.agent), deployment.as_ref());
        let on_agent = Need::sought(Operation::Execute, target.sought(found));
        let task = inner.gate(caller, on_agent, found.map(|agent| &agent.id), &request, task).await?;
        let dial = dial.ok_or_else(|| Error::NotFound(target.absent()))?;
        let url = match &target {
            CallTarget::Agent(_) => dial.url().map(str::to_owned),
            CallTarget::Deployment { deployment: id, .. } => {
                let url = deployment.as_ref().and_then(Deployment::url);
                Some(url.ok_or_else(|| without_url(id))?.to_owned())
            }
        };
        Ok(AuthorizedCall { caller: caller.clone(), context, dial, url, target: task, request, delivery: None })
    }

    /// As [`Rpc::authorize`], for an agent that has been looked up by its id a moment ago.
    ///
    /// # Errors
    /// As [`Rpc::authorize`].
    #[tracing::instrument(name = "rpc.authorize", skip_all, fields(target = %dial.agent.id, rpc.method = request.method()))]
    pub(crate) async fn authorize_dialled(
        &self,
        caller: &Caller,
        dial: DialTarget,
        request: RpcRequest,
        context: RequestContext,
    ) -> Result<AuthorizedCall, Error> {
        let inner = &self.inner;
        let task = match request.task_id() {
            Some(task) => inner.stores.tasks.find_for_agent(task, &dial.agent.id).await?,
            None => None,
        };
        let target = CallTarget::Agent(AgentSelector::Id(dial.agent.id.clone()));
        let on_agent = Need::sought(Operation::Execute, target.sought(target.found(Some(&dial.agent), None)));
        let task = inner.gate(caller, on_agent, Some(&dial.agent.id), &request, task).await?;
        let url = dial.url().map(str::to_owned);
        Ok(AuthorizedCall { caller: caller.clone(), context, dial, url, target: task, request, delivery: None })
    }
}

impl Inner {
    /// Asks for everything at once, whether agent and task are there or not: what is absent costs the same questions as what
    /// is hidden. `agent_id` is `None` for an absent agent; then this never succeeds.
    async fn gate(
        &self,
        caller: &Caller,
        on_agent: Need,
        agent_id: Option<&AgentId>,
        request: &RpcRequest,
        by_id: Option<Task>,
    ) -> Result<Target, Error> {
        let (task, operation) = match request {
            RpcRequest::CreateTask { name: None, .. } | RpcRequest::SendMessage { task: None, .. } => {
                self.guard.require_all(caller, vec![on_agent, Need::create(ResourceKind::Task)]).await?;
                return Ok(Target::New { name: None });
            }
            RpcRequest::CreateTask { name: Some(name), .. }
            | RpcRequest::SendMessage { task: Some(TaskSelector::Name(name)), .. } => {
                return self.gate_name(caller, on_agent, agent_id, name).await;
            }
            RpcRequest::SendMessage { task: Some(task @ TaskSelector::Id(_)), .. }
            | RpcRequest::SendEvent { task, .. }
            | RpcRequest::InterruptTask { task } => (task, Operation::Update),
            RpcRequest::CancelTask { task } => (task, Operation::Cancel),
        };
        let found = match task {
            TaskSelector::Id(id) if by_id.is_none() => self.unlinked(id).await?,
            TaskSelector::Id(_) => by_id,
            TaskSelector::Name(name) => self.linked_by_name(agent_id, name).await?,
        };
        let found = found.filter(|found| found.status != TaskStatus::Deleted);
        let on_task = Need::sought(operation, Sought::task(task, found.as_ref()));
        self.guard.require_all(caller, vec![on_agent, on_task]).await?;
        found.map(Target::Existing).ok_or_else(|| Error::NotFound(task.absent()))
    }

    /// A name decides which check is made: exactly one of "may update this task" and "may create tasks". A task that exists
    /// but is refused, or belongs to other agents only, ends the call; it never leads to a create.
    async fn gate_name(
        &self,
        caller: &Caller,
        on_agent: Need,
        agent_id: Option<&AgentId>,
        name: &str,
    ) -> Result<Target, Error> {
        let Some(found) = self.stores.tasks.find_by_name(name).await? else {
            self.guard.require_all(caller, vec![on_agent, Need::create(ResourceKind::Task)]).await?;
            return Ok(Target::New { name: Some(name.to_owned()) });
        };
        let selector = TaskSelector::Name(name.to_owned());
        let linked = self.link(found, agent_id).await?;
        let on_task = Need::sought(Operation::Update, Sought::task(&selector, linked.as_ref()));
        self.guard.require_all(caller, vec![on_agent, on_task]).await?;
        linked.map(Target::Existing).ok_or_else(|| Error::NotFound(selector.absent()))
    }

    /// The same gate for a task that took the name between the check and the insert.
    pub(super) async fn regate(
        &self,
        caller: &Caller,
        agent_id: &AgentId,
        task: Task,
        name: &str,
    ) -> Result<Task, Error> {
        let selector = TaskSelector::Name(name.to_owned());
        let linked = self.link(task, Some(agent_id)).await?;
        let need = Need::sought(Operation::Update, Sought::task(&selector, linked.as_ref()));
        self.guard.require_all(caller, vec![need]).await?;
        linked.ok_or_else(|| Error::NotFound(selector.absent()))
    }

    async fn linked_by_name(&self, agent_id: Option<&AgentId>, name: &str) -> Result<Option<Task>, Error> {
        if let Some(task) = self.stores.tasks.find_by_name(name).await? {
            return self.link(task, agent_id).await;
        }
        // A task that is absent costs the same look-ups as one that is hidden.
        self.stores.tasks.is_linked(&TaskId::from(NOTHING), &agent_id.cloned().unwrap_or_else(nothing)).await?;
        Ok(None)
    }

    /// The task, if the call may reach it through this agent.
    async fn link(&self, task: Task, agent_id: Option<&AgentId>) -> Result<Option<Task>, Error> {
        let linked = self.stores.tasks.is_linked(&task.id, &agent_id.cloned().unwrap_or_else(nothing)).await?;
        Ok((agent_id.is_some() && (linked || self.tolerates_unlinked(&task.id))).then_some(task))
    }

    /// A task addressed by id that is not linked to the agent.
    async fn unlinked(&self, id: &TaskId) -> Result<Option<Task>, Error> {
        if self.settings.authorization.task_agent_link == LinkRule::Enforce || !self.lifecycle.is_enabled() {
            return Ok(None);
        }
        let found = self.stores.tasks.find(id).await?;
        Ok(found.filter(|task| self.tolerates_unlinked(&task.id)))
    }

    fn tolerates_unlinked(&self, task: &TaskId) -> bool {
        let tolerated = self.settings.authorization.task_agent_link == LinkRule::Warn && self.lifecycle.is_enabled();
        if tolerated {
            tracing::warn!(task.id = %task, "a call on a task that is not linked to the agent called");
        }
        tolerated
    }
}

/// The id of an agent that is not there.
fn nothing() -> AgentId {
    AgentId::from(NOTHING)
}
