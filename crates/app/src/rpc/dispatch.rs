use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::{
    AgentCall, AgentCallError, AgentRequest, CallContext, TaskChange, TaskInsert, Transitioned,
};
use agentex_domain::{JsonObject, MessageContent, NewTask, Task, TaskId, TaskStatus, Transition};

use super::delivery;
use super::gate::Target;
use super::turn::{Turn, TurnUpdates};
use super::{AuthorizedCall, Inner, Rpc, RpcOutcome, RpcRequest};
use crate::lifecycle::Written;
use crate::tasks::bounded_reason;
use crate::{Caller, Error};

/// JSON-RPC "method not found": how agents say that they have no handler.
const METHOD_NOT_FOUND: i64 = -32601;
/// The text agents put into the same code when they do not accept our key.
const KEY_REFUSED: &str = "Unauthorized";

/// Everything a call needs once the gate is behind it.
pub(super) struct Job {
    pub(super) caller: Caller,
    pub(super) dial: agentex_domain::ports::DialTarget,
    pub(super) url: String,
    pub(super) api_key: Option<String>,
    pub(super) context: CallContext,
}

impl Job {
    pub(super) fn call(&self, task: &Task, request: AgentRequest) -> AgentCall {
        AgentCall {
            url: self.url.clone(),
            api_key: self.api_key.clone(),
            agent: self.dial.agent.clone(),
            task: task.clone(),
            request,
            context: self.context.clone(),
        }
    }
}

impl Rpc {
    /// Makes the call. It runs on its own: a caller that goes away does not leave it half done. The one exception is a
    /// streamed reply, where going away means "stop": what came so far is stored and the agent's connection closed.
    ///
    /// # Errors
    /// JSON-RPC errors. For a streamed `message/send` they arrive as the last item of the stream instead.
    #[tracing::instrument(name = "rpc.dispatch", skip_all, fields(rpc.method = call.request.method(), agent.id = %call.dial.agent.id))]
    pub async fn dispatch(&self, call: AuthorizedCall) -> Result<RpcOutcome, Error> {
        let started = std::time::Instant::now();
        let method = call.request.method();
        let inner = Arc::clone(&self.inner);
        if let RpcRequest::SendMessage { stream: true, .. } = call.request {
            let (updates, sink) = TurnUpdates::channel();
            self.inner.background.spawn(async move {
                let outcome = match inner.prepare(&call) {
                    Ok(job) => inner.send_message_streaming(job, call, &sink).await,
                    Err(error) => Err(error),
                };
                record(method, started, outcome.is_err());
                if let Err(error) = outcome {
                    sink.fail(error).await;
                }
            });
            return Ok(RpcOutcome::Updates(updates));
        }
        let work = self.inner.background.spawn(async move {
            let outcome = match inner.prepare(&call) {
                Ok(job) => inner.run(job, call).await,
                Err(error) => Err(error),
            };
            record(method, started, outcome.is_err());
            outcome
        });
        match work.await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, method, "a call ended abnormally");
                Err(Error::Unavailable("Internal error"))
            }
        }
    }
}

fn record(method: &'static str, started: std::time::Instant, failed: bool) {
    metrics::histogram!("agentex_rpc_request_seconds", "method" => method).record(started.elapsed().as_secs_f64());
    metrics::counter!("agentex_rpc_requests_total", "method" => method).increment(1);
    if failed {
        metrics::counter!("agentex_rpc_errors_total", "method" => method).increment(1);
    }
}

impl Inner {
    /// Refuses what can be refused before anything is written.
    fn prepare(&self, call: &AuthorizedCall) -> Result<Job, Error> {
        let agent = &call.dial.agent;
        if agent.is_deleted() {
            return Err(Error::Rpc(format!("Agent {} is deleted", agent.id)));
        }
        let Some(url) = call.url.clone() else {
            return Err(Error::Rpc(format!("Agent {} does not have an ACP URL configured", agent.id)));
        };
        if !call.request.is_allowed_for(agent.acp_type) {
            let method = call.request.method();
            return Err(Error::Rpc(format!("Unsupported method: {method} for ACP type: {}", agent.acp_type)));
        }
        let api_key = match &call.dial.internal_key {
            Some(key) => Some(self.keyring.open(&key.sealed)?),
            None => None,
        };
        Ok(Job {
            caller: call.caller.clone(),
            url,
            api_key,
            context: CallContext {
                inbound: call.context.inbound.clone(),
                delegate: matches!(call.caller, Caller::Principal(_)),
                request_id: call.context.request_id.clone(),
            },
            dial: call.dial.clone(),
        })
    }

