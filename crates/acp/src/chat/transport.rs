use std::time::Duration;

use agentex_domain::ports::ChatError;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Request, RequestBuilder, Url};
use serde_json::Value;

use crate::{AcpSetupError, tls};

/// Longest time for a whole call.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Connections to chat applications.
#[derive(Debug, Clone)]
pub(super) struct ChatHttp {
    client: Client,
}

/// A whole answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl ChatHttp {
    pub(super) fn new() -> Result<Self, AcpSetupError> {
        let tls = tls::config().map_err(|error| AcpSetupError::Http(error.into()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            // A redirect would carry the credentials to another host.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| AcpSetupError::Http(error.into()))?;
        Ok(Self { client })
    }

    pub(super) fn post(&self, url: &str) -> Result<RequestBuilder, ChatError> {
        Ok(self.client.post(parsed(url)?))
    }

    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Answer, ChatError> {
        let request = request.build().map_err(unreachable)?;
        self.execute(request).await
    }

    async fn execute(&self, request: Request) -> Result<Answer, ChatError> {
        let mut response = self.client.execute(request).await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ChatError::Malformed);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    }
}

impl Answer {
    /// The JSON of a success.
    pub(super) fn json(&self) -> Result<Value, ChatError> {
        if !self.status.is_success() {
            return Err(ChatError::Status(self.status.as_u16()));
        }
        serde_json::from_slice(&self.body).map_err(|_| ChatError::Malformed)
    }

    /// How long to wait before the next attempt, where the answer is that there were too many.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        if self.status != StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        let seconds = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Some(Duration::from_secs(seconds.unwrap_or(1)))
    }
}

pub(super) fn parsed(url: &str) -> Result<Url, ChatError> {
    Url::parse(url).map_err(|error| ChatError::Unreachable(error.into()))
}

/// A refusal in the provider's own word, bounded.
pub(super) fn refused(why: &str) -> ChatError {
    ChatError::Refused(why.chars().filter(|character| !character.is_control()).take(100).collect())
}

/// URLs stay out of texts and logs.
fn unreachable(error: reqwest::Error) -> ChatError {
    ChatError::Unreachable(error.without_url().into())
}
