use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use temporalio_client::grpc::WorkflowService;
use temporalio_client::{Connection, ConnectionOptions, RetryOptions};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout_at};
use tonic::{Request, Response, Status};

use crate::failure::{Attempt, CallError};
use crate::options::{InvalidOptions, TemporalOptions};

/// How often one call is tried.
const ATTEMPTS: u32 = 3;

/// A connection to Temporal that is made when it is first needed, and again after it broke.
///
/// So a server starts without Temporal and finds it when it comes up. Meanwhile calls fail at once where the address
/// refuses, and after [`TemporalOptions::connect_timeout`] where it is silent. Clones share the connection.
#[derive(Clone)]
pub struct Temporal {
    inner: Arc<Inner>,
}

struct Inner {
    options: TemporalOptions,
    connection_options: ConnectionOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    last_failure: Option<(Instant, Arc<str>)>,
}

/// Whether a call may be sent again when nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, or Temporal knows the request by its id.
    Freely,
    /// A second one would be answered differently.
    OnlyUnsent,
}

/// Temporal's own services, without retries.
pub(crate) type Service = Box<dyn WorkflowService>;

impl Temporal {
    /// Remembers where Temporal is. Nothing is sent yet.
    ///
    /// # Errors
    /// The options cannot be used, whatever the server says.
    pub fn new(options: TemporalOptions) -> Result<Self, InvalidOptions> {
        let connection_options = options.to_connection(RetryOptions::no_retries())?;
        Ok(Self { inner: Arc::new(Inner { options, connection_options, state: Mutex::default() }) })
    }

    #[cfg(feature = "worker")]
    pub(crate) fn options(&self) -> &TemporalOptions {
        &self.inner.options
    }

    pub(crate) fn namespace(&self) -> String {
        self.inner.options.namespace.clone()
    }

    pub(crate) fn identity(&self) -> String {
        self.inner.options.identity.clone()
    }

    /// Makes a call, again where that is allowed and may help, within [`TemporalOptions::request_timeout`].
    pub(crate) async fn call<Q, A, F>(
        &self,
        repeat: Repeat,
        request: Q,
        send: impl Fn(Service, Request<Q>) -> F,
    ) -> Result<A, CallError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = tokio::time::Instant::now() + self.inner.options.request_timeout;
        let mut pause = Duration::from_millis(100);
        let mut doubtful = false;
        for attempt in 1.. {
            let service = match timeout_at(deadline, self.connection()).await {
                Ok(Ok(connection)) => connection.workflow_service(),
                Ok(Err(error)) => return Err(in_doubt(doubtful, error)),
                Err(late) => return Err(in_doubt(doubtful, CallError::Unreachable(late.into()))),
            };
            let mut request = Request::new(request.clone());
            request.set_timeout(deadline - tokio::time::Instant::now());
            let status = match timeout_at(deadline, send(service, request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(late) => return Err(CallError::Unanswered(late.into())),
            };
            let kind = Attempt::of(&status);
            doubtful |= matches!(kind, Attempt::Doubtful);
            let last = attempt == ATTEMPTS
                || tokio::time::Instant::now() + pause >= deadline
                || (doubtful && repeat == Repeat::OnlyUnsent);
            match kind {
                Attempt::Answer => return Err(CallError::Refused(Box::new(status))),
                _ if !last => {}
                Attempt::NotSent => return Err(in_doubt(doubtful, CallError::Unreachable(status.into()))),
                Attempt::TurnedAway => return Err(in_doubt(doubtful, CallError::Refused(Box::new(status)))),
                Attempt::Doubtful => return Err(CallError::Unanswered(status.into())),
            }
            sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// The connection, made now if there is none. Those who wait while somebody else tries share the outcome.
    async fn connection(&self) -> Result<Connection, CallError> {
        let asked = Instant::now();
        let mut state = self.inner.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if let Some((when, why)) = &state.last_failure
            && *when > asked
        {
            return Err(CallError::Unreachable(why.to_string().into()));
        }
        match connect(self.inner.connection_options.clone(), self.inner.options.connect_timeout).await {
            Ok(connection) => {
                state.last_failure = None;
                Ok(state.connection.insert(connection).clone())
            }
            Err(why) => {
                state.last_failure = Some((Instant::now(), why.as_str().into()));
                Err(CallError::Unreachable(why.into()))
            }
        }
    }
}

/// Connects within `limit`. The error is a text of all causes.
pub(crate) async fn connect(options: ConnectionOptions, limit: Duration) -> Result<Connection, String> {
    match tokio::time::timeout(limit, Connection::connect(options)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(_) => Err("no answer while connecting".to_owned()),
    }
}

/// The text of an error and of what it stands on.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What an attempt before may have done is not undone by one that did not get through.
fn in_doubt(doubtful: bool, error: CallError) -> CallError {
    match error {
        CallError::Unreachable(source) if doubtful => CallError::Unanswered(source),
        CallError::Refused(status) if doubtful => CallError::Unanswered(status),
        error => error,
    }
}

impl fmt::Debug for Temporal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Temporal").field("options", &self.inner.options).finish_non_exhaustive()
    }
}
