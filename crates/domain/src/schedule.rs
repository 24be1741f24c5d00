use std::fmt;

use agentex_authz::ResourceRef;
use serde::{Deserialize, Serialize};

use crate::{AgentId, Author, JsonObject, RunScheduleId, Timestamp, names_zone};

/// When something is to happen: the union of all cron expressions and intervals, inside the window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Cron expressions as their author wrote them.
    pub cron_expressions: Vec<String>,
    /// Intervals in seconds, each at least 1, counted from the Unix epoch.
    pub intervals_seconds: Vec<u32>,
    /// IANA zone that cron expressions are read in; `None` is UTC.
    pub timezone: Option<String>,
    /// First moment that counts.
    pub start_at: Option<Timestamp>,
    /// Last moment that counts.
    pub end_at: Option<Timestamp>,
}

/// A schedule that creates a task of an agent and gives it its first input.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSchedule {
    /// Never changes and is never used again.
    pub id: RunScheduleId,
    /// Whose tasks it creates.
    pub agent_id: AgentId,
    /// Unique among the agent's schedules that are not deleted.
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
    /// Whether its occurrences are passed over.
    pub paused: bool,
    /// Who made it: the identity only, never a credential. Empty when nobody was known.
    pub creator_principal: JsonObject,
    /// Parameters of each task.
    pub task_params: Option<JsonObject>,
    /// Metadata of each task.
    pub task_metadata: Option<JsonObject>,
    /// What each task is told first.
    pub initial_input: ScheduleInput,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Set when it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Counts changes, beginning with 1.
    pub version: i32,
}

impl RunSchedule {
    /// The schedule as authorization knows it. A name given again names another schedule, so the row decides.
    #[must_use]
    pub fn resource(agent: &AgentId, id: &RunScheduleId) -> ResourceRef {
        ResourceRef::schedule(format!("run-schedule::{agent}::{id}"))
    }

    /// When it fires.
    #[must_use]
    pub fn timing(&self) -> Timing {
        let (cron_expressions, intervals_seconds) = match &self.cadence {
            Cadence::Cron(expression) => (vec![expression.clone()], Vec::new()),
            Cadence::Interval(seconds) => (Vec::new(), vec![*seconds]),
        };
        // Intervals are counted in UTC whatever the zone says, and an expression that names its zone need not repeat it.
        let default = self.timezone == "UTC" && cron_expressions.iter().any(|expression| names_zone(expression));
        let timezone = (!cron_expressions.is_empty() && !default).then(|| self.timezone.clone());
        Timing { cron_expressions, intervals_seconds, timezone, start_at: self.start_at, end_at: self.end_at }
    }
}

/// How often a run schedule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cadence {
    /// By a cron expression.
    Cron(String),
    /// Every so many seconds, at least 1.
    Interval(u32),
}

/// The first input of a scheduled task; always text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleInput {
    /// In whose name.
    pub author: Author,
    /// The text.
    pub content: String,
}

/// What happens when a schedule fires.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduledAction {
    /// A run of a [`RunSchedule`].
    Run(RunScheduleId),
    /// The sweep over idle tasks.
    RetentionSweep,
    /// A workflow of somebody else's worker; only workflow engines can do it.
    Workflow(WorkflowAction),
}

/// A workflow to start.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowAction {
    /// Its type.
    pub workflow_name: String,
    /// Prefix of the ids of its runs.
    pub workflow_id: String,
    /// Queue its worker listens to.
    pub task_queue: String,
    /// Its only argument; `None`: no argument at all.
    pub params: Option<JsonObject>,
    /// How long a run may take.
    pub execution_timeout_seconds: Option<u32>,
}

/// What made a run happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunTrigger {
    /// Its time had come.
    Scheduled,
    /// Somebody asked for it.
    Manual,
}

impl RunTrigger {
    /// The text it is stored and sent as.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Manual => "manual",
        }
    }

    /// The trigger stored as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Scheduled, Self::Manual].into_iter().find(|trigger| trigger.as_str() == text)
    }
}

impl fmt::Display for RunTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
