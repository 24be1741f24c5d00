use std::io::Write;
use std::sync::{Arc, Mutex};

use agentex_authz::{Authenticator, AuthnError};
use agentex_testkit::fake_provider::Reply;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{JWKS, SECOND, TestIssuer, TestKey, headers, with_clock};

/// Everything that is traced in this process, of every library, down to the finest level. Where tests share a process, it
/// is the others' as well: a subscriber of one thread would miss what another thread has come by before.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn begin() -> Self {
        let captured = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(captured.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        captured
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The issuer's outage is logged, and so is why a token was refused, but no token, no claim and no key name in it.
#[tokio::test]
async fn no_token_and_nobody_in_it_is_logged() {
    let captured = Captured::begin();
    let (key, foreign) = (TestKey::ed25519("kid-sesame"), TestKey::ed25519("kid-foreign"));
    let issuer = TestIssuer::publishing(&[key.public()]).await;
    let (authenticator, clock) = with_clock(issuer.settings());
    let claims = issuer.claims_with("sub", json!("u-mallory"));
    let tokens = [
        key.token(&claims),
        foreign.token(&claims),
        key.token(&issuer.claims_with("aud", json!("u-mallory"))),
        key.token(&issuer.claims_with("account_id", json!({"u-mallory": 1}))),
        key.token(&issuer.claims_with("exp", json!("u-mallory"))),
        key.token_with(&json!({"alg": "u-mallory", "kid": "kid-sesame"}), &claims),
        "s3cr3t".to_owned(),
    ];
    let mut errors = Vec::new();

    for _ in 0..2 {
        for token in &tokens {
            let authorization = format!("Bearer {token}");
            let shown = headers(&[("authorization", &authorization), ("x-selected-account-id", "acme")]);
            errors.extend(authenticator.authenticate(&shown).await.err());
        }
        issuer.0.on(JWKS, Reply::raw(500, "s3cr3t u-mallory"));
        clock.advance(10 * SECOND);
    }

    let text = captured.text();
    assert!(errors.iter().any(|error| matches!(error, AuthnError::Unavailable(_))), "{errors:?}");
    assert!(text.contains("token refused") && text.contains("could not be fetched"), "{text}");
    let shown = format!("{errors:?} {authenticator:?}");
    for word in tokens.iter().map(String::as_str).chain(["sesame", "foreign", "mallory"]) {
        assert!(!text.contains(word) && !shown.contains(word), "{word} in {text} {shown}");
    }
}
