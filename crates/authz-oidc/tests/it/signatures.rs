use agentex_authz_oidc::{OidcAuthenticator, OidcSettings, SigningAlgorithm};
use ring::hmac;
use serde_json::{Value, json};

use crate::support::{TestIssuer, TestKey, assert_alice, assert_refused, authenticate, base64};

#[tokio::test]
async fn good_tokens_of_every_default_algorithm_lead_to_their_principal() {
    let keys = [TestKey::ed25519("ed"), TestKey::p256("ec"), TestKey::rsa("rsa")];
    let issuer = TestIssuer::publishing(&keys.each_ref().map(TestKey::public)).await;
    let authenticator = issuer.authenticator();

    for key in &keys {
        assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);
    }
    let padded = keys[2].token_with(&json!({"alg": "PS256", "kid": "rsa"}), &issuer.claims());
    assert_alice(authenticate(&authenticator, &padded).await);
    assert_eq!(issuer.fetches(), 1);
}

/// authz §7: 36
#[tokio::test]
async fn a_signature_that_is_not_the_issuers_is_refused() {
    let (genuine, foreign) = (TestKey::ed25519("k1"), TestKey::ed25519("k1"));
    let issuer = TestIssuer::publishing(&[genuine.public()]).await;
    let authenticator = issuer.authenticator();
    let good = genuine.token(&issuer.claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let promoted = base64(issuer.claims_with("sub", json!("admin")).to_string());
    let flipped = if signature.starts_with('A') { "B" } else { "A" };

    assert_refused(authenticate(&authenticator, &foreign.token(&issuer.claims())).await, "another key");
    for (why, token) in [
        ("other claims", format!("{header}.{promoted}.{signature}")),
        ("other signature", format!("{signed}.{flipped}{}", &signature[1..])),
        ("short signature", format!("{signed}.{}", &signature[..40])),
        ("no signature", format!("{signed}.")),
        ("two parts", signed.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("padded", format!("{good}==")),
        ("inner blank", format!("{signed}. {signature}")),
        ("nothing of the kind", "s3cret".to_owned()),
    ] {
        assert_refused(authenticate(&authenticator, &token).await, why);
    }
    assert_alice(authenticate(&authenticator, &good).await);
}

#[tokio::test]
async fn unsigned_tokens_are_refused_without_asking_for_keys() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let authenticator = issuer.authenticator();

    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned =
            |header: Value| format!("{}.{}.", base64(header.to_string()), base64(issuer.claims().to_string()));
        assert_refused(authenticate(&authenticator, &unsigned(json!({"alg": algorithm}))).await, algorithm);
        assert_refused(
            authenticate(&authenticator, &unsigned(json!({"alg": algorithm, "kid": "k1"}))).await,
            algorithm,
        );
        let signed = key.token_with(&json!({"alg": algorithm, "kid": "k1"}), &issuer.claims());
        assert_refused(authenticate(&authenticator, &signed).await, algorithm);
    }
    assert_refused(
        authenticate(&authenticator, &key.token_with(&json!({"kid": "k1"}), &issuer.claims())).await,
        "no alg",
    );
    assert!(issuer.0.requests().is_empty());
}

/// The classic confusion: everybody knows the public key, so nobody may sign with it as if it were a secret.
#[tokio::test]
async fn a_public_key_is_never_taken_for_a_shared_secret() {
    let key = TestKey::rsa("k1");
    let secret = key.public_bytes();
    // Even an issuer that publishes a shared secret does not make it one.
    let shared = json!({"kty": "oct", "kid": "k2", "alg": "HS256", "k": base64(&secret)});
    let issuer = TestIssuer::publishing(&[key.public(), shared]).await;
    let authenticator = issuer.authenticator();

    for kid in ["k1", "k2"] {
        for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let header = json!({"alg": name, "kid": kid});
            let message = format!("{}.{}", base64(header.to_string()), base64(issuer.claims().to_string()));
            let tag = hmac::sign(&hmac::Key::new(algorithm, &secret), message.as_bytes());
            let token = format!("{message}.{}", base64(tag));
            assert_refused(authenticate(&authenticator, &token).await, name);
        }
    }
    assert_alice(authenticate(&authenticator, &key.token(&issuer.claims())).await);
}

