//! Names and ids that other servers and workers on the same Temporal know, too.

pub(crate) const SCHEDULED_RUN: &str = "ScheduledAgentRunWorkflow";
pub(crate) const RETENTION_SWEEP: &str = "RetentionCleanupSweepWorkflow";
/// The workflow of the sweep's schedule, and its id.
pub(crate) const RETENTION_SWEEP_ID: &str = "retention-cleanup-sweep";

/// The workflow a run schedule starts; Temporal appends the nominal time of each occurrence.
pub(crate) fn scheduled_run_id(schedule: &str) -> String {
    format!("agent-run-schedule:{schedule}-run")
}

/// The agent and the name in the id of a workflow schedule.
pub(crate) fn agent_and_name(schedule_id: &str) -> Option<(&str, &str)> {
    schedule_id.split_once("--")
}
