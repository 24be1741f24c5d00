use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How the HTTP surface behaves.
#[derive(Clone)]
pub struct HttpOptions {
    /// Which pages in browsers may call.
    pub cors: CorsOptions,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Largest body of a request that is passed on to an agent's own route, in bytes.
    pub max_forward_body_bytes: usize,
    /// Largest body of a request that stores a checkpoint or writes for one, in bytes.
    pub max_checkpoint_body_bytes: usize,
    /// Longest time until the headers of the answer, for routes that neither stream nor call an agent; and the longest
    /// time a request body may take on every route.
    pub request_timeout: Duration,
    /// Renders the metrics of the process as Prometheus text. `GET /metrics` exists, without authentication, only when
    /// this is given.
    pub metrics: Option<MetricsText>,
    /// Refuses unknown `order_by` and `order_direction` values instead of ignoring them.
    pub strict_ordering: bool,
    /// Starts from the first page when a message cursor cannot be read, instead of refusing it.
    pub invalid_cursor_tolerated: bool,
    /// Whether there are routes of schedules at all.
    pub schedules: bool,
    /// Serves the documentation pages `/api` and `/swagger`. `/openapi.json` is always served.
    pub docs: bool,
}

/// Renders the metrics of the process.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Which pages in browsers may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsOptions {
    /// The origins.
    pub allowed_origins: AllowedOrigins,
}

/// Origins that browsers may call from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every origin, but without credentials: a cookie of one site must not act for a page of another.
    Any,
    /// Exactly these, with credentials.
    Only(Vec<String>),
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            cors: CorsOptions { allowed_origins: AllowedOrigins::Any },
            max_body_bytes: 10 * 1024 * 1024,
            max_forward_body_bytes: 10 * 1024 * 1024,
            max_checkpoint_body_bytes: 64 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            metrics: None,
            strict_ordering: false,
            invalid_cursor_tolerated: false,
            schedules: true,
            docs: true,
        }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("cors", &self.cors)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_forward_body_bytes", &self.max_forward_body_bytes)
            .field("max_checkpoint_body_bytes", &self.max_checkpoint_body_bytes)
            .field("request_timeout", &self.request_timeout)
            .field("metrics", &self.metrics.is_some())
            .field("strict_ordering", &self.strict_ordering)
            .field("invalid_cursor_tolerated", &self.invalid_cursor_tolerated)
            .field("schedules", &self.schedules)
            .field("docs", &self.docs)
            .finish()
    }
}
