use agentex_app::{
    Live, RunScheduleView, ScheduleKind, ScheduleList, ScheduleView, WorkflowScheduleEntry, WorkflowScheduleView,
};
use agentex_domain::ports::ScheduleDescription;
use agentex_domain::{
    Author, Cadence, JsonObject, RunSchedule, ScheduleInput, ScheduledAction, Timestamp, WorkflowAction,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{self, Array, ArrayBuilder, KnownFormat, SchemaFormat};

use super::content::MessageAuthor;
use super::{choice, words};

words!(RunScheduleState, "RunScheduleState", "Whether a schedule fires.", ["ACTIVE", "PAUSED"]);
words!(
    ScheduleKindWords,
    "ScheduleKind",
    "What a schedule does when it fires.",
    ScheduleKind::ALL.map(|(word, _)| word)
);
choice!(
    /// Either kind of schedule.
    AnySchedule,
    AnyOfBuilder,
    "A schedule of either kind.",
    [RunScheduleBody, WorkflowScheduleBody]
);

/// A list of moments, which the derived description would call a list of texts.
fn moments() -> Array {
    let moment = ObjectBuilder::new()
        .schema_type(schema::Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    ArrayBuilder::new().items(moment).build()
}

/// The only kind of input.
fn input_kind() -> schema::Object {
    ObjectBuilder::new()
        .schema_type(schema::Type::String)
        .description(Some("Always `text`."))
        .enum_values(Some(["text"]))
        .default(Some("text".into()))
        .build()
}

/// What each scheduled task is told first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleInitialInput)]
pub(crate) struct InitialInputBody {
    /// Always `text`.
    #[schema(schema_with = input_kind, required = false)]
    r#type: &'static str,
    /// In whose name.
    #[schema(value_type = MessageAuthor, default = "user", required = false)]
    author: Author,
    /// The text.
    content: String,
}

impl From<ScheduleInput> for InitialInputBody {
    fn from(input: ScheduleInput) -> Self {
        let ScheduleInput { author, content } = input;
        Self { r#type: "text", author, content }
    }
}

/// Who made a schedule: the identity only, no credential.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleCreatorPrincipal)]
pub(crate) struct CreatorBody {
    /// For example `user` or `service_account`.
    principal_type: Option<String>,
    /// The user.
    user_id: Option<String>,
    /// The service account.
    service_account_id: Option<String>,
    /// The account acted in.
    account_id: Option<String>,
}

impl From<&JsonObject> for CreatorBody {
    fn from(creator: &JsonObject) -> Self {
        let member = |name: &str| creator.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            principal_type: member("principal_type"),
            user_id: member("user_id"),
            service_account_id: member("service_account_id"),
            account_id: member("account_id"),
        }
    }
}

/// A schedule that creates a task of its agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentRunScheduleResponse)]
pub(crate) struct RunScheduleBody {
    /// Server-made id.
    id: String,
    /// Whose it is.
    agent_id: String,
    /// Unique among the agent's schedules.
    name: String,
    /// Free text.
    description: Option<String>,
    /// The cron expression, if it has one.
    cron_expression: Option<String>,
    /// The interval, if it has one.
    interval_seconds: Option<u32>,
    /// IANA zone that the cron expression is read in.
    timezone: String,
    /// First moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
    /// Last moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_at: Option<Timestamp>,
    /// Whether its occurrences are passed over.
    paused: bool,
    /// Parameters of each task.
    #[schema(value_type = Option<Object>)]
    task_params: Option<JsonObject>,
    /// Metadata of each task.
    #[schema(value_type = Option<Object>)]
    task_metadata: Option<JsonObject>,
    /// What each task is told first.
    initial_input: InitialInputBody,
    /// How: `message/send` or `event/send`, by the agent's type.
    initial_input_method: &'static str,
    /// Who made it.
    creator_principal: Option<CreatorBody>,
    /// When it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Timestamp,
    /// Last change.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Timestamp,
    /// Whether it fires, as its scheduler sees it.
    #[schema(value_type = RunScheduleState)]
    state: &'static str,
    /// The next occurrences, at most ten.
    #[schema(schema_with = moments)]
    next_action_times: Vec<Timestamp>,
    /// Whether the scheduler could say what follows; null when it was not asked.
    live_data_available: Option<bool>,
    /// Single occurrences that were skipped.
    #[schema(schema_with = moments)]
    skipped_action_times: Vec<Timestamp>,
    /// When it last fired.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_action_time: Option<Timestamp>,
    /// How often it has fired; manual runs are not counted.
    num_actions_taken: u64,
    #[schema(value_type = ScheduleKindWords)]
    kind: &'static str,
}

impl From<RunScheduleView> for RunScheduleBody {
    fn from(view: RunScheduleView) -> Self {
        let RunScheduleView { schedule, method, live } = view;
        let RunSchedule {
            id,
            agent_id,
            name,
            description,
            cadence,
            timezone,
            start_at,
            end_at,
            paused,
            creator_principal,
            task_params,
            task_metadata,
            initial_input,
            created_at,
            updated_at,
            deleted_at: _,
            version: _,
        } = schedule;
        let (cron_expression, interval_seconds) = match cadence {
            Cadence::Cron(expression) => (Some(expression), None),
            Cadence::Interval(seconds) => (None, Some(seconds)),
        };
        let (live_data_available, live) = match live {
            Live::NotAsked => (None, None),
            Live::Unavailable => (Some(false), None),
            Live::Known(description) => (Some(true), Some(description)),
        };
        let state = state(live.as_ref().map_or(paused, |live| live.paused));
        let (next_action_times, skipped_action_times, last_action_time, num_actions_taken) = live
            .map_or_else(Default::default, |live| {
                (live.next_action_times, live.skipped_action_times, live.last_action_time, live.actions_taken)
            });
        Self {
            id: id.into_string(),
            agent_id: agent_id.into_string(),
            name,
            description,
            cron_expression,
            interval_seconds,
            timezone,
            start_at,
            end_at,
            paused,
            task_params,
            task_metadata,
            initial_input: initial_input.into(),
            initial_input_method: method,
            creator_principal: Some((&creator_principal).into()),
            created_at,
            updated_at,
            state,
            next_action_times,
            live_data_available,
            skipped_action_times,
            last_action_time,
            num_actions_taken,
            kind: ScheduleKind::AgentRun.as_str(),
        }
    }
}

const fn state(paused: bool) -> &'static str {
    if paused { "PAUSED" } else { "ACTIVE" }
}

/// What a workflow schedule starts.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ScheduleActionInfo)]
pub(crate) struct ActionBody {
    /// Type of the workflow.
    workflow_name: String,
    /// What the ids of its runs begin with.
    workflow_id_prefix: String,
    /// Queue its worker listens to.
    task_queue: String,
    /// Its arguments; null when it has none.
    #[schema(value_type = Option<Vec<Object>>)]
    workflow_params: Option<Vec<JsonObject>>,
}

/// When a workflow schedule fires.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleSpecInfo)]
pub(crate) struct SpecBody {
    /// Cron expressions, where they are known.
    cron_expressions: Vec<String>,
    /// Intervals.
    intervals_seconds: Vec<u32>,
    /// First moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_at: Option<Timestamp>,
    /// Last moment that counts.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_at: Option<Timestamp>,
    /// IANA zone that cron expressions are read in; null is UTC.
    timezone: Option<String>,
}

/// A schedule that starts a workflow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleResponse)]
pub(crate) struct WorkflowScheduleBody {
    /// Its id, made of agent and name.
    schedule_id: String,
    /// Its name.
    name: String,
    /// Whose it is.
    agent_id: String,
    #[schema(value_type = RunScheduleState)]
    state: &'static str,
    /// What it starts.
    action: ActionBody,
    /// When it fires.
    spec: SpecBody,
    /// How often it has fired.
    num_actions_taken: u64,
    /// Occurrences whose time passed unused.
    num_actions_missed: u64,
    /// The next occurrences, at most ten.
    #[schema(schema_with = moments)]
    next_action_times: Vec<Timestamp>,
    /// When it last fired.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_action_time: Option<Timestamp>,
    /// When it was made, where that is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// Single occurrences that were skipped.
    #[schema(schema_with = moments)]
    skipped_action_times: Vec<Timestamp>,
    #[schema(value_type = ScheduleKindWords)]
    kind: &'static str,
}

impl From<WorkflowScheduleView> for WorkflowScheduleBody {
    fn from(view: WorkflowScheduleView) -> Self {
        let WorkflowScheduleView { id, agent_id, name, description } = view;
        let ScheduleDescription {
            timing,
            action,
            paused,
            note: _,
            next_action_times,
            skipped_action_times,
            last_action_time,
            actions_taken,
            actions_missed,
            created_at,
            definition: _,
        } = description;
        let action = match action {
            Some(ScheduledAction::Workflow(action)) => {
                let WorkflowAction { workflow_name, workflow_id, task_queue, params, execution_timeout_seconds: _ } =
                    action;
                let workflow_params = params.map(|params| vec![params]);
                ActionBody { workflow_name, workflow_id_prefix: workflow_id, task_queue, workflow_params }
            }
            Some(ScheduledAction::Run(_) | ScheduledAction::RetentionSweep) | None => ActionBody::default(),
        };
        let spec = SpecBody {
            cron_expressions: timing.cron_expressions,
            intervals_seconds: timing.intervals_seconds,
            start_at: timing.start_at,
            end_at: timing.end_at,
            timezone: timing.timezone,
        };
        Self {
            schedule_id: id,
            name,
            agent_id: agent_id.into_string(),
            state: state(paused),
            action,
            spec,
            num_actions_taken: actions_taken,
            num_actions_missed: actions_missed,
            next_action_times,
            last_action_time,
            created_at,
            skipped_action_times,
            kind: ScheduleKind::Workflow.as_str(),
        }
    }
}

/// A schedule as its kind is shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ScheduleBody {
    /// A run schedule.
    Run(Box<RunScheduleBody>),
    /// A workflow schedule.
    Workflow(Box<WorkflowScheduleBody>),
}

