use agentex_domain::AgentId;
use agentex_domain::ports::{AgentHealth, WorkflowGateway, WorkflowState};
use agentex_temporal::WorkerOptions;
use agentex_testkit::services::temporal::TemporalServer;
use serde_json::json;
use std::sync::Arc;
use temporalio_client::UntypedWorkflow;

use crate::support::{Call, FakeJobs, Stage, answers, connect, continued_from, eventually, quick, raw, start_worker};

const WORKFLOW: &str = "HealthCheckWorkflow";

fn checked(health: impl IntoIterator<Item = Option<AgentHealth>>) -> FakeJobs {
    FakeJobs { health: answers(health), ..FakeJobs::default() }
}

const UP: Option<AgentHealth> = Some(AgentHealth::Healthy);
const DOWN: Option<AgentHealth> = Some(AgentHealth::Failing);

impl Stage {
    async fn watch(&self, input: serde_json::Value) -> WorkflowState {
        let id = format!("healthcheck_workflow_{}", self.queue());
        self.start(WORKFLOW, &id, vec![input]).await;
        self.ended(&id).await
    }

    async fn record_watch(&self) {
        self.record(&format!("healthcheck_workflow_{}", self.queue()), "health-check").await;
    }

    fn checks_and_writes(&self) -> (usize, Vec<Call>) {
        let writes = self.jobs.calls().into_iter().filter(|call| matches!(call, Call::SetHealth(..)));
        (self.jobs.count(|call| matches!(call, Call::Check(_))), writes.collect())
    }
}

fn unhealthy(agent: &str) -> Vec<Call> {
    vec![Call::SetHealth(AgentId::from(agent), false)]
}

/// temporal §7: 8
/// agents §13: 58
#[tokio::test]
async fn five_failed_checks_in_a_row_are_written_once_and_end_the_workflow() {
    let stage = Stage::new(checked([DOWN])).await;

    let state = stage.watch(json!({"agent_id": "a-1", "acp_url": "http://localhost:1"})).await;

    assert_eq!(state, WorkflowState::Completed);
    assert_eq!(stage.checks_and_writes(), (5, unhealthy("a-1")));
}

/// temporal §7: 8
/// agents §13: 58
#[tokio::test]
async fn a_success_after_four_failures_begins_the_count_again() {
    let stage = Stage::new(checked([DOWN, DOWN, DOWN, DOWN, UP, DOWN])).await;

    stage.watch(json!({"agent_id": "a-1", "acp_url": "http://localhost:1"})).await;

    assert_eq!(stage.checks_and_writes(), (10, unhealthy("a-1")));
}

/// temporal §7: 10
#[tokio::test]
async fn failures_of_the_run_before_count() {
    let stage = Stage::new(checked([DOWN])).await;

    stage.watch(json!({"agent_id": "a-1", "acp_url": "http://localhost:1", "failure_counter": 3})).await;

    assert_eq!(stage.checks_and_writes(), (2, unhealthy("a-1")));
}

#[tokio::test]
async fn a_check_that_cannot_be_made_counts_as_failed_after_its_second_attempt() {
    let stage = Stage::new(checked([None])).await;

    stage.watch(json!({"agent_id": "a-1", "failure_counter": 4})).await;

    assert_eq!(stage.checks_and_writes(), (2, unhealthy("a-1")));
}

#[tokio::test]
async fn nothing_is_written_about_an_agent_that_is_gone() {
    let stage = Stage::new(checked([DOWN, Some(AgentHealth::Gone)])).await;

    let state = stage.watch(json!({"agent_id": "a-1", "acp_url": "http://localhost:1"})).await;

    assert_eq!(state, WorkflowState::Completed);
    assert_eq!(stage.checks_and_writes(), (2, vec![]));
}

/// Without a cache every task begins with a replay of the history so far, and fails when the code would do something else.
#[tokio::test]
async fn it_does_the_same_at_every_replay() {
    let options = WorkerOptions { cached_workflows: 0, ..quick() };
    let stage = Stage::with(checked([DOWN, UP, DOWN]), options).await;

    let state = stage.watch(json!({"agent_id": "a-1", "acp_url": "http://localhost:1"})).await;

    assert_eq!(state, WorkflowState::Completed);
    assert_eq!(stage.checks_and_writes(), (7, unhealthy("a-1")));
    stage.record_watch().await;
}

#[tokio::test]
async fn input_that_makes_no_sense_fails_the_workflow() {
    let stage = Stage::new(checked([UP])).await;

    let state = stage.watch(json!({"acp_url": "http://localhost:1"})).await;

    assert_eq!(state, WorkflowState::Failed);
    assert_eq!(stage.checks_and_writes(), (0, vec![]));
}

#[tokio::test]
async fn a_cancelled_check_ends_as_cancelled() {
    let stage = Stage::new(checked([UP])).await;
    let id = format!("healthcheck_workflow_{}", stage.queue());
    stage.start(WORKFLOW, &id, vec![json!({"agent_id": "a-1"})]).await;
    eventually("a check", || async { (stage.checks_and_writes().0 > 0).then_some(()) }).await;

    stage.temporal.cancel(&id).await.unwrap();

    assert_eq!(stage.ended(&id).await, WorkflowState::Stopped);
}

/// Were the counter lost with a run, the agent would have to fail more often: no run is long enough for five checks.
///
/// temporal §7: 10
#[tokio::test]
async fn the_count_survives_a_new_run() {
    let server = TemporalServer::start_with(&["limit.historyCount.suggestContinueAsNew=20"]).await;
    let temporal = connect(&server.address());
    let jobs = Arc::new(checked([DOWN, DOWN, DOWN, DOWN, UP, DOWN]));
    let worker = start_worker(&temporal, "queue", jobs.clone(), quick());
    let workflow = agentex_domain::ports::StartWorkflow {
        workflow_type: WORKFLOW.to_owned(),
        id: "healthcheck_workflow_a-1".to_owned(),
        arguments: vec![json!({"agent_id": "a-1", "acp_url": "http://localhost:1"})],
        task_queue: "queue".to_owned(),
    };

    temporal.start(&workflow).await.unwrap();

    let ended = || async { (temporal.describe(&workflow.id).await.unwrap() == WorkflowState::Completed).then_some(()) };
    eventually("the end", ended).await;
    assert_eq!(jobs.count(|call| matches!(call, Call::Check(_))), 10);
    let client = raw(&server.address()).await;
    let last = client.get_workflow_handle::<UntypedWorkflow>(&workflow.id);
    let history = last.fetch_history(Default::default()).to_json().await.unwrap();
    let history: serde_json::Value = serde_json::from_slice(&history).unwrap();
    assert!(continued_from(&history).is_some(), "{history}");
    worker.stop.cancel();
}
