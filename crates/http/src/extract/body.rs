use std::time::Duration;

use agentex_domain::input::{FIELD_REQUIRED, Fields, NOT_AN_OBJECT, Problem, Problems};
use axum::body::Body;
use axum::extract::{FromRef, FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use crate::Shared;
use crate::error::ApiError;

/// The text for a name or id without a character.
pub(crate) const EMPTY: &str = "String should have at least 1 character";
/// The text for a name or id that no resource can have.
pub(crate) const NOT_A_NAME: &str = "String should be an id or name";

/// The body of a request, parsed as JSON where it is JSON, but not read into anything yet.
pub(crate) struct ApiBody(Sent);

enum Sent {
    Json {
        value: Value,
        text: Bytes,
    },
    Nothing,
    /// Bytes that are not said to be JSON; they are not looked at.
    Other,
}

/// What a route takes from the body.
pub(crate) trait RequestBody: Sized {
    /// Reads every member, so that all problems are found at once.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

impl<S: Send + Sync> FromRequest<S> for ApiBody
where
    Shared: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let options = Shared::from_ref(state).options;
        Self::take(request, options.max_body_bytes, options.request_timeout).await
    }
}

/// The same for checkpoints, which may be larger.
pub(crate) struct CheckpointApiBody(pub(crate) ApiBody);

impl<S: Send + Sync> FromRequest<S> for CheckpointApiBody
where
    Shared: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let options = Shared::from_ref(state).options;
        ApiBody::take(request, options.max_checkpoint_body_bytes, options.request_timeout).await.map(Self)
    }
}

impl ApiBody {
    async fn take(request: Request, limit: usize, timeout: Duration) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let text = collect(&parts.headers, body, limit, timeout).await?;
        if text.is_empty() {
            return Ok(Self(Sent::Nothing));
        }
        if !is_json(&parts.headers) {
            return Ok(Self(Sent::Other));
        }
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Self(Sent::Json { value, text })),
            Err(_) => Err(ApiError::problem("body", "JSON decode error")),
        }
    }

    /// Reads what the route requires.
    pub(crate) fn read<T: RequestBody>(&self) -> Result<T, Problems> {
        let problem = |text: &str| vec![Problem { path: "body".to_owned(), text: text.to_owned() }];
        let value = match &self.0 {
            Sent::Json { value, .. } => value,
            Sent::Nothing => return Err(problem(FIELD_REQUIRED)),
            Sent::Other => return Err(problem(&format!("{NOT_AN_OBJECT} or object to extract fields from"))),
        };
        let mut problems = Problems::new();
        let read = Fields::open(value, "body", &mut problems).and_then(|mut fields| T::read(&mut fields));
        match read {
            Some(body) if problems.is_empty() => Ok(body),
            _ => Err(problems),
        }
    }

    /// Reads what the route takes when anything was sent; no body and `null` are the default.
    pub(crate) fn read_optional<T: RequestBody + Default>(&self) -> Result<T, Problems> {
        match &self.0 {
            Sent::Nothing | Sent::Json { value: Value::Null, .. } => Ok(T::default()),
            Sent::Json { .. } | Sent::Other => self.read(),
        }
    }

    /// The JSON text as it was sent; empty when there was none.
    pub(crate) fn text(&self) -> &[u8] {
        match &self.0 {
            Sent::Json { text, .. } => text,
            Sent::Nothing | Sent::Other => &[],
        }
    }
}

/// The whole body, if it is no longer than `limit` bytes and there within `timeout`.
pub(crate) async fn collect(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(ApiError::BodyTooLarge);
    }
    match tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::BodyTooLarge),
        Ok(Err(_)) | Err(_) => Err(ApiError::BodyIncomplete),
    }
}

/// `application/json` or `application/<anything>+json`, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.strip_prefix("application/").is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// Readers of names and ids, which the domain's [`Fields`] takes for any text.
pub(crate) trait IdentifierFields {
    /// A name or id that must be there.
    fn identifier(&mut self, name: &str) -> Option<String>;

    /// A name or id that may be absent or null, but not empty.
    fn optional_identifier(&mut self, name: &str) -> Option<String>;

    /// A name to give to something, which may be absent, null or empty (all mean "none").
    fn optional_name(&mut self, name: &str) -> Option<String>;
}

impl IdentifierFields for Fields<'_> {
    fn identifier(&mut self, name: &str) -> Option<String> {
        let text = self.string(name)?;
        checked(self, name, text)
    }

    fn optional_identifier(&mut self, name: &str) -> Option<String> {
        let text = self.optional_string(name)?;
        checked(self, name, text)
    }

    fn optional_name(&mut self, name: &str) -> Option<String> {
        let text = self.optional_string(name).filter(|text| !text.is_empty())?;
        checked(self, name, text)
    }
}

fn checked(fields: &mut Fields<'_>, name: &str, text: String) -> Option<String> {
    let problem = if text.is_empty() {
        EMPTY
    } else if !super::can_name(&text) {
        NOT_A_NAME
    } else {
        return Some(text);
    };
    fields.problem(name, problem);
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn json_is_told_by_its_media_type() {
        let of = |value: &'static str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]))
        };

        for json in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.test+json"] {
            assert!(of(json), "{json}");
        }
        for other in ["text/plain", "application/jsonp", "text/json", "application/xml", "json", ""] {
            assert!(!of(other), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
