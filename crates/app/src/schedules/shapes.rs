//! What goes in and out of the use cases of schedules.

use agentex_domain::input::Problem;
use agentex_domain::ports::ScheduleDescription;
use agentex_domain::{
    AcpType, AgentId, Cadence, JsonObject, RunSchedule, ScheduleInput, Timestamp, Timing, TimingProblem,
};

use super::names;
use crate::Error;

/// What a schedule does when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScheduleKind {
    /// It creates a task of its agent.
    AgentRun,
    /// It starts a workflow of somebody else's worker.
    Workflow,
}

impl ScheduleKind {
    /// Every kind with its wire text.
    pub const ALL: [(&'static str, Self); 2] = [("agent_run", Self::AgentRun), ("workflow", Self::Workflow)];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentRun => "agent_run",
            Self::Workflow => "workflow",
        }
    }
}

/// A schedule as a caller addresses it under an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleHandle {
    /// By what stands in the path: the id of a run schedule, or the name of a workflow schedule.
    Handle(String),
    /// By the name of either.
    Name(String),
}

impl ScheduleHandle {
    /// What the caller typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Handle(text) | Self::Name(text) => text,
        }
    }
}

/// A schedule to make.
#[derive(Debug, Clone, PartialEq)]
pub enum NewAgentSchedule {
    /// One that creates tasks.
    Run(NewRunSchedule),
    /// One that starts workflows.
    Workflow(NewWorkflowSchedule),
}

/// A run schedule to make.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRunSchedule {
    /// Unique among the agent's schedules.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// How often.
    pub cadence: Cadence,
    /// IANA zone that the cron expression is read in.
    pub timezone: String,
    /// First moment that counts.
    pub start_at: Option<Timestamp>,
    /// Last moment that counts.
    pub end_at: Option<Timestamp>,
    /// Whether it begins paused.
    pub paused: bool,
    /// Parameters of each task.
    pub task_params: Option<JsonObject>,
    /// Metadata of each task.
    pub task_metadata: Option<JsonObject>,
    /// What each task is told first.
    pub initial_input: ScheduleInput,
}

/// A workflow schedule to make.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWorkflowSchedule {
    /// Unique among the agent's schedules.
    pub name: String,
    /// Type of the workflow.
    pub workflow_name: String,
    /// Queue its worker listens to.
    pub task_queue: String,
    /// Its only argument; `None` and an empty object: no argument at all.
    pub workflow_params: Option<JsonObject>,
    /// How long a run may take, in seconds.
    pub execution_timeout_seconds: Option<u32>,
    /// When it fires: the union of everything given.
    pub timing: Timing,
    /// Whether it begins paused.
    pub paused: bool,
}

impl NewAgentSchedule {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> ScheduleKind {
        match self {
            Self::Run(_) => ScheduleKind::AgentRun,
            Self::Workflow(_) => ScheduleKind::Workflow,
        }
    }

    /// What can be found wrong without asking anybody.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Run(new) => check_timing(&new.timing(), ScheduleKind::AgentRun),
            Self::Workflow(new) => {
                if new.name == "name" || names::is_row_id(&new.name) {
                    let text = "String should not be 'name' or a UUID".to_owned();
                    return Err(Error::Unprocessable(vec![Problem { path: "body.name".to_owned(), text }]));
                }
                check_timing(&new.timing, ScheduleKind::Workflow)
            }
        }
    }
}

impl NewRunSchedule {
    fn timing(&self) -> Timing {
        timing_of(&self.cadence, &self.timezone, self.start_at, self.end_at)
    }
}

fn timing_of(cadence: &Cadence, timezone: &str, start_at: Option<Timestamp>, end_at: Option<Timestamp>) -> Timing {
    let (cron_expressions, intervals_seconds) = match cadence {
        Cadence::Cron(expression) => (vec![expression.clone()], Vec::new()),
        Cadence::Interval(seconds) => (Vec::new(), vec![*seconds]),
    };
    // Also beside an interval the zone has to be one, although nothing is read in it.
    Timing { cron_expressions, intervals_seconds, timezone: Some(timezone.to_owned()), start_at, end_at }
}

/// The same check for a run schedule after a change.
pub(super) fn check_run(schedule: &RunSchedule) -> Result<(), Error> {
    let RunSchedule { cadence, timezone, start_at, end_at, .. } = schedule;
    check_timing(&timing_of(cadence, timezone, *start_at, *end_at), ScheduleKind::AgentRun)
}

