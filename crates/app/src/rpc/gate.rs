use agentex_authz::{Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::DialTarget;
use agentex_domain::{AgentId, Task, TaskStatus};

use super::{AuthorizedCall, Inner, Rpc, RpcRequest};
use crate::guard::Need;
use crate::{AgentSelector, Caller, Error, RequestContext, TaskSelector};

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
    #[tracing::instrument(name = "rpc.authorize", skip_all, fields(agent = %agent, rpc.method = request.method()))]
    pub async fn authorize(
        &self,
        caller: &Caller,
        agent: &AgentSelector,
        request: RpcRequest,
        context: RequestContext,
    ) -> Result<AuthorizedCall, Error> {
        let inner = &self.inner;
        // Where both are addressed by id, both rows are read at once.
        let (dial, task) = match (agent, request.task_id()) {
            (AgentSelector::Id(agent), Some(task)) => tokio::try_join!(
                inner.stores.agents.dial_target(agent),
                inner.stores.tasks.find_for_agent(task, agent),
            )?,
            (AgentSelector::Id(agent), None) => (inner.stores.agents.dial_target(agent).await?, None),
            (AgentSelector::Name(name), task) => {
                let dial = inner.stores.agents.dial_target_by_name(name).await?;
                let task = match (&dial, task) {
                    (Some(dial), Some(task)) => inner.stores.tasks.find_for_agent(task, &dial.agent.id).await?,
                    _ => None,
                };
                (dial, task)
            }
        };
        let dial = dial.ok_or_else(|| Error::NotFound(agent.absent()))?;
        let resource = ResourceRef::agent(dial.agent.id.as_str());
        let on_agent = Need::on(Operation::Execute, resource, agent.absent());
        let target = inner.gate(caller, on_agent, &dial, &request, task).await?;
        Ok(AuthorizedCall { caller: caller.clone(), context, dial, target, request })
    }
}

impl Inner {
    async fn gate(
        &self,
        caller: &Caller,
        on_agent: Need,
        dial: &DialTarget,
        request: &RpcRequest,
        by_id: Option<Task>,
    ) -> Result<Target, Error> {
        let agent_id = &dial.agent.id;
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
            TaskSelector::Id(_) => by_id,
            TaskSelector::Name(name) => self.linked_by_name(agent_id, name).await?,
        };
        let Some(found) = found.filter(|found| found.status != TaskStatus::Deleted) else {
            // The refusal of the agent comes first, as it would if the task existed.
            self.guard.require_all(caller, vec![on_agent]).await?;
            return Err(Error::NotFound(task.absent()));
        };
        let on_task = Need::on(operation, ResourceRef::task(found.id.as_str()), task.absent());
        self.guard.require_all(caller, vec![on_agent, on_task]).await?;
        Ok(Target::Existing(found))
    }

    /// A name decides which check is made: exactly one of "may update this task" and "may create tasks". A task that exists
    /// but is refused, or belongs to other agents only, ends the call; it never leads to a create.
    async fn gate_name(
        &self,
        caller: &Caller,
        on_agent: Need,
        agent_id: &AgentId,
        name: &str,
    ) -> Result<Target, Error> {
        let Some(found) = self.stores.tasks.find_by_name(name).await? else {
            self.guard.require_all(caller, vec![on_agent, Need::create(ResourceKind::Task)]).await?;
            return Ok(Target::New { name: Some(name.to_owned()) });
        };
        let on_task = self.update_need(&found, name);
        self.guard.require_all(caller, vec![on_agent, on_task]).await?;
        self.require_link(found, agent_id, name).await.map(Target::Existing)
    }

    /// The same gate for a task that took the name between the check and the insert.
    pub(super) async fn regate(
        &self,
        caller: &Caller,
        agent_id: &AgentId,
        task: Task,
        name: &str,
    ) -> Result<Task, Error> {
        let need = self.update_need(&task, name);
        self.guard.require_all(caller, vec![need]).await?;
        self.require_link(task, agent_id, name).await
    }

    fn update_need(&self, task: &Task, name: &str) -> Need {
        let absent = TaskSelector::Name(name.to_owned()).absent();
        Need::on(Operation::Update, ResourceRef::task(task.id.as_str()), absent)
    }

    async fn require_link(&self, task: Task, agent_id: &AgentId, name: &str) -> Result<Task, Error> {
        if self.stores.tasks.is_linked(&task.id, agent_id).await? {
            Ok(task)
        } else {
            Err(Error::NotFound(TaskSelector::Name(name.to_owned()).absent()))
        }
    }

    async fn linked_by_name(&self, agent_id: &AgentId, name: &str) -> Result<Option<Task>, Error> {
        let Some(task) = self.stores.tasks.find_by_name(name).await? else { return Ok(None) };
        Ok(self.stores.tasks.is_linked(&task.id, agent_id).await?.then_some(task))
    }
}
