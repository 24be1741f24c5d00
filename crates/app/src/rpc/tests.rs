//! Orders and failure paths of calls that real services cannot be made to take on demand.

use std::sync::Arc;

use agentex_authz::{Authorizer, Decision, MockAuthorizer, Operation, Principal, ResourceKind};
use agentex_domain::ports::{
    AgentCallError, Cursor, Entry, EventStream, MockAgentClient, StartAt, StoreError, StreamError, Subscription,
    SystemClock, TaskInsert, Transitioned,
};
use agentex_domain::{
    Agent, AgentName, AgentStatus, Author, Event, EventId, NewTask, Registration, StreamingStatus, TaskStatus,
    Transition,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;

use super::*;
use crate::testing::{Log, MockStores, at, guard, lifecycle};
use crate::{Absent, AgentSelector};

struct Published(Log);

#[async_trait]
impl EventStream for Published {
    async fn publish(&self, _: &TaskId, data: Bytes) -> Result<Cursor, StreamError> {
        let event: serde_json::Value = serde_json::from_slice(&data).unwrap();
        self.0.add(format!("publish {}", event["task"]["status"].as_str().unwrap()));
        Ok(Cursor::start())
    }

    async fn subscribe(&self, _: &TaskId, _: StartAt) -> Result<Subscription, StreamError> {
        Err(StreamError::BadCursor)
    }

    async fn read(&self, _: &TaskId, _: Cursor, _: usize) -> Result<Vec<Entry>, StreamError> {
        Ok(Vec::new())
    }

    async fn clear(&self, _: &TaskId) -> Result<(), StreamError> {
        Ok(())
    }
}

fn agent(acp_type: AcpType) -> Agent {
    let name = AgentName::parse("echo".into()).unwrap();
    let registration = Registration {
        name,
        description: String::new(),
        acp_url: "http://agent".into(),
        acp_type,
        agent_input_type: None,
        metadata: None,
    };
    registration.into_agent(at())
}

fn task(status: TaskStatus) -> Task {
    let new = NewTask {
        id: TaskId::from("t"),
        agent_id: "a".into(),
        name: Some("n".into()),
        params: None,
        task_metadata: None,
        created_at: at(),
    };
    Task { status, ..new.into_task() }
}

fn said(text: &str) -> MessageContent {
    MessageContent::text(Author::User, text)
}

/// The mocks of one test; what a test does not set up must not be called.
struct World {
    log: Log,
    agent: Agent,
    stores: MockStores,
    client: MockAgentClient,
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl World {
    fn new(acp_type: AcpType) -> Self {
        Self {
            log: Log::default(),
            agent: agent(acp_type),
            stores: MockStores::default(),
            client: MockAgentClient::new(),
            authorizer: None,
        }
    }

    fn with_task(mut self, found: Task) -> Self {
        self.stores.tasks.expect_find_for_agent().returning(move |_, _| Ok(Some(found.clone())));
        self
    }

    /// Performs every legal transition from `from` and logs it.
    fn transitions_from(&mut self, from: TaskStatus) {
        let log = self.log.clone();
        self.stores.tasks.expect_transition().returning(move |_, transition, reason, _| {
            let now = task(from);
            Ok(if transition.is_legal_from(from) {
                log.add(format!("{transition:?}: {reason}"));
                Transitioned::Done(Task { status: transition.target(), ..now })
            } else {
                Transitioned::Refused(now)
            })
        });
    }

    fn logs_calls(&mut self, answer: fn() -> Result<(), AgentCallError>) {
        let log = self.log.clone();
        self.client.expect_call().returning(move |call| {
            log.add(format!("call {}", call.request.method()));
            answer()
        });
    }

    fn rpc(mut self) -> (Rpc, Log, TaskTracker) {
        let agent = self.agent.clone();
        self.stores.agents.expect_dial_target().returning(move |_| {
            Ok(Some(DialTarget { agent: agent.clone(), production_url: None, internal_key: None }))
        });
        let background = TaskTracker::new();
        let streams: Arc<dyn EventStream> = Arc::new(Published(self.log.clone()));
        let rpc = Rpc::new(Parts {
            stores: self.stores.into_stores(),
            guard: guard(self.authorizer.clone()),
            lifecycle: lifecycle(self.authorizer),
            feed: TaskFeed::new(streams),
            agent_client: Arc::new(self.client),
            keyring: Keyring::new(None, ""),
            clock: Arc::new(SystemClock),
            background: background.clone(),
            settings: Settings::default(),
        });
        (rpc, self.log, background)
    }

    async fn run(self, request: RpcRequest) -> (Result<RpcOutcome, Error>, Log) {
        let caller = Caller::Principal(Principal::from_json(json!({"user_id": "alice"})));
        let (rpc, log, _) = self.rpc();
        let selector = AgentSelector::Id("a".into());
        let outcome = match rpc.authorize(&caller, &selector, request, RequestContext::default()).await {
            Ok(call) => rpc.dispatch(call).await,
            Err(error) => Err(error),
        };
        (outcome, log)
    }
}

fn by_id() -> TaskSelector {
    TaskSelector::Id("t".into())
}

fn event() -> RpcRequest {
    RpcRequest::SendEvent { task: by_id(), content: Some(said("hi")) }
}

fn message(stream: bool) -> RpcRequest {
    RpcRequest::SendMessage { task: Some(by_id()), content: said("hi"), stream, task_params: None }
}

fn logs_events(world: &mut World) {
    let log = world.log.clone();
    world.stores.events.expect_append().returning(move |task_id, agent_id, content, created_at| {
        log.add("append event");
        Ok(Event {
            id: EventId::generate(),
            sequence_id: 1,
            task_id: task_id.clone(),
            agent_id: agent_id.clone(),
            created_at,
            content,
        })
    });
}

/// rpc §7: 22, 26
/// tasks §10: 49
#[tokio::test]
async fn an_event_resumes_the_task_and_is_stored_before_the_agent_hears_of_it() {
    let mut world = World::new(AcpType::Async).with_task(task(TaskStatus::Interrupted));
    world.transitions_from(TaskStatus::Interrupted);
    logs_events(&mut world);
    world.logs_calls(|| Ok(()));

    let (outcome, log) = world.run(event()).await;

    assert!(matches!(outcome, Ok(RpcOutcome::Event(_))), "{outcome:?}");
    assert_eq!(
        log.entries(),
        ["Resume: Task resumed on next turn", "publish RUNNING", "append event", "call event/send"]
    );
}

/// rpc §7: 24
#[tokio::test]
async fn an_event_the_agent_refuses_stays_and_leaves_the_task_alone() {
    let mut world = World::new(AcpType::Agentic).with_task(task(TaskStatus::Running));
    logs_events(&mut world);
    world.logs_calls(|| Err(AgentCallError::Unreachable("refused".into())));

    let (outcome, log) = world.run(event()).await;

    assert_eq!(outcome.unwrap_err().rpc_message(), "agent is unreachable");
    assert_eq!(log.entries(), ["append event", "call event/send"]);
}

/// rpc §7: 25
#[tokio::test]
async fn terminal_tasks_take_no_events_and_nothing_is_written() {
    for status in [TaskStatus::Completed, TaskStatus::Failed, TaskStatus::Canceled] {
        let world = World::new(AcpType::Async).with_task(task(status));

        let (outcome, log) = world.run(event()).await;

        assert_eq!(outcome.unwrap_err().rpc_message(), format!("Task t is {status} and cannot accept new turns."));
        assert!(log.entries().is_empty());
    }
}

/// rpc §7: 27
#[tokio::test]
async fn a_resume_lost_to_a_cancel_refuses_the_turn() {
    let mut world = World::new(AcpType::Async).with_task(task(TaskStatus::Interrupted));
    world
        .stores
        .tasks
        .expect_transition()
        .withf(|_, transition, _, _| *transition == Transition::Resume)
        .returning(|_, _, _, _| Ok(Transitioned::Refused(task(TaskStatus::Canceled))));

    let (outcome, _) = world.run(event()).await;

    assert_eq!(outcome.unwrap_err().rpc_message(), "Task t is CANCELED and cannot accept new turns.");
}

/// rpc §7: 28
#[tokio::test]
async fn a_task_is_cancelled_only_after_the_agent_accepted() {
    let cancel = || RpcRequest::CancelTask { task: by_id() };
    let mut accepted = World::new(AcpType::Async).with_task(task(TaskStatus::Running));
    accepted.transitions_from(TaskStatus::Running);
    accepted.logs_calls(|| Ok(()));
    let mut refused = World::new(AcpType::Async).with_task(task(TaskStatus::Running));
    refused.logs_calls(|| Err(AgentCallError::Rejected { code: -32603, message: "no".into() }));

    let (outcome, log) = accepted.run(cancel()).await;
    assert!(matches!(outcome, Ok(RpcOutcome::Task(Task { status: TaskStatus::Canceled, .. }))), "{outcome:?}");
    assert_eq!(log.entries(), ["call task/cancel", "Cancel: Task canceled by user", "publish CANCELED"]);

    let (outcome, log) = refused.run(cancel()).await;
    assert_eq!(outcome.unwrap_err().rpc_message(), "RPC error: no");
    assert_eq!(log.entries(), ["call task/cancel"]);
}

/// rpc §7: 29, 30
#[tokio::test]
async fn an_end_that_came_during_a_cancel_stands_and_a_terminal_task_is_not_dialled() {
    let mut world = World::new(AcpType::Async).with_task(task(TaskStatus::Running));
    world.transitions_from(TaskStatus::Completed);
    world.logs_calls(|| Ok(()));

    let (outcome, _) = world.run(RpcRequest::CancelTask { task: by_id() }).await;
    assert!(matches!(outcome, Ok(RpcOutcome::Task(Task { status: TaskStatus::Completed, .. }))), "{outcome:?}");

    let ended = World::new(AcpType::Async).with_task(task(TaskStatus::Completed));
    let (outcome, log) = ended.run(RpcRequest::CancelTask { task: by_id() }).await;
    assert!(matches!(outcome, Ok(RpcOutcome::Task(_))), "{outcome:?}");
    assert!(log.entries().is_empty());
}

/// rpc §7: 32
#[tokio::test]
async fn an_agent_without_an_interrupt_handler_is_no_error_but_a_refused_key_is() {
    let interrupt = |answer: fn() -> Result<(), AgentCallError>| async move {
        let mut world = World::new(AcpType::Sync).with_task(task(TaskStatus::Running));
        world.stores.tasks.expect_find().returning(|_| Ok(Some(task(TaskStatus::Running))));
        world.logs_calls(answer);
        world.run(RpcRequest::InterruptTask { task: by_id() }).await.0
    };

    let missing =
        interrupt(|| Err(AgentCallError::Rejected { code: -32601, message: "Method not found".into() })).await;
    assert!(matches!(missing, Ok(RpcOutcome::Task(Task { status: TaskStatus::Running, .. }))), "{missing:?}");
    let key = interrupt(|| Err(AgentCallError::Rejected { code: -32601, message: "Unauthorized".into() })).await;
    assert_eq!(key.unwrap_err().rpc_message(), "RPC error: Unauthorized");
}

/// rpc §7: 17, 19
/// tasks §10: 51
#[tokio::test]
async fn a_create_the_agent_does_not_take_fails_the_task_unless_it_has_ended() {
    let create = || RpcRequest::CreateTask { name: None, params: None, task_metadata: None };
    for (now, expected) in [
        (TaskStatus::Running, vec!["call task/create", "Fail: agent is unreachable", "publish FAILED"]),
        (TaskStatus::Completed, vec!["call task/create"]),
    ] {
        let mut world = World::new(AcpType::Async);
        world.stores.tasks.expect_insert().returning(|new, _| Ok(TaskInsert::Created(new.clone().into_task())));
        world.transitions_from(now);
        world.logs_calls(|| Err(AgentCallError::Unreachable("refused".into())));

        let (outcome, log) = world.run(create()).await;

        assert_eq!(outcome.unwrap_err().rpc_message(), "agent is unreachable");
        assert_eq!(log.entries(), expected);
    }
}

/// rpc §7: 18
/// tasks §10: 50
#[tokio::test]
async fn a_failed_task_recovers_when_the_agent_takes_it_on_the_second_try() {
    let mut world = World::new(AcpType::Async);
    world.stores.tasks.expect_find_by_name().returning(|_| Ok(Some(task(TaskStatus::Failed))));
    world.stores.tasks.expect_is_linked().returning(|_, _| Ok(true));
    world.transitions_from(TaskStatus::Failed);
    world.logs_calls(|| Ok(()));

    let request = RpcRequest::CreateTask { name: Some("n".into()), params: None, task_metadata: None };
    let (outcome, log) = world.run(request).await;

    assert!(matches!(outcome, Ok(RpcOutcome::Task(Task { status: TaskStatus::Running, .. }))), "{outcome:?}");
    assert_eq!(log.entries(), ["call task/create", "Recover: Task forwarded to ACP server", "publish RUNNING"]);
}

/// authz §7: 131
#[tokio::test]
async fn who_loses_the_race_for_a_name_needs_the_winners_permission() {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check_many().returning(|_, checks| Ok(vec![Decision::Allow; checks.len()]));
    authorizer.expect_check().returning(|_, operation, resource| {
        assert!(matches!(operation, Operation::Update | Operation::Read));
        assert_eq!((resource.kind, resource.selector.as_str()), (ResourceKind::Task, "t"));
        Ok(Decision::Deny)
    });
    authorizer.expect_register().once().returning(|_, _, _| Ok(()));
    authorizer.expect_deregister().once().returning(|_, _| Ok(()));
    let mut world = World::new(AcpType::Async);
    world.authorizer = Some(Arc::new(authorizer));
    world.stores.tasks.expect_find_by_name().returning(|_| Ok(None));
    world.stores.tasks.expect_is_linked().returning(|_, _| Ok(true));
    world.stores.tasks.expect_insert().returning(|_, _| Ok(TaskInsert::NameTaken(task(TaskStatus::Running))));

    let request = RpcRequest::CreateTask { name: Some("n".into()), params: None, task_metadata: None };
    let (outcome, log) = world.run(request).await;

    assert!(matches!(outcome, Err(Error::NotFound(Absent::Name(name))) if name == "n"));
    assert!(log.entries().is_empty(), "the agent was not called");
}

/// authz §7: 121
#[tokio::test]
async fn a_denied_task_of_that_name_never_leads_to_a_create() {
    let mut authorizer = MockAuthorizer::new();
    authorizer.expect_check_many().returning(|_, _| Ok(vec![Decision::Allow, Decision::Deny]));
    authorizer.expect_check().returning(|_, _, _| Ok(Decision::Deny));
    let mut world = World::new(AcpType::Sync);
    world.authorizer = Some(Arc::new(authorizer));
    world.stores.tasks.expect_find_by_name().returning(|_| Ok(Some(task(TaskStatus::Running))));
    world.stores.tasks.expect_is_linked().returning(|_, _| Ok(true));

    let request = RpcRequest::SendMessage {
        task: Some(TaskSelector::Name("n".into())),
        content: said("hi"),
        stream: false,
        task_params: None,
    };
    let (outcome, _) = world.run(request).await;

    assert!(matches!(outcome, Err(Error::NotFound(Absent::Name(_)))), "{outcome:?}");
}

#[tokio::test]
async fn an_input_that_cannot_be_stored_fails_the_task_before_the_agent_is_called() {
    for stream in [false, true] {
        let mut world = World::new(AcpType::Sync).with_task(task(TaskStatus::Running));
        world.stores.messages.expect_insert().returning(|_, _| Err(StoreError::Unavailable("down".into())));
        world.transitions_from(TaskStatus::Running);

        let (outcome, log) = world.run(message(stream)).await;

        let error = match outcome {
            Ok(RpcOutcome::Updates(mut updates)) => updates.next().await.unwrap().unwrap_err(),
            other => other.unwrap_err(),
        };
        assert_eq!(error.rpc_message(), "Internal error");
        assert_eq!(log.entries(), ["Fail: Internal error", "publish FAILED"]);
    }
}

/// rpc §7: 9, 10, 11
#[tokio::test]
async fn methods_that_do_not_fit_the_agent_are_refused_before_anything_is_done() {
    let sync = World::new(AcpType::Sync).with_task(task(TaskStatus::Running));
    let (outcome, _) = sync.run(event()).await;
    assert_eq!(outcome.unwrap_err().rpc_message(), "Unsupported method: event/send for ACP type: sync");

    let agentic = World::new(AcpType::Agentic).with_task(task(TaskStatus::Running));
    let (outcome, _) = agentic.run(message(false)).await;
    assert_eq!(outcome.unwrap_err().rpc_message(), "Unsupported method: message/send for ACP type: agentic");

    let mut built = World::new(AcpType::Async).with_task(task(TaskStatus::Running));
    built.agent.acp_url = None;
    let id = built.agent.id.clone();
    let (outcome, _) = built.run(message(false)).await;
    assert_eq!(outcome.unwrap_err().rpc_message(), format!("Agent {id} does not have an ACP URL configured"));

    let mut deleted = World::new(AcpType::Sync).with_task(task(TaskStatus::Running));
    deleted.agent.status = AgentStatus::Deleted;
    let id = deleted.agent.id.clone();
    let (outcome, _) = deleted.run(message(false)).await;
    assert_eq!(outcome.unwrap_err().rpc_message(), format!("Agent {id} is deleted"));
}

/// rpc §7: 46
#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_text_so_far_and_a_running_task() {
    let mut world = World::new(AcpType::Sync).with_task(task(TaskStatus::Running));
    let log = world.log.clone();
    world.stores.messages.expect_insert().returning(move |_, messages| {
        log.add(format!("insert {:?}", messages[0].streaming_status.unwrap()));
        Ok(true)
    });
    let log = world.log.clone();
    world.stores.messages.expect_update().returning(move |task_id, id, content, status, at| {
        let MessageContent::Text { content: text, .. } = content else { panic!("{content:?}") };
        log.add(format!("store {text} {:?}", status.unwrap()));
        let message = Message::new(task_id.clone(), content.clone(), Some(StreamingStatus::Done), at);
        Ok(Some(Message { id: id.clone(), ..message }))
    });
    let (fragments, reply) = futures::channel::mpsc::unbounded();
    let mut reply = Some(reply);
    world.client.expect_stream().returning(move |_| Ok(reply.take().unwrap().boxed()));
    let delta = |text: &str| {
        serde_json::from_value(json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": text}}))
    };

    let (rpc, log, background) = world.rpc();
    let call = rpc
        .authorize(&Caller::Anonymous, &AgentSelector::Id("a".into()), message(true), RequestContext::default())
        .await
        .unwrap();
    let RpcOutcome::Updates(mut updates) = rpc.dispatch(call).await.unwrap() else { panic!("not streamed") };
    fragments.unbounded_send(Ok(delta("one ").unwrap())).unwrap();
    fragments.unbounded_send(Ok(delta("two").unwrap())).unwrap();
    for _ in 0..3 {
        updates.next().await.unwrap().unwrap();
    }
    drop(updates);
    background.close();
    background.wait().await;

    assert!(fragments.is_closed(), "the agent's connection is closed");
    assert_eq!(log.entries(), ["insert Done", "insert InProgress", "store one two Done"]);
}
