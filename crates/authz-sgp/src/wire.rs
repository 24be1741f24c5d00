use std::fmt;
use std::time::Duration;

use agentex_authz::AuthzError;
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use tokio::time::timeout;
use url::Url;

use crate::tls;

/// How much of an answer is read when its body does not matter: enough to use the connection again.
const DRAINED_BYTES: usize = 64 * 1024;

/// Where a permission service is and how patiently it is called.
#[derive(Clone, PartialEq, Eq)]
pub struct WireOptions {
    /// The service's address, `http` or `https`, with or without a path; slashes at the end are ignored.
    pub base_url: String,
    /// Longest time to resolve, connect and shake hands. Default 2 s.
    pub connect_timeout: Duration,
    /// Longest time for one call, a repeated connection attempt and the last byte included. Default 5 s.
    pub total_timeout: Duration,
    /// Longest answer that is read, in bytes. Default 8 MiB, which holds the longest list of ids.
    pub max_answer_bytes: usize,
    /// Unused connections kept. Default 100.
    pub pool_max_idle: usize,
    /// How long an unused connection is kept. Default 4 s: common application servers close theirs after 5 s, and a
    /// write sent into a closing connection is lost because writes are not repeated here.
    pub pool_idle_timeout: Duration,
}

impl WireOptions {
    /// The defaults, for the service at `base_url`.
    pub fn to(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            connect_timeout: Duration::from_secs(2),
            total_timeout: Duration::from_secs(5),
            max_answer_bytes: 8 * 1024 * 1024,
            pool_max_idle: 100,
            pool_idle_timeout: Duration::from_secs(4),
        }
    }
}

/// An address can carry a password before it is refused for that, so it is not shown.
impl fmt::Debug for WireOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireOptions")
            .field("connect_timeout", &self.connect_timeout)
            .field("total_timeout", &self.total_timeout)
            .field("max_answer_bytes", &self.max_answer_bytes)
            .field("pool_max_idle", &self.pool_max_idle)
            .field("pool_idle_timeout", &self.pool_idle_timeout)
            .finish_non_exhaustive()
    }
}

/// Why a client of a permission service cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address is not an `http` or `https` URL, or holds a user, a query or a fragment.
    #[error("the address of a permission service must be an http or https URL without user, query and fragment")]
    BaseUrl,
    /// A path does not begin with a slash or holds a query or a fragment.
    #[error("{0} is not a path on the permission service")]
    Path(String),
    /// A limit is zero, so that no call could ever succeed.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// The TLS or HTTP library refused the configuration.
    #[error("HTTP client cannot be configured")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The one client all adapters of this crate call through.
pub(crate) struct Wire {
    http: reqwest::Client,
    base: String,
    options: WireOptions,
}

/// Whether a request is sent again when no connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Never,
    Once,
}

/// What came back. The body of anything but a 200 is dropped.
pub(crate) enum Answer {
    Ok(Vec<u8>),
    Other(StatusCode),
}

/// Why there is no usable answer. No variant holds a word of what was sent or received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("no connection, or it broke")]
    Unreachable(#[source] reqwest::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("answered with status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Malformed(&'static str),
}

impl Wire {
    pub(crate) fn new(options: WireOptions) -> Result<Self, SetupError> {
        for (name, zero) in [
            ("connect_timeout", options.connect_timeout.is_zero()),
            ("total_timeout", options.total_timeout.is_zero()),
            ("max_answer_bytes", options.max_answer_bytes == 0),
        ] {
            if zero {
                return Err(SetupError::Zero(name));
            }
        }
        let base = Url::parse(&options.base_url).map_err(|_| SetupError::BaseUrl)?;
        let plain = base.username().is_empty() && base.password().is_none();
        let bare = base.query().is_none() && base.fragment().is_none();
        if !matches!(base.scheme(), "http" | "https") || !plain || !bare {
            return Err(SetupError::BaseUrl);
        }
        let tls = tls::config().map_err(|error| SetupError::Http(error.into()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A redirect would hand the caller's identity to another host and take that host's word for a permission.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.pool_max_idle)
            .pool_idle_timeout(options.pool_idle_timeout)
            .build()
            .map_err(|error| SetupError::Http(error.into()))?;
        Ok(Self { http, base: base.as_str().trim_end_matches('/').to_owned(), options })
    }

    /// The address of `path` on the service.
    pub(crate) fn endpoint(&self, path: &str) -> Result<Url, SetupError> {
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(SetupError::Path(path.to_owned()));
        }
        Url::parse(&format!("{}{path}", self.base)).map_err(|_| SetupError::Path(path.to_owned()))
    }

