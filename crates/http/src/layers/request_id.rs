use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use uuid::Uuid;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LENGTH: usize = 128;

/// What this request is called in logs, in the answer and towards agents.
#[derive(Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The caller's own id when it is harmless.
    fn accept(value: &HeaderValue) -> Option<Self> {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let bytes = value.as_bytes();
        (!bytes.is_empty() && bytes.len() <= MAX_LENGTH && bytes.iter().all(harmless)).then(|| Self(value.clone()))
    }

    #[expect(clippy::disallowed_methods, reason = "a request id names no entity")]
    fn generate() -> Self {
        let text = Uuid::new_v4().simple().to_string();
        Self(HeaderValue::from_str(&text).expect("hexadecimal digits are a header value"))
    }
}

/// Gives the request its id and shows it on the answer, whatever that is.
pub(crate) async fn assign(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(HEADER).and_then(RequestId::accept).unwrap_or_else(RequestId::generate);
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(HEADER, id.0);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        let accepted = |text: &str| RequestId::accept(&HeaderValue::from_str(text).unwrap()).is_some();

        assert!(accepted("abc-1") && accepted(&"a".repeat(128)) && accepted("A.b_C"));
        assert!(!accepted("") && !accepted(&"a".repeat(129)) && !accepted("a b") && !accepted("a=\"b\""));
    }

    #[test]
    fn generated_ids_are_32_hexadecimal_digits() {
        let id = RequestId::generate();

        assert_eq!(id.as_str().len(), 32);
        assert!(id.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
