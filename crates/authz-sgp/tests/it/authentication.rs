use agentex_authz::{Authenticator, AuthnError, Authorizer, Operation, Principal, ResourceRef};
use agentex_authz_sgp::{AuthenticatorOptions, Forward, ProviderAuthenticator, WireOptions};
use agentex_testkit::fake_provider::{FakeProvider, Hold, Reply};
use serde_json::json;

use crate::support::{AUTHN, CHECK, alice_json, authorizer, closed_address, headers, impatient};

fn authenticator(wire: WireOptions, change: impl FnOnce(&mut AuthenticatorOptions)) -> ProviderAuthenticator {
    let mut options = AuthenticatorOptions::at(wire);
    change(&mut options);
    ProviderAuthenticator::new(options).unwrap()
}

async fn answered(reply: Reply, collapse_errors: bool) -> Result<Option<Principal>, AuthnError> {
    let provider = FakeProvider::start().await;
    provider.on(AUTHN, reply);
    let authenticator =
        authenticator(WireOptions::to(provider.url()), |options| options.collapse_errors = collapse_errors);
    authenticator.authenticate(&headers(&[("authorization", "Bearer a")])).await
}

/// authz §7: 35.
#[tokio::test]
async fn the_object_that_authentication_returns_is_what_authorization_sends() {
    let provider = FakeProvider::start().await;
    provider.login("a-token", alice_json());
    provider.on(CHECK, Reply::json(json!({"success": true})));
    let authenticator = authenticator(WireOptions::to(provider.url()), |_| {});

    let principal = authenticator.authenticate(&headers(&[("authorization", "Bearer a-token")])).await;
    let principal = principal.unwrap().unwrap();
    let decision = authorizer(&provider).check(&principal, Operation::Read, &ResourceRef::agent("a1")).await;

    assert!(decision.unwrap().is_allowed());
    assert_eq!(principal.as_json(), &alice_json());
    assert_eq!(provider.call(CHECK, 0).await.json()["principal"], alice_json());
}

/// authz §7: 36.
#[tokio::test]
async fn wrong_credentials_are_refused() {
    for status in [401, 403] {
        let outcome = answered(Reply::raw(status, r#"{"user_id":"alice"}"#), false).await;
        assert!(matches!(outcome, Err(AuthnError::Refused)), "{status}: {outcome:?}");
    }
}

/// authz §7: 37.
#[tokio::test]
async fn a_provider_that_cannot_tell_is_unavailable_unless_switched_to_refuse() {
    let replies = || {
        [302, 201, 400, 404, 422, 429, 500, 502, 503]
            .map(|status| Reply::raw(status, r#"{"user_id":"alice"}"#))
            .into_iter()
            .chain([Reply::raw(200, "<html>"), Reply::raw(200, ""), Reply::disconnect()])
    };

    for reply in replies() {
        let shown = format!("{reply:?}");
        let outcome = answered(reply, false).await;
        assert!(matches!(outcome, Err(AuthnError::Unavailable(_))), "{shown}: {outcome:?}");
    }
    for reply in replies() {
        let shown = format!("{reply:?}");
        let outcome = answered(reply, true).await;
        assert!(matches!(outcome, Err(AuthnError::Refused)), "{shown}: {outcome:?}");
    }
}

/// authz §7: 37.
#[tokio::test]
async fn a_provider_that_is_down_or_silent_is_unavailable_unless_switched_to_refuse() {
    let (silent, never) = (FakeProvider::start().await, Hold::new());
    silent.on(AUTHN, Reply::json(alice_json()).held(&never));
    let credentials = headers(&[("x-api-key", "k")]);

    for url in [closed_address().await, silent.url().to_owned()] {
        let plain = authenticator(impatient(&url), |_| {}).authenticate(&credentials).await;
        assert!(matches!(plain, Err(AuthnError::Unavailable(_))), "{plain:?}");
        let collapsing = authenticator(impatient(&url), |options| options.collapse_errors = true);
        let collapsed = collapsing.authenticate(&credentials).await;
        assert!(matches!(collapsed, Err(AuthnError::Refused)), "{collapsed:?}");
    }
}

/// authz §7: 38.
#[tokio::test]
async fn a_200_without_a_principal_is_refused() {
    for body in ["null", "{}", "[]", "[{\"user_id\":\"a\"}]", "\"alice\"", "true", "7"] {
        let outcome = answered(Reply::raw(200, body), false).await;
        assert!(matches!(outcome, Err(AuthnError::Refused)), "{body}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_does_not_take_the_credentials_elsewhere() {
    let (provider, target) = (FakeProvider::start().await, FakeProvider::start().await);
    target.on("/login", Reply::json(alice_json()));
    provider.on(AUTHN, Reply::redirect(&format!("{}/login", target.url())));

    let authenticator = authenticator(WireOptions::to(provider.url()), |_| {});
    let outcome = authenticator.authenticate(&headers(&[("cookie", "session=1")])).await;

    assert!(matches!(outcome, Err(AuthnError::Unavailable(_))), "{outcome:?}");
    assert!(target.requests().is_empty());
}

/// authz §7: 39.
#[tokio::test]
async fn the_callers_headers_are_forwarded_except_those_of_its_own_connection() {
    let provider = FakeProvider::start().await;
    provider.on(AUTHN, Reply::json(alice_json()));
    let inbound = headers(&[
        ("Authorization", "Bearer a"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("X-Selected-Account-Id", "acme"),
        ("X-Custom", "c"),
        ("User-Agent", "sdk"),
        ("Accept-Encoding", "gzip"),
        ("Host", "agentex.example"),
        ("Content-Length", "17"),
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Expect", "100-continue"),
    ]);

    authenticator(WireOptions::to(provider.url()), |_| {}).authenticate(&inbound).await.unwrap();

    let request = provider.call(AUTHN, 0).await;
    assert_eq!(request.method, "POST");
    assert!(request.body.is_empty());
    assert_eq!(request.header("authorization"), Some("Bearer a"));
    assert_eq!(request.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(request.header("x-selected-account-id"), Some("acme"));
    assert_eq!(request.header("x-custom"), Some("c"));
    assert_eq!(request.header("user-agent"), Some("sdk"));
    // An answer that is compressed for the caller would be unreadable here.
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("host"), provider.url().strip_prefix("http://"));
    assert!(request.header("content-length").is_none_or(|length| length == "0"));
    for absent in ["connection", "transfer-encoding", "expect"] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn only_listed_headers_are_forwarded_when_there_is_a_list() {
    let provider = FakeProvider::start().await;
    provider.on(AUTHN, Reply::json(alice_json()));
    let inbound = headers(&[("authorization", "Bearer a"), ("cookie", "a=1"), ("x-custom", "c")]);
    let only = Forward::Only(vec!["Authorization".to_owned()]);

    let authenticator = authenticator(WireOptions::to(provider.url()), |options| options.forward = only);
    authenticator.authenticate(&inbound).await.unwrap();

    let request = provider.call(AUTHN, 0).await;
    assert_eq!(request.header("authorization"), Some("Bearer a"));
    assert_eq!((request.header("cookie"), request.header("x-custom")), (None, None));
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_refuses_the_caller_instead_of_going_missing() {
    let provider = FakeProvider::start().await;
    provider.on(AUTHN, Reply::json(alice_json()));

    let authenticator = authenticator(WireOptions::to(provider.url()), |_| {});
    let outcome = authenticator.authenticate(&headers(&[("x-api-key", "k"), ("cookie", "a\nb")])).await;

    assert!(matches!(outcome, Err(AuthnError::Refused)), "{outcome:?}");
    assert!(provider.requests().is_empty());
}
