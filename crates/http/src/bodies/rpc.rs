use agentex_app::{RpcRequest, TaskSelector};
use agentex_domain::input::{self, Fields, Problem};
use agentex_domain::{Event, JsonObject, MessageContent, TaskId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::content::TaskMessageContent;
use super::messages::{TaskMessageBody, content};
use super::tasks::TaskBody;
use super::updates::TaskMessageUpdate;
use super::{choice, words};
use crate::extract::{IdentifierFields as _, RequestBody};

#[derive(Clone, Copy)]
enum Method {
    EventSend,
    TaskCreate,
    MessageSend,
    TaskCancel,
    TaskInterrupt,
}

const METHODS: [(&str, Method); 5] = [
    ("event/send", Method::EventSend),
    ("task/create", Method::TaskCreate),
    ("message/send", Method::MessageSend),
    ("task/cancel", Method::TaskCancel),
    ("task/interrupt", Method::TaskInterrupt),
];

words!(AgentRpcMethodWords, "AgentRPCMethod", "What an agent can be asked.", METHODS.map(|(word, _)| word));
words!(JsonRpcVersion, "JSONRPCVersion", "The version of JSON-RPC.", ["2.0"]);

/// A call of an agent.
#[derive(ToSchema)]
#[schema(as = AgentRPCRequest)]
pub(crate) struct RpcCall {
    /// Comes back in the answer.
    #[schema(value_type = Option<RpcIdentifier>)]
    pub(crate) id: Value,
    /// What is asked.
    #[schema(ignore)]
    pub(crate) request: RpcRequest,
    #[schema(inline, value_type = Option<JsonRpcVersion>, default = "2.0")]
    #[expect(dead_code, reason = "checked while reading; only described here")]
    jsonrpc: (),
    #[schema(value_type = AgentRpcMethodWords)]
    #[expect(dead_code, reason = "is in the request; only described here")]
    method: (),
    #[schema(value_type = AgentRPCParams)]
    #[expect(dead_code, reason = "is in the request; only described here")]
    params: (),
}

impl RpcCall {
    /// Whether the answer is a stream of lines.
    pub(crate) fn is_streamed(&self) -> bool {
        matches!(self.request, RpcRequest::SendMessage { stream: true, .. })
    }
}

impl RequestBody for RpcCall {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        if fields.has("jsonrpc") {
            fields.choice("jsonrpc", &[("2.0", ())]);
        }
        let id = fields.raw("id").cloned().unwrap_or_default();
        match &id {
            Value::Null => {}
            Value::Number(number) if !number.is_f64() => {}
            Value::String(text) if !text.contains('\0') => {}
            Value::String(_) => fields.problem("id", input::HAS_NUL),
            _ => fields.problem("id", "Input should be a valid integer or string"),
        }
        let method = fields.choice("method", &METHODS);
        let path = fields.path_of("params");
        let params = fields.required("params");
        let mut params = Fields::open(params?, path, fields.problems())?;
        let request = match method? {
            Method::TaskCreate => create_task(&mut params),
            Method::MessageSend => send_message(&mut params),
            Method::EventSend => send_event(&mut params),
            Method::TaskCancel => {
                required_target(&mut params, "task/cancel").map(|task| RpcRequest::CancelTask { task })
            }
            Method::TaskInterrupt => {
                required_target(&mut params, "task/interrupt").map(|task| RpcRequest::InterruptTask { task })
            }
        };
        Some(Self { id, request: request?, jsonrpc: (), method: (), params: () })
    }
}

fn create_task(params: &mut Fields<'_>) -> Option<RpcRequest> {
    Some(RpcRequest::CreateTask {
        name: params.optional_name("name"),
        params: params.optional_object("params"),
        task_metadata: params.optional_object("task_metadata"),
    })
}

fn send_message(params: &mut Fields<'_>) -> Option<RpcRequest> {
    let task = target(params);
    let content = content(params, "content");
    let stream = params.optional_bool("stream").unwrap_or(false);
    let task_params = params.optional_object("task_params");
    Some(RpcRequest::SendMessage { task, content: content?, stream, task_params })
}

fn send_event(params: &mut Fields<'_>) -> Option<RpcRequest> {
    let task = required_target(params, "event/send");
    let path = params.path_of("content");
    let content: Option<MessageContent> = match params.raw("content") {
        Some(value) => MessageContent::read(value, &path, params.problems()),
        None => None,
    };
    Some(RpcRequest::SendEvent { task: task?, content })
}

/// The task the parameters name, if any. Naming it twice is a problem.
fn target(params: &mut Fields<'_>) -> Option<TaskSelector> {
    let both = params.raw("task_id").is_some() && params.raw("task_name").is_some();
    let (id, name) = (params.optional_identifier("task_id"), params.optional_identifier("task_name"));
    if both {
        whole(params, "Cannot provide both task_id and task_name");
    }
    id.map(|id| TaskSelector::Id(TaskId::from(id))).or(name.map(TaskSelector::Name))
}

fn required_target(params: &mut Fields<'_>, method: &str) -> Option<TaskSelector> {
    if params.raw("task_id").is_none() && params.raw("task_name").is_none() {
        whole(params, &format!("Either task_id or task_name must be provided for {method}"));
        return None;
    }
    target(params)
}

