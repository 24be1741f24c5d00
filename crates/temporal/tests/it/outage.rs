use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentex_domain::RunScheduleId;
use agentex_domain::ports::{Probe, RunOutcome, ScheduleError, Scheduler, SystemClock, WorkflowError, WorkflowGateway};
use agentex_temporal::{Temporal, TemporalOptions, TemporalScheduler};
use agentex_testkit::services::temporal::{TemporalServer, temporal};

use crate::support::{FakeJobs, answers, connect, eventually, quick, start_worker};

fn scheduler(temporal: &Temporal) -> TemporalScheduler {
    TemporalScheduler::new(temporal.clone(), "queue", Arc::new(SystemClock))
}

#[tokio::test]
async fn an_address_that_refuses_fails_at_once() {
    // Bound and not listening would hang on some systems; a port that was just given back refuses.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let temporal = connect(&format!("127.0.0.1:{port}"));
    let began = Instant::now();

    let described = scheduler(&temporal).describe("a").await;
    let started = temporal.query("a", "state", None).await;

    assert!(matches!(described, Err(ScheduleError::Unavailable(_))), "{described:?}");
    assert!(matches!(started, Err(WorkflowError::Unavailable(_))), "{started:?}");
    assert!(temporal.probe().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// Many at a time share one attempt instead of waiting in line.
#[tokio::test]
async fn a_silent_address_holds_nobody_longer_than_it_takes_to_connect() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let options =
        TemporalOptions { address, connect_timeout: Duration::from_millis(500), ..TemporalOptions::default() };
    let temporal = Temporal::new(options).unwrap();
    let scheduler = scheduler(&temporal);
    let began = Instant::now();

    let calls = (0..20).map(|_| scheduler.describe("a"));
    for outcome in futures::future::join_all(calls).await {
        assert!(matches!(outcome, Err(ScheduleError::Unavailable(_))), "{outcome:?}");
    }

    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_comes_up_later_or_again_is_found() {
    let mut server = TemporalServer::start().await;
    let temporal = connect(&server.address());
    let scheduler = scheduler(&temporal);
    server.kill();
    let away = scheduler.describe("a").await;
    assert!(matches!(away, Err(ScheduleError::Unavailable(_))), "{away:?}");

    server.start_again().await;
    let absent = scheduler.describe("a").await;
    assert!(matches!(absent, Err(ScheduleError::NotFound)), "{absent:?}");

    server.kill();
    let broken = scheduler.describe("a").await;
    assert!(matches!(broken, Err(ScheduleError::Unavailable(_) | ScheduleError::Unknown(_))), "{broken:?}");
    server.start_again().await;
    let back = || async { matches!(scheduler.describe("a").await, Err(ScheduleError::NotFound)).then_some(()) };
    eventually("the server", back).await;
    assert_eq!(temporal.probe().await, Ok(()));
}

#[tokio::test]
async fn a_worker_waits_for_temporal_and_survives_its_restart() {
    let mut server = TemporalServer::start().await;
    let temporal = connect(&server.address());
    server.kill();
    let outcome = RunOutcome::Skipped { reason: "schedule_deleted", detail: None, task_id: None };
    let jobs = Arc::new(FakeJobs { run: answers([Some(outcome)]), ..FakeJobs::default() });
    let worker = start_worker(&temporal, "queue", jobs.clone(), quick());
    let scheduler = scheduler(&temporal);

    for round in 1..=2 {
        server.start_again().await;
        let fire = format!("fire-{round}");
        let started = || async { scheduler.run_now(&RunScheduleId::from("s-1"), &fire).await.ok() };
        eventually("the start", started).await;
        eventually("the run", || async { (jobs.calls().len() == round).then_some(()) }).await;
        server.kill();
    }

    worker.stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), worker.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_missing_namespace_is_no_missing_schedule() {
    let server = temporal().await;
    let namespace = server.unique().to_owned();
    let options = TemporalOptions { address: server.address().to_owned(), namespace, ..TemporalOptions::default() };
    let temporal = Temporal::new(options).unwrap();

    let described = scheduler(&temporal).describe("a").await;

    assert!(matches!(described, Err(ScheduleError::Unavailable(_))), "{described:?}");
    assert!(temporal.probe().await.is_err());
    assert_eq!(connect(server.address()).probe().await, Ok(()));
}
