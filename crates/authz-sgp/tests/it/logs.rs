use std::io::Write;
use std::sync::{Arc, Mutex};

use agentex_authz::{Authenticator, Authorizer, Operation, Principal, ResourceKind, ResourceRef};
use agentex_authz_sgp::{AuthenticatorOptions, ProviderAuthenticator, WireOptions};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{AUTHN, CHECK, DEREGISTER, GRANT, REGISTER, REVOKE, SEARCH, authorizer, headers};

/// Everything that is traced on this thread, of every library, down to the finest level.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn begin() -> (Self, DefaultGuard) {
        let captured = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(captured.clone())
            .finish();
        (captured, tracing::subscriber::set_default(subscriber))
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

fn secretive() -> Value {
    json!({"user_id": "u-4711", "account_id": "acct-4712", "api_key": "s3cr3t", "metadata": {"token": "t0k3n"}})
}

fn assert_silent(text: &str) {
    let lower = text.to_lowercase();
    for word in ["s3cr3t", "t0k3n", "u-4711", "acct-4712", "principal"] {
        assert!(!lower.contains(word), "{word} in {text}");
    }
}

/// authz §7: 32. The answers quote what was asked, as error bodies of validating frameworks do.
#[tokio::test]
async fn no_verb_logs_the_secret_or_names_the_principal_whatever_the_answer() {
    let (captured, _guard) = Captured::begin();
    let provider = FakeProvider::start().await;
    let (authorizer, task) = (authorizer(&provider), ResourceRef::task("t-81"));
    let principal = Principal::from_json(secretive());
    let quoting = json!({"message": format!("principal not known: {}", secretive()), "success": "principal s3cr3t"});
    let mut errors = Vec::new();

    for status in [200, 401, 403, 404, 422, 500, 502, 503] {
        for path in [CHECK, SEARCH, GRANT, REVOKE, REGISTER, DEREGISTER] {
            provider.on(path, Reply::raw(status, quoting.to_string()));
        }
        errors.extend(authorizer.check(&principal, Operation::Read, &task).await.err());
        errors.extend(authorizer.list_resources(&principal, ResourceKind::Task, Operation::Read).await.err());
        errors.extend(authorizer.grant(&principal, Operation::Create, &task).await.err());
        errors.extend(authorizer.revoke(&principal, Operation::Delete, &task).await.err());
        errors.extend(authorizer.register(&principal, &task, Some(ResourceRef::agent("a-82"))).await.err());
        errors.extend(authorizer.deregister(&principal, &task).await.err());
    }

    let text = captured.text();
    assert_silent(&text);
    assert_silent(&format!("{errors:?} {authorizer:?}"));
    for verb in ["check", "search", "grant", "revoke", "register", "deregister"] {
        assert!(text.contains(&format!("authz.verb=\"{verb}\"")), "{verb} is not logged: {text}");
    }
    assert!(text.contains("t-81") && text.contains("agent:a-82"), "{text}");
}

#[tokio::test]
async fn authentication_logs_neither_credentials_nor_who_came() {
    let (captured, _guard) = Captured::begin();
    let provider = FakeProvider::start().await;
    let authenticator = ProviderAuthenticator::new(AuthenticatorOptions::at(WireOptions::to(provider.url()))).unwrap();
    let credentials = headers(&[("x-api-key", "s3cr3t"), ("authorization", "Bearer t0k3n")]);
    let quoting = json!({"message": "principal s3cr3t t0k3n"}).to_string();

    for reply in [
        Reply::json(secretive()),
        Reply::raw(200, "principal s3cr3t"),
        Reply::raw(401, quoting.clone()),
        Reply::raw(500, quoting),
        Reply::disconnect(),
    ] {
        provider.once(AUTHN, reply);
        let outcome = authenticator.authenticate(&credentials).await;
        if let Err(error) = outcome {
            assert_silent(&format!("{error:?}"));
        }
    }

    assert_eq!(provider.calls(AUTHN).len(), 5);
    let text = captured.text();
    assert!(text.contains("gave no usable answer"), "{text}");
    assert_silent(&text);
    assert_silent(&format!("{authenticator:?}"));
}
