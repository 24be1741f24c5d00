use agentex_authz_oidc::{OidcAuthenticator, OidcSettings};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use serde_json::json;

use crate::support::{
    AUDIENCE, DISCOVERY, HOUR, JWKS, TestIssuer, TestKey, assert_alice, assert_unavailable, authenticate, with_clock,
};

#[tokio::test]
async fn nothing_is_dialled_before_the_first_token_or_the_warm_up() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let authenticator = issuer.authenticator();
    assert!(issuer.0.requests().is_empty());

    authenticator.warm().await.unwrap();
    authenticator.warm().await.unwrap();
    assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);

    let asked: Vec<_> = issuer.0.requests().iter().map(|one| format!("{} {}", one.method, one.target)).collect();
    assert_eq!(asked, [format!("GET {DISCOVERY}"), format!("GET {JWKS}")]);
}

#[tokio::test]
async fn a_configured_address_of_the_keys_makes_discovery_needless() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[]).await;
    issuer.0.on("/other?p=1", Reply::json(json!({"keys": [key.public()]})));
    let settings = OidcSettings { jwks_url: Some(format!("{}/other?p=1", issuer.url())), ..issuer.settings() };
    let authenticator = OidcAuthenticator::new(settings).unwrap();

    assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);

    assert!(issuer.0.calls(DISCOVERY).is_empty());
}

#[tokio::test]
async fn an_issuer_with_a_path_is_discovered_below_it_with_or_without_a_slash_at_the_end() {
    let key = TestKey::ed25519("k1");
    for path in ["/realms/acme", "/realms/acme/"] {
        let provider = FakeProvider::start().await;
        let identifier = format!("{}{path}", provider.url());
        let keys_at = format!("{}{JWKS}", provider.url());
        provider.on(
            "/realms/acme/.well-known/openid-configuration",
            Reply::json(json!({"issuer": identifier, "jwks_uri": keys_at})),
        );
        provider.on(JWKS, Reply::json(json!({"keys": [key.public()]})));
        let issuer = TestIssuer(provider);
        let authenticator = OidcAuthenticator::new(OidcSettings::new(&identifier, [AUDIENCE])).unwrap();

        let token = key.token(&issuer.claims_with("iss", json!(identifier)));
        assert_alice(authenticate(&authenticator, &token).await);
    }
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_or_without_trustworthy_keys_is_not_followed() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let (url, keys_at) = (issuer.url().to_owned(), format!("{}{JWKS}", issuer.url()));
    let token = key.token(&issuer.claims());

    for document in [
        json!({"issuer": "https://id.test", "jwks_uri": keys_at}),
        json!({"issuer": format!("{url}/"), "jwks_uri": keys_at}),
        json!({"jwks_uri": keys_at}),
        json!({"issuer": url}),
        json!({"issuer": url, "jwks_uri": JWKS}),
        json!({"issuer": url, "jwks_uri": "http://id.test/keys"}),
        json!({"issuer": url, "jwks_uri": "file:///keys"}),
        json!({"issuer": url, "jwks_uri": keys_at.replacen("//", "//me:pw@", 1)}),
        json!({"issuer": [url], "jwks_uri": keys_at}),
        json!([]),
    ] {
        issuer.0.on(DISCOVERY, Reply::json(document.clone()));
        assert_unavailable(authenticate(&issuer.authenticator(), &token).await, &document.to_string());
    }
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn keys_may_move_to_another_address() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let (authenticator, clock) = with_clock(issuer.settings());
    assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);

    let moved = TestKey::ed25519("moved");
    issuer.0.on("/moved", Reply::json(json!({"keys": [moved.public()]})));
    issuer.0.on(DISCOVERY, Reply::json(json!({"issuer": issuer.url(), "jwks_uri": format!("{}/moved", issuer.url())})));
    clock.advance(HOUR);

    assert_alice(authenticate(&authenticator, &moved.token(&issuer.claims())).await);
}
