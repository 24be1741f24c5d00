use std::thread;

use agentex_domain::ports::{StartWorkflow, WorkflowError, WorkflowGateway, WorkflowState};
use agentex_temporal::Temporal;
use agentex_testkit::services::temporal::{TestTemporal, temporal};
use serde_json::{Value, json};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    Runtime, SyncWorkflowContext, Worker, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
};

use crate::support::{connect, eventually, raw};

/// Waits for words and answers questions about them.
#[workflow]
#[derive(Default)]
struct Conversation {
    words: Vec<Value>,
}

#[workflow_methods]
impl Conversation {
    #[run(name = "Conversation")]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        ctx.wait_condition(|state| state.words.contains(&json!("bye"))).await?;
        Ok("ended".to_owned())
    }

    #[signal(name = "say")]
    fn say(&mut self, _ctx: &mut SyncWorkflowContext<Self>, word: Value) {
        self.words.push(word);
    }

    #[query(name = "words")]
    fn words(&self, _ctx: &WorkflowContextView) -> Vec<Value> {
        self.words.clone()
    }

    #[query(name = "echo")]
    fn echo(&self, _ctx: &WorkflowContextView, value: Value) -> Value {
        value
    }
}

struct Stage {
    server: TestTemporal,
    temporal: Temporal,
}

impl Stage {
    /// With somebody else's worker on the queue.
    async fn new() -> Self {
        let server = temporal().await;
        let (address, queue) = (server.address().to_owned(), server.unique().to_owned());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = raw(&address).await;
                let runtime = Runtime::from_current_tokio(Default::default()).unwrap();
                let options = WorkerOptions::new(queue).register_workflow::<Conversation>().unwrap().build();
                Worker::new(&runtime, client, options).unwrap().run().await.unwrap();
            });
        });
        let temporal = connect(server.address());
        Self { server, temporal }
    }

    fn workflow(&self) -> StartWorkflow {
        StartWorkflow {
            workflow_type: "Conversation".to_owned(),
            id: format!("conversation-{}", self.server.unique()),
            arguments: vec![],
            task_queue: self.server.unique().to_owned(),
        }
    }

    async fn begin(&self) -> String {
        let workflow = self.workflow();
        self.temporal.start(&workflow).await.unwrap();
        workflow.id
    }
}

#[tokio::test]
async fn a_workflow_is_told_and_asked() {
    let stage = Stage::new().await;
    let id = stage.begin().await;

    stage.temporal.signal(&id, "say", Some(json!({"hello": 1}))).await.unwrap();

    assert_eq!(stage.temporal.query(&id, "words", None).await.unwrap(), json!([{"hello": 1}]));
    assert_eq!(stage.temporal.query(&id, "echo", Some(json!([1, null]))).await.unwrap(), json!([1, null]));
    stage.temporal.signal(&id, "say", Some(json!("bye"))).await.unwrap();
    let ended = || async { (stage.temporal.describe(&id).await.unwrap() == WorkflowState::Completed).then_some(()) };
    eventually("the end", ended).await;
    assert_eq!(stage.temporal.query(&id, "words", None).await.unwrap(), json!([{"hello": 1}, "bye"]));
}

/// temporal §7: 6
#[tokio::test]
async fn an_unknown_query_is_no_missing_workflow() {
    let stage = Stage::new().await;
    let id = stage.begin().await;

    let unknown = stage.temporal.query(&id, "color", None).await;
    let unusable = stage.temporal.query(&id, "echo", None).await;

    assert!(matches!(unknown, Err(WorkflowError::UnknownQuery)), "{unknown:?}");
    assert!(matches!(unusable, Err(WorkflowError::UnknownQuery | WorkflowError::Failed(_))), "{unusable:?}");
}

/// temporal §7: 7
#[tokio::test]
async fn an_absent_workflow_is_not_found_whatever_is_wanted_of_it() {
    let temporal = connect(temporal().await.address());

    let outcomes = [
        temporal.query("absent", "words", None).await.map(drop),
        temporal.signal("absent", "say", None).await,
        temporal.describe("absent").await.map(drop),
        temporal.cancel("absent").await,
        temporal.terminate("absent", "reason").await,
    ];

    for outcome in outcomes {
        assert!(matches!(outcome, Err(WorkflowError::NotFound)), "{outcome:?}");
    }
}

/// temporal §7: 5
#[tokio::test]
async fn a_running_workflow_is_in_the_way_of_another_of_its_id_and_an_ended_one_is_not() {
    let stage = Stage::new().await;
    let id = stage.begin().await;

    let second = stage.temporal.start(&stage.workflow()).await;
    stage.temporal.terminate(&id, "for another").await.unwrap();
    let ended = stage.temporal.describe(&id).await.unwrap();
    let again = stage.temporal.terminate(&id, "again").await;
    let third = stage.temporal.start(&stage.workflow()).await;

    assert!(matches!(second, Err(WorkflowError::AlreadyExists)), "{second:?}");
    assert_eq!(ended, WorkflowState::Stopped);
    assert!(matches!(again, Err(WorkflowError::NotFound)), "{again:?}");
    third.unwrap();
}

#[tokio::test]
async fn a_cancelled_workflow_stops_by_itself() {
    let stage = Stage::new().await;
    let id = stage.begin().await;
    stage.temporal.query(&id, "words", None).await.unwrap();

    stage.temporal.cancel(&id).await.unwrap();

    let stopped = || async { (stage.temporal.describe(&id).await.unwrap() == WorkflowState::Stopped).then_some(()) };
    eventually("the end", stopped).await;
}

#[tokio::test]
async fn a_workflow_nobody_works_for_does_not_answer_in_time() {
    let server = temporal().await;
    let temporal = connect(server.address());
    let workflow = StartWorkflow {
        workflow_type: "Conversation".to_owned(),
        id: server.unique().to_owned(),
        arguments: vec![],
        task_queue: server.unique().to_owned(),
    };
    temporal.start(&workflow).await.unwrap();

    let answer = temporal.query(&workflow.id, "words", None).await;

    assert!(matches!(answer, Err(WorkflowError::DeadlineExceeded(_))), "{answer:?}");
}