/// A problem with the parameters as a whole.
fn whole(params: &mut Fields<'_>, text: &str) {
    let path = "body.params".to_owned();
    params.problems().push(Problem { path, text: text.to_owned() });
}

choice!(
    /// What a call comes with.
    AgentRPCParams,
    AnyOfBuilder,
    "What a call comes with, by method.",
    [CreateTaskRequest, CancelTaskRequest, InterruptTaskRequest, SendMessageRequest, SendEventRequest]
);

choice!(
    /// What a call answers.
    AgentRPCResult,
    AnyOfBuilder,
    "What a call answers: messages or, streamed, one step per line for `message/send`; an event for `event/send`; a \
     task for the others.",
    [TaskMessages, TaskMessageUpdate, TaskBody, EventBody]
);

/// Ties an answer to its request.
pub(crate) enum RpcIdentifier {}

impl utoipa::PartialSchema for RpcIdentifier {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
        AnyOfBuilder::new()
            .description(Some("Ties an answer to its request."))
            .item(ObjectBuilder::new().schema_type(Type::Integer))
            .item(ObjectBuilder::new().schema_type(Type::String))
            .into()
    }
}

impl ToSchema for RpcIdentifier {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("RPCIdentifier")
    }
}

/// Messages in order.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the API document, never built")]
pub(crate) struct TaskMessages(Vec<TaskMessageBody>);

/// Parameters of `task/create`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the API document, never built")]
pub(crate) struct CreateTaskRequest {
    /// Reuses the live task of this name, if there is one.
    name: Option<String>,
    /// Passed to the agent.
    #[schema(value_type = Option<Object>)]
    params: Option<JsonObject>,
    /// The caller's own notes.
    #[schema(value_type = Option<Object>)]
    task_metadata: Option<JsonObject>,
}

/// Parameters of `message/send`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the API document, never built")]
pub(crate) struct SendMessageRequest {
    /// The task; not together with `task_name`. Neither makes a new task.
    task_id: Option<String>,
    /// The task by name, made when there is none.
    task_name: Option<String>,
    content: TaskMessageContent,
    /// Whether the reply is streamed.
    #[schema(required = false, default = false)]
    stream: bool,
    /// Parameters of the task.
    #[schema(value_type = Option<Object>)]
    task_params: Option<JsonObject>,
}

/// Parameters of `event/send`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the API document, never built")]
pub(crate) struct SendEventRequest {
    /// The task; this or `task_name`.
    task_id: Option<String>,
    /// The task by name.
    task_name: Option<String>,
    /// What is said; nothing for a bare nudge.
    content: Option<TaskMessageContent>,
}

/// Parameters of `task/cancel`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the API document, never built")]
pub(crate) struct CancelTaskRequest {
    /// The task; this or `task_name`.
    task_id: Option<String>,
    /// The task by name.
    task_name: Option<String>,
}

/// Parameters of `task/interrupt`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the API document, never built")]
pub(crate) struct InterruptTaskRequest {
    /// The task; this or `task_name`.
    task_id: Option<String>,
    /// The task by name.
    task_name: Option<String>,
}

/// Something a caller told an agent about a task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventBody {
    /// Server-made id.
    id: String,
    /// Rises with every event.
    sequence_id: i64,
    /// The task.
    task_id: String,
    /// The agent it is for.
    agent_id: String,
    /// When it was accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<TaskMessageContent>)]
    content: Option<MessageContent>,
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        let Event { id, sequence_id, task_id, agent_id, created_at, content } = event;
        Self {
            id: id.into_string(),
            sequence_id,
            task_id: task_id.into_string(),
            agent_id: agent_id.into_string(),
            created_at,
            content,
        }
    }
}

/// The answer to a call, or one line of a streamed answer. Exactly one of `result` and `error` is not null.
#[derive(Debug, Serialize)]
pub(crate) struct RpcAnswer<'a, T> {
    jsonrpc: &'static str,
    result: Option<T>,
    error: Option<RpcFailure>,
    id: &'a Value,
}

/// Why a call failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JSONRPCError)]
pub(crate) struct RpcFailure {
    /// -32602 for parameters, -32603 for everything else.
    code: i64,
    /// For people.
    message: String,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    data: Option<()>,
}

impl<'a, T> RpcAnswer<'a, T> {
    /// What was asked for.
    pub(crate) fn success(id: &'a Value, result: T) -> Self {
        Self { jsonrpc: "2.0", result: Some(result), error: None, id }
    }

    /// Why it was not done.
    pub(crate) fn failure(id: &'a Value, (code, message): (i64, String)) -> Self {
        Self { jsonrpc: "2.0", result: None, error: Some(RpcFailure { code, message, data: None }), id }
    }
}

/// The answer to a call, or one line of a streamed answer. Exactly one of `result` and `error` is not null.
#[derive(ToSchema)]
#[schema(as = AgentRPCResponse)]
#[expect(dead_code, reason = "read by the API document, never built")]
pub(crate) struct RpcAnswerBody {
    #[schema(inline, required = false)]
    jsonrpc: JsonRpcVersion,
    #[schema(required = true)]
    result: Option<AgentRPCResult>,
    error: Option<RpcFailure>,
    id: Option<RpcIdentifier>,
}
