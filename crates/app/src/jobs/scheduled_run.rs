//! One occurrence of a run schedule: a task of its agent, told its first input, in the name of the schedule's creator.

use std::sync::PoisonError;

use agentex_authz::Principal;
use agentex_domain::ports::{AgentCallError, DialTarget, JobError, RunOutcome};
use agentex_domain::{
    JsonObject, MessageContent, RunSchedule, RunScheduleId, RunTrigger, ScheduleInput, Style, Task, TaskId, TaskStatus,
    TextFormat,
};
use serde_json::{Value, json};

use super::{AppJobs, again, failed};
use crate::schedules::names;
use crate::{Caller, Error, RequestContext, RpcOutcome, RpcRequest, TaskSelector};

/// Member of a task's metadata that says that the task was told its first input.
const DELIVERED: &str = "scheduled_input_delivered";

impl AppJobs {
    /// What is done has names made from `fire_id`, so that doing it again finds it done: the task, its event or first
    /// message. The agent may be called again after a crash, then with the same event or message.
    pub(super) async fn run(
        &self,
        id: &RunScheduleId,
        fire_id: &str,
        trigger: RunTrigger,
    ) -> Result<RunOutcome, JobError> {
        let stores = &self.app.stores;
        let schedule = match stores.run_schedules.find(id).await.map_err(failed)? {
            Some(schedule) if schedule.deleted_at.is_none() => schedule,
            found => {
                // Whatever has left the clock behind: there is nothing any more that it could fire.
                self.app.schedules.stop_clock(id).await;
                return Ok(skipped(if found.is_some() { "schedule_deleted" } else { "schedule_not_found" }));
            }
        };
        if schedule.paused && trigger != RunTrigger::Manual {
            return Ok(skipped("schedule_paused"));
        }
        let creator = Principal::from_json(Value::Object(schedule.creator_principal.clone()));
        let dial = stores.agents.dial_target(&schedule.agent_id).await.map_err(failed)?;
        let Some(dial) = dial.filter(|dial| !dial.agent.is_deleted()) else {
            if let Err(error) = self.app.schedules.delete_run(&Caller::Principal(creator), &schedule).await {
                tracing::warn!(%error, "the schedule of a deleted agent could not be removed yet");
            }
            return Ok(skipped("agent_deleted"));
        };
        let caller = match (creator.is_resolvable_creator(), self.app.schedules.are_guarded()) {
            (true, _) => Caller::Principal(creator),
            (false, false) => Caller::Anonymous,
            // Nobody may do nothing, and nobody need be asked.
            (false, true) => return self.denied(schedule, None, "the schedule has no creator".to_owned()).await,
        };
        let name = names::task_name(id, fire_id);
        let occurrence = Occurrence { jobs: self, schedule, caller, name, dial };
        occurrence.run(fire_id, trigger).await
    }

    /// Counts a denial, and pauses a schedule that was denied again and again.
    async fn denied(
        &self,
        schedule: RunSchedule,
        task_id: Option<TaskId>,
        detail: String,
    ) -> Result<RunOutcome, JobError> {
        let limit = self.app.schedules.denials_before_pause();
        let count = {
            let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
            let count = denials.entry(schedule.id.clone()).or_default();
            *count += 1;
            *count
        };
        if count >= limit.max(1) {
            let id = schedule.id.clone();
            let note = format!("Paused after {count} denials in a row: {detail}");
            match self.app.schedules.give_up(schedule, &note).await {
                Ok(()) => {
                    tracing::warn!(schedule.id = %id, count, "a schedule was paused whose creator lacks a permission");
                    self.forget_denials(&id);
                }
                Err(error) => tracing::warn!(schedule.id = %id, %error, "a schedule could not be paused"),
            }
        }
        Ok(RunOutcome::Skipped { reason: "permission_denied", detail: Some(detail), task_id })
    }

    fn forget_denials(&self, id: &RunScheduleId) {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

struct Occurrence<'a> {
    jobs: &'a AppJobs,
    schedule: RunSchedule,
    caller: Caller,
    /// The name of the task, and of everything that is delivered to it.
    name: String,
    dial: DialTarget,
}

/// Why an occurrence ends before it is through.
enum Stop {
    Denied { task_id: Option<TaskId>, detail: String },
    Refused(RunOutcome),
    Again(JobError),
}

impl Occurrence<'_> {
    async fn run(self, fire_id: &str, trigger: RunTrigger) -> Result<RunOutcome, JobError> {
        match self.launched(fire_id, trigger).await {
            Ok(outcome) => {
                self.jobs.forget_denials(&self.schedule.id);
                Ok(outcome)
            }
            Err(Stop::Denied { task_id, detail }) => self.jobs.denied(self.schedule, task_id, detail).await,
            Err(Stop::Refused(outcome)) => Ok(outcome),
            Err(Stop::Again(error)) => Err(error),
        }
    }

    async fn launched(&self, fire_id: &str, trigger: RunTrigger) -> Result<RunOutcome, Stop> {
        let (app, RunSchedule { initial_input, .. }) = (&self.jobs.app, &self.schedule);
        let create = RpcRequest::CreateTask {
            name: Some(self.name.clone()),
            params: self.schedule.task_params.clone(),
            task_metadata: Some(self.metadata(fire_id, trigger)),
        };
        let call = self.authorize(create, None).await?;
        if let Some(task) = call.existing_task().filter(|task| is_delivered(task)) {
            return Ok(RunOutcome::Skipped {
                reason: "input_already_delivered",
                detail: None,
                task_id: Some(task.id.clone()),
            });
        }
        let interrupted = self.interrupted(call.existing_task()).await?;
        let task = match interrupted {
            Some(task) if self.is_over_for(&task) => {
                self.mark_delivered(&task).await?;
                return Ok(RunOutcome::Skipped {
                    reason: "input_already_delivered",
                    detail: None,
                    task_id: Some(task.id),
                });
            }
            Some(task) => task,
            None => self.made_known(call).await?,
        };

        let (request, method) = self.delivery(&task, initial_input);
        let call = self.authorize(request, Some(&task)).await?.delivering(self.name.clone());
        app.rpc.dispatch(call).await.map_err(|error| stopped(error, Some(task.id.clone())))?;
        self.mark_delivered(&task).await?;
        Ok(RunOutcome::Launched { task_id: task.id, method })
    }

