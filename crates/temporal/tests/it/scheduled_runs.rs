use std::sync::Arc;

use agentex_domain::ports::{NewSchedule, RunOutcome, Scheduler};
use agentex_domain::{RunScheduleId, RunTrigger, ScheduledAction, TaskId, Timing};
use serde_json::json;
use temporalio_client::{UntypedWorkflow, WorkflowDescribeOptions};
use tokio::sync::Semaphore;

use crate::support::{Call, FakeJobs, Stage, answers, eventually, raw};

fn launched() -> RunOutcome {
    RunOutcome::Launched { task_id: TaskId::from("t-1"), method: "event/send" }
}

fn jobs(outcomes: impl IntoIterator<Item = Option<RunOutcome>>) -> FakeJobs {
    FakeJobs { run: answers(outcomes), ..FakeJobs::default() }
}

fn every(seconds: u32, row: &RunScheduleId) -> NewSchedule {
    NewSchedule {
        id: format!("agent-run-schedule:{row}"),
        timing: Timing { intervals_seconds: vec![seconds], ..Timing::default() },
        action: ScheduledAction::Run(row.clone()),
        paused: false,
        definition: None,
    }
}

/// temporal §7: 22
#[tokio::test]
async fn a_manual_run_happens_once_whatever_it_is_asked_on_the_workers_own_queue() {
    let stage = Stage::new(jobs([Some(launched())])).await;
    let row = RunScheduleId::generate();
    let fire = format!("agent-run-schedule:{row}-manual-1");

    stage.scheduler().run_now(&row, &fire).await.unwrap();
    let outcome = stage.result(&fire).await.unwrap();
    stage.scheduler().run_now(&row, &fire).await.unwrap();

    let expected = json!({
        "status": "launched",
        "task_id": "t-1",
        "schedule_id": row,
        "trigger_type": "manual",
        "method": "event/send",
    });
    assert_eq!(outcome, expected);
    assert_eq!(stage.jobs.calls(), [Call::Run(row, fire, RunTrigger::Manual)]);
}

/// temporal §7: 22
#[tokio::test]
async fn an_occurrence_is_named_after_its_nominal_time() {
    let stage = Stage::new(jobs([Some(launched())])).await;
    let row = RunScheduleId::generate();
    let schedule = every(1, &row);

    stage.scheduler().create(&schedule).await.unwrap();

    let ran = || async { stage.jobs.calls().into_iter().next() };
    let Call::Run(id, fire, trigger) = eventually("an occurrence", ran).await else { panic!("another job") };
    stage.scheduler().delete(&schedule.id).await.unwrap();
    assert_eq!((id, trigger), (row.clone(), RunTrigger::Scheduled));
    let time = fire.strip_prefix(&format!("agent-run-schedule:{row}-run-")).unwrap();
    assert!(time.ends_with('Z') && time.len() == "2026-11-21T21:50:12Z".len(), "{time}");
}

#[tokio::test]
async fn triggering_a_paused_schedule_runs_it() {
    let stage = Stage::new(jobs([Some(launched())])).await;
    let row = RunScheduleId::generate();
    let schedule = NewSchedule { paused: true, ..every(3600, &row) };
    stage.scheduler().create(&schedule).await.unwrap();

    stage.scheduler().trigger(&schedule.id).await.unwrap();

    eventually("the run", || async { stage.jobs.calls().into_iter().next() }).await;
    let counted = || async {
        let found = stage.scheduler().describe(&schedule.id).await.unwrap();
        (found.actions_taken == 1 && found.last_action_time.is_some()).then_some(found.paused)
    };
    assert!(eventually("the count", counted).await);
    stage.scheduler().delete(&schedule.id).await.unwrap();
}

#[tokio::test]
async fn a_run_that_fails_is_tried_again_under_the_same_name() {
    let stage = Stage::new(jobs([None, Some(launched())])).await;
    let row = RunScheduleId::generate();
    let fire = format!("agent-run-schedule:{row}-manual-1");

    stage.scheduler().run_now(&row, &fire).await.unwrap();

    assert_eq!(stage.result(&fire).await.unwrap()["status"], "launched");
    let call = Call::Run(row, fire.clone(), RunTrigger::Manual);
    assert_eq!(stage.jobs.calls(), [call.clone(), call]);
    stage.record(&fire, "scheduled-run").await;
}

#[tokio::test]
async fn a_workflow_started_with_the_schedule_alone_is_a_scheduled_run() {
    let skipped =
        RunOutcome::Skipped { reason: "permission_denied", detail: Some("agent execute".to_owned()), task_id: None };
    let stage = Stage::new(jobs([Some(skipped)])).await;
    let id = format!("run-{}", stage.queue());

    stage.start("ScheduledAgentRunWorkflow", &id, vec![json!("s-1")]).await;

    let expected = json!({
        "status": "skipped",
        "reason": "permission_denied",
        "schedule_id": "s-1",
        "detail": "agent execute",
    });
    assert_eq!(stage.result(&id).await.unwrap(), expected);
    assert_eq!(stage.jobs.calls(), [Call::Run(RunScheduleId::from("s-1"), id, RunTrigger::Scheduled)]);
}

#[tokio::test]
async fn a_trigger_nobody_knows_is_not_tried_again() {
    let stage = Stage::new(jobs([Some(launched())])).await;
    let id = format!("run-{}", stage.queue());

    stage.start("ScheduledAgentRunWorkflow", &id, vec![json!("s-1"), json!("whim")]).await;

    assert!(stage.result(&id).await.is_err());
    assert_eq!(stage.jobs.calls(), []);
}

/// So a worker that died is noticed long before its run would have taken too long.
#[tokio::test]
async fn a_run_under_way_shows_signs_of_life() {
    let gate = Arc::new(Semaphore::new(0));
    let stage = Stage::new(FakeJobs { gate: Some(Arc::clone(&gate)), ..jobs([Some(launched())]) }).await;
    let row = RunScheduleId::generate();
    let fire = format!("agent-run-schedule:{row}-manual-1");

    stage.scheduler().run_now(&row, &fire).await.unwrap();

    let client = raw(stage.server.address()).await;
    let handle = client.get_workflow_handle::<UntypedWorkflow>(&fire);
    let shown = || async {
        let found = handle.describe(WorkflowDescribeOptions::default()).await.ok()?;
        found.raw_description.pending_activities.first()?.last_heartbeat_time
    };
    eventually("a sign of life", shown).await;
    gate.add_permits(1);
    assert_eq!(stage.result(&fire).await.unwrap()["status"], "launched");
    assert_eq!(stage.jobs.calls().len(), 1);
}
