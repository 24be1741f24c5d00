//! Workflow schedules: kept by the scheduler and nowhere else.

use agentex_authz::ResourceRef;
use agentex_domain::ports::{NewSchedule, ScheduleDescription, ScheduleError, Scheduler};
use agentex_domain::{Agent, JsonObject, ScheduledAction, Timing, WorkflowAction};
use serde_json::{Value, json};

use super::shapes::check_timing;
use super::{
    NewWorkflowSchedule, Patch, ScheduleChange, ScheduleKind, Schedules, WorkflowScheduleView, WorkflowTarget, failure,
    names,
};
use crate::lifecycle::Elsewhere;
use crate::{Absent, Caller, Error};

impl Schedules {
    /// Looks, registers, then creates. A schedule that is there already keeps what the graph holds of it.
    pub(super) async fn create_workflow(
        &self,
        caller: &Caller,
        agent: &Agent,
        new: NewWorkflowSchedule,
    ) -> Result<WorkflowScheduleView, Error> {
        let scheduler = self.workflow_scheduler()?;
        let id = names::workflow_id(&agent.id, &new.name);
        let name = new.name.clone();
        let failed = |error| failure::of("create", &id, error);
        let row = async { Ok(self.stores.run_schedules.find_by_name(&agent.id, &name).await?.is_some()) };
        let there = async { self.has_workflow(&agent.id, &name).await.map_err(failed) };
        let (row, there) = tokio::try_join!(row, there)?;
        if row || there {
            return Err(failed(ScheduleError::AlreadyExists));
        }

        let schedule = kept(&id, &agent.id.to_string(), new);
        let resource = ResourceRef::schedule(&id);
        let parent = ResourceRef::agent(agent.id.as_str());
        let write = async {
            match scheduler.create(&schedule).await {
                Ok(()) => Elsewhere::Done,
                Err(error @ ScheduleError::AlreadyExists) => Elsewhere::Taken(failed(error)),
                Err(error @ (ScheduleError::Unknown(_) | ScheduleError::Failed(_))) => {
                    match scheduler.describe(&id).await {
                        Ok(_) => Elsewhere::Done,
                        Err(ScheduleError::NotFound) => Elsewhere::Refused(failed(error)),
                        Err(unknown) => {
                            tracing::warn!(schedule = id, error = %unknown, "nobody knows whether a schedule was made");
                            Elsewhere::Unknown(failed(ScheduleError::Unknown(Box::new(error))))
                        }
                    }
                }
                Err(error) => Elsewhere::Refused(failed(error)),
            }
        };
        self.lifecycle.create_elsewhere(caller.creator(), &resource, parent, write).await?;

        let absent = Absent::Id(id.clone());
        let target = WorkflowTarget { agent: agent.id.clone(), name, absent, certain: true };
        self.workflow_view(&target).await
    }

    pub(super) async fn workflow_view(&self, target: &WorkflowTarget) -> Result<WorkflowScheduleView, Error> {
        let description = self.described(target).await?;
        let WorkflowTarget { agent, name, .. } = target;
        Ok(WorkflowScheduleView { id: target.id(), agent_id: agent.clone(), name: name.clone(), description })
    }

    async fn described(&self, target: &WorkflowTarget) -> Result<ScheduleDescription, Error> {
        let described = self.scheduler_of(target)?.describe(&target.id()).await;
        described.map_err(|error| failure::of_workflow("describe", target, error))
    }

    pub(super) async fn update_workflow(&self, target: &WorkflowTarget, change: ScheduleChange) -> Result<(), Error> {
        let description = self.described(target).await?;
        let schedule = changed(target, description, change)?;
        let updated = self.scheduler_of(target)?.update(&schedule).await;
        updated.map_err(|error| failure::of_workflow("update", target, error))
    }

    pub(super) async fn delete_workflow(&self, caller: &Caller, target: &WorkflowTarget) -> Result<(), Error> {
        let scheduler = self.scheduler_of(target)?;
        let id = target.id();
        let remove = async { removed(&**scheduler, &id, |error| failure::of_workflow("delete", target, error)).await };
        self.lifecycle.remove_elsewhere(caller, &ResourceRef::schedule(&id), remove).await
    }
}

