//! Histories of workflows that ran with an earlier build: today's code must do the same at every step.
//!
//! Recorded with `UPDATE_HISTORIES=1`; what changes a workflow so that they fail needs a patch marker in its code.

use std::time::Duration;

use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayError, WorkflowReplayer, WorkflowReplayerOptions};

use super::{
    HealthCheckWorkflow, RetentionCleanupSweepWorkflow, RetentionCleanupTaskWorkflow, ScheduledAgentRunWorkflow,
};

async fn replay(history: &str) -> Result<(), WorkflowReplayError> {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<RetentionCleanupSweepWorkflow>()
        .and_then(|options| options.register_workflow::<RetentionCleanupTaskWorkflow>())
        .and_then(|options| options.register_workflow::<ScheduledAgentRunWorkflow>())
        .and_then(|options| {
            let workflow = || HealthCheckWorkflow { interval: Duration::from_secs(30) };
            options.register_workflow_with_factory::<HealthCheckWorkflow, _>(workflow)
        })
        .unwrap();
    let replayer = WorkflowReplayer::new(options.build()).unwrap();
    replayer.replay_workflow(WorkflowHistory::from_json(history.as_bytes()).unwrap()).await
}

#[tokio::test]
async fn health_checks_replay() {
    replay(include_str!("../../tests/histories/health-check.json")).await.unwrap();
}

#[tokio::test]
async fn sweeps_replay() {
    replay(include_str!("../../tests/histories/retention-sweep.json")).await.unwrap();
}

#[tokio::test]
async fn tasks_of_sweeps_replay() {
    replay(include_str!("../../tests/histories/retention-task.json")).await.unwrap();
}

#[tokio::test]
async fn scheduled_runs_replay() {
    replay(include_str!("../../tests/histories/scheduled-run.json")).await.unwrap();
}

#[tokio::test]
async fn a_history_of_other_steps_does_not_replay() {
    let history = include_str!("../../tests/histories/scheduled-run.json");
    let other = history.replace("launch_scheduled_agent_run_activity", "another_activity");

    let outcome = replay(&other).await;

    assert_ne!(history, other);
    assert!(matches!(outcome, Err(WorkflowReplayError::Replay(_))), "{outcome:?}");
}
