use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentex_authz::{Authenticator, AuthnError, Authorizer, Operation, ResourceKind, ResourceRef};
use agentex_authz_sgp::{AuthenticatorOptions, ProviderAuthenticator, WireOptions};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{CHECK, GRANT, alice, authorizer, authorizer_with, headers, kind};

/// An HTTPS address where every handshake fails, and how many were begun.
async fn no_handshake() -> (WireOptions, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    (WireOptions::to(url), begun)
}

#[tokio::test]
async fn reads_try_a_failed_connection_once_more() {
    let (wire, begun) = no_handshake().await;
    let authorizer = authorizer_with(wire);

    let check = authorizer.check(&alice(), Operation::Read, &ResourceRef::task("t1")).await;
    assert_eq!(kind(&check.unwrap_err()), "unavailable");
    assert_eq!(begun.swap(0, Ordering::SeqCst), 2);

    let list = authorizer.list_resources(&alice(), ResourceKind::Task, Operation::Read).await;
    assert_eq!(kind(&list.unwrap_err()), "unavailable");
    assert_eq!(begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn writes_and_authentication_do_not_try_a_failed_connection_again() {
    let (wire, begun) = no_handshake().await;
    let authorizer = authorizer_with(wire.clone());
    let authenticator = ProviderAuthenticator::new(AuthenticatorOptions::at(wire)).unwrap();
    let task = ResourceRef::task("t1");

    let writes = [
        authorizer.register(&alice(), &task, None).await,
        authorizer.deregister(&alice(), &task).await,
        authorizer.grant(&alice(), Operation::Create, &task).await,
        authorizer.revoke(&alice(), Operation::Delete, &task).await,
    ];
    let authenticated = authenticator.authenticate(&headers(&[("x-api-key", "k")])).await;

    assert!(writes.iter().all(|write| write.as_ref().is_err_and(|error| kind(error) == "unavailable")), "{writes:?}");
    assert!(matches!(authenticated, Err(AuthnError::Unavailable(_))), "{authenticated:?}");
    assert_eq!(begun.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_question_is_an_outage_and_the_question_is_not_repeated() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::disconnect()).on(GRANT, Reply::disconnect());
    let (authorizer, task) = (authorizer(&provider), ResourceRef::task("t1"));

    let check = authorizer.check(&alice(), Operation::Read, &task).await;
    let grant = authorizer.grant(&alice(), Operation::Create, &task).await;

    assert_eq!(kind(&check.unwrap_err()), "unavailable");
    assert_eq!(kind(&grant.unwrap_err()), "unavailable");
    assert_eq!((provider.calls(CHECK).len(), provider.calls(GRANT).len()), (1, 1));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::json(json!({"success": true, "more": "x".repeat(200)})));
    let wire = WireOptions { max_answer_bytes: 200, ..WireOptions::to(provider.url()) };

    let outcome = authorizer_with(wire).check(&alice(), Operation::Read, &ResourceRef::task("t1")).await;

    assert_eq!(kind(&outcome.unwrap_err()), "protocol");
}

#[tokio::test]
async fn a_long_denial_is_still_a_denial() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::raw(403, "x".repeat(1024 * 1024)));
    let wire = WireOptions { max_answer_bytes: 200, ..WireOptions::to(provider.url()) };

    let outcome = authorizer_with(wire).check(&alice(), Operation::Read, &ResourceRef::task("t1")).await;

    assert!(!outcome.unwrap().is_allowed());
}

#[tokio::test]
async fn errors_hold_no_address_of_the_service() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::disconnect());

    let outcome = authorizer(&provider).check(&alice(), Operation::Read, &ResourceRef::task("t1")).await;

    let shown = format!("{:?}", outcome.unwrap_err());
    assert!(!shown.contains(provider.url()) && !shown.contains("alice"), "{shown}");
}
