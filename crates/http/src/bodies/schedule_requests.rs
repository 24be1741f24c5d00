use agentex_app::{NewAgentSchedule, NewRunSchedule, NewWorkflowSchedule, Patch, ScheduleChange, ScheduleKind};
use agentex_domain::input::{self, Fields, Problem};
use agentex_domain::{Author, Cadence, JsonObject, ScheduleInput, Timestamp, Timing};
use serde_json::Value;
use utoipa::ToSchema;

use super::choice;
use super::schedules::{InitialInputBody, ScheduleKindWords};
use crate::extract::RequestBody;

const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9-]*[a-z0-9]$|^[a-z0-9]$";
const MAX_NAME_CHARS: usize = 64;
/// Members that only workflow schedules have.
const OF_WORKFLOWS: [&str; 4] = ["workflow_name", "task_queue", "workflow_params", "execution_timeout_seconds"];
/// Members that only run schedules have.
const OF_RUNS: [&str; 4] = ["initial_input", "task_params", "task_metadata", "description"];

choice!(
    /// Either kind of schedule to make.
    CreateAnyScheduleRequest,
    AnyOfBuilder,
    "A schedule to make: one with `initial_input` creates tasks, one with `workflow_name` and `task_queue` starts workflows.",
    [CreateRunScheduleRequest, CreateWorkflowScheduleRequest]
);

/// A schedule to make that creates a task of its agent.
#[derive(ToSchema)]
#[schema(as = CreateAgentRunScheduleRequest)]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(crate) struct CreateRunScheduleRequest {
    /// Unique among the agent's schedules.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$|^[a-z0-9]$")]
    name: String,
    /// Free text.
    description: Option<String>,
    /// How often, as a cron expression. Give this or an interval.
    cron_expression: Option<String>,
    /// How often, in seconds. Give this or a cron expression.
    #[schema(minimum = 1)]
    interval_seconds: Option<i32>,
    /// IANA zone that the cron expression is read in.
    #[schema(default = "UTC", required = false)]
    timezone: String,
    /// First moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
    /// Last moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_at: Option<Timestamp>,
    /// Whether it begins paused.
    #[schema(default = false, required = false)]
    paused: bool,
    /// Parameters of each task.
    #[schema(value_type = Option<Object>)]
    task_params: Option<JsonObject>,
    /// Metadata of each task.
    #[schema(value_type = Option<Object>)]
    task_metadata: Option<JsonObject>,
    /// What each task is told first.
    initial_input: InitialInputBody,
    /// Says the kind where the other members do not.
    kind: Option<ScheduleKindWords>,
}

/// A schedule to make that starts a workflow.
#[derive(ToSchema)]
#[schema(as = CreateScheduleRequest)]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(crate) struct CreateWorkflowScheduleRequest {
    /// Unique among the agent's schedules.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$|^[a-z0-9]$")]
    name: String,
    /// Type of the workflow.
    workflow_name: String,
    /// Queue its worker listens to.
    task_queue: String,
    /// Its only argument; null and an empty object: none.
    #[schema(value_type = Option<Object>)]
    workflow_params: Option<JsonObject>,
    /// How often, as a cron expression. May be given beside an interval; then it fires at the times of both.
    cron_expression: Option<String>,
    /// How often, in seconds.
    #[schema(minimum = 1)]
    interval_seconds: Option<i32>,
    /// How long a run may take.
    #[schema(minimum = 1)]
    execution_timeout_seconds: Option<i32>,
    /// First moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
    /// Last moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_at: Option<Timestamp>,
    /// Whether it begins paused.
    #[schema(default = false, required = false)]
    paused: bool,
    /// IANA zone that the cron expression is read in.
    #[schema(default = "UTC", required = false)]
    timezone: String,
    /// Says the kind where the other members do not.
    kind: Option<ScheduleKindWords>,
}

/// Either kind, as it was read.
pub(crate) struct CreateScheduleBody(pub(crate) NewAgentSchedule);

