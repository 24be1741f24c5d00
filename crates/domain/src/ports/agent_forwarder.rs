use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::ports::BoxError;

/// A request of an outsider to one of an agent's own routes.
#[derive(Clone)]
pub struct ForwardRequest {
    /// The agent's URL; the path is appended to it.
    pub agent_url: String,
    /// `GET` or `POST`.
    pub method: String,
    /// The path below the agent's URL as it was sent, percent-encoding kept, without a slash at the beginning.
    pub path: String,
    /// The raw query, without the question mark.
    pub query: Option<String>,
    /// What to send, in order; nothing is added but what HTTP itself needs.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Bytes,
}

impl fmt::Debug for ForwardRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

/// The agent's answer.
pub struct ForwardReply {
    /// Its status.
    pub status: u16,
    /// Its headers as received, repeated ones separate.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body as it comes, as it was encoded.
    pub body: BoxStream<'static, Result<Bytes, BoxError>>,
}

impl fmt::Debug for ForwardReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardReply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why an agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The URL made of the agent's and the path is not one that may be called.
    #[error("the target is not a usable URL")]
    BadTarget,
    /// It could not be connected to, or broke the protocol.
    #[error("agent unreachable")]
    Unreachable(#[source] BoxError),
    /// It took longer than allowed to begin its answer.
    #[error("agent did not answer in time")]
    TimedOut,
}

/// Passes requests of outsiders on to agents.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait AgentForwarder: Send + Sync {
    /// Sends `request` and answers as soon as the agent's headers are there. Redirects are answered, not followed.
    async fn forward(&self, request: ForwardRequest) -> Result<ForwardReply, ForwardError>;
}
