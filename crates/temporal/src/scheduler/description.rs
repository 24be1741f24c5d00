use agentex_domain::ports::{ScheduleDescription, ScheduleEntry};
use agentex_domain::{RunScheduleId, ScheduledAction, Timestamp, Timing, WorkflowAction};
use serde_json::Value;
use temporalio_common::protos::temporal::api::schedule::v1::{
    Schedule, ScheduleActionResult, ScheduleInfo, ScheduleListEntry, ScheduleSpec, schedule_action,
};
use temporalio_common::protos::temporal::api::workflow::v1::NewWorkflowExecutionInfo;

use super::{Found, definition, skips};
use crate::{names, payload};

pub(super) fn describe(found: Found, now: Timestamp) -> ScheduleDescription {
    let Found { schedule, spec, upcoming, answer, .. } = found;
    let (remembered, definition) = definition::remembered(&schedule);
    let info = answer.info.unwrap_or_default();
    let action = action(&schedule);
    let state = schedule.state.unwrap_or_default();
    ScheduleDescription {
        timing: remembered.unwrap_or_else(|| timing(&spec)),
        action,
        paused: state.paused,
        note: Some(state.notes.trim().to_owned()).filter(|note| !note.is_empty()),
        next_action_times: upcoming,
        skipped_action_times: skips::upcoming(&spec, now),
        last_action_time: info.recent_actions.last().and_then(happened),
        actions_taken: u64::try_from(info.action_count).unwrap_or_default(),
        actions_missed: u64::try_from(info.missed_catchup_window).unwrap_or_default(),
        created_at: info.create_time.as_ref().and_then(moment),
        definition,
    }
}

pub(super) fn entry(entry: ScheduleListEntry) -> ScheduleEntry {
    let info = entry.info.unwrap_or_default();
    ScheduleEntry {
        id: entry.schedule_id,
        paused: info.paused,
        workflow_name: info.workflow_type.map(|kind| kind.name).filter(|name| !name.is_empty()),
        next_action_time: info.future_action_times.first().and_then(moment),
    }
}

pub(super) fn upcoming(info: Option<&ScheduleInfo>) -> Vec<Timestamp> {
    info.into_iter().flat_map(|info| &info.future_action_times).filter_map(moment).take(10).collect()
}

/// What Temporal alone can tell: cron expressions are gone.
fn timing(spec: &ScheduleSpec) -> Timing {
    let every = spec.interval.iter().filter_map(|one| u32::try_from(one.interval.as_ref()?.seconds).ok());
    Timing {
        cron_expressions: Vec::new(),
        intervals_seconds: every.collect(),
        timezone: Some(spec.timezone_name.clone()).filter(|zone| !zone.is_empty()),
        start_at: spec.start_time.as_ref().and_then(moment),
        end_at: spec.end_time.as_ref().and_then(moment),
    }
}

fn action(schedule: &Schedule) -> Option<ScheduledAction> {
    let schedule_action::Action::StartWorkflow(workflow) = schedule.action.as_ref()?.action.as_ref()?;
    let kind = workflow.workflow_type.as_ref()?.name.as_str();
    let first = payload::first(workflow.input.as_ref());
    Some(match (kind, first) {
        (names::SCHEDULED_RUN, Some(Value::String(id))) => ScheduledAction::Run(RunScheduleId::from(id)),
        (names::RETENTION_SWEEP, _) => ScheduledAction::RetentionSweep,
        (kind, first) => ScheduledAction::Workflow(workflow_action(kind, workflow, first)),
    })
}

fn workflow_action(kind: &str, workflow: &NewWorkflowExecutionInfo, first: Option<Value>) -> WorkflowAction {
    WorkflowAction {
        workflow_name: kind.to_owned(),
        workflow_id: workflow.workflow_id.clone(),
        task_queue: workflow.task_queue.as_ref().map(|queue| queue.name.clone()).unwrap_or_default(),
        params: match first {
            Some(Value::Object(params)) => Some(params),
            _ => None,
        },
        execution_timeout_seconds: workflow
            .workflow_execution_timeout
            .as_ref()
            .and_then(|timeout| u32::try_from(timeout.seconds).ok())
            .filter(|seconds| *seconds > 0),
    }
}

fn happened(result: &ScheduleActionResult) -> Option<Timestamp> {
    result.actual_time.as_ref().or(result.schedule_time.as_ref()).and_then(moment)
}

fn moment(at: &prost_wkt_types::Timestamp) -> Option<Timestamp> {
    let micros = at.seconds.checked_mul(1_000_000)?.checked_add(i64::from(at.nanos / 1000))?;
    Timestamp::from_micros(micros)
}
