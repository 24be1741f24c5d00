//! Calls to make.

use agentex_domain::ports::{AgentCall, AgentRequest, CallContext};
use agentex_domain::{
    AcpType, AgentName, Author, Event, EventId, MessageContent, NewTask, Registration, TaskId, Timestamp,
};

/// A call of some agent at `url`; agents of equal `name` are one agent.
pub(crate) fn call_of(name: &str, url: &str, request: AgentRequest) -> AgentCall {
    let at = Timestamp::from_micros(0).unwrap();
    let registration = Registration {
        name: AgentName::parse(name.to_owned()).unwrap(),
        description: "Echoes".to_owned(),
        acp_url: url.to_owned(),
        acp_type: AcpType::Sync,
        agent_input_type: None,
        metadata: None,
    };
    let mut agent = registration.into_agent(at);
    agent.id = name.into();
    let task = NewTask {
        id: TaskId::from("task-1"),
        agent_id: agent.id.clone(),
        name: None,
        params: None,
        task_metadata: None,
        created_at: at,
    };
    let context = CallContext { inbound: Vec::new(), delegate: false, request_id: "req-1".to_owned() };
    AgentCall { url: url.to_owned(), api_key: None, agent, task: task.into_task(), request, context }
}

pub(crate) fn call(url: &str, request: AgentRequest) -> AgentCall {
    call_of("echo", url, request)
}

pub(crate) fn message() -> AgentRequest {
    AgentRequest::SendMessage { content: MessageContent::text(Author::User, "hello") }
}

/// One request of each kind.
pub(crate) fn every_request() -> Vec<AgentRequest> {
    let event = Event {
        id: EventId::from("event-1"),
        sequence_id: 1,
        task_id: "task-1".into(),
        agent_id: "echo".into(),
        created_at: Timestamp::from_micros(0).unwrap(),
        content: Some(MessageContent::text(Author::User, "hello")),
    };
    vec![
        AgentRequest::CreateTask { params: None },
        message(),
        AgentRequest::SendEvent { event },
        AgentRequest::CancelTask,
        AgentRequest::InterruptTask,
    ]
}