impl From<ScheduleView> for ScheduleBody {
    fn from(view: ScheduleView) -> Self {
        match view {
            ScheduleView::Run(view) => Self::Run(Box::new((*view).into())),
            ScheduleView::Workflow(view) => Self::Workflow(Box::new((*view).into())),
        }
    }
}

/// A workflow schedule as lists show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduleListItem)]
pub(crate) struct WorkflowScheduleItem {
    /// Its id, made of agent and name.
    schedule_id: String,
    /// Its name.
    name: String,
    /// Whose it is.
    agent_id: String,
    #[schema(value_type = RunScheduleState)]
    state: &'static str,
    /// Type of the workflow, where it is known.
    workflow_name: Option<String>,
    /// The next occurrence.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_action_time: Option<Timestamp>,
    #[schema(value_type = ScheduleKindWords)]
    kind: &'static str,
}

/// Schedules of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentRunScheduleListResponse)]
pub(crate) struct ScheduleListBody {
    /// Those that create tasks.
    run_schedules: Vec<RunScheduleBody>,
    /// Those that start workflows.
    #[schema(required = false)]
    schedules: Vec<WorkflowScheduleItem>,
    /// How many of both are in this answer.
    total: usize,
    /// False when workflow schedules could not be listed; absent otherwise.
    #[serde(skip_serializing_if = "is_true")]
    #[schema(required = false)]
    schedules_available: bool,
    /// True when the search for workflow schedules ended before everything had been looked at; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the attribute asks for it")]
const fn is_true(value: &bool) -> bool {
    *value
}

impl ScheduleListBody {
    /// The list of the agent with this id.
    pub(crate) fn of(agent: &str, list: ScheduleList) -> Self {
        let ScheduleList { run_schedules, workflow_schedules, workflows_available, truncated } = list;
        let schedules: Vec<WorkflowScheduleItem> = workflow_schedules
            .into_iter()
            .map(|entry| {
                let WorkflowScheduleEntry { id, name, paused, workflow_name, next_action_time } = entry;
                WorkflowScheduleItem {
                    schedule_id: id,
                    name,
                    agent_id: agent.to_owned(),
                    state: state(paused),
                    workflow_name,
                    next_action_time,
                    kind: ScheduleKind::Workflow.as_str(),
                }
            })
            .collect();
        Self {
            total: run_schedules.len() + schedules.len(),
            run_schedules: run_schedules.into_iter().map(RunScheduleBody::from).collect(),
            schedules,
            schedules_available: workflows_available,
            truncated,
        }
    }
}
