use async_trait::async_trait;

use crate::ports::BoxError;
use crate::{JsonObject, RunScheduleId, ScheduledAction, Timestamp, Timing};

/// A schedule to be kept by a [`Scheduler`].
#[derive(Debug, Clone, PartialEq)]
pub struct NewSchedule {
    /// Its id, unique in the scheduler; chosen by the caller.
    pub id: String,
    /// When it fires.
    pub timing: Timing,
    /// What it does then. An occurrence that comes while the one before is still running is passed over.
    pub action: ScheduledAction,
    /// Whether it begins paused.
    pub paused: bool,
    /// Kept with the schedule and handed back unchanged.
    pub definition: Option<JsonObject>,
}

/// A schedule as its scheduler sees it now.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleDescription {
    /// When it fires. Cron expressions are those given at creation, where the scheduler still has them.
    pub timing: Timing,
    /// What it does; `None` when it is something this product does not do.
    pub action: Option<ScheduledAction>,
    /// Whether its occurrences are passed over.
    pub paused: bool,
    /// Why it was paused or resumed last.
    pub note: Option<String>,
    /// The next occurrences that will fire unless it is paused, at most ten, soonest first.
    pub next_action_times: Vec<Timestamp>,
    /// Single occurrences still to come that were skipped, soonest first.
    pub skipped_action_times: Vec<Timestamp>,
    /// When it last fired.
    pub last_action_time: Option<Timestamp>,
    /// How often it has fired. Manual runs are not counted.
    pub actions_taken: u64,
    /// Occurrences whose time passed unused.
    pub actions_missed: u64,
    /// When it was made, where the scheduler knows.
    pub created_at: Option<Timestamp>,
    /// What was given at creation.
    pub definition: Option<JsonObject>,
}

/// One row of [`Scheduler::list`].
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleEntry {
    /// Its id.
    pub id: String,
    /// Whether its occurrences are passed over.
    pub paused: bool,
    /// Type of the workflow it starts, if it starts one.
    pub workflow_name: Option<String>,
    /// The next occurrence.
    pub next_action_time: Option<Timestamp>,
}

/// What [`Scheduler::list`] found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScheduleListing {
    /// In no particular order.
    pub entries: Vec<ScheduleEntry>,
    /// Whether the search gave up before `limit` were found or everything had been looked at.
    pub truncated: bool,
}

/// Why a scheduler did not do its job.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// There is no scheduler, or it cannot be reached; nothing was changed.
    #[error("scheduler unavailable")]
    Unavailable(#[source] BoxError),
    /// No answer in time: it may or may not have been done.
    #[error("the scheduler did not answer")]
    Unknown(#[source] BoxError),
    /// The id is taken; nothing was changed.
    #[error("schedule already exists")]
    AlreadyExists,
    /// There is no such schedule.
    #[error("schedule not found")]
    NotFound,
    /// The scheduler does not accept the timing or another argument; nothing was changed.
    #[error("schedule refused: {0}")]
    Invalid(String),
    /// The moment has passed.
    #[error("a past moment")]
    Past,
    /// Nothing would happen at that moment.
    #[error("not an upcoming moment")]
    NotUpcoming,
    /// The moment is not skipped.
    #[error("not a skipped moment")]
    NotSkipped,
    /// It failed in another way; nothing is known about the effect.
    #[error("scheduler failed")]
    Failed(#[source] BoxError),
}

/// Keeps schedules and fires them, each occurrence once, also over restarts and with several processes.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Whether it can start [`ScheduledAction::Workflow`].
    fn starts_workflows(&self) -> bool;

    /// Keeps a new schedule. [`ScheduleError::AlreadyExists`] leaves the present one alone.
    async fn create(&self, schedule: &NewSchedule) -> Result<(), ScheduleError>;

    /// The schedule as it is now.
    async fn describe(&self, id: &str) -> Result<ScheduleDescription, ScheduleError>;

    /// Schedules whose id begins with `prefix` and is in `only` (where given), until `limit` are found.
    async fn list(
        &self,
        prefix: &str,
        only: Option<std::sync::Arc<[String]>>,
        limit: u32,
    ) -> Result<ScheduleListing, ScheduleError>;

    /// Replaces timing, action, paused state and definition. Skipped occurrences stay skipped.
    async fn update(&self, schedule: &NewSchedule) -> Result<(), ScheduleError>;

    /// Passes over its occurrences from now on. Repeating it is no error.
    async fn pause(&self, id: &str, note: &str) -> Result<(), ScheduleError>;

    /// Undoes [`Self::pause`]. Repeating it is no error.
    async fn resume(&self, id: &str, note: &str) -> Result<(), ScheduleError>;

    /// Fires it now, paused or not.
    async fn trigger(&self, id: &str) -> Result<(), ScheduleError>;

    /// Passes over the one occurrence at `at`, which must be among the next ones.
    async fn skip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError>;

    /// Undoes [`Self::skip`].
    async fn unskip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError>;

    /// Forgets the schedule. What it has started goes on.
    async fn delete(&self, id: &str) -> Result<(), ScheduleError>;

    /// Runs a schedule once, whatever its timing and state, under the token `fire_id`. Repeating it with the same token
    /// does nothing more.
    async fn run_now(&self, schedule: &RunScheduleId, fire_id: &str) -> Result<(), ScheduleError>;
}
