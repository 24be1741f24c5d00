use std::time::Duration;

use agentex_authz::{AuthzError, CredentialHeaders, Principal};
use agentex_authz_sgp::{ProviderAuthorizer, ProviderOptions, WireOptions};
use agentex_testkit::fake_provider::FakeProvider;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const AUTHN: &str = "/v1/authn";
pub(crate) const CHECK: &str = "/v1/authz/check";
pub(crate) const SEARCH: &str = "/v1/authz/search";
pub(crate) const GRANT: &str = "/v1/authz/grant";
pub(crate) const REVOKE: &str = "/v1/authz/revoke";
pub(crate) const REGISTER: &str = "/v1/authz/register";
pub(crate) const DEREGISTER: &str = "/v1/authz/deregister";

pub(crate) fn authorizer(provider: &FakeProvider) -> ProviderAuthorizer {
    authorizer_with(WireOptions::to(provider.url()))
}

pub(crate) fn authorizer_with(wire: WireOptions) -> ProviderAuthorizer {
    ProviderAuthorizer::new(ProviderOptions::at(wire)).unwrap()
}

/// Options that give up soon, for calls that are never answered.
pub(crate) fn impatient(url: &str) -> WireOptions {
    WireOptions { total_timeout: Duration::from_millis(500), ..WireOptions::to(url) }
}

/// An address that refuses connections.
pub(crate) async fn closed_address() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A principal as providers send them, with members nobody here knows.
pub(crate) fn alice_json() -> Value {
    json!({
        "user_id": "alice",
        "account_id": "acme",
        "principal_type": "user",
        "metadata": {"groups": ["a", {"deep": [1, 2.5, null, true]}], "ü": "\u{1f980}\n"},
        "later": [[]],
    })
}

pub(crate) fn alice() -> Principal {
    Principal::from_json(alice_json())
}

pub(crate) fn headers(pairs: &[(&str, &str)]) -> CredentialHeaders {
    CredentialHeaders::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The kind of an error, for comparing.
pub(crate) fn kind(error: &AuthzError) -> &'static str {
    match error {
        AuthzError::Unavailable(_) => "unavailable",
        AuthzError::Busy(_) => "busy",
        AuthzError::Unauthenticated => "unauthenticated",
        AuthzError::Gateway(_) => "gateway",
        AuthzError::Service(_) => "service",
        AuthzError::Protocol(_) => "protocol",
        AuthzError::Refused => "refused",
        AuthzError::Deferred => "deferred",
    }
}