impl RequestBody for CreateScheduleBody {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        match kind_of(fields)? {
            ScheduleKind::AgentRun => read_run(fields).map(NewAgentSchedule::Run).map(Self),
            ScheduleKind::Workflow => read_workflow(fields).map(NewAgentSchedule::Workflow).map(Self),
        }
    }
}

/// Which kind a body is of; `None`, and a problem, where it cannot be told.
fn kind_of(fields: &mut Fields<'_>) -> Option<ScheduleKind> {
    let given = |fields: &Fields<'_>, names: [&'static str; 4]| -> Vec<&'static str> {
        names.into_iter().filter(|name| fields.raw(name).is_some()).collect()
    };
    let (of_workflows, of_runs) = (given(fields, OF_WORKFLOWS), given(fields, OF_RUNS));
    if fields.raw("kind").is_some() {
        let kind = fields.optional_choice("kind", &ScheduleKind::ALL)?;
        let foreign = match kind {
            ScheduleKind::AgentRun => of_workflows,
            ScheduleKind::Workflow => of_runs,
        };
        for name in &foreign {
            fields.problem(name, format!("Field '{name}' is not valid for a {} schedule", kind.as_str()));
        }
        return foreign.is_empty().then_some(kind);
    }
    match (of_workflows.is_empty(), of_runs.is_empty()) {
        (false, false) => {
            let text = "Ambiguous schedule: provide either workflow_name/task_queue or initial_input, not both";
            whole(fields, text);
            None
        }
        (false, true) => Some(ScheduleKind::Workflow),
        (true, _) => Some(ScheduleKind::AgentRun),
    }
}

fn whole(fields: &mut Fields<'_>, text: &str) {
    fields.problems().push(Problem { path: "body".to_owned(), text: text.to_owned() });
}

fn read_run(fields: &mut Fields<'_>) -> Option<NewRunSchedule> {
    let name = name(fields);
    let description = fields.optional_string("description");
    let cadence = match (fields.raw("cron_expression").is_some(), fields.raw("interval_seconds").is_some()) {
        (true, false) => fields.optional_string("cron_expression").map(Cadence::Cron),
        (false, true) => seconds(fields, "interval_seconds").map(Cadence::Interval),
        (true, true) | (false, false) => {
            whole(fields, "Provide exactly one of cron_expression or interval_seconds");
            None
        }
    };
    let timezone = fields.optional_string("timezone").unwrap_or_else(|| "UTC".to_owned());
    let (start_at, end_at) = (fields.optional_timestamp("start_at"), fields.optional_timestamp("end_at"));
    let paused = fields.optional_bool("paused").unwrap_or(false);
    let (task_params, task_metadata) = (fields.optional_object("task_params"), fields.optional_object("task_metadata"));
    let initial_input = initial_input(fields);
    Some(NewRunSchedule {
        name: name?,
        description,
        cadence: cadence?,
        timezone,
        start_at,
        end_at,
        paused,
        task_params,
        task_metadata,
        initial_input: initial_input?,
    })
}

fn read_workflow(fields: &mut Fields<'_>) -> Option<NewWorkflowSchedule> {
    let name = name(fields);
    let (workflow_name, task_queue) = (word(fields, "workflow_name"), word(fields, "task_queue"));
    let workflow_params = fields.optional_object("workflow_params");
    let cron = fields.optional_string("cron_expression").filter(|expression| !expression.is_empty());
    let interval = seconds(fields, "interval_seconds");
    let execution_timeout_seconds = seconds(fields, "execution_timeout_seconds");
    let (start_at, end_at) = (fields.optional_timestamp("start_at"), fields.optional_timestamp("end_at"));
    let paused = fields.optional_bool("paused").unwrap_or(false);
    let timezone = fields.optional_string("timezone");
    let timing = Timing {
        cron_expressions: cron.into_iter().collect(),
        intervals_seconds: interval.into_iter().collect(),
        timezone,
        start_at,
        end_at,
    };
    Some(NewWorkflowSchedule {
        name: name?,
        workflow_name: workflow_name?,
        task_queue: task_queue?,
        workflow_params,
        execution_timeout_seconds,
        timing,
        paused,
    })
}

