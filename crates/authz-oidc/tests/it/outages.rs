use agentex_authz::AuthnError;
use agentex_authz_oidc::OidcSettings;
use agentex_testkit::fake_provider::{Hold, Reply};
use serde_json::json;

use crate::support::{
    DISCOVERY, HOUR, JWKS, SECOND, TestIssuer, TestKey, assert_alice, assert_refused, assert_unavailable, authenticate,
    with_clock,
};

fn broken() -> Vec<Reply> {
    let mut replies: Vec<_> = [201, 204, 302, 400, 401, 403, 404, 429, 500, 503]
        .map(|status| Reply::raw(status, r#"{"keys":[]}"#))
        .into_iter()
        .collect();
    let bodies =
        ["", "<html>", "null", "[]", "{}", r#"{"keys":null}"#, r#"{"keys":"x"}"#, r#"{"keys":[1]}"#, r#"{"keys":["#];
    replies.extend(bodies.map(|body| Reply::raw(200, body)));
    replies.push(Reply::disconnect());
    replies
}

/// authz §7: 37
#[tokio::test]
async fn without_any_key_nobody_can_tell() {
    let key = TestKey::ed25519("k1");
    for reply in broken() {
        let shown = format!("{reply:?}");
        let issuer = TestIssuer::publishing(&[]).await;
        issuer.0.on(JWKS, reply);
        let (authenticator, clock) = with_clock(issuer.settings());
        let token = key.token(&issuer.claims());

        assert_unavailable(authenticate(&authenticator, &token).await, &shown);
        assert_unavailable(authenticate(&authenticator, &token).await, &shown);
        let warmed = authenticator.warm().await;
        assert!(matches!(warmed, Err(AuthnError::Unavailable(_))), "{shown}: {warmed:?}");
        assert_eq!(issuer.fetches(), 1, "{shown}");

        issuer.publish(&[key.public()]);
        clock.advance(10 * SECOND);
        assert_alice(authenticate(&authenticator, &token).await);
    }
}

#[tokio::test]
async fn with_known_keys_the_issuer_may_be_down_for_a_day() {
    for reply in broken() {
        let (key, new) = (TestKey::ed25519("k1"), TestKey::ed25519("new"));
        let issuer = TestIssuer::publishing(&[key.public()]).await;
        let (authenticator, clock) = with_clock(issuer.settings());
        let (token, of_new_key) = (key.token(&issuer.claims()), new.token(&issuer.claims()));
        assert_alice(authenticate(&authenticator, &token).await);
        assert_refused(authenticate(&authenticator, &of_new_key).await, "the issuer was asked a moment ago");

        issuer.0.on(JWKS, reply);
        clock.advance(HOUR);
        assert_alice(authenticate(&authenticator, &token).await);
        assert_unavailable(authenticate(&authenticator, &of_new_key).await, "the issuer may know this key by now");
        clock.advance(23 * HOUR - SECOND);
        assert_alice(authenticate(&authenticator, &token).await);
        clock.advance(SECOND);
        assert_unavailable(authenticate(&authenticator, &token).await, "too old");

        issuer.publish(&[key.public(), new.public()]);
        clock.advance(10 * SECOND);
        assert_alice(authenticate(&authenticator, &of_new_key).await);
        let of_nobody = TestKey::ed25519("nobody").token(&issuer.claims());
        assert_refused(authenticate(&authenticator, &of_nobody).await, "the issuer is back and knows no such key");
    }
}

#[tokio::test]
async fn an_issuer_that_is_gone_is_an_outage_and_known_keys_still_work() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let ((warm, clock), (cold, _)) = (with_clock(issuer.settings()), with_clock(issuer.settings()));
    let token = key.token(&issuer.claims());
    warm.warm().await.unwrap();

    // Connections that are open would outlive it.
    issuer.0.on(DISCOVERY, Reply::disconnect());
    drop(issuer);
    clock.advance(HOUR);

    assert_unavailable(authenticate(&cold, &token).await, "no keys");
    assert_alice(authenticate(&warm, &token).await);
}

/// A failing issuer is left alone as well: callers must not wait for it one after the other.
#[tokio::test]
async fn failed_attempts_keep_their_distance() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[]).await;
    issuer.0.on(JWKS, Reply::status(500));
    let (authenticator, clock) = with_clock(issuer.settings());
    let token = key.token(&issuer.claims());

    for attempts in 1..4 {
        for _ in 0..3 {
            assert_unavailable(authenticate(&authenticator, &token).await, "500");
        }
        assert_eq!(issuer.fetches(), attempts);
        clock.advance(10 * SECOND);
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_given_up() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let never = Hold::new();
    let token = key.token(&issuer.claims());

    for path in [DISCOVERY, JWKS] {
        let issuer_settings = OidcSettings { total_timeout: SECOND / 5, ..issuer.settings() };
        let (authenticator, _) = with_clock(issuer_settings);
        issuer.0.once(path, Reply::json(json!({"keys": []})).held(&never));
        let outcome = tokio::time::timeout(10 * SECOND, authenticate(&authenticator, &token)).await;
        assert_unavailable(outcome.expect("gives up after a fifth of a second"), path);
    }
}

#[tokio::test]
async fn documents_without_end_are_not_read() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[]).await;
    let token = key.token(&issuer.claims());
    let padded = |bytes: usize| {
        let body = json!({"keys": [key.public()]}).to_string();
        Reply::raw(200, format!("{body}{}", " ".repeat(bytes - body.len())))
    };

    issuer.0.on(JWKS, padded(1024 * 1024 + 1));
    assert_unavailable(authenticate(&issuer.authenticator(), &token).await, "too long");
    issuer.0.on(JWKS, padded(1024 * 1024));
    assert_alice(authenticate(&issuer.authenticator(), &token).await);
    issuer.0.on(DISCOVERY, padded(1024 * 1024 + 1));
    assert_unavailable(authenticate(&issuer.authenticator(), &token).await, "too long");
}

#[tokio::test]
async fn a_redirect_does_not_lead_to_other_keys() {
    let key = TestKey::ed25519("k1");
    let (issuer, elsewhere) = (TestIssuer::publishing(&[]).await, TestIssuer::publishing(&[key.public()]).await);
    let token = key.token(&issuer.claims());

    for path in [JWKS, DISCOVERY] {
        issuer.0.on(path, Reply::redirect(&format!("{}{path}", elsewhere.url())));
        assert_unavailable(authenticate(&issuer.authenticator(), &token).await, path);
    }
    assert!(elsewhere.0.requests().is_empty());
}
