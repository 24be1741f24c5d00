use std::fmt;
use std::time::Duration;

use agentex_domain::ports::{AgentCall, AgentCallError, AgentClient, AgentRequest, UpdateStream};
use async_trait::async_trait;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::headers::HeaderRules;
use crate::limit::PerAgentLimit;
use crate::measure::Measured;
use crate::request::{self, RequestId};
use crate::resolve::{Endpoints, GuardedResolver, RefusedAddress};
use crate::stream::{Lines, Updates};
use crate::{AcpOptions, AcpSetupError, reply, tls};

/// The longest answer to a call that is not streamed.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Calls agents over HTTP. One per process; every clone of its `Arc` shares the connections.
pub struct AcpClient {
    pub(crate) http: reqwest::Client,
    pub(crate) endpoints: Endpoints,
    headers: HeaderRules,
    limit: PerAgentLimit,
    pub(crate) options: AcpOptions,
}

impl fmt::Debug for AcpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcpClient").field("options", &self.options).finish_non_exhaustive()
    }
}

impl AcpClient {
    /// Makes a client. Nothing process-wide is read or set, except that the machine's certificate authorities are
    /// loaded; nothing is dialled.
    ///
    /// # Errors
    /// The host override is unusable, a limit is zero, or the HTTP library refuses the configuration.
    pub fn new(options: AcpOptions) -> Result<Self, AcpSetupError> {
        Self::with_resolver(options, GuardedResolver::system())
    }

    fn with_resolver(options: AcpOptions, resolver: GuardedResolver) -> Result<Self, AcpSetupError> {
        for (name, value) in [
            ("max_line_bytes", options.max_line_bytes),
            ("max_turn_bytes", options.max_turn_bytes),
            ("per_agent_concurrency", options.per_agent_concurrency),
        ] {
            if value == 0 {
                return Err(AcpSetupError::Zero(name));
            }
        }
        let endpoints = Endpoints::new(options.host_override.as_deref())?;
        let tls = tls::config().map_err(|error| AcpSetupError::Http(error.into()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver)
            // A redirect would carry the caller's credentials and the agent's key to another host.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names itself, past the address checks.
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.pool_max_idle_per_host)
            .pool_idle_timeout(options.pool_idle_timeout)
            .build()
            .map_err(|error| AcpSetupError::Http(error.into()))?;
        Ok(Self {
            http,
            endpoints,
            headers: HeaderRules::new(&options.pass_through, &options.session_cookie_names),
            limit: PerAgentLimit::new(options.per_agent_concurrency),
            options,
        })
    }

    fn request(&self, call: &AgentCall, id: &RequestId) -> Result<Request, AgentCallError> {
        let url = self.endpoints.api_url(&call.url)?;
        let mut headers = self.headers.outgoing(&call.context, call.api_key.as_deref());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = request::body(call, id);
        tracing::debug!(bytes = body.len(), "calling agent");
        self.http.post(url).headers(headers).body(body).build().map_err(|_| AgentCallError::BadUrl)
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    ///
    /// A refused or broken connection attempt is repeated once, because nothing was sent on it.
    pub(crate) async fn execute(&self, request: Request) -> Result<Response, reqwest::Error> {
        let again = request.try_clone();
        match (self.http.execute(request).await, again) {
            (Err(error), Some(again)) if is_worth_another_connection(&error) => {
                tokio::time::sleep(jitter()).await;
                self.http.execute(again).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Sends a request and waits for the head of a successful answer.
    async fn send(&self, request: Request) -> Result<Response, AgentCallError> {
        let response = self.execute(request).await.map_err(broken)?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(AgentCallError::Status(response.status().as_u16()))
        }
    }

    async fn exchange(&self, call: &AgentCall) -> Result<(), AgentCallError> {
        let id = RequestId::generate(call);
        let request = self.request(call, &id)?;
        let _permit = self.limit.acquire(&call.agent.id).await;
        let mut response = self.send(request).await?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(AgentCallError::TooLarge);
            }
            answer.extend_from_slice(&chunk);
        }
        tracing::debug!(bytes = answer.len(), "agent answered");
        reply::accepted(&answer, &id)
    }

    /// Opens a streamed call: waits for a free slot, then for the head of the answer.
    async fn open(&self, call: &AgentCall, id: &RequestId) -> Result<(OwnedSemaphorePermit, Response), AgentCallError> {
        let mut request = self.request(call, id)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let permit = within(self.options.call_timeout, self.limit.acquire(&call.agent.id)).await?;
        let response = within(self.options.stream_idle_timeout, self.send(request)).await??;
        Ok((permit, response))
    }
}

#[async_trait]
impl AgentClient for AcpClient {
    #[tracing::instrument(
        name = "acp.call",
        skip_all,
        fields(rpc.method = call.request.method(), agent.id = %call.agent.id, task.id = %call.task.id)
    )]
    async fn call(&self, call: AgentCall) -> Result<(), AgentCallError> {
        let measured = Measured::start(&call);
        let budget = match call.request {
            AgentRequest::CancelTask => self.options.cancel_timeout,
            _ => self.options.call_timeout,
        };
        let outcome = within(budget, self.exchange(&call)).await.flatten();
        outcome.inspect_err(|error| measured.failed(error))
    }

    #[tracing::instrument(
        name = "acp.stream",
        skip_all,
        fields(rpc.method = call.request.method(), agent.id = %call.agent.id, task.id = %call.task.id)
    )]
    async fn stream(&self, call: AgentCall) -> Result<UpdateStream, AgentCallError> {
        let measured = Measured::start(&call);
        let id = RequestId::generate(&call);
        let (permit, response) = self.open(&call, &id).await.inspect_err(|error| measured.failed(error))?;
        let updates = Updates {
            response,
            id,
            lines: Lines::new(self.options.max_line_bytes, self.options.max_turn_bytes),
            idle_timeout: self.options.stream_idle_timeout,
            measured,
            _permit: permit,
        };
        Ok(updates.into_stream())
    }
}