    async fn run(&self, job: Job, call: AuthorizedCall) -> Result<RpcOutcome, Error> {
        let delivery = call.delivery.as_deref();
        match (call.request, call.target) {
            (RpcRequest::CreateTask { params, task_metadata, .. }, target) => {
                self.create_task(&job, target, params, task_metadata).await.map(RpcOutcome::Task)
            }
            (RpcRequest::SendMessage { content, task_params, .. }, target) => {
                let mut task = self.task_for_turn(&job, target, task_params, None, delivery.is_some()).await?;
                let input = delivery.map(delivery::message_id);
                if let Some(id) = &input {
                    if let Some(answer) = self.answered_before(&task, id).await? {
                        return Ok(RpcOutcome::Messages(answer));
                    }
                    task = self.recovered(task).await?;
                }
                let _lease = self.lease_turn(&task, &job.dial)?;
                let (turn, updates) = Turn::begin(self, &job, task, content, input).await?;
                turn.collect(updates).await.map(RpcOutcome::Messages)
            }
            (RpcRequest::SendEvent { content, .. }, Target::Existing(task)) => {
                self.send_event(&job, task, content, delivery).await
            }
            (RpcRequest::CancelTask { .. }, Target::Existing(task)) => self.cancel_task(&job, task).await,
            (RpcRequest::InterruptTask { .. }, Target::Existing(task)) => self.interrupt_task(&job, task).await,
            (request, Target::New { .. }) => {
                Err(Error::Rpc(format!("Either task_id or task_name must be provided for {}", request.method())))
            }
        }
    }

    async fn send_message_streaming(
        &self,
        job: Job,
        call: AuthorizedCall,
        sink: &super::turn::Sink,
    ) -> Result<(), Error> {
        let RpcRequest::SendMessage { content, task_params, .. } = call.request else {
            return Err(Error::Rpc("only message/send can be streamed".to_owned()));
        };
        let task = self.task_for_turn(&job, call.target, task_params, None, false).await?;
        let _lease = self.lease_turn(&task, &job.dial)?;
        let (turn, updates) = Turn::begin(self, &job, task, content, None).await?;
        turn.relay(updates, sink).await
    }

    async fn create_task(
        &self,
        job: &Job,
        target: Target,
        params: Option<JsonObject>,
        task_metadata: Option<JsonObject>,
    ) -> Result<Task, Error> {
        let task = self.task_for_turn(job, target, params, task_metadata, true).await?;
        if job.dial.agent.acp_type.is_sync() {
            return Ok(task);
        }
        let request = AgentRequest::CreateTask { params: task.params.clone() };
        if let Err(error) = self.agent_client.call(job.call(&task, request)).await {
            return Err(self.fail_task(&task.id, error.into()).await);
        }
        if task.status != TaskStatus::Failed {
            return Ok(task);
        }
        self.transition(&task.id, Transition::Recover, Transition::Recover.default_reason()).await.map(|t| t.0)
    }

    async fn send_event(
        &self,
        job: &Job,
        task: Task,
        content: Option<MessageContent>,
        delivery: Option<&str>,
    ) -> Result<RpcOutcome, Error> {
        let task = self.resume(task, false).await?;
        let (events, agent, now) = (&self.stores.events, &job.dial.agent.id, self.clock.now());
        let event = match delivery.map(delivery::event_id) {
            None => events.append(&task.id, agent, content, now).await?,
            Some(id) => events.append_as(&id, &task.id, agent, content, now).await?,
        };
        // The row stays whatever the agent answers: it can read the event later.
        self.agent_client.call(job.call(&task, AgentRequest::SendEvent { event: event.clone() })).await?;
        Ok(RpcOutcome::Event(event))
    }

    async fn cancel_task(&self, job: &Job, task: Task) -> Result<RpcOutcome, Error> {
        if task.status.is_terminal() {
            return Ok(RpcOutcome::Task(task));
        }
        self.agent_client.call(job.call(&task, AgentRequest::CancelTask)).await?;
        // The agent may have ended the task itself meanwhile; then that stands.
        self.transition(&task.id, Transition::Cancel, "Task canceled by user").await.map(|t| RpcOutcome::Task(t.0))
    }

    /// The agent is told; it decides itself whether the task becomes interrupted.
    async fn interrupt_task(&self, job: &Job, task: Task) -> Result<RpcOutcome, Error> {
        if task.status.is_terminal() {
            return Ok(RpcOutcome::Task(task));
        }
        match self.agent_client.call(job.call(&task, AgentRequest::InterruptTask)).await {
            Ok(()) => {}
            // Best effort: an agent without a handler goes on undisturbed.
            Err(AgentCallError::Rejected { code: METHOD_NOT_FOUND, message }) if message != KEY_REFUSED => {}
            Err(error) => return Err(error.into()),
        }
        let now = self.stores.tasks.find(&task.id).await?;
        Ok(RpcOutcome::Task(now.unwrap_or(task)))
    }

