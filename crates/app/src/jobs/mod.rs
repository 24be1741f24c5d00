mod scheduled_run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use agentex_domain::ports::{AgentHealth, CleanOutcome, JobError, Jobs, RunOutcome, StoreError, SweepConfig};
use agentex_domain::{AgentId, CleanCounts, RunScheduleId, RunTrigger, TaskId};
use async_trait::async_trait;

use crate::{App, Error, SweepSettings, Swept};

const MILLIS_PER_DAY: i64 = 24 * 3600 * 1000;
/// More days than anything was idle.
const MOST_DAYS: u32 = 365_000;

/// What schedulers and workers drive: the same use cases as everybody else, under the same rules.
pub struct AppJobs {
    app: Arc<App>,
    /// How often in a row the creators of schedules lacked a permission, as far as this process has seen.
    denials: Mutex<HashMap<RunScheduleId, u32>>,
}

impl AppJobs {
    /// Over the use cases of `app`.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, denials: Mutex::default() }
    }
}

#[async_trait]
impl Jobs for AppJobs {
    #[tracing::instrument(name = "jobs.scheduled_run", skip_all, fields(schedule.id = %schedule, fire_id, %trigger))]
    async fn scheduled_run(
        &self,
        schedule: &RunScheduleId,
        fire_id: &str,
        trigger: RunTrigger,
    ) -> Result<RunOutcome, JobError> {
        let outcome = self.run(schedule, fire_id, trigger).await;
        match &outcome {
            Ok(RunOutcome::Launched { task_id, method }) => {
                tracing::info!(task.id = %task_id, method, "a scheduled run was launched");
            }
            Ok(RunOutcome::Skipped { reason, .. }) => tracing::info!(reason, "a scheduled run was skipped"),
            Err(error) => tracing::warn!(%error, "a scheduled run failed"),
        }
        outcome
    }

    #[tracing::instrument(name = "jobs.check_agent", level = "debug", skip_all, fields(agent.id = %agent))]
    async fn check_agent(&self, agent: &AgentId) -> Result<AgentHealth, JobError> {
        let found = self.app.stores.agents.dial_target(agent).await.map_err(failed)?;
        let Some(found) = found.filter(|found| !found.agent.is_deleted()) else { return Ok(AgentHealth::Gone) };
        let Some(url) = found.url() else { return Ok(AgentHealth::Gone) };
        let healthy = self.app.agent_health.is_healthy(agent, url).await;
        Ok(if healthy { AgentHealth::Healthy } else { AgentHealth::Failing })
    }

    #[tracing::instrument(name = "jobs.set_agent_health", skip_all, fields(agent.id = %agent, healthy))]
    async fn set_agent_health(&self, agent: &AgentId, healthy: bool) -> Result<(), JobError> {
        let reason =
            if healthy { "Agent answers its health checks again" } else { "Agent health check reported Unhealthy" };
        let now = self.app.clock.now();
        let changed = self.app.stores.agents.set_health(agent, healthy, reason, now).await.map_err(failed)?;
        if changed {
            tracing::info!("an agent's health has changed");
        }
        Ok(())
    }

    async fn sweep_config(&self) -> Result<SweepConfig, JobError> {
        let SweepSettings {
            enabled,
            agents,
            idle_days,
            cron: _,
            page_size,
            max_in_flight,
            dry_run,
            stale_running_days,
        } = self.app.retention.settings().sweep.clone();
        Ok(SweepConfig {
            enabled,
            agent_names: agents,
            idle_days,
            page_size: page_size.max(1),
            max_in_flight: u32::try_from(max_in_flight.max(1)).unwrap_or(u32::MAX),
            dry_run,
            stale_running_days,
        })
    }

    async fn sweep_candidates(
        &self,
        after: Option<TaskId>,
        limit: u32,
        config: &SweepConfig,
    ) -> Result<Vec<TaskId>, JobError> {
        if !config.enabled || config.agent_names.is_empty() {
            return Ok(Vec::new());
        }
        let idle = i64::from(config.idle_days.min(MOST_DAYS)) * MILLIS_PER_DAY;
        let idle_since = self.app.clock.now().plus_millis(-idle);
        let found = self.app.stores.retention.candidates(&config.agent_names, idle_since, after, limit).await;
        Ok(found.map_err(failed)?.into_iter().map(|candidate| candidate.task_id).collect())
    }

    async fn with_many_agents(&self, tasks: &[TaskId]) -> Result<Vec<TaskId>, JobError> {
        let linked = self.app.stores.tasks.agents_of(tasks).await.map_err(failed)?;
        let mut agents: HashMap<TaskId, u32> = HashMap::new();
        for (task, _) in linked {
            *agents.entry(task).or_default() += 1;
        }
        Ok(tasks.iter().filter(|task| agents.get(*task).is_some_and(|count| *count > 1)).cloned().collect())
    }

    #[tracing::instrument(name = "jobs.clean_task", level = "debug", skip_all, fields(task.id = %task))]
    async fn clean_task(&self, task: &TaskId, config: &SweepConfig) -> Result<CleanOutcome, JobError> {
        let SweepConfig { enabled, agent_names, idle_days, page_size, max_in_flight, dry_run, stale_running_days } =
            config.clone();
        let settings = SweepSettings {
            enabled,
            agents: agent_names,
            idle_days,
            cron: String::new(),
            page_size,
            max_in_flight: usize::try_from(max_in_flight).unwrap_or(usize::MAX),
            dry_run,
            stale_running_days,
        };
        let swept = self.app.retention.sweep_task(&settings, task).await.map_err(again)?;
        let (status, reason, counts) = match swept {
            Swept::Cleaned(counts) => ("cleaned", None, counts),
            Swept::WouldClean => ("dry_run", None, CleanCounts::default()),
            Swept::Skipped(reason) => ("skipped", Some(reason), CleanCounts::default()),
        };
        Ok(CleanOutcome {
            task_id: task.clone(),
            status,
            reason,
            messages_deleted: counts.messages,
            task_states_deleted: counts.states,
            events_deleted: counts.events,
        })
    }
}

/// A failure of the store, to be tried again.
fn failed(error: StoreError) -> JobError {
    again(error.into())
}

/// A failure that may pass.
fn again(error: Error) -> JobError {
    JobError { message: error.rpc_message(), source: Some(Box::new(error)) }
}

impl std::fmt::Debug for AppJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppJobs").finish_non_exhaustive()
    }
}
