use agentex_domain::ports::{AgentCall, AgentRequest};
use agentex_domain::{Agent, Event, JsonObject, MessageContent, Task};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The id of one outgoing request, unique per call so that a late answer to another call is never taken for this one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId {
    text: String,
    json: String,
}

impl RequestId {
    fn new(text: String) -> Self {
        let json = serde_json::to_string(&text).expect("text has a JSON form");
        Self { text, json }
    }

    /// `<method>-<task id>-<uuid>`.
    #[expect(clippy::disallowed_methods, reason = "names a request on the wire, nothing that is stored")]
    pub(crate) fn generate(call: &AgentCall) -> Self {
        Self::new(format!("{}-{}-{}", call.request.method(), call.task.id, Uuid::new_v4()))
    }

    /// Whether `json` is this id. Agents may escape characters differently, so a different spelling is decoded.
    pub(crate) fn is_echoed_by(&self, json: &RawValue) -> bool {
        json.get() == self.json || serde_json::from_str::<String>(json.get()).is_ok_and(|text| text == self.text)
    }
}

#[cfg(test)]
impl From<&str> for RequestId {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    jsonrpc: &'static str,
    method: &'static str,
    params: Params<'a>,
    id: &'a str,
}

#[derive(Serialize)]
struct Params<'a> {
    agent: &'a Agent,
    task: &'a Task,
    #[serde(flatten)]
    own: Own<'a>,
}

/// The members that only one method has.
#[derive(Serialize)]
#[serde(untagged)]
enum Own<'a> {
    CreateTask {
        params: Option<&'a JsonObject>,
    },
    /// Agents always stream their answer, whatever `stream` says; we always want it streamed.
    SendMessage {
        content: &'a MessageContent,
        stream: bool,
    },
    /// `request` is filled in by the agent's library and must be there.
    SendEvent {
        event: &'a Event,
        request: Option<()>,
    },
    Nothing {},
}

/// The JSON-RPC request for `call`.
pub(crate) fn body(call: &AgentCall, id: &RequestId) -> Bytes {
    let own = match &call.request {
        AgentRequest::CreateTask { params } => Own::CreateTask { params: params.as_ref() },
        AgentRequest::SendMessage { content } => Own::SendMessage { content, stream: true },
        AgentRequest::SendEvent { event } => Own::SendEvent { event, request: None },
        AgentRequest::CancelTask | AgentRequest::InterruptTask => Own::Nothing {},
    };
    let envelope = Envelope {
        jsonrpc: "2.0",
        method: call.request.method(),
        params: Params { agent: &call.agent, task: &call.task, own },
        id: &id.text,
    };
    serde_json::to_vec(&envelope).expect("entities have a JSON form").into()
}