async fn within<T>(budget: Duration, work: impl Future<Output = T>) -> Result<T, AgentCallError> {
    timeout(budget, work).await.map_err(|_| AgentCallError::TimedOut)
}

/// What a failure of the HTTP library means. The URL is taken out of it: callers' texts and logs hold no addresses.
pub(crate) fn broken(error: reqwest::Error) -> AgentCallError {
    if RefusedAddress::caused(&error) {
        AgentCallError::BadUrl
    } else {
        AgentCallError::Unreachable(error.without_url().into())
    }
}

/// Whether nothing was sent and a new attempt may go better. One that ran into the connect time-out is not repeated:
/// the caller has waited long enough.
fn is_worth_another_connection(error: &reqwest::Error) -> bool {
    error.is_connect() && !error.is_timeout() && !RefusedAddress::caused(error)
}

/// 10 to 50 ms, so that callers who lost one agent together do not come back together.
#[expect(clippy::disallowed_methods, reason = "used as a source of randomness, not as an id")]
fn jitter() -> Duration {
    Duration::from_millis(10 + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) % 41)
}

#[cfg(test)]
mod tests {
    use agentex_domain::ports::CallContext;
    use agentex_domain::{AcpType, AgentName, NewTask, Registration, TaskId, Timestamp};

    use super::*;

    fn call(url: &str) -> AgentCall {
        let at = Timestamp::from_micros(0).unwrap();
        let registration = Registration {
            name: AgentName::parse("echo".to_owned()).unwrap(),
            description: String::new(),
            acp_url: url.to_owned(),
            acp_type: AcpType::Sync,
            agent_input_type: None,
            metadata: None,
        };
        let agent = registration.into_agent(at);
        let task = NewTask {
            id: TaskId::generate(),
            agent_id: agent.id.clone(),
            name: None,
            params: None,
            task_metadata: None,
            created_at: at,
        };
        AgentCall {
            url: url.to_owned(),
            api_key: None,
            agent,
            task: task.into_task(),
            request: AgentRequest::CancelTask,
            context: CallContext::default(),
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_metadata_address_is_not_called() {
        let resolver = GuardedResolver::new(|_| Box::pin(async { Ok(vec![([169, 254, 169, 254], 80).into()]) }));
        let client = AcpClient::with_resolver(AcpOptions::default(), resolver).unwrap();

        let outcome = client.call(call("http://metadata.test")).await;

        assert!(matches!(outcome, Err(AgentCallError::BadUrl)), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_unreachable() {
        let resolver = GuardedResolver::new(|_| Box::pin(async { Err(std::io::ErrorKind::NotFound.into()) }));
        let client = AcpClient::with_resolver(AcpOptions::default(), resolver).unwrap();

        let outcome = client.call(call("http://nobody.test")).await;

        assert!(matches!(outcome, Err(AgentCallError::Unreachable(_))), "{outcome:?}");
    }

    #[test]
    fn limits_of_zero_stop_the_setup() {
        let outcome = AcpClient::new(AcpOptions { per_agent_concurrency: 0, ..AcpOptions::default() });

        assert!(matches!(outcome, Err(AcpSetupError::Zero("per_agent_concurrency"))), "{outcome:?}");
    }

    #[test]
    fn the_jitter_is_small() {
        assert!((0..1000).all(|_| (10..=50).contains(&jitter().as_millis())));
    }
}
