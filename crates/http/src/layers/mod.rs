//! What happens to a request before its handler, outermost first: request id, health, access log, metrics, CORS, panics,
//! then (per route) authentication, methods, repeated requests and the deadline; and, where no route matches, the trailing slash.

pub(crate) mod auth;
pub(crate) mod cors;
pub(crate) mod idempotency;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod panics;
pub(crate) mod request_id;
pub(crate) mod slash;

use axum::extract::{MatchedPath, Request};

/// The template of the matched route, so that logs and metrics hold no ids.
fn route_of(request: &Request) -> String {
    request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |matched| matched.as_str().to_owned())
}
