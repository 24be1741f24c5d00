use std::time::Duration;

use agentex_domain::ports::BoxError;

/// How agents are called. [`AcpOptions::default`] is what the public project's environment defaults give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpOptions {
    /// Longest time to resolve, connect and shake hands. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest time for a call that is not streamed, from waiting for a free slot to the last byte; also the longest
    /// wait for a slot of a streamed call. Default 60 s.
    pub call_timeout: Duration,
    /// The same for `task/cancel`, so that a caller who cancels is not left hanging. Default 10 s.
    pub cancel_timeout: Duration,
    /// Longest wait for an agent to begin its answer to a forwarded request. Default 15 s.
    pub forward_timeout: Duration,
    /// Longest silence in a streamed call: before the answer begins, and between two pieces of it; also between two pieces
    /// of the answer to a forwarded request. There is no bound on the whole stream. Default 300 s.
    pub stream_idle_timeout: Duration,
    /// Unused connections kept per host. Default 100.
    pub pool_max_idle_per_host: usize,
    /// How long an unused connection is kept. Default 4 s: the HTTP server that agents of the SDK run on closes idle
    /// connections after 5 s, and a call sent into a closing connection is lost because nothing is sent twice.
    pub pool_idle_timeout: Duration,
    /// Host name or address dialled in place of exactly `host.docker.internal`; scheme, port, path and query stay, user
    /// information is dropped. Default none; empty means none.
    pub host_override: Option<String>,
    /// Cookies that count as a session and may be delegated, best first. Default `_identityJwt`; empty switches cookie
    /// delegation off.
    pub session_cookie_names: Vec<String>,
    /// Which of the caller's headers agents see. Default [`PassThrough::AllExceptBlocked`].
    pub pass_through: PassThrough,
    /// Longest line of a streamed answer, in bytes. Default 1 MiB.
    pub max_line_bytes: usize,
    /// Longest streamed answer, in bytes. Default 64 MiB.
    pub max_turn_bytes: usize,
    /// Calls and streams one agent may have open at once; more wait. Default 256.
    pub per_agent_concurrency: usize,
}

impl Default for AcpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(60),
            cancel_timeout: Duration::from_secs(10),
            forward_timeout: Duration::from_secs(15),
            stream_idle_timeout: Duration::from_secs(300),
            pool_max_idle_per_host: 100,
            pool_idle_timeout: Duration::from_secs(4),
            host_override: None,
            session_cookie_names: vec!["_identityJwt".to_owned()],
            pass_through: PassThrough::AllExceptBlocked,
            max_line_bytes: 1024 * 1024,
            max_turn_bytes: 64 * 1024 * 1024,
            per_agent_concurrency: 256,
        }
    }
}

/// Which of the caller's headers are passed on. Credentials, identity claims and hop-by-hop headers never are, and
/// `traceparent` and `tracestate` always are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassThrough {
    /// `x-*` and `baggage`.
    AllExceptBlocked,
    /// Of those, only the named ones (any case).
    Only(Vec<String>),
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AcpSetupError {
    /// The replacement for `host.docker.internal` is not a host name or address, or is one that is never dialled.
    #[error("host override is not a host name or address that may be called")]
    HostOverride,
    /// A limit is zero, so that nothing could ever be called.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// The TLS or HTTP library refused the configuration.
    #[error("HTTP client cannot be configured")]
    Http(#[source] BoxError),
}