    /// The task of this occurrence, where an attempt before has begun to tell it its input: its agent knows of it already.
    async fn interrupted(&self, task: Option<&Task>) -> Result<Option<Task>, Stop> {
        let Some(task) = task else { return Ok(None) };
        let begun = self.jobs.app.rpc.has_begun(&self.name, self.dial.agent.acp_type.is_sync()).await;
        Ok(begun.map_err(|error| Stop::Again(failed(error)))?.then(|| task.clone()))
    }

    /// Whether a task that was being told its input has ended since: there is nothing more to tell it. A turn that broke off
    /// leaves its task failed, and is made up for.
    fn is_over_for(&self, task: &Task) -> bool {
        let broke_off = task.status == TaskStatus::Failed && self.dial.agent.acp_type.is_sync();
        task.status.is_terminal() && !broke_off
    }

    /// Creates the task, or finds it, and tells its agent.
    async fn made_known(&self, call: crate::AuthorizedCall) -> Result<Task, Stop> {
        let known = call.existing_task().map(|task| task.id.clone());
        match self.jobs.app.rpc.dispatch(call).await {
            Ok(RpcOutcome::Task(task)) => Ok(task),
            Ok(_) => Err(Stop::Again(JobError { message: "no task was answered".to_owned(), source: None })),
            Err(error) => Err(stopped(error, known)),
        }
    }

    async fn mark_delivered(&self, task: &Task) -> Result<(), Stop> {
        let app = &self.jobs.app;
        let marked = app.stores.tasks.set_metadata_flag(&task.id, DELIVERED, app.clock.now()).await;
        marked.map(drop).map_err(|error| Stop::Again(failed(error)))
    }

    /// Through the one gate of every call, as the schedule's creator, with no header of anybody's.
    async fn authorize(&self, request: RpcRequest, task: Option<&Task>) -> Result<crate::AuthorizedCall, Stop> {
        let context = RequestContext {
            // Agents that look at it can tell a repeated call.
            inbound: vec![("x-idempotency-key".to_owned(), self.name.clone())],
            request_id: self.name.clone(),
        };
        let rpc = &self.jobs.app.rpc;
        let outcome = rpc.authorize_dialled(&self.caller, self.dial.clone(), request, context).await;
        outcome.map_err(|error| match error {
            Error::Forbidden { operation, resource } => Stop::Denied {
                task_id: task.map(|task| task.id.clone()),
                detail: format!("{operation} on {resource} is not allowed"),
            },
            Error::NotFound(absent) => {
                Stop::Denied { task_id: task.map(|task| task.id.clone()), detail: absent.to_string() }
            }
            error => Stop::Again(again(error)),
        })
    }

    fn delivery(&self, task: &Task, input: &ScheduleInput) -> (RpcRequest, &'static str) {
        let content = MessageContent::Text {
            author: input.author,
            style: Style::default(),
            format: TextFormat::default(),
            content: input.content.clone(),
            attachments: None,
        };
        let task = TaskSelector::Id(task.id.clone());
        let request = if self.dial.agent.acp_type.is_sync() {
            RpcRequest::SendMessage { task: Some(task), content, stream: false, task_params: None }
        } else {
            RpcRequest::SendEvent { task, content: Some(content) }
        };
        let method = request.method();
        (request, method)
    }

    /// Later members win.
    fn metadata(&self, fire_id: &str, trigger: RunTrigger) -> JsonObject {
        let mut metadata = JsonObject::new();
        metadata.insert("display_name".to_owned(), json!(self.schedule.name));
        metadata.extend(self.schedule.task_metadata.clone().unwrap_or_default());
        metadata.insert("schedule_id".to_owned(), json!(self.schedule.id));
        metadata.insert("scheduled_fire_id".to_owned(), json!(fire_id));
        metadata.insert("trigger_type".to_owned(), json!(trigger.as_str()));
        if let Some(at) = names::fire_time(fire_id) {
            metadata.insert("fire_time".to_owned(), json!(at));
        }
        // What a schedule's author puts there must not look like a delivery.
        metadata.remove(DELIVERED);
        metadata
    }
}

fn is_delivered(task: &Task) -> bool {
    task.task_metadata.as_ref().is_some_and(|metadata| metadata.get(DELIVERED) == Some(&Value::Bool(true)))
}

fn skipped(reason: &'static str) -> RunOutcome {
    RunOutcome::Skipped { reason, detail: None, task_id: None }
}

/// An agent that says that a request is wrong says so again.
fn stopped(error: Error, task_id: Option<TaskId>) -> Stop {
    match &error {
        Error::Agent(AgentCallError::Status(status @ 400..=499)) if !matches!(status, 408 | 425 | 429) => {
            Stop::Refused(RunOutcome::Skipped { reason: "agent_refused", detail: Some(error.rpc_message()), task_id })
        }
        _ => Stop::Again(again(error)),
    }
}
