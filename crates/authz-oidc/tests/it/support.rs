use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentex_authz::{Authenticator, AuthnError, CredentialHeaders, Principal};
use agentex_authz_oidc::{KeyClock, OidcAuthenticator, OidcSettings};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

pub(crate) const JWKS: &str = "/keys";
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const AUDIENCE: &str = "agentex";

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key, and what is published of it.
pub(crate) struct TestKey {
    pub(crate) kid: &'static str,
    signer: Signer,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl TestKey {
    pub(crate) fn ed25519(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { kid, signer: Signer::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()) }
    }

    pub(crate) fn p256(kid: &'static str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self { kid, signer: Signer::P256(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()) }
    }

    /// Always the same one: making RSA keys takes long.
    pub(crate) fn rsa(kid: &'static str) -> Self {
        let text: String = include_str!("rsa_test_key.txt").split_whitespace().collect();
        let pkcs1 = BASE64_STANDARD.decode(text).unwrap();
        Self { kid, signer: Signer::Rsa(RsaKeyPair::from_der(&pkcs1).unwrap()) }
    }

    pub(crate) fn public(&self) -> Value {
        match &self.signer {
            Signer::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig", "x": base64(pair.public_key())})
            }
            Signer::P256(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = (base64(&point[..32]), base64(&point[32..]));
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y})
            }
            Signer::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "kid": self.kid, "n": base64(public.n), "e": base64(public.e)})
            }
        }
    }

    /// What is published, without a `kid`.
    pub(crate) fn nameless(&self) -> Value {
        let mut public = self.public();
        public.as_object_mut().unwrap().remove("kid");
        public
    }

    /// The raw public key, as somebody would use it who takes it for a shared secret.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.signer {
            Signer::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Signer::P256(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Rsa(pair) => pair.public().as_ref().to_vec(),
        }
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let algorithm = match &self.signer {
            Signer::Ed25519(_) => "EdDSA",
            Signer::P256(_) => "ES256",
            Signer::Rsa(_) => "RS256",
        };
        self.token_with(&json!({"alg": algorithm, "typ": "JWT", "kid": self.kid}), claims)
    }

    /// Signs with whatever header; the key decides how, except that `PS256` in the header makes RSA pad that way.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(header, &claims.to_string())
    }

    /// The same with claims that need not be JSON.
    pub(crate) fn token_of(&self, header: &Value, claims: &str) -> String {
        let message = format!("{}.{}", base64(header.to_string()), base64(claims));
        let signature = match &self.signer {
            Signer::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Signer::P256(pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let padding: &dyn ring::signature::RsaEncoding =
                    if header["alg"] == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", base64(signature))
    }
}

/// An issuer that publishes keys.
pub(crate) struct TestIssuer(pub(crate) FakeProvider);

impl TestIssuer {
    pub(crate) async fn publishing(keys: &[Value]) -> Self {
        let issuer = Self(FakeProvider::start().await);
        issuer.publish(keys);
        let url = issuer.url();
        issuer.0.on(DISCOVERY, Reply::json(json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")})));
        issuer
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.0.on(JWKS, Reply::json(json!({"keys": keys})));
    }

    pub(crate) fn url(&self) -> &str {
        self.0.url()
    }

    /// How often the keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.0.calls(JWKS).len()
    }

    pub(crate) fn settings(&self) -> OidcSettings {
        OidcSettings::new(self.url(), [AUDIENCE])
    }

    pub(crate) fn authenticator(&self) -> OidcAuthenticator {
        OidcAuthenticator::new(self.settings()).unwrap()
    }

    /// Alice's claims, good for an hour.
    pub(crate) fn claims(&self) -> Value {
        let now = unix_now();
        json!({
            "iss": self.url(), "aud": AUDIENCE, "sub": "alice", "account_id": "acme",
            "iat": now, "nbf": now, "exp": now + 3600,
        })
    }

    pub(crate) fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
    }

    pub(crate) fn claims_without(&self, name: &str) -> Value {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Tells the age of keys; stands still until told otherwise.
#[derive(Clone, Default)]
pub(crate) struct StoppedClock(Arc<AtomicU64>);

impl StoppedClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl KeyClock for StoppedClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn with_clock(settings: OidcSettings) -> (OidcAuthenticator, StoppedClock) {
    let clock = StoppedClock::default();
    (OidcAuthenticator::with_clock(settings, Arc::new(clock.clone())).unwrap(), clock)
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn headers(pairs: &[(&str, &str)]) -> CredentialHeaders {
    CredentialHeaders::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

pub(crate) async fn authenticate(authenticator: &OidcAuthenticator, token: &str) -> Result<Principal, AuthnError> {
    let authorization = format!("Bearer {token}");
    let outcome = authenticator.authenticate(&headers(&[("authorization", &authorization)])).await;
    outcome.map(|principal| principal.expect("tokens always lead to somebody"))
}

pub(crate) fn alice() -> Value {
    json!({"user_id": "alice", "account_id": "acme", "principal_type": "user"})
}

#[track_caller]
pub(crate) fn assert_alice(outcome: Result<Principal, AuthnError>) {
    assert_eq!(*outcome.unwrap().as_json(), alice());
}

#[track_caller]
pub(crate) fn assert_refused(outcome: Result<Principal, AuthnError>, why: &str) {
    assert!(matches!(outcome, Err(AuthnError::Refused)), "{why}: {outcome:?}");
}

#[track_caller]
pub(crate) fn assert_unavailable(outcome: Result<Principal, AuthnError>, why: &str) {
    assert!(matches!(outcome, Err(AuthnError::Unavailable(_))), "{why}: {outcome:?}");
}