fn name(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.string("name")?;
    let bytes = name.as_bytes();
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let text = if name.is_empty() {
        "String should have at least 1 character".to_owned()
    } else if name.chars().count() > MAX_NAME_CHARS {
        format!("String should have at most {MAX_NAME_CHARS} characters")
    } else if bytes.first().is_some_and(allowed)
        && bytes.last().is_some_and(allowed)
        && bytes.iter().all(|byte| allowed(byte) || *byte == b'-')
    {
        return Some(name);
    } else {
        format!("String should match pattern '{NAME_PATTERN}'")
    };
    fields.problem("name", text);
    None
}

/// Text with at least one character.
fn word(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let text = fields.string(name)?;
    if text.is_empty() {
        fields.problem(name, "String should have at least 1 character");
        return None;
    }
    Some(text)
}

/// Seconds within what schedulers can count.
fn seconds(fields: &mut Fields<'_>, name: &str) -> Option<u32> {
    let number = fields.optional_integer(name)?;
    if number < 1 {
        fields.problem(name, "Input should be greater than or equal to 1");
        return None;
    }
    let bounded = i32::try_from(number).ok().map(i32::unsigned_abs);
    if bounded.is_none() {
        fields.problem(name, format!("Input should be less than or equal to {}", i32::MAX));
    }
    bounded
}

fn initial_input(fields: &mut Fields<'_>) -> Option<ScheduleInput> {
    let value = fields.required("initial_input")?;
    read_input(fields, value)
}

fn read_input(fields: &mut Fields<'_>, value: &Value) -> Option<ScheduleInput> {
    let path = fields.path_of("initial_input");
    let mut input = Fields::open(value, path, fields.problems())?;
    input.optional_choice("type", &[("text", ())]);
    let author = input.optional_choice("author", &[("user", Author::User), ("agent", Author::Agent)]);
    let content = input.string("content")?;
    Some(ScheduleInput { author: author.unwrap_or(Author::User), content })
}

/// A change of a schedule; what is absent stays. A cron expression takes the place of an interval and the other way round.
#[derive(ToSchema)]
#[schema(as = UpdateAgentRunScheduleRequest)]
#[expect(dead_code, reason = "describes what is read by hand")]
pub(crate) struct UpdateScheduleRequest {
    /// Unique among the agent's schedules. Workflow schedules cannot be renamed.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$|^[a-z0-9]$")]
    name: Option<String>,
    /// Free text; null takes it away.
    description: Option<String>,
    /// How often, as a cron expression.
    cron_expression: Option<String>,
    /// How often, in seconds.
    #[schema(minimum = 1)]
    interval_seconds: Option<i32>,
    /// IANA zone that the cron expression is read in.
    timezone: Option<String>,
    /// First moment that counts; null takes it away.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
    /// Last moment that counts; null takes it away.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_at: Option<Timestamp>,
    /// Whether its occurrences are passed over.
    paused: Option<bool>,
    /// Parameters of each task; null takes them away.
    #[schema(value_type = Option<Object>)]
    task_params: Option<JsonObject>,
    /// Metadata of each task; null takes it away.
    #[schema(value_type = Option<Object>)]
    task_metadata: Option<JsonObject>,
    /// What each task is told first.
    initial_input: Option<InitialInputBody>,
    /// The only argument of a workflow; null takes it away.
    #[schema(value_type = Option<Object>)]
    workflow_params: Option<JsonObject>,
    /// How long a run of a workflow may take; null takes the limit away.
    #[schema(minimum = 1)]
    execution_timeout_seconds: Option<i32>,
}

