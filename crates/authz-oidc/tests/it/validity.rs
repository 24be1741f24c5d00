use std::time::Duration;

use agentex_authz::{Authenticator, AuthnError};
use agentex_authz_oidc::{OidcAuthenticator, OidcSettings};
use serde_json::{Value, json};

use crate::support::{AUDIENCE, TestIssuer, TestKey, assert_alice, assert_refused, authenticate, headers, unix_now};

async fn issuer() -> (TestIssuer, TestKey, OidcAuthenticator) {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let authenticator = issuer.authenticator();
    (issuer, key, authenticator)
}

async fn assert_all_refused(name: &str, values: impl IntoIterator<Item = Value>) {
    let (issuer, key, authenticator) = issuer().await;
    for value in values {
        let why = format!("{name} = {value}");
        assert_refused(authenticate(&authenticator, &key.token(&issuer.claims_with(name, value))).await, &why);
    }
    assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);
}

#[tokio::test]
async fn tokens_of_another_issuer_are_refused() {
    let (issuer, key, authenticator) = issuer().await;
    let url = issuer.url();

    for iss in
        [json!("https://id.test"), json!(format!("{url}/")), json!(""), json!([url]), json!({"a": url}), json!(null)]
    {
        let why = format!("iss = {iss}");
        assert_refused(authenticate(&authenticator, &key.token(&issuer.claims_with("iss", iss))).await, &why);
    }
    assert_refused(authenticate(&authenticator, &key.token(&issuer.claims_without("iss"))).await, "no iss");
}

#[tokio::test]
async fn tokens_for_somebody_else_are_refused() {
    let others = [json!("other"), json!(""), json!([]), json!(["other", "Agentex"]), json!(7), json!([7]), json!(null)];
    assert_all_refused("aud", others).await;
    let (issuer, key, authenticator) = issuer().await;
    assert_refused(authenticate(&authenticator, &key.token(&issuer.claims_without("aud"))).await, "no aud");
}

#[tokio::test]
async fn one_audience_of_several_is_enough_on_either_side() {
    let (issuer, key, authenticator) = issuer().await;
    let several = OidcSettings { audience: vec!["console".to_owned(), AUDIENCE.to_owned()], ..issuer.settings() };
    let several = OidcAuthenticator::new(several).unwrap();
    let token = |aud: Value| key.token(&issuer.claims_with("aud", aud));

    assert_alice(authenticate(&authenticator, &token(json!(["other", AUDIENCE]))).await);
    assert_alice(authenticate(&several, &token(json!("console"))).await);
    assert_alice(authenticate(&several, &token(json!(["other", AUDIENCE]))).await);
    assert_refused(authenticate(&several, &token(json!("other"))).await, "other");
    assert_refused(authenticate(&authenticator, &token(json!("console"))).await, "console");
}

#[tokio::test]
async fn expired_tokens_are_refused_beyond_the_leeway() {
    let now = unix_now();
    assert_all_refused("exp", [json!(now - 120), json!(0), json!(-1), json!("never"), json!(null), json!(1e300)]).await;
    let (issuer, key, authenticator) = issuer().await;

    assert_refused(authenticate(&authenticator, &key.token(&issuer.claims_without("exp"))).await, "no exp");
    assert_alice(authenticate(&authenticator, &key.token(&issuer.claims_with("exp", json!(now - 10)))).await);
    let strict = OidcSettings { leeway: Duration::ZERO, ..issuer.settings() };
    let strict = OidcAuthenticator::new(strict).unwrap();
    assert_refused(authenticate(&strict, &key.token(&issuer.claims_with("exp", json!(now - 10)))).await, "strict");
    assert_alice(authenticate(&strict, &key.token(&issuer.claims())).await);
}

#[tokio::test]
async fn tokens_that_are_not_valid_yet_are_refused_beyond_the_leeway() {
    let now = unix_now();
    for name in ["nbf", "iat"] {
        assert_all_refused(name, [json!(now + 120), json!("now"), json!(null), json!([now])]).await;
        let (issuer, key, authenticator) = issuer().await;
        assert_alice(authenticate(&authenticator, &key.token(&issuer.claims_with(name, json!(now + 10)))).await);
        assert_alice(
            authenticate(&authenticator, &key.token(&issuer.claims_with(name, json!(now as f64 - 0.5)))).await,
        );
        assert_alice(authenticate(&authenticator, &key.token(&issuer.claims_without(name))).await);
    }
}

#[tokio::test]
async fn claims_that_come_twice_or_are_no_object_are_refused() {
    let (issuer, key, authenticator) = issuer().await;
    let claims = issuer.claims().to_string();
    let header = json!({"alg": "EdDSA", "kid": "k1"});
    let expired_first = claims.replacen('{', r#"{"exp":1,"#, 1);

    for claims in [expired_first.as_str(), "[]", "null", r#""alice""#, "{"] {
        // Not through `Value`, which could not hold them.
        let token = key.token_of(&header, claims);
        assert_refused(authenticate(&authenticator, &token).await, claims);
    }
    assert_alice(authenticate(&authenticator, &key.token_of(&header, &claims)).await);
}

/// authz §7: 36
#[tokio::test]
async fn requests_without_a_bearer_token_are_refused_without_asking_for_keys() {
    let (issuer, key, authenticator) = issuer().await;
    let token = key.token(&issuer.claims());
    let bearer = format!("Bearer {token}");

    for pairs in [
        &[][..],
        &[("x-api-key", token.as_str())],
        &[("cookie", &format!("_identityJwt={token}"))],
        &[("authorization", &format!("Basic {token}"))],
        &[("authorization", &token)],
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("x-user-id", "alice"), ("x-selected-account-id", "acme")],
    ] {
        let outcome = authenticator.authenticate(&headers(pairs)).await;
        assert!(matches!(outcome, Err(AuthnError::Refused)), "{outcome:?}");
    }
    assert!(issuer.0.requests().is_empty());
}
