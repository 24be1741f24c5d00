//! Requests that are sent more than once but must be carried out once: those that bring an idempotency key, and the
//! automatic retries of the SDK, which bring none but count themselves.
//!
//! Both are carried out in a task of their own, so that they end even when whoever sent them has gone: what is repeated
//! would otherwise have been cut off in the middle.

mod answer;
mod attempts;
mod keyed;
mod unkeyed;

use std::sync::Arc;

use agentex_app::{Caller, RepeatableRequest};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Uri};

use crate::error::ApiError;
use crate::extract::collect;
use crate::mount::Policy;
use crate::{HttpOptions, Shared};

pub(crate) use attempts::Attempts;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// 0 for the first attempt of the SDK's client, then 1, and so on; other clients do not send it.
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY_BYTES: usize = 255;

/// What the layer knows of its route.
#[derive(Clone)]
pub(crate) struct Repeatable {
    shared: Shared,
    attempts: Arc<Attempts>,
    max_body_bytes: usize,
}

impl Repeatable {
    /// For the route with this path and policy, or `None` where repeated requests are not recognized: registering is
    /// idempotent by itself and proved by what only its use case can judge, as are the requests of outsiders; the latter
    /// go on to agents with their key.
    pub(crate) fn on(template: &str, policy: Policy, shared: &Shared, attempts: &Arc<Attempts>) -> Option<Self> {
        (policy == Policy::Principal).then(|| Self {
            shared: shared.clone(),
            attempts: Arc::clone(attempts),
            max_body_bytes: max_body_bytes(template, &shared.options),
        })
    }
}

/// The largest body that the route takes.
fn max_body_bytes(template: &str, options: &HttpOptions) -> usize {
    if template.starts_with("/checkpoints/") { options.max_checkpoint_body_bytes } else { options.max_body_bytes }
}

/// How a request may be repeated.
#[derive(Debug, PartialEq, Eq)]
enum Repeated {
    /// Not at all, as far as we know.
    Never,
    /// Under this key.
    Key(String),
    /// By a client that counts: this is the attempt of that number.
    Attempt(u32),
}

impl Repeated {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut keys = headers.get_all(KEY).iter();
        if let Some(key) = keys.next() {
            let valid = key.to_str().ok().filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
            return match valid.filter(|_| keys.next().is_none()) {
                Some(key) => Ok(Self::Key(key.to_owned())),
                None => Err(ApiError::invalid("Idempotency-Key must be one text of 1 to 255 visible characters")),
            };
        }
        let attempt = headers.get(RETRY_COUNT).and_then(|count| count.to_str().ok()?.parse().ok());
        Ok(attempt.map_or(Self::Never, Self::Attempt))
    }
}

/// A request whose body has arrived, and what is left of the way to its handler.
struct Whole {
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    request: Request,
    next: Next,
}

impl Whole {
    fn repeatable(&self) -> RepeatableRequest<'_> {
        RepeatableRequest {
            method: Method::POST.as_str(),
            path: self.uri.path(),
            query: self.uri.query().unwrap_or_default(),
            body: &self.body,
        }
    }
}

/// Carries a POST out once, however often it is sent.
pub(crate) async fn apply(State(route): State<Repeatable>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let repeated = match Repeated::of(request.headers()) {
        Ok(Repeated::Never) => return next.run(request).await,
        Ok(repeated) => repeated,
        Err(refused) => return refused.into_response(),
    };
    let (parts, body) = request.into_parts();
    let Some(caller) = parts.extensions.get::<Caller>().cloned() else {
        return ApiError::Bug("the route was mounted without a policy").into_response();
    };
    let body = match collect(&parts.headers, body, route.max_body_bytes, route.shared.options.request_timeout).await {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    let (uri, headers) = (parts.uri.clone(), parts.headers.clone());
    let request = Request::from_parts(parts, Body::from(body.clone()));
    let whole = Whole { caller, uri, headers, body, request, next };
    match repeated {
        Repeated::Key(key) => keyed::answer(route, key, whole).await,
        Repeated::Attempt(number) => unkeyed::answer(route, number, whole).await,
        Repeated::Never => whole.next.run(whole.request).await,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn repeated(headers: &[(HeaderName, &str)]) -> Option<Repeated> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Repeated::of(&all).ok()
    }

    #[test]
    fn a_key_wins_over_a_count_and_must_be_one_short_text() {
        let long = "k".repeat(256);

        assert_eq!(repeated(&[]), Some(Repeated::Never));
        assert_eq!(repeated(&[(RETRY_COUNT, "2")]), Some(Repeated::Attempt(2)));
        assert_eq!(repeated(&[(RETRY_COUNT, "-1")]), Some(Repeated::Never));
        assert_eq!(repeated(&[(KEY, "k"), (RETRY_COUNT, "2")]), Some(Repeated::Key("k".to_owned())));
        assert_eq!(repeated(&[(KEY, &long[1..])]), Some(Repeated::Key(long[1..].to_owned())));
        for bad in [&[(KEY, "")][..], &[(KEY, &long)], &[(KEY, "a"), (KEY, "b")], &[(KEY, "\u{e9}")]] {
            assert_eq!(repeated(bad), None, "{bad:?}");
        }
    }
}
