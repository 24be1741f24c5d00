use std::sync::Arc;
use std::time::{Duration, Instant};

use agentex_domain::ports::{RunOutcome, Scheduler};
use agentex_domain::{RunScheduleId, TaskId};
use agentex_temporal::WorkerOptions;
use tokio::sync::Semaphore;

use crate::support::{FakeJobs, PATIENCE, Stage, answers, eventually, quick, start_worker};

fn gated(gate: &Arc<Semaphore>) -> FakeJobs {
    let launched = RunOutcome::Launched { task_id: TaskId::from("t-1"), method: "event/send" };
    FakeJobs { run: answers([Some(launched)]), gate: Some(Arc::clone(gate)), ..FakeJobs::default() }
}

async fn under_way(stage: &Stage) -> String {
    let row = RunScheduleId::generate();
    let fire = format!("agent-run-schedule:{row}-manual-1");
    stage.scheduler().run_now(&row, &fire).await.unwrap();
    eventually("the run", || async { stage.jobs.calls().into_iter().next() }).await;
    fire
}

#[tokio::test]
async fn a_stopped_worker_finishes_what_is_under_way() {
    let gate = Arc::new(Semaphore::new(0));
    let mut stage = Stage::with(gated(&gate), WorkerOptions { drain: PATIENCE, ..quick() }).await;
    let fire = under_way(&stage).await;

    stage.worker.stop.cancel();
    let early = tokio::time::timeout(Duration::from_millis(300), &mut stage.worker.task).await;
    gate.add_permits(1);

    assert!(early.is_err(), "it did not wait");
    stage.worker.task.await.unwrap().unwrap();
    // Somebody has to hand the outcome on to the one who waits.
    let _next = start_worker(&stage.temporal, stage.server.unique(), stage.jobs.clone(), quick());
    let client = crate::support::raw(stage.server.address()).await;
    let outcome = crate::support::result_of(&client, &fire).await;
    assert_eq!(outcome.unwrap()["task_id"], "t-1");
    assert_eq!(stage.jobs.calls().len(), 1);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_given_up_and_done_by_the_next_worker() {
    let gate = Arc::new(Semaphore::new(0));
    let stage = Stage::with(gated(&gate), WorkerOptions { drain: Duration::from_millis(200), ..quick() }).await;
    let fire = under_way(&stage).await;
    let began = Instant::now();

    stage.worker.stop.cancel();
    stage.worker.task.await.unwrap().unwrap();

    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    gate.add_permits(1);
    let _next = start_worker(&stage.temporal, stage.server.unique(), stage.jobs.clone(), quick());
    let client = crate::support::raw(stage.server.address()).await;
    assert_eq!(crate::support::result_of(&client, &fire).await.unwrap()["status"], "launched");
    assert_eq!(stage.jobs.calls().len(), 2);
}