/// Refuses a timing that no scheduler takes, in words that name the field.
pub(super) fn check_timing(timing: &Timing, kind: ScheduleKind) -> Result<(), Error> {
    let Err(problem) = timing.check() else { return Ok(()) };
    let text = match &problem {
        TimingProblem::Nothing => {
            return Err(Error::Invalid("Either cron_expression or interval_seconds must be provided".to_owned()));
        }
        TimingProblem::Cron { expression } if kind == ScheduleKind::Workflow => {
            return Err(Error::Invalid(format!("Invalid cron_expression '{expression}': {problem}")));
        }
        TimingProblem::Cron { expression } => format!("Invalid cron_expression '{expression}': {problem}"),
        TimingProblem::Timezone { name } | TimingProblem::OtherTimezone { name } => {
            format!("Invalid timezone '{name}': {problem}")
        }
        TimingProblem::Interval { .. } | TimingProblem::Window => problem.to_string(),
    };
    Err(Error::Unprocessable(vec![Problem { path: format!("body.{}", problem.field()), text }]))
}

/// What to do with one member of a schedule.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Patch<T> {
    /// Leave it.
    #[default]
    Keep,
    /// Take it away; where it cannot be, leave it.
    Clear,
    /// Replace it.
    Set(T),
}

impl<T> Patch<T> {
    /// Applies it to something that may be missing.
    pub(super) fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value),
        }
    }

    /// Applies it to something that is always there.
    pub(super) fn replace(self, to: &mut T) {
        if let Self::Set(value) = self {
            *to = value;
        }
    }
}

/// A change of a schedule. Members that its kind does not have are ignored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScheduleChange {
    /// Workflow schedules cannot be renamed.
    pub name: Patch<String>,
    /// Free text.
    pub description: Patch<String>,
    /// A cron expression takes the place of an interval.
    pub cron_expression: Patch<String>,
    /// An interval takes the place of a cron expression.
    pub interval_seconds: Patch<u32>,
    /// IANA zone that the cron expression is read in.
    pub timezone: Patch<String>,
    /// First moment that counts.
    pub start_at: Patch<Timestamp>,
    /// Last moment that counts.
    pub end_at: Patch<Timestamp>,
    /// Whether it is paused.
    pub paused: Patch<bool>,
    /// Parameters of each task.
    pub task_params: Patch<JsonObject>,
    /// Metadata of each task.
    pub task_metadata: Patch<JsonObject>,
    /// What each task is told first.
    pub initial_input: Patch<ScheduleInput>,
    /// The workflow's only argument.
    pub workflow_params: Patch<JsonObject>,
    /// How long a run may take, in seconds.
    pub execution_timeout_seconds: Patch<u32>,
}

/// What the scheduler says of a run schedule now.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// It was not asked.
    NotAsked,
    /// It was asked and could not say.
    Unavailable,
    /// This.
    Known(Box<ScheduleDescription>),
}

/// A run schedule as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct RunScheduleView {
    /// Its row.
    pub schedule: RunSchedule,
    /// How its agent is told the first input of a task now: `message/send` or `event/send`.
    pub method: &'static str,
    /// What the scheduler says of it.
    pub live: Live,
}

/// A workflow schedule as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowScheduleView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// What the scheduler says of it.
    pub description: ScheduleDescription,
}

/// Either kind of schedule as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleView {
    /// A run schedule.
    Run(Box<RunScheduleView>),
    /// A workflow schedule.
    Workflow(Box<WorkflowScheduleView>),
}

impl From<RunScheduleView> for ScheduleView {
    fn from(view: RunScheduleView) -> Self {
        Self::Run(Box::new(view))
    }
}

impl From<WorkflowScheduleView> for ScheduleView {
    fn from(view: WorkflowScheduleView) -> Self {
        Self::Workflow(Box::new(view))
    }
}

/// A schedule that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedSchedule {
    /// Its id.
    pub id: String,
    /// Which kind it was.
    pub kind: ScheduleKind,
}

/// Which kinds to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScheduleKinds {
    /// Both.
    #[default]
    All,
    /// One of them.
    Only(ScheduleKind),
}

impl ScheduleKinds {
    pub(super) fn include(self, kind: ScheduleKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == kind,
        }
    }
}

/// Which schedules to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleQuery {
    /// Which kinds.
    pub kinds: ScheduleKinds,
    /// Most of each kind.
    pub limit: u32,
    /// Whether the scheduler is asked about each run schedule.
    pub include_live: bool,
}

/// One workflow schedule of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowScheduleEntry {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its occurrences are passed over.
    pub paused: bool,
    /// Type of the workflow, where it is known.
    pub workflow_name: Option<String>,
    /// The next occurrence.
    pub next_action_time: Option<Timestamp>,
}

/// Schedules of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleList {
    /// Run schedules, newest first.
    pub run_schedules: Vec<RunScheduleView>,
    /// Workflow schedules, by name.
    pub workflow_schedules: Vec<WorkflowScheduleEntry>,
    /// Whether the scheduler could be asked for workflow schedules, where it had to be.
    pub workflows_available: bool,
    /// Whether there may be more workflow schedules that were not looked at.
    pub truncated: bool,
}

/// How an agent is told the first input of a task.
pub(crate) const fn method_of(acp_type: AcpType) -> &'static str {
    if acp_type.is_sync() { "message/send" } else { "event/send" }
}
