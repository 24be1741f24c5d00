use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::ports::BoxError;
use crate::{Agent, Event, JsonObject, MessageContent, MessageUpdate, Task};

/// What is asked of an agent. Agents get the full agent and task with every call.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentRequest {
    /// A task was created (or created again by its name).
    CreateTask {
        /// What the creator passed.
        params: Option<JsonObject>,
    },
    /// A message for an agent that answers within the call.
    SendMessage {
        /// The message.
        content: MessageContent,
    },
    /// An event for an agent that answers later.
    SendEvent {
        /// The stored event.
        event: Event,
    },
    /// The task is to be cancelled.
    CancelTask,
    /// The current turn is to be stopped.
    InterruptTask,
}

impl AgentRequest {
    /// The JSON-RPC method.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::CreateTask { .. } => "task/create",
            Self::SendMessage { .. } => "message/send",
            Self::SendEvent { .. } => "event/send",
            Self::CancelTask => "task/cancel",
            Self::InterruptTask => "task/interrupt",
        }
    }
}

/// Where a call comes from: what the adapter derives outgoing headers from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallContext {
    /// Inbound request headers, names in lower case, in arrival order. The adapter passes on only what is safe.
    pub inbound: Vec<(String, String)>,
    /// Whether the caller is an authenticated principal whose credential may be delegated to the agent.
    pub delegate: bool,
    /// This server's id of the request.
    pub request_id: String,
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("delegate", &self.delegate)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// One call of an agent.
#[derive(Clone)]
pub struct AgentCall {
    /// Base URL the agent listens at, without the `/api` path.
    pub url: String,
    /// The agent's internal key in clear, when it has one.
    pub api_key: Option<String>,
    /// The agent.
    pub agent: Agent,
    /// The task it is about.
    pub task: Task,
    /// What is asked.
    pub request: AgentRequest,
    /// Where the call comes from.
    pub context: CallContext,
}

impl fmt::Debug for AgentCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentCall")
            .field("method", &self.request.method())
            .field("agent", &self.agent.id)
            .field("task", &self.task.id)
            .finish_non_exhaustive()
    }
}

/// Why a call of an agent did not succeed. The texts reach callers and status reasons; they hold no addresses.
#[derive(Debug, thiserror::Error)]
pub enum AgentCallError {
    /// Nothing answered at the agent's URL, or the connection broke.
    #[error("agent is unreachable")]
    Unreachable(#[source] BoxError),
    /// No answer within the configured time.
    #[error("agent did not answer in time")]
    TimedOut,
    /// The agent answered with an HTTP status that is not a success (redirects included).
    #[error("agent answered HTTP {0}")]
    Status(u16),
    /// The agent answered with a JSON-RPC error.
    #[error("RPC error: {message}")]
    Rejected {
        /// The JSON-RPC code.
        code: i64,
        /// The agent's text, bounded.
        message: String,
    },
    /// The answer's id is not the request's.
    #[error("Response ID does not match request ID")]
    WrongId,
    /// A line of a streamed answer, or the answer itself, is not what the protocol says.
    #[error("agent sent malformed stream line")]
    Malformed,
    /// A line is well-formed, but its update is not one this server knows.
    #[error("Agent returned an invalid update")]
    InvalidUpdate,
    /// A line or the whole answer is longer than allowed.
    #[error("agent answer is too large")]
    TooLarge,
    /// The URL cannot be called (scheme, host or an address that is refused).
    #[error("agent URL is not usable")]
    BadUrl,
}

/// Updates of a streamed answer, in order; ends after the first error.
pub type UpdateStream = BoxStream<'static, Result<MessageUpdate, AgentCallError>>;

/// Calls agents. Nothing is retried once the request may have been sent; redirects are never followed.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait AgentClient: Send + Sync {
    /// Makes a call whose answer is only "accepted" or an error.
    async fn call(&self, call: AgentCall) -> Result<(), AgentCallError>;

    /// Makes a call whose answer is a stream of updates, read as the consumer polls: a slow consumer slows the agent down.
    /// Dropping the stream closes the connection.
    async fn stream(&self, call: AgentCall) -> Result<UpdateStream, AgentCallError>;
}