#[cfg(test)]
mod tests {
    use agentex_domain::ports::CallContext;
    use agentex_domain::{AcpType, AgentName, AgentStatus, Author, EventId, NewTask, Registration, TaskId, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn call(request: AgentRequest) -> AgentCall {
        let at = Timestamp::parse("2025-01-02T03:04:05.5Z").unwrap();
        let registration = Registration {
            name: AgentName::parse("echo".to_owned()).unwrap(),
            description: "Echoes".to_owned(),
            acp_url: "http://echo:8000".to_owned(),
            acp_type: AcpType::Async,
            agent_input_type: None,
            metadata: json!({"deployment": "blue"}).as_object().cloned(),
        };
        let agent = Agent { id: "agent-1".into(), ..registration.into_agent(at) };
        let task = NewTask {
            id: TaskId::from("task-1"),
            agent_id: agent.id.clone(),
            name: Some("nightly".to_owned()),
            params: json!({"depth": 2}).as_object().cloned(),
            task_metadata: None,
            created_at: at,
        };
        AgentCall {
            url: "http://echo:8000".to_owned(),
            api_key: None,
            agent,
            task: task.into_task(),
            request,
            context: CallContext::default(),
        }
    }

    fn sent(request: AgentRequest) -> Value {
        serde_json::from_slice(&body(&call(request), &"the-id".into())).unwrap()
    }

    fn expected(method: &str, own: Value) -> Value {
        let mut params = json!({
            "agent": {
                "id": "agent-1", "docker_image": null, "name": "echo", "description": "Echoes", "acp_type": "async",
                "status": "Ready", "status_reason": "Agent registered successfully.", "acp_url": "http://echo:8000",
                "created_at": "2025-01-02T03:04:05.500000Z", "updated_at": "2025-01-02T03:04:05.500000Z",
                "registration_metadata": {"deployment": "blue"}, "registered_at": "2025-01-02T03:04:05.500000Z",
                "agent_input_type": null, "production_deployment_id": null
            },
            "task": {
                "id": "task-1", "name": "nightly", "status": "RUNNING",
                "status_reason": "Task created, forwarding to ACP server",
                "created_at": "2025-01-02T03:04:05.500000Z", "updated_at": "2025-01-02T03:04:05.500000Z",
                "cleaned_at": null, "params": {"depth": 2}, "task_metadata": null
            }
        });
        for (key, value) in own.as_object().unwrap() {
            params[key] = value.clone();
        }
        json!({"jsonrpc": "2.0", "method": method, "params": params, "id": "the-id"})
    }

    #[test]
    fn task_create_carries_agent_task_and_params() {
        let params = json!({"a": [1, null]}).as_object().cloned();

        assert_eq!(
            sent(AgentRequest::CreateTask { params }),
            expected("task/create", json!({"params": {"a": [1, null]}}))
        );
        assert_eq!(sent(AgentRequest::CreateTask { params: None }), expected("task/create", json!({"params": null})));
    }

    #[test]
    fn message_send_carries_the_content_and_asks_for_a_stream() {
        let content = MessageContent::text(Author::User, "hello");

        assert_eq!(
            sent(AgentRequest::SendMessage { content: content.clone() }),
            expected("message/send", json!({"content": content, "stream": true}))
        );
    }

    #[test]
    fn event_send_carries_the_event_and_a_null_request() {
        let event = Event {
            id: EventId::from("event-1"),
            sequence_id: 7,
            task_id: "task-1".into(),
            agent_id: "agent-1".into(),
            created_at: Timestamp::parse("2025-01-02T03:04:06Z").unwrap(),
            content: None,
        };
        let shown = json!({
            "id": "event-1", "sequence_id": 7, "task_id": "task-1", "agent_id": "agent-1",
            "created_at": "2025-01-02T03:04:06Z", "content": null
        });

        assert_eq!(
            sent(AgentRequest::SendEvent { event }),
            expected("event/send", json!({"event": shown, "request": null}))
        );
    }

    #[test]
    fn cancel_and_interrupt_carry_agent_and_task_only() {
        assert_eq!(sent(AgentRequest::CancelTask), expected("task/cancel", json!({})));
        assert_eq!(sent(AgentRequest::InterruptTask), expected("task/interrupt", json!({})));
    }

    #[test]
    fn what_the_agent_library_requires_is_never_null() {
        let mut bare = call(AgentRequest::CancelTask);
        bare.agent.status = AgentStatus::Unknown;
        bare.agent.registration_metadata = None;

        let sent: Value = serde_json::from_slice(&body(&bare, &"the-id".into())).unwrap();

        for member in ["id", "name", "description", "acp_type", "created_at", "updated_at"] {
            assert!(sent["params"]["agent"][member].is_string(), "{member}");
        }
        assert!(sent["params"]["task"]["id"].is_string());
    }

    #[test]
    fn ids_name_method_and_task_and_differ_between_equal_calls() {
        let call = call(AgentRequest::CancelTask);

        let (first, second) = (RequestId::generate(&call), RequestId::generate(&call));

        assert!(first.text.starts_with("task/cancel-task-1-"), "{}", first.text);
        assert_ne!(first, second);
    }

    #[test]
    fn an_id_is_recognised_however_the_agent_escapes_it() {
        let id = RequestId::from("task/cancel-\"é\"-1");
        let echoed = |json: &str| id.is_echoed_by(&RawValue::from_string(json.to_owned()).unwrap());

        assert!(echoed(r#""task/cancel-\"é\"-1""#));
        assert!(echoed(r#""task\/cancel-\"\u00e9\"-1""#));
        assert!(!echoed(r#""task/cancel-\"é\"-2""#));
        assert!(!echoed("1"));
        assert!(!echoed("{}"));
    }
}
