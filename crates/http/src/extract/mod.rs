//! What handlers take out of a request. Each refuses in the words of the public API.

mod body;
mod path;
mod query;

use std::convert::Infallible;

use agentex_app::{Caller, RequestContext};
use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use crate::error::ApiError;
use crate::layers::request_id::RequestId;

pub(crate) use body::{ApiBody, CheckpointApiBody, IdentifierFields, RequestBody, collect};
pub(crate) use path::{
    AgentPath, ApiKeyNamePath, ApiKeyPath, DeploymentAddress, DeploymentHistoryPath, DeploymentPath, EventPath,
    MessagePath, NamedSchedulePath, QueryPath, SchedulePath, SchedulesPath, SpanPath, StatePath, TaskIdPath, TaskPath,
    TrackerPath,
};
pub(crate) use query::{ApiQuery, QueryParams, QueryReader};

/// Who is calling, as the route's policy found out before the handler ran.
pub(crate) struct Authenticated(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or(ApiError::Bug("the route was mounted without a policy"))
    }
}

/// What calls of agents need to know of the request.
pub(crate) struct Context(pub(crate) RequestContext);

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned()).unwrap_or_default();
        Ok(Self(RequestContext { inbound: header_pairs(&parts.headers), request_id }))
    }
}

/// Header names (lower case) and values in arrival order; values that are not text are left out.
pub(crate) fn header_pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        })
        .collect()
}

/// Longest id that can name anything, in bytes.
const MAX_ID_BYTES: usize = 1024;

/// Whether `id` could name a resource at all. What could not is absent, without asking anybody: permission services would
/// take `*` for "all" and choke on control characters.
pub(crate) fn can_name(id: &str) -> bool {
    id != "*" && id.len() <= MAX_ID_BYTES && !id.chars().any(char::is_control)
}
