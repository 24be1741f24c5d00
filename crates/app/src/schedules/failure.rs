//! Failures of the scheduler in the words of the API.

use agentex_domain::RunSchedule;
use agentex_domain::ports::ScheduleError;

use super::{WorkflowTarget, absent_run, names};
use crate::Error;

/// There is no scheduler, or it cannot be reached.
pub(super) const NOT_CONNECTED: Error = Error::Unavailable("Temporal client is not connected");
const UNKNOWN: Error = Error::Unavailable("The scheduler did not answer in time; try again");

/// Why a run schedule was not dealt with.
pub(super) fn of_run(verb: &'static str, schedule: &RunSchedule, error: ScheduleError) -> Error {
    match error {
        ScheduleError::NotFound => Error::NotFound(absent_run(schedule.id.as_str(), &schedule.agent_id)),
        error => of(verb, &names::clock_id(&schedule.id), error),
    }
}

/// Why a workflow schedule was not dealt with.
pub(super) fn of_workflow(verb: &'static str, target: &WorkflowTarget, error: ScheduleError) -> Error {
    match error {
        ScheduleError::NotFound => target.absent(),
        error => of(verb, &target.id(), error),
    }
}

/// Why the schedule `id` was not dealt with.
pub(super) fn of(verb: &'static str, id: &str, error: ScheduleError) -> Error {
    let invalid = |text: &str| Error::Invalid(text.to_owned());
    match error {
        ScheduleError::Unavailable(source) => {
            tracing::warn!(error = %source, "the scheduler cannot be reached");
            NOT_CONNECTED
        }
        ScheduleError::Unknown(source) => {
            tracing::warn!(error = %source, "the scheduler did not answer");
            UNKNOWN
        }
        ScheduleError::AlreadyExists => Error::Conflict(format!("Schedule with ID '{id}' already exists")),
        ScheduleError::NotFound => Error::Invalid(format!("Schedule '{id}' not found")),
        ScheduleError::Invalid(why) => {
            tracing::info!(schedule = id, why, "the scheduler refused a schedule");
            Error::Invalid(format!("Invalid arguments provided for schedule '{id}'"))
        }
        ScheduleError::Past => invalid(&format!("Cannot {verb} a past scheduled time")),
        ScheduleError::NotUpcoming => invalid("Cannot skip a time that is not an upcoming schedule action"),
        ScheduleError::NotSkipped => invalid("Cannot unskip a time that is not currently skipped"),
        ScheduleError::Failed(source) => {
            let what = if matches!(verb, "skip" | "unskip") { format!("{verb} action for") } else { verb.to_owned() };
            Error::Failed { message: format!("Failed to {what} schedule '{id}'"), source }
        }
    }
}

/// Counts what the scheduler was asked to do for run schedules.
pub(super) fn count(operation: &'static str, outcome: &Result<(), ScheduleError>) {
    let result = match outcome {
        Ok(()) => "success",
        Err(ScheduleError::NotFound) => "not_found",
        Err(_) => "error",
    };
    metrics::counter!("agent_run_schedule.temporal_op", "operation" => operation, "result" => result).increment(1);
}
