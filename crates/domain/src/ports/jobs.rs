use async_trait::async_trait;

use crate::ports::BoxError;
use crate::{AgentId, RunScheduleId, RunTrigger, TaskId};

/// What became of one occurrence of a run schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// The task is there and was told its input.
    Launched {
        /// The task.
        task_id: TaskId,
        /// How it was told: `message/send` or `event/send`.
        method: &'static str,
    },
    /// Nothing was done.
    Skipped {
        /// Why, for example `schedule_paused`.
        reason: &'static str,
        /// More about it; holds no secret.
        detail: Option<String>,
        /// The task, if there is one.
        task_id: Option<TaskId>,
    },
}

/// What an agent's health end point said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentHealth {
    /// It answers as it should.
    Healthy,
    /// It does not.
    Failing,
    /// There is nothing to check any more: it is deleted or listens nowhere.
    Gone,
}

/// What became of one task in a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanOutcome {
    /// The task.
    pub task_id: TaskId,
    /// `cleaned`, `skipped`, `dry_run` (would be cleaned).
    pub status: &'static str,
    /// Why it was skipped.
    pub reason: Option<String>,
    /// Messages removed.
    pub messages_deleted: u64,
    /// States removed.
    pub task_states_deleted: u64,
    /// Events removed.
    pub events_deleted: u64,
}

/// How a sweep is to go. Read once at its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepConfig {
    /// Whether anything is done at all.
    pub enabled: bool,
    /// Names of the agents whose tasks count; none: no task.
    pub agent_names: Vec<String>,
    /// Days without use after which a task is cleaned.
    pub idle_days: u32,
    /// Tasks per page.
    pub page_size: u32,
    /// Tasks at the same time.
    pub max_in_flight: u32,
    /// Whether only the guards run.
    pub dry_run: bool,
    /// Days after which a running task counts as abandoned; 0: never.
    pub stale_running_days: u32,
}

/// Why a job has to be tried again.
#[derive(Debug, thiserror::Error)]
#[error("job failed: {message}")]
pub struct JobError {
    /// What failed; holds no secret.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<BoxError>,
}

/// What schedulers and workers drive. Every method may be repeated: what was done is not done again.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Jobs: Send + Sync {
    /// One occurrence of a run schedule; `fire_id` names the occurrence.
    async fn scheduled_run(
        &self,
        schedule: &RunScheduleId,
        fire_id: &str,
        trigger: RunTrigger,
    ) -> Result<RunOutcome, JobError>;

    /// Asks the agent, at the URL it has now, how it is. Never an error on the agent's account.
    async fn check_agent(&self, agent: &AgentId) -> Result<AgentHealth, JobError>;

    /// Records that a `Ready` agent does not answer, or that one which did not answer does again. Other states stay.
    async fn set_agent_health(&self, agent: &AgentId, healthy: bool) -> Result<(), JobError>;

    /// How a sweep is to go.
    async fn sweep_config(&self) -> Result<SweepConfig, JobError>;

    /// Up to `limit` tasks that may be cleaned, by id, those after `after` only.
    async fn sweep_candidates(
        &self,
        after: Option<TaskId>,
        limit: u32,
        config: &SweepConfig,
    ) -> Result<Vec<TaskId>, JobError>;

    /// Those of `tasks` that belong to more than one agent.
    async fn with_many_agents(&self, tasks: &[TaskId]) -> Result<Vec<TaskId>, JobError>;

    /// Cleans one task, or only asks the guards.
    async fn clean_task(&self, task: &TaskId, config: &SweepConfig) -> Result<CleanOutcome, JobError>;
}