    /// The task a turn runs on: made if it is new, else resumed and given the parameters of this call.
    async fn task_for_turn(
        &self,
        job: &Job,
        target: Target,
        params: Option<JsonObject>,
        task_metadata: Option<JsonObject>,
        may_be_failed: bool,
    ) -> Result<Task, Error> {
        let existing = match target {
            Target::Existing(task) => task,
            Target::New { name } => match self.insert_task(job, name.clone(), params.clone(), task_metadata).await? {
                Written::Created(task) => return Ok(task),
                Written::Lost(task) => {
                    let name = name.unwrap_or_default();
                    self.regate(&job.caller, &job.dial.agent.id, task, &name).await?
                }
            },
        };
        let task = self.resume(existing, may_be_failed).await?;
        match params {
            Some(params) if task.params.as_ref() != Some(&params) => {
                let change = TaskChange { replace_params: Some(params), ..TaskChange::default() };
                let changed = self.stores.tasks.update(&task.id, &change, self.clock.now()).await?;
                let changed = changed.ok_or_else(|| closed(&task.id, TaskStatus::Deleted))?;
                self.feed.task_updated(&changed).await;
                Ok(changed)
            }
            Some(_) | None => Ok(task),
        }
    }

    async fn insert_task(
        &self,
        job: &Job,
        name: Option<String>,
        params: Option<JsonObject>,
        task_metadata: Option<JsonObject>,
    ) -> Result<Written<Task>, Error> {
        let agent_id = job.dial.agent.id.clone();
        let parent = ResourceRef::agent(agent_id.as_str());
        let id = TaskId::generate();
        let resource = ResourceRef::task(id.as_str());
        let new = NewTask { id, agent_id, name, params, task_metadata, created_at: self.clock.now() };
        let owner = self.lifecycle.owner_for(&job.caller).await?;
        if owner.is_none() && self.lifecycle.is_enabled() && !matches!(job.caller, Caller::Agent { .. }) {
            // A task that nobody owns could be seen by nobody.
            return Err(Error::Forbidden {
                operation: Operation::Create,
                resource: ResourceRef::any(ResourceKind::Task),
            });
        }
        let write = async |settles| {
            Ok::<_, Error>(match self.stores.tasks.insert(&new, settles).await? {
                TaskInsert::Created(task) => Written::Created(task),
                TaskInsert::NameTaken(task) => Written::Lost(task),
            })
        };
        self.lifecycle.create(owner.as_ref(), &resource, Some(parent), write).await
    }

    /// Makes an interrupted task run again and refuses tasks that take no more turns.
    async fn resume(&self, task: Task, may_be_failed: bool) -> Result<Task, Error> {
        match task.status {
            TaskStatus::Running => Ok(task),
            TaskStatus::Failed if may_be_failed => Ok(task),
            TaskStatus::Interrupted => {
                let (task, _) =
                    self.transition(&task.id, Transition::Resume, Transition::Resume.default_reason()).await?;
                // Lost to somebody else: another turn that resumed it is fine, an end is not.
                if task.status == TaskStatus::Running { Ok(task) } else { Err(closed(&task.id, task.status)) }
            }
            TaskStatus::Canceled
            | TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::Terminated
            | TaskStatus::TimedOut
            | TaskStatus::Deleted => Err(closed(&task.id, task.status)),
        }
    }

    /// Performs a transition if it is legal, tells watchers, and answers the task as it is now.
    pub(super) async fn transition(
        &self,
        id: &TaskId,
        transition: Transition,
        reason: &str,
    ) -> Result<(Task, bool), Error> {
        match self.stores.tasks.transition(id, transition, bounded_reason(reason), self.clock.now()).await? {
            Transitioned::Done(task) => {
                self.feed.task_updated(&task).await;
                Ok((task, true))
            }
            Transitioned::Refused(task) => Ok((task, false)),
            Transitioned::Absent => Err(Error::Rpc(format!("Task {id} not found"))),
        }
    }

    /// Marks a live task failed because of `error`, which is handed back. A task that has ended meanwhile stays as it is.
    pub(super) async fn fail_task(&self, id: &TaskId, error: Error) -> Error {
        if let Err(store) = self.transition(id, Transition::Fail, &error.rpc_message()).await {
            tracing::error!(task.id = %id, error = %store, "task could not be marked failed");
        }
        error
    }
}

fn closed(id: &TaskId, status: TaskStatus) -> Error {
    Error::Rpc(format!("Task {id} is {status} and cannot accept new turns."))
}