#[tokio::test]
async fn the_algorithm_must_fit_the_key_and_what_the_issuer_says_about_it() {
    let (ed, rsa) = (TestKey::ed25519("ed"), TestKey::rsa("rsa"));
    let mut pss_only = rsa.public();
    pss_only["alg"] = json!("PS256");
    let issuer = TestIssuer::publishing(&[ed.public(), pss_only]).await;
    let authenticator = issuer.authenticator();
    let signed = |key: &TestKey, algorithm: &str, kid: &str| {
        key.token_with(&json!({"alg": algorithm, "kid": kid}), &issuer.claims())
    };

    for (why, token) in [
        ("RS256 with an Ed25519 key", signed(&ed, "RS256", "ed")),
        ("ES256 with an Ed25519 key", signed(&ed, "ES256", "ed")),
        ("EdDSA with an RSA key", signed(&rsa, "EdDSA", "rsa")),
        ("an Ed25519 key by another's name", signed(&ed, "EdDSA", "rsa")),
        ("RS256 with a key for PS256", signed(&rsa, "RS256", "rsa")),
    ] {
        assert_refused(authenticate(&authenticator, &token).await, why);
    }
    assert_alice(authenticate(&authenticator, &signed(&rsa, "PS256", "rsa")).await);
}

#[tokio::test]
async fn only_the_configured_algorithms_are_accepted() {
    let (ed, rsa) = (TestKey::ed25519("ed"), TestKey::rsa("rsa"));
    let issuer = TestIssuer::publishing(&[ed.public(), rsa.public()]).await;
    let settings = OidcSettings { algorithms: vec![SigningAlgorithm::EdDsa], ..issuer.settings() };
    let authenticator = OidcAuthenticator::new(settings).unwrap();

    assert_refused(authenticate(&authenticator, &rsa.token(&issuer.claims())).await, "RS256 is switched off");
    assert!(issuer.0.requests().is_empty());
    assert_alice(authenticate(&authenticator, &ed.token(&issuer.claims())).await);
    let rare = rsa.token_with(&json!({"alg": "RS512", "kid": "rsa"}), &issuer.claims());
    assert_refused(authenticate(&issuer.authenticator(), &rare).await, "RS512 is not among the defaults");
}

#[tokio::test]
async fn extensions_that_must_be_understood_are_refused() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let authenticator = issuer.authenticator();

    for critical in [json!(["b64"]), json!(["exp"]), json!([]), json!("exp"), json!({})] {
        let header = json!({"alg": "EdDSA", "kid": "k1", "crit": critical, "b64": true, "exp": 1});
        assert_refused(authenticate(&authenticator, &key.token_with(&header, &issuer.claims())).await, "crit");
    }
    let header = json!({"alg": "EdDSA", "kid": "k1", "b64": true});
    assert_alice(authenticate(&authenticator, &key.token_with(&header, &issuer.claims())).await);
}

/// What a token says about where its key is must not matter: anybody can write that.
#[tokio::test]
async fn a_key_that_the_token_brings_along_is_ignored() {
    let (genuine, foreign) = (TestKey::ed25519("k1"), TestKey::ed25519("k1"));
    let (issuer, elsewhere) =
        (TestIssuer::publishing(&[genuine.public()]).await, TestIssuer::publishing(&[foreign.public()]).await);
    let authenticator = issuer.authenticator();
    let elsewhere_keys = format!("{}/keys", elsewhere.url());

    for (name, value) in [("jwk", foreign.public()), ("jku", json!(elsewhere_keys)), ("x5u", json!(elsewhere_keys))] {
        let mut header = json!({"alg": "EdDSA", "kid": "k1"});
        header[name] = value;
        assert_refused(authenticate(&authenticator, &foreign.token_with(&header, &issuer.claims())).await, name);
    }
    assert!(elsewhere.0.requests().is_empty());
}

#[tokio::test]
async fn a_token_that_names_no_key_is_good_only_when_one_key_fits() {
    let (ed, first, second) = (TestKey::ed25519("ed"), TestKey::p256("first"), TestKey::p256("second"));
    let issuer = TestIssuer::publishing(&[ed.nameless(), first.public(), second.public()]).await;
    let authenticator = issuer.authenticator();
    let nameless = |key: &TestKey, algorithm: &str| key.token_with(&json!({"alg": algorithm}), &issuer.claims());

    assert_alice(authenticate(&authenticator, &nameless(&ed, "EdDSA")).await);
    assert_refused(authenticate(&authenticator, &nameless(&first, "ES256")).await, "two keys fit");
    assert_alice(authenticate(&authenticator, &second.token(&issuer.claims())).await);
    // A name is a claim about the key as well, and this key has none.
    assert_refused(authenticate(&authenticator, &ed.token(&issuer.claims())).await, "a name nobody has");
}

#[tokio::test]
async fn endless_tokens_are_refused_unread() {
    let key = TestKey::ed25519("k1");
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let long = key.token(&issuer.claims_with("more", json!("x".repeat(16 * 1024))));

    assert_refused(authenticate(&issuer.authenticator(), &long).await, "too long");
    assert!(issuer.0.requests().is_empty());
}
