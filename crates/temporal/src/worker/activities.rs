use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use agentex_domain::ports::{AgentHealth, CleanOutcome, JobError, Jobs, RunOutcome, SweepConfig};
use agentex_domain::{AgentId, RunScheduleId, RunTrigger, TaskId};
use serde_json::{Value, json};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::activities;
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::runtime::Handle;

use super::arguments::{optional, required};
use crate::connection::with_causes;

/// So many that the loss of one does no harm.
const SIGNS_PER_SILENCE: u32 = 3;

/// The activities: each asks [`Jobs`] once.
pub(crate) struct Activities {
    jobs: Arc<dyn Jobs>,
    runtime: Handle,
}

impl Activities {
    pub(super) fn new(jobs: Arc<dyn Jobs>, runtime: Handle) -> Self {
        Self { jobs, runtime }
    }

    /// Does a job on the runtime of the jobs. When the worker gives up the activity, or Temporal does, the job is dropped.
    async fn job<T, F>(
        &self,
        context: ActivityContext,
        work: impl FnOnce(Arc<dyn Jobs>) -> F,
    ) -> Result<T, ActivityError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, JobError>> + Send + 'static,
    {
        let mut job = self.runtime.spawn(work(Arc::clone(&self.jobs)));
        let outcome = tokio::select! {
            outcome = &mut job => outcome,
            () = context.cancelled() => {
                job.abort();
                return Err(again("the worker stops"));
            }
            never = show_signs_of_life(&context) => match never {},
        };
        match outcome {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                let activity = context.info().activity_type.as_str();
                tracing::warn!(activity, attempt = context.info().attempt, error = with_causes(&error), "a job failed");
                Err(again(error.to_string()))
            }
            Err(_) => Err(again("the job broke off")),
        }
    }
}

/// Where the workflow wants to know that the activity is still being done, says so several times before it gives up.
async fn show_signs_of_life(context: &ActivityContext) -> Infallible {
    let Some(silence) = context.info().heartbeat_timeout else { return std::future::pending().await };
    loop {
        if let Err(error) = context.record_heartbeat(()).await {
            tracing::warn!(%error, "a sign of life could not be given");
        }
        tokio::time::sleep(silence / SIGNS_PER_SILENCE).await;
    }
}

/// Tried again as often as its workflow says.
fn again(why: impl Into<String>) -> ActivityError {
    ActivityError::application(ApplicationFailure::new(why.into()))
}

fn never_again(why: impl std::fmt::Display) -> ActivityError {
    ActivityError::application(ApplicationFailure::non_retryable(why.to_string()))
}

#[activities]
impl Activities {
    /// `None`: there is nothing to check any more. The URL is not used: the agent may have another one by now.
    #[activity(name = "check_status_activity")]
    pub(crate) async fn check_status(
        self: Arc<Self>,
        context: ActivityContext,
        agent_id: String,
        _acp_url: Option<String>,
    ) -> Result<Option<bool>, ActivityError> {
        let agent = AgentId::from(agent_id);
        let health = self.job(context, |jobs| async move { jobs.check_agent(&agent).await }).await?;
        Ok(match health {
            AgentHealth::Healthy => Some(true),
            AgentHealth::Failing => Some(false),
            AgentHealth::Gone => None,
        })
    }

    #[activity(name = "update_agent_status_activity")]
    pub(crate) async fn update_agent_status(
        self: Arc<Self>,
        context: ActivityContext,
        agent_id: String,
        status: String,
    ) -> Result<(), ActivityError> {
        let healthy = match status.as_str() {
            "Ready" => true,
            "Unhealthy" => false,
            other => return Err(never_again(format!("agents are not set to {other} here"))),
        };
        let agent = AgentId::from(agent_id);
        self.job(context, move |jobs| async move { jobs.set_agent_health(&agent, healthy).await }).await
    }

    #[activity(name = "load_cleanup_config_activity")]
    pub(crate) async fn load_cleanup_config(self: Arc<Self>, context: ActivityContext) -> Result<Value, ActivityError> {
        let config = self.job(context, |jobs| async move { jobs.sweep_config().await }).await?;
        let SweepConfig { enabled, agent_names, idle_days, page_size, max_in_flight, dry_run, stale_running_days } =
            config;
        Ok(json!({
            "enabled": enabled,
            "idle_days": idle_days,
            "agent_names": agent_names,
            "page_size": page_size,
            "max_in_flight": max_in_flight,
            "dry_run": dry_run,
            "stale_running_days": stale_running_days,
        }))
    }

