use std::sync::Arc;

use agentex_app::{Error, RecordedAnswer};
use axum::body::{Body, HttpBody as _};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;

use super::REPLAYED;
use crate::error::{ApiError, SHOULD_RETRY};

/// Largest answer that is kept.
const MAX_BODY_BYTES: u64 = 1024 * 1024;
/// The headers that belong to an answer; what the layers outside add, they add again.
const HEADERS: [HeaderName; 4] = [CONTENT_TYPE, CACHE_CONTROL, LOCATION, SHOULD_RETRY];
/// What routes say of answers with a secret.
const NO_STORE: &[u8] = b"no-store";

/// How an attempt ended.
#[derive(Clone)]
pub(super) enum Outcome {
    /// The request was not accepted; it may be carried out again.
    Failed,
    /// It was carried out, and answered like this.
    Kept(Arc<Kept>),
    /// It was carried out, and its answer is too long to be kept, or has no end in sight.
    NotKept,
}

/// An answer that can be given again.
pub(super) struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Outcome {
    /// How the attempt that is answered like this ended, and the answer itself.
    pub(super) async fn of(mut response: Response) -> (Response, Self) {
        let status = response.status();
        if status == StatusCode::GATEWAY_TIMEOUT {
            // It was cut off somewhere: whether to do it again is not for a client to decide by itself.
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        let unanswered = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS, StatusCode::UNAUTHORIZED];
        if status.is_server_error() || unanswered.contains(&status) {
            return (response, Self::Failed);
        }
        if response.body().size_hint().exact().is_none_or(|length| length > MAX_BODY_BYTES) {
            return (response, Self::NotKept);
        }
        let (parts, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return (ApiError::Bug("an answer broke off").into_response(), Self::NotKept),
        };
        let present = |name: HeaderName| parts.headers.get(&name).cloned().map(|value| (name, value));
        let headers = HEADERS.into_iter().filter_map(present).collect();
        let kept = Kept { status, headers, body: body.clone() };
        (Response::from_parts(parts, Body::from(body)), Self::Kept(Arc::new(kept)))
    }

    /// Bytes of memory that keeping it takes, beside what every outcome takes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Kept(kept) => kept.body.len(),
            Self::Failed | Self::NotKept => 0,
        }
    }
}

impl Kept {
    /// Whether the body holds a secret.
    pub(super) fn is_secret(&self) -> bool {
        self.headers.get(CACHE_CONTROL).is_some_and(|value| value.as_bytes() == NO_STORE)
    }

    /// The answer in the form in which it is stored.
    pub(super) fn to_recorded(&self) -> RecordedAnswer {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        let headers = self.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)));
        RecordedAnswer { status: self.status.as_u16(), headers: headers.collect(), body: self.body.clone() }
    }

    /// The answer, marked as given before.
    pub(super) fn replay(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

impl TryFrom<RecordedAnswer> for Kept {
    type Error = http::Error;

    fn try_from(recorded: RecordedAnswer) -> Result<Self, http::Error> {
        let RecordedAnswer { status, headers: recorded, body } = recorded;
        let mut headers = HeaderMap::with_capacity(recorded.len());
        for (name, value) in recorded {
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(Self { status: StatusCode::from_u16(status)?, headers, body })
    }
}

/// The answer to a request that was carried out before, with an answer that was not kept.
pub(super) fn not_kept() -> Response {
    let text = "This request has been carried out, but its answer was not kept; read what it changed instead";
    ApiError::from(Error::Conflict(text.to_owned())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(status: StatusCode, body: Body) -> (Response, Outcome) {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Outcome::of(response).await
    }

    #[tokio::test]
    async fn outcomes_are_told_by_status_and_body() {
        for status in [200, 201, 204, 400, 403, 404, 409, 422] {
            let (_, kept) = outcome(StatusCode::from_u16(status).unwrap(), Body::from("x")).await;
            assert!(matches!(kept, Outcome::Kept(_)), "{status}");
        }
        for status in [401, 408, 429, 500, 502, 503, 504] {
            let (response, failed) = outcome(StatusCode::from_u16(status).unwrap(), Body::from("x")).await;
            assert!(matches!(failed, Outcome::Failed), "{status}");
            assert_eq!(response.headers().contains_key(SHOULD_RETRY), status == 504, "{status}");
        }
        let stream = futures::stream::iter([Ok::<_, std::convert::Infallible>("x")]);
        let long = usize::try_from(MAX_BODY_BYTES).unwrap() + 1;
        for body in [Body::from_stream(stream), Body::from(vec![b'x'; long])] {
            assert!(matches!(outcome(StatusCode::OK, body).await.1, Outcome::NotKept));
        }
    }
}
