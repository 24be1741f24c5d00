use std::sync::Arc;

use agentex_testkit::fake_provider::{Hold, Reply};
use futures::future::join_all;
use serde_json::json;

use crate::support::{HOUR, JWKS, SECOND, TestIssuer, TestKey, assert_alice, assert_refused, authenticate, with_clock};

#[tokio::test]
async fn a_new_key_is_fetched_once_when_a_token_names_it() {
    let (old, new) = (TestKey::ed25519("old"), TestKey::ed25519("new"));
    let issuer = TestIssuer::publishing(&[old.public()]).await;
    let (authenticator, clock) = with_clock(issuer.settings());
    assert_alice(authenticate(&authenticator, &old.token(&issuer.claims())).await);
    issuer.publish(&[old.public(), new.public()]);
    clock.advance(10 * SECOND);

    for key in [&new, &new, &old, &new] {
        assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);
    }

    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn unknown_keys_make_us_ask_once_per_interval_at_most() {
    let (known, unknown) = (TestKey::ed25519("known"), TestKey::ed25519("unknown"));
    let issuer = TestIssuer::publishing(&[known.public()]).await;
    let (authenticator, clock) = with_clock(issuer.settings());
    let token = unknown.token(&issuer.claims());

    for _ in 0..5 {
        assert_refused(authenticate(&authenticator, &token).await, "unknown");
    }
    assert_eq!(issuer.fetches(), 1);
    clock.advance(10 * SECOND - SECOND / 1000);
    assert_refused(authenticate(&authenticator, &token).await, "unknown");
    assert_eq!(issuer.fetches(), 1);

    clock.advance(SECOND / 1000);
    for _ in 0..5 {
        assert_refused(authenticate(&authenticator, &token).await, "unknown");
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn callers_who_come_at_once_share_one_fetch() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let hold = Hold::new();
    issuer.0.on(JWKS, Reply::json(json!({"keys": [key.public()]})).held(&hold));
    let authenticator = Arc::new(issuer.authenticator());
    let token = key.token(&issuer.claims());

    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (authenticator, token) = (Arc::clone(&authenticator), token.clone());
            tokio::spawn(async move { authenticate(&authenticator, &token).await })
        })
        .collect();
    issuer.0.call(JWKS, 0).await;
    hold.release();

    for caller in join_all(callers).await {
        assert_alice(caller.unwrap());
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_end_the_fetch_for_the_others() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let hold = Hold::new();
    issuer.0.on(JWKS, Reply::json(json!({"keys": [key.public()]})).held(&hold));
    let authenticator = Arc::new(issuer.authenticator());
    let token = key.token(&issuer.claims());
    let hasty = {
        let (authenticator, token) = (Arc::clone(&authenticator), token.clone());
        tokio::spawn(async move { authenticate(&authenticator, &token).await })
    };
    issuer.0.call(JWKS, 0).await;

    hasty.abort();
    assert!(hasty.await.unwrap_err().is_cancelled());
    hold.release();

    assert_alice(authenticate(&authenticator, &token).await);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn keys_are_asked_for_again_after_an_hour_and_withdrawn_ones_stop_working() {
    let (kept, withdrawn) = (TestKey::ed25519("kept"), TestKey::ed25519("withdrawn"));
    let issuer = TestIssuer::publishing(&[kept.public(), withdrawn.public()]).await;
    let (authenticator, clock) = with_clock(issuer.settings());
    assert_alice(authenticate(&authenticator, &withdrawn.token(&issuer.claims())).await);
    issuer.publish(&[kept.public()]);

    clock.advance(HOUR - SECOND);
    assert_alice(authenticate(&authenticator, &withdrawn.token(&issuer.claims())).await);
    assert_eq!(issuer.fetches(), 1);
    clock.advance(SECOND);
    assert_refused(authenticate(&authenticator, &withdrawn.token(&issuer.claims())).await, "withdrawn");

    assert_alice(authenticate(&authenticator, &kept.token(&issuer.claims())).await);
    assert_eq!(issuer.fetches(), 2);
}

/// An issuer that stops all its keys means it.
#[tokio::test]
async fn an_empty_key_set_withdraws_every_key() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let (authenticator, clock) = with_clock(issuer.settings());
    assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);

    issuer.publish(&[]);
    clock.advance(HOUR);

    assert_refused(authenticate(&authenticator, &key.token(&issuer.claims())).await, "withdrawn");
}

#[tokio::test]
async fn who_has_usable_keys_does_not_wait_for_a_slow_issuer() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let (authenticator, clock) = with_clock(issuer.settings());
    let (authenticator, token) = (Arc::new(authenticator), key.token(&issuer.claims()));
    assert_alice(authenticate(&authenticator, &token).await);
    let hold = Hold::new();
    issuer.0.on(JWKS, Reply::json(json!({"keys": [key.public()]})).held(&hold));
    clock.advance(HOUR);

    let first = {
        let (authenticator, token) = (Arc::clone(&authenticator), token.clone());
        tokio::spawn(async move { authenticate(&authenticator, &token).await })
    };
    issuer.0.call(JWKS, 1).await;
    assert_alice(authenticate(&authenticator, &token).await);
    assert!(!first.is_finished());

    hold.release();
    assert_alice(first.await.unwrap());
    assert_eq!(issuer.fetches(), 2);
}