    pub(crate) fn options(&self) -> &WireOptions {
        &self.options
    }

    /// Posts `body` and reads the answer, all within the total time-out.
    pub(crate) async fn post(
        &self,
        endpoint: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
        repeat: Repeat,
    ) -> Result<Answer, Fault> {
        let exchange = async {
            let response = self.send(endpoint, headers, body, repeat).await?;
            self.read(response).await
        };
        let total = self.options.total_timeout;
        timeout(total, exchange).await.map_err(|_| Fault::TimedOut(total))?
    }

    async fn send(&self, endpoint: &Url, headers: HeaderMap, body: Vec<u8>, repeat: Repeat) -> Result<Response, Fault> {
        let request = self.http.post(endpoint.clone()).headers(headers).body(body).build().map_err(unreachable)?;
        let again = if repeat == Repeat::Once { request.try_clone() } else { None };
        match (self.http.execute(request).await, again) {
            // Nothing was sent. One that ran into the connect time-out is not repeated: the caller has waited enough.
            (Err(error), Some(again)) if error.is_connect() && !error.is_timeout() => {
                self.http.execute(again).await.map_err(unreachable)
            }
            (outcome, _) => outcome.map_err(unreachable),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, Fault> {
        let status = response.status();
        if status != StatusCode::OK {
            let mut drained = 0;
            while let Ok(Some(chunk)) = response.chunk().await {
                drained += chunk.len();
                if drained > DRAINED_BYTES {
                    break;
                }
            }
            return Ok(Answer::Other(status));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > self.options.max_answer_bytes {
                return Err(Fault::TooLarge(self.options.max_answer_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer::Ok(body))
    }
}

/// The URL is taken out: an error may be logged far from here, and addresses inside a network are nobody's business.
fn unreachable(error: reqwest::Error) -> Fault {
    Fault::Unreachable(error.without_url())
}

impl Fault {
    /// A label for logs and metrics.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too_large",
            Self::Malformed(_) => "malformed",
        }
    }

    /// The status behind the fault, when an answer came at all.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.as_u16()),
            _ => None,
        }
    }
}

impl From<Fault> for AuthzError {
    fn from(fault: Fault) -> Self {
        let status = match &fault {
            Fault::Unreachable(_) | Fault::TimedOut(_) => return Self::Unavailable(fault.into()),
            Fault::TooLarge(_) | Fault::Malformed(_) => return Self::Protocol(fault.into()),
            Fault::Status(status) => *status,
        };
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::BAD_GATEWAY => Self::Gateway(fault.into()),
            StatusCode::SERVICE_UNAVAILABLE => Self::Busy(fault.into()),
            other if other.is_redirection() => Self::Gateway(fault.into()),
            other if other.as_u16() >= 500 => Self::Service(fault.into()),
            // The provider's 404 or 422 is about our request, never about the resource the caller asked for.
            _ => Self::Protocol(fault.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(base_url: &str) -> Result<Wire, SetupError> {
        Wire::new(WireOptions::to(base_url))
    }

    /// Behaviour 31.
    #[test]
    fn slashes_at_the_end_of_the_address_make_no_double_slash() {
        for base in ["http://auth.test", "http://auth.test/", "http://auth.test//"] {
            let endpoint = made(base).unwrap().endpoint("/v1/authz/check").unwrap();
            assert_eq!(endpoint.as_str(), "http://auth.test/v1/authz/check");
        }
        let endpoint = made("https://auth.test/base/").unwrap().endpoint("/v1/authn").unwrap();
        assert_eq!(endpoint.as_str(), "https://auth.test/base/v1/authn");
    }

    #[test]
    fn addresses_that_cannot_be_a_service_stop_the_setup() {
        for base in
            ["", "auth.test", "ftp://auth.test", "http://me:pw@auth.test", "http://a.test?x=1", "http://a.test#x"]
        {
            assert!(matches!(made(base).map(drop), Err(SetupError::BaseUrl)), "{base}");
        }
    }

    #[test]
    fn paths_that_are_none_and_limits_of_zero_stop_the_setup() {
        let wire = made("http://auth.test").unwrap();
        for path in ["", "check", "/check?x=1", "/check#x", "http://other.test/check"] {
            assert!(matches!(wire.endpoint(path), Err(SetupError::Path(_))), "{path}");
        }
        let zero = WireOptions { total_timeout: Duration::ZERO, ..WireOptions::to("http://auth.test") };
        assert!(matches!(Wire::new(zero).map(drop), Err(SetupError::Zero("total_timeout"))));
    }

    #[test]
    fn debug_output_does_not_show_the_address() {
        let shown = format!("{:?}", WireOptions::to("http://me:hunter2@auth.test"));

        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
