//! Entities for tests: everything not named by the test has a plain, valid value.

use agentex_authz::{Principal, ResourceRef};
use agentex_domain::{
    AcpType, Agent, AgentId, AgentName, ApiKey, ApiKeyId, ApiKeyKind, Author, Cadence, Intent, IntentId, IntentStep,
    JsonObject, Message, MessageContent, MessageFilter, NewTask, Registration, RunSchedule, RunScheduleId,
    ScheduleInput, Style, TaskId, Timer, TimerAction, Timestamp, Timing,
};
use serde_json::{Value, json};

/// A moment `seconds` after a fixed one, with microseconds that do not fit milliseconds.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_735_787_045_123_456 + seconds * 1_000_000).unwrap()
}

/// The members of a JSON object.
///
/// # Panics
/// When it is another JSON value.
#[must_use]
pub fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

/// A registration of an asynchronous agent with this name.
#[must_use]
pub fn registration(name: &str) -> Registration {
    Registration {
        name: AgentName::parse(name.to_owned()).unwrap(),
        description: format!("the {name} agent"),
        acp_url: format!("http://{name}.test:8000"),
        acp_type: AcpType::Async,
        agent_input_type: None,
        metadata: None,
    }
}

/// A registered, asynchronous agent with this name, made at [`at`]`(0)`.
#[must_use]
pub fn agent(name: &str) -> Agent {
    registration(name).into_agent(at(0))
}

/// The internal key of an agent, with a secret and a digest nobody else has.
#[must_use]
pub fn internal_key(agent_id: &AgentId) -> ApiKey {
    let id = ApiKeyId::generate();
    ApiKey {
        agent_id: agent_id.clone(),
        name: "internal".to_owned(),
        kind: ApiKeyKind::Internal,
        sealed: format!("sealed-{id}"),
        digest: Some(format!("digest-{id}")),
        created_at: at(0),
        id,
    }
}

/// A key of an agent with this name, and with a secret and a digest nobody else has.
#[must_use]
pub fn api_key(agent_id: &AgentId, kind: ApiKeyKind, name: &str) -> ApiKey {
    ApiKey { name: name.to_owned(), kind, ..internal_key(agent_id) }
}

/// A user of the account `acme`: the identity only, as it is stored.
#[must_use]
pub fn user(name: &str) -> Principal {
    Principal::from_json(json!({"principal_type": "user", "user_id": name, "account_id": "acme"}))
}

/// A registering intent of the user `alice`, without parent, made at [`at`]`(0)` and due at [`at`]`(30)`.
#[must_use]
pub fn intent(resource: ResourceRef) -> Intent {
    Intent {
        id: IntentId::generate(),
        resource,
        parent: None,
        owner: user("alice"),
        step: IntentStep::Registering,
        attempts: 0,
        last_error: None,
        created_at: at(0),
        due_at: at(30),
    }
}

/// An unnamed task of the agent without parameters, made at [`at`]`(0)`.
#[must_use]
pub fn new_task(agent: &Agent) -> NewTask {
    NewTask {
        id: TaskId::generate(),
        agent_id: agent.id.clone(),
        name: None,
        params: None,
        task_metadata: None,
        created_at: at(0),
    }
}

/// The same with a name.
#[must_use]
pub fn named_task(agent: &Agent, name: &str) -> NewTask {
    NewTask { name: Some(name.to_owned()), ..new_task(agent) }
}

/// A plain text said by the user.
#[must_use]
pub fn text(words: &str) -> MessageContent {
    MessageContent::text(Author::User, words)
}

/// A JSON document said by the agent.
///
/// # Panics
/// When it is not an object.
#[must_use]
pub fn data(value: Value) -> MessageContent {
    MessageContent::Data { author: Author::Agent, style: Style::default(), data: object(value) }
}

/// A message of the task without streaming status.
#[must_use]
pub fn message(task_id: &TaskId, content: MessageContent, at: Timestamp) -> Message {
    Message::new(task_id.clone(), content, None, at)
}

/// A message filter from its JSON form.
///
/// # Panics
/// When it is not a valid filter.
#[must_use]
pub fn filter(value: &Value) -> MessageFilter {
    match MessageFilter::from_json(value) {
        Ok(filter) => filter,
        Err(problem) => panic!("{problem}: {value}"),
    }
}

/// A run schedule of the agent with this name, every minute, made by nobody at [`at`]`(0)`.
#[must_use]
pub fn run_schedule(agent_id: &AgentId, name: &str) -> RunSchedule {
    RunSchedule {
        id: RunScheduleId::generate(),
        agent_id: agent_id.clone(),
        name: name.to_owned(),
        description: None,
        cadence: Cadence::Interval(60),
        timezone: "UTC".to_owned(),
        start_at: None,
        end_at: None,
        paused: false,
        creator_principal: JsonObject::new(),
        task_params: None,
        task_metadata: None,
        initial_input: ScheduleInput { author: Author::User, content: "go".to_owned() },
        created_at: at(0),
        updated_at: at(0),
        deleted_at: None,
        version: 1,
    }
}

/// A timer of a run schedule of its own, every minute, next at the first full minute after [`at`]`(0)`.
#[must_use]
pub fn timer(id: &str) -> Timer {
    let mut timer = Timer {
        id: id.to_owned(),
        timing: Timing { intervals_seconds: vec![60], ..Timing::default() },
        action: TimerAction::Run(RunScheduleId::from(format!("row-of-{id}"))),
        paused: false,
        note: None,
        definition: None,
        skipped: Vec::new(),
        next_at: None,
        actions_taken: 0,
        missed: 0,
        last_action_at: None,
        created_at: at(0),
        version: 1,
    };
    timer.look_ahead(at(0));
    timer
}
