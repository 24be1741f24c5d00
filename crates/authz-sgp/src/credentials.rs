use agentex_authz::{CredentialHeaders, Principal};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use sha2::Sha256;

use crate::cache::CacheKey;

/// Headers that belong to the caller's own connection and would be wrong on ours.
const NEVER_FORWARDED: [&str; 5] = ["content-length", "host", "connection", "transfer-encoding", "expect"];

/// Headers that differ from request to request and that no provider tells callers apart by: they are forwarded, but two
/// requests that differ only in them are the same caller.
const NEUTRAL: [&str; 14] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "baggage",
    "cache-control",
    "content-encoding",
    "content-type",
    "last-event-id",
    "pragma",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
];

/// The same, by prefix: what the common SDKs add about themselves and their retries.
const NEUTRAL_PREFIX: &str = "x-stainless-";

/// A header whose name holds one of these looks like a credential.
const CREDENTIAL_PARTS: [&str; 8] =
    ["authorization", "cookie", "token", "x-api-key", "x-auth", "x-selected-account-id", "x-session", "x-user-id"];

/// Which of the caller's headers the provider sees. Never the five of the caller's own connection: `content-length`,
/// `host`, `connection`, `transfer-encoding`, `expect`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Forward {
    /// All others.
    #[default]
    All,
    /// Of those, only the named ones, any case.
    Only(Vec<String>),
}

/// What one caller shows the provider.
pub(crate) struct Shown<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Shown<'a> {
    pub(crate) fn new(headers: &'a CredentialHeaders, forward: &Forward) -> Self {
        let wanted = |name: &str| match forward {
            Forward::All => true,
            Forward::Only(names) => names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)),
        };
        Self(headers.iter().filter(|(name, _)| !NEVER_FORWARDED.contains(name) && wanted(name)).collect())
    }

    /// The headers to send; `None` when one of them cannot stand in a request, so that nobody is authenticated by a part
    /// of what they sent.
    pub(crate) fn to_headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.0 {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
        }
        // It is we who read the answer, and we read it as it is.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Some(headers)
    }

    /// The headers that may tell one caller from another, sorted by name, values of one name in the order they came.
    fn telling(&self) -> Vec<(&'a str, &'a str)> {
        let neutral = |name: &str| NEUTRAL.contains(&name) || name.starts_with(NEUTRAL_PREFIX);
        let mut telling: Vec<_> = self.0.iter().copied().filter(|(name, _)| !neutral(name)).collect();
        telling.sort_by_key(|(name, _)| *name);
        telling
    }

    /// What the answer for this caller is remembered under; `None` when nothing shown looks like a credential.
    pub(crate) fn cache_key(&self, secret: &[u8; 32]) -> Option<CacheKey> {
        let telling = self.telling();
        let is_credential = |name: &str| CREDENTIAL_PARTS.iter().any(|part| name.contains(part));
        if !telling.iter().any(|(name, _)| is_credential(name)) {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        for part in telling.iter().flat_map(|(name, value)| [name, value]) {
            // With lengths, no two lists of headers run together to the same bytes.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac.finalize().into_bytes().into())
    }

    /// The earliest end of what the caller showed and the provider answered, in seconds since the Unix epoch, as far as
    /// either says: the `exp` of a JSON web token in any header, and that of the principal. Signatures do not matter,
    /// because the answer only ever shortens how long the provider's own answer is kept.
    pub(crate) fn expiry(&self, principal: &Principal) -> Option<u64> {
        let tokens = self.telling().into_iter().flat_map(|(_, value)| value.split([' ', ';', ',', '=', '"']));
        tokens.filter_map(token_expiry).chain(exp(principal.as_json())).min()
    }
}

fn token_expiry(token: &str) -> Option<u64> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    exp(&serde_json::from_slice(&claims).ok()?)
}

fn exp(claims: &Value) -> Option<u64> {
    let exp = claims.get("exp")?;
    // The cast saturates, which is what a time beyond all times should do.
    exp.as_u64().or_else(|| exp.as_f64().map(|seconds| seconds as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> CredentialHeaders {
        CredentialHeaders::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn key(pairs: &[(&str, &str)]) -> Option<CacheKey> {
        Shown::new(&headers(pairs), &Forward::All).cache_key(&[7; 32])
    }

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn neutral_headers_and_the_order_of_names_do_not_change_the_key() {
        let plain = key(&[("authorization", "Bearer a"), ("x-tenant", "t")]).unwrap();
        let noisy = key(&[
            ("x-tenant", "t"),
            ("user-agent", "sdk"),
            ("x-request-id", "1"),
            ("x-stainless-retry-count", "2"),
            ("authorization", "Bearer a"),
        ]);

        assert_eq!(noisy, Some(plain));
    }

    #[test]
    fn names_values_their_borders_and_the_order_of_values_change_the_key() {
        let keys = [
            key(&[("authorization", "ab"), ("x-b", "c")]),
            key(&[("authorization", "a"), ("x-b", "bc")]),
            key(&[("authorization", "ab"), ("x-c", "b")]),
            key(&[("authorization", "abx-bc")]),
            key(&[("cookie", "a"), ("cookie", "b")]),
            key(&[("cookie", "b"), ("cookie", "a")]),
            key(&[("cookie", "ab")]),
        ];

        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert!(keys.iter().all(Option::is_some));
    }

    #[test]
    fn the_key_depends_on_the_secret_of_the_process() {
        let headers = headers(&[("cookie", "a")]);
        let shown = Shown::new(&headers, &Forward::All);

        assert_ne!(shown.cache_key(&[1; 32]), shown.cache_key(&[2; 32]));
    }

    #[test]
    fn headers_without_a_credential_have_no_key() {
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[("x-tenant", "t"), ("accept", "text/html")]), None);
    }

    #[test]
    fn only_named_headers_are_shown_when_names_are_given() {
        let headers = headers(&[("authorization", "a"), ("cookie", "b"), ("host", "h")]);
        let forward = Forward::Only(vec!["Authorization".to_owned(), "Host".to_owned()]);

        let shown = Shown::new(&headers, &forward);

        assert_eq!(shown.0, [("authorization", "a")]);
    }

    #[test]
    fn the_earliest_expiry_of_tokens_and_principal_counts() {
        let nobody = Principal::from_json(json!({"user_id": "u"}));
        let until_70 = Principal::from_json(json!({"user_id": "u", "exp": 70}));
        let bearer = format!("Bearer {}", token(&json!({"exp": 90})));
        let cookie = format!("theme=dark; _identityJwt={}", token(&json!({"exp": 80.9})));
        let headers =
            headers(&[("authorization", &bearer), ("cookie", &cookie), ("user-agent", &token(&json!({"exp": 1})))]);
        let shown = Shown::new(&headers, &Forward::All);

        assert_eq!(shown.expiry(&nobody), Some(80));
        assert_eq!(shown.expiry(&until_70), Some(70));
    }

    #[test]
    fn what_only_looks_like_a_token_has_no_expiry() {
        let nobody = Principal::from_json(json!({"user_id": "u", "exp": "soon"}));
        let headers = headers(&[("authorization", "Bearer a.b.c"), ("x-api-key", "1.2.3.4"), ("cookie", "a.e30.b")]);

        assert_eq!(Shown::new(&headers, &Forward::All).expiry(&nobody), None);
    }
}