/// A change, as it was read.
pub(crate) struct UpdateScheduleBody(pub(crate) ScheduleChange);

impl RequestBody for UpdateScheduleBody {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self(ScheduleChange {
            name: patch(fields, "name", name),
            description: patch(fields, "description", |fields| fields.optional_string("description")),
            cron_expression: patch(fields, "cron_expression", |fields| fields.optional_string("cron_expression")),
            interval_seconds: patch(fields, "interval_seconds", |fields| seconds(fields, "interval_seconds")),
            timezone: patch(fields, "timezone", |fields| fields.optional_string("timezone")),
            start_at: patch(fields, "start_at", |fields| fields.optional_timestamp("start_at")),
            end_at: patch(fields, "end_at", |fields| fields.optional_timestamp("end_at")),
            paused: patch(fields, "paused", |fields| fields.optional_bool("paused")),
            task_params: patch(fields, "task_params", |fields| fields.optional_object("task_params")),
            task_metadata: patch(fields, "task_metadata", |fields| fields.optional_object("task_metadata")),
            initial_input: patch(fields, "initial_input", initial_input),
            workflow_params: patch(fields, "workflow_params", |fields| fields.optional_object("workflow_params")),
            execution_timeout_seconds: patch(fields, "execution_timeout_seconds", |fields| {
                seconds(fields, "execution_timeout_seconds")
            }),
        }))
    }
}

fn patch<T>(fields: &mut Fields<'_>, name: &str, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Patch<T> {
    if !fields.has(name) {
        Patch::Keep
    } else if fields.raw(name).is_none() {
        Patch::Clear
    } else {
        read(fields).map_or(Patch::Keep, Patch::Set)
    }
}

/// Why a schedule is paused.
#[derive(Default, ToSchema)]
#[schema(as = PauseRunScheduleRequest)]
pub(crate) struct PauseScheduleRequest {
    /// Kept with the schedule.
    pub(crate) note: Option<String>,
}

impl RequestBody for PauseScheduleRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { note: note(fields) })
    }
}

/// Why a schedule goes on.
#[derive(Default, ToSchema)]
#[schema(as = ResumeRunScheduleRequest)]
pub(crate) struct ResumeScheduleRequest {
    /// Kept with the schedule.
    pub(crate) note: Option<String>,
}

impl RequestBody for ResumeScheduleRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { note: note(fields) })
    }
}

fn note(fields: &mut Fields<'_>) -> Option<String> {
    fields.optional_string("note").filter(|note| !note.is_empty())
}

/// One occurrence to pass over.
#[derive(ToSchema)]
#[schema(as = SkipRunScheduleRequest)]
pub(crate) struct SkipOccurrenceRequest {
    /// Its time, with its offset from UTC.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) scheduled_time: Timestamp,
}

impl RequestBody for SkipOccurrenceRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { scheduled_time: scheduled_time(fields)? })
    }
}

/// One occurrence not to pass over after all.
#[derive(ToSchema)]
#[schema(as = UnskipRunScheduleRequest)]
pub(crate) struct UnskipOccurrenceRequest {
    /// Its time, with its offset from UTC.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) scheduled_time: Timestamp,
}

impl RequestBody for UnskipOccurrenceRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { scheduled_time: scheduled_time(fields)? })
    }
}

fn scheduled_time(fields: &mut Fields<'_>) -> Option<Timestamp> {
    let value = fields.required("scheduled_time")?;
    if value.is_null() {
        fields.problem("scheduled_time", input::NOT_A_DATETIME);
        return None;
    }
    let moment = fields.optional_timestamp("scheduled_time")?;
    // A date has hyphens, an offset comes after the time.
    let offset =
        value.as_str().and_then(|text| text.trim().get(10..)).is_some_and(|rest| rest.contains(['Z', 'z', '+', '-']));
    if !offset {
        fields.problem("scheduled_time", "scheduled_time must include timezone information.");
        return None;
    }
    Some(moment)
}
