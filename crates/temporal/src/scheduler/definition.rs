use agentex_domain::ports::NewSchedule;
use agentex_domain::{JsonObject, ScheduledAction, Timestamp, Timing};
use chrono_tz::Tz;
use serde_json::{Value, json};
use temporalio_common::protos::temporal::api::common::v1::{Memo, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::ScheduleOverlapPolicy;
use temporalio_common::protos::temporal::api::schedule::v1::{
    IntervalSpec, Schedule, ScheduleAction, SchedulePolicies, ScheduleSpec, ScheduleState, schedule_action,
};
use temporalio_common::protos::temporal::api::workflow::v1::NewWorkflowExecutionInfo;

use crate::gateway::{request_id, task_queue};
use crate::{names, payload};

const KIND: &str = "agentex.kind";
const AGENT: &str = "agentex.agent_id";
const NAME: &str = "agentex.name";
const DEFINITION: &str = "agentex.definition";
/// Temporal compiles cron expressions away; here they stay.
const TIMING: &str = "agentex.timing";
/// Another one with every replacement, so that it can be seen whether one took place.
const REVISION: &str = "agentex.revision";

pub(super) fn schedule(schedule: &NewSchedule, queue: &str) -> Schedule {
    Schedule {
        spec: Some(spec(&schedule.timing)),
        action: Some(ScheduleAction {
            action: Some(schedule_action::Action::StartWorkflow(NewWorkflowExecutionInfo {
                memo: Some(action_memo(schedule)),
                ..workflow(&schedule.action, queue)
            })),
        }),
        policies: Some(SchedulePolicies { overlap_policy: ScheduleOverlapPolicy::Skip.into(), ..Default::default() }),
        state: Some(ScheduleState { paused: schedule.paused, ..Default::default() }),
    }
}

fn spec(timing: &Timing) -> ScheduleSpec {
    let interval = |seconds: &u32| IntervalSpec {
        interval: Some(prost_wkt_types::Duration { seconds: i64::from(*seconds), nanos: 0 }),
        phase: None,
    };
    ScheduleSpec {
        cron_string: timing.cron_expressions.clone(),
        interval: timing.intervals_seconds.iter().map(interval).collect(),
        start_time: timing.start_at.map(proto_time),
        end_time: timing.end_at.map(proto_time),
        timezone_name: zone_name(timing),
        ..Default::default()
    }
}

/// The zone to name beside the cron expressions. UTC is what goes without saying, and an expression may name its own.
fn zone_name(timing: &Timing) -> String {
    let named = timing.timezone.as_deref().unwrap_or_default();
    if timing.cron_expressions.is_empty() || matches!(named, "UTC" | "Etc/UTC") {
        String::new()
    } else {
        named.to_owned()
    }
}

/// The zone Temporal will read the expressions in.
pub(super) fn zone(timing: &Timing) -> Tz {
    let own = timing.cron_expressions.iter().find_map(|expression| {
        let expression = expression.trim_start();
        let named = expression.strip_prefix("CRON_TZ=").or_else(|| expression.strip_prefix("TZ="))?;
        named.split_whitespace().next()
    });
    zone_of(own.unwrap_or(&zone_name(timing)))
}

/// The zone of that name; UTC for none and for one only Temporal knows.
pub(super) fn zone_of(name: &str) -> Tz {
    name.parse().unwrap_or(Tz::UTC)
}

fn workflow(action: &ScheduledAction, queue: &str) -> NewWorkflowExecutionInfo {
    match action {
        ScheduledAction::Run(schedule) => NewWorkflowExecutionInfo {
            workflow_id: names::scheduled_run_id(schedule.as_str()),
            workflow_type: Some(WorkflowType { name: names::SCHEDULED_RUN.to_owned() }),
            task_queue: Some(task_queue(queue)),
            input: payload::arguments([&Value::from(schedule.as_str())]),
            ..Default::default()
        },
        ScheduledAction::RetentionSweep => NewWorkflowExecutionInfo {
            workflow_id: names::RETENTION_SWEEP_ID.to_owned(),
            workflow_type: Some(WorkflowType { name: names::RETENTION_SWEEP.to_owned() }),
            task_queue: Some(task_queue(queue)),
            ..Default::default()
        },
        ScheduledAction::Workflow(workflow) => NewWorkflowExecutionInfo {
            workflow_id: workflow.workflow_id.clone(),
            workflow_type: Some(WorkflowType { name: workflow.workflow_name.clone() }),
            task_queue: Some(task_queue(&workflow.task_queue)),
            input: payload::arguments(workflow.params.clone().map(Value::Object).as_ref()),
            workflow_execution_timeout: workflow
                .execution_timeout_seconds
                .map(|seconds| prost_wkt_types::Duration { seconds: i64::from(seconds), nanos: 0 }),
            ..Default::default()
        },
    }
}

/// What the schedule itself carries, to be seen in Temporal's tools. Temporal keeps it as it was at creation.
pub(super) fn memo(schedule: &NewSchedule) -> Memo {
    let kind = match schedule.action {
        ScheduledAction::Run(_) => "agent_run",
        ScheduledAction::RetentionSweep => "retention",
        ScheduledAction::Workflow(_) => "workflow",
    };
    let mut fields = vec![(KIND, json!(kind))];
    if let ScheduledAction::Workflow(_) = schedule.action
        && let Some((agent, name)) = names::agent_and_name(&schedule.id)
    {
        fields.extend([(AGENT, json!(agent)), (NAME, json!(name))]);
    }
    fields.extend(definition(schedule));
    to_memo(fields)
}

/// What its action carries: an update replaces it, so this is what counts.
fn action_memo(schedule: &NewSchedule) -> Memo {
    let mut fields = vec![(TIMING, json!(schedule.timing)), (REVISION, json!(request_id()))];
    fields.extend(definition(schedule));
    to_memo(fields)
}

fn definition(schedule: &NewSchedule) -> Option<(&'static str, Value)> {
    schedule.definition.clone().map(|definition| (DEFINITION, Value::Object(definition)))
}

fn to_memo(fields: Vec<(&str, Value)>) -> Memo {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), payload::from_json(&value)));
    Memo { fields: fields.collect() }
}

/// Timing and definition as they were given last.
pub(super) fn remembered(schedule: &Schedule) -> (Option<Timing>, Option<JsonObject>) {
    let timing = field(schedule, TIMING).and_then(|timing| serde_json::from_value(timing).ok());
    let definition = match field(schedule, DEFINITION) {
        Some(Value::Object(definition)) => Some(definition),
        _ => None,
    };
    (timing, definition)
}

/// Which replacement a schedule is at; `None` for one that this product did not make.
pub(super) fn revision(schedule: &Schedule) -> Option<Value> {
    field(schedule, REVISION)
}

fn field(schedule: &Schedule, key: &str) -> Option<Value> {
    let schedule_action::Action::StartWorkflow(workflow) = schedule.action.as_ref()?.action.as_ref()?;
    workflow.memo.as_ref()?.fields.get(key).and_then(payload::to_json)
}

fn proto_time(at: Timestamp) -> prost_wkt_types::Timestamp {
    let at = at.as_datetime();
    prost_wkt_types::Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).expect("less than a second fits"),
    }
}