/// Removes a schedule from its scheduler.
pub(super) async fn removed(scheduler: &dyn Scheduler, id: &str, failed: impl Fn(ScheduleError) -> Error) -> Elsewhere {
    match scheduler.delete(id).await {
        Ok(()) => Elsewhere::Done,
        Err(error @ (ScheduleError::Unknown(_) | ScheduleError::Failed(_))) => match scheduler.describe(id).await {
            Err(ScheduleError::NotFound) => Elsewhere::Done,
            Ok(_) => Elsewhere::Refused(failed(error)),
            Err(_) => Elsewhere::Unknown(failed(error)),
        },
        Err(error) => Elsewhere::Refused(failed(error)),
    }
}

fn kept(id: &str, agent: &str, new: NewWorkflowSchedule) -> NewSchedule {
    let NewWorkflowSchedule {
        name,
        workflow_name,
        task_queue,
        workflow_params,
        execution_timeout_seconds,
        timing,
        paused,
    } = new;
    let params = workflow_params.filter(|params| !params.is_empty());
    let action = WorkflowAction {
        workflow_name,
        workflow_id: format!("{id}-run"),
        task_queue,
        params,
        execution_timeout_seconds,
    };
    let definition = Some(definition(agent, &name, &action, &timing));
    NewSchedule { id: id.to_owned(), timing, action: ScheduledAction::Workflow(action), paused, definition }
}

/// The request as it was accepted, kept with the schedule.
fn definition(agent: &str, name: &str, action: &WorkflowAction, timing: &Timing) -> JsonObject {
    let definition = json!({
        "kind": ScheduleKind::Workflow.as_str(),
        "agent_id": agent,
        "name": name,
        "workflow_name": action.workflow_name,
        "task_queue": action.task_queue,
        "workflow_params": action.params,
        "execution_timeout_seconds": action.execution_timeout_seconds,
        "cron_expressions": timing.cron_expressions,
        "intervals_seconds": timing.intervals_seconds,
        "timezone": timing.timezone,
        "start_at": timing.start_at,
        "end_at": timing.end_at,
    });
    match definition {
        Value::Object(members) => members,
        _ => JsonObject::new(),
    }
}

fn changed(
    target: &WorkflowTarget,
    description: ScheduleDescription,
    change: ScheduleChange,
) -> Result<NewSchedule, Error> {
    let ScheduleDescription { mut timing, action, mut paused, .. } = description;
    if matches!(change.name, Patch::Set(_)) {
        return Err(Error::Invalid("Workflow schedules cannot be renamed".to_owned()));
    }
    let Some(ScheduledAction::Workflow(mut action)) = action else {
        return Err(Error::Invalid("The schedule does something else than starting a workflow".to_owned()));
    };
    match (change.cron_expression, change.interval_seconds) {
        (Patch::Set(expression), Patch::Set(seconds)) => {
            timing.cron_expressions = vec![expression];
            timing.intervals_seconds = vec![seconds];
        }
        (Patch::Set(expression), _) => {
            timing.cron_expressions = vec![expression];
            timing.intervals_seconds.clear();
        }
        (_, Patch::Set(seconds)) => {
            timing.cron_expressions.clear();
            timing.intervals_seconds = vec![seconds];
        }
        (cron, interval) => {
            if cron == Patch::Clear {
                timing.cron_expressions.clear();
            }
            if interval == Patch::Clear {
                timing.intervals_seconds.clear();
            }
        }
    }
    if let Patch::Set(timezone) = change.timezone {
        timing.timezone = Some(timezone);
    }
    change.start_at.apply(&mut timing.start_at);
    change.end_at.apply(&mut timing.end_at);
    change.paused.replace(&mut paused);
    change.workflow_params.apply(&mut action.params);
    action.params = action.params.filter(|params| !params.is_empty());
    change.execution_timeout_seconds.apply(&mut action.execution_timeout_seconds);
    check_timing(&timing, ScheduleKind::Workflow)?;
    let definition = Some(definition(target.agent.as_str(), &target.name, &action, &timing));
    Ok(NewSchedule { id: target.id(), timing, action: ScheduledAction::Workflow(action), paused, definition })
}