    #[activity(name = "find_cleanup_candidates_activity")]
    pub(crate) async fn find_cleanup_candidates(
        self: Arc<Self>,
        context: ActivityContext,
        after_id: Option<String>,
        limit: u32,
        idle_days: u32,
        agent_names: Vec<String>,
    ) -> Result<Vec<String>, ActivityError> {
        let config = SweepConfig { agent_names, page_size: limit, ..cautious(idle_days) };
        let after = after_id.map(TaskId::from);
        let found = self.job(context, move |jobs| async move { jobs.sweep_candidates(after, limit, &config).await });
        Ok(found.await?.into_iter().map(TaskId::into_string).collect())
    }

    #[activity(name = "find_multi_agent_cleanup_candidates_activity")]
    pub(crate) async fn find_multi_agent_cleanup_candidates(
        self: Arc<Self>,
        context: ActivityContext,
        task_ids: Vec<String>,
    ) -> Result<Vec<String>, ActivityError> {
        let tasks: Vec<TaskId> = task_ids.into_iter().map(TaskId::from).collect();
        let found = self.job(context, move |jobs| async move { jobs.with_many_agents(&tasks).await });
        Ok(found.await?.into_iter().map(TaskId::into_string).collect())
    }

    /// Task, idle days, dry run, days after which a running task counts as abandoned. Without the third, nothing is deleted.
    #[activity(name = "clean_task_activity")]
    pub(crate) async fn clean_task(
        self: Arc<Self>,
        context: ActivityContext,
        arguments: RawValue,
    ) -> Result<Value, ActivityError> {
        let task: String = required(&arguments, 0).map_err(never_again)?;
        let idle_days = required(&arguments, 1).map_err(never_again)?;
        let dry_run = optional(&arguments, 2).map_err(never_again)?.unwrap_or(true);
        let stale_running_days = optional(&arguments, 3).map_err(never_again)?.unwrap_or(0);
        let config = SweepConfig { dry_run, stale_running_days, ..cautious(idle_days) };
        let task = TaskId::from(task);
        let outcome = self.job(context, move |jobs| async move { jobs.clean_task(&task, &config).await }).await?;
        let CleanOutcome { task_id, status, reason, messages_deleted, task_states_deleted, events_deleted } = outcome;
        Ok(json!({
            "task_id": task_id,
            "status": status,
            "reason": reason,
            "messages_deleted": messages_deleted,
            "task_states_deleted": task_states_deleted,
            "events_deleted": events_deleted,
        }))
    }

    /// Schedule, name of the occurrence, what made it happen.
    #[activity(name = "launch_scheduled_agent_run_activity")]
    pub(crate) async fn launch_scheduled_agent_run(
        self: Arc<Self>,
        context: ActivityContext,
        arguments: RawValue,
    ) -> Result<Value, ActivityError> {
        let schedule: String = required(&arguments, 0).map_err(never_again)?;
        let fire_id: String = required(&arguments, 1).map_err(never_again)?;
        let trigger: Option<String> = optional(&arguments, 2).map_err(never_again)?;
        let trigger = match trigger.as_deref() {
            None => RunTrigger::Scheduled,
            Some(text) => RunTrigger::parse(text).ok_or_else(|| never_again("an unknown trigger"))?,
        };
        let id = RunScheduleId::from(schedule.as_str());
        let work = move |jobs: Arc<dyn Jobs>| async move { jobs.scheduled_run(&id, &fire_id, trigger).await };
        Ok(match self.job(context, work).await? {
            RunOutcome::Launched { task_id, method } => json!({
                "status": "launched",
                "task_id": task_id,
                "schedule_id": schedule,
                "trigger_type": trigger.as_str(),
                "method": method,
            }),
            RunOutcome::Skipped { reason, detail, task_id } => {
                let mut skipped = json!({ "status": "skipped", "reason": reason, "schedule_id": schedule });
                if let Some(detail) = detail {
                    skipped["detail"] = Value::from(detail);
                }
                if let Some(task_id) = task_id {
                    skipped["task_id"] = Value::from(task_id.into_string());
                }
                skipped
            }
        })
    }
}

/// A sweep that deletes nothing.
fn cautious(idle_days: u32) -> SweepConfig {
    SweepConfig {
        enabled: true,
        agent_names: Vec::new(),
        idle_days,
        page_size: 1,
        max_in_flight: 1,
        dry_run: true,
        stale_running_days: 0,
    }
}
