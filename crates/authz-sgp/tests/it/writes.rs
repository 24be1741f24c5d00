use agentex_authz::{Authorizer, AuthzError, Decision, Operation, ResourceKind, ResourceRef};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use serde_json::json;

use crate::support::{DEREGISTER, GRANT, REGISTER, REVOKE, alice, alice_json, authorizer, kind};

const WRITES: [&str; 4] = [REGISTER, DEREGISTER, GRANT, REVOKE];

/// What comes of the write at `path` that the provider answers with `reply`.
async fn answered(path: &str, reply: Reply) -> Result<(), AuthzError> {
    let provider = FakeProvider::start().await;
    provider.on(path, reply);
    let (authorizer, task) = (authorizer(&provider), ResourceRef::task("t1"));
    match path {
        REGISTER => authorizer.register(&alice(), &task, None).await,
        DEREGISTER => authorizer.deregister(&alice(), &task).await,
        GRANT => authorizer.grant(&alice(), Operation::Create, &task).await,
        _ => authorizer.revoke(&alice(), Operation::Delete, &task).await,
    }
}

/// authz §7: 15.
#[tokio::test]
async fn grant_sends_create_and_revoke_sends_delete() {
    let provider = FakeProvider::start().await;
    let (authorizer, agent) = (authorizer(&provider), ResourceRef::agent("a1"));

    authorizer.grant(&alice(), Operation::Create, &agent).await.unwrap();
    authorizer.revoke(&alice(), Operation::Delete, &agent).await.unwrap();

    let resource = json!({"type": "agent", "selector": "a1"});
    assert_eq!(
        provider.call(GRANT, 0).await.json(),
        json!({"principal": alice_json(), "resource": resource, "operation": "create"})
    );
    assert_eq!(
        provider.call(REVOKE, 0).await.json(),
        json!({"principal": alice_json(), "resource": resource, "operation": "delete"})
    );
}

/// authz §7: 16.
#[tokio::test]
async fn registering_without_a_parent_sends_a_null_one() {
    let provider = FakeProvider::start().await;

    authorizer(&provider).register(&alice(), &ResourceRef::agent("a1"), None).await.unwrap();

    assert_eq!(
        provider.call(REGISTER, 0).await.json(),
        json!({"principal": alice_json(), "resource": {"type": "agent", "selector": "a1"}, "parent": null})
    );
}

/// authz §7: 17.
#[tokio::test]
async fn registering_with_a_parent_names_it() {
    let provider = FakeProvider::start().await;
    let (task, agent) = (ResourceRef::task("t1"), ResourceRef::agent("a1"));

    authorizer(&provider).register(&alice(), &task, Some(agent)).await.unwrap();

    assert_eq!(
        provider.call(REGISTER, 0).await.json(),
        json!({
            "principal": alice_json(),
            "resource": {"type": "task", "selector": "t1"},
            "parent": {"type": "agent", "selector": "a1"},
        })
    );
}

/// authz §7: 18.
#[tokio::test]
async fn deregistering_names_no_operation() {
    let provider = FakeProvider::start().await;

    authorizer(&provider).deregister(&alice(), &ResourceRef::api_key("k1")).await.unwrap();

    assert_eq!(
        provider.call(DEREGISTER, 0).await.json(),
        json!({"principal": alice_json(), "resource": {"type": "api_key", "selector": "k1"}})
    );
}

#[tokio::test]
async fn a_write_is_made_when_the_provider_says_so_or_says_nothing() {
    for path in WRITES {
        for body in [r#"{"success":true}"#, "{}", "", "null"] {
            assert!(answered(path, Reply::raw(200, body)).await.is_ok(), "{path} {body}");
        }
    }
}

#[tokio::test]
async fn a_write_that_was_not_made_is_a_gateway_error() {
    for path in WRITES {
        for body in [json!({"success": false}), json!({"allowed": false})] {
            assert_eq!(kind(&answered(path, Reply::json(body)).await.unwrap_err()), "gateway", "{path}");
        }
    }
}

#[tokio::test]
async fn a_write_fails_by_status_and_403_refuses_it() {
    for path in WRITES {
        for (status, expected) in [
            (302, "gateway"),
            (400, "protocol"),
            (401, "unauthenticated"),
            (403, "refused"),
            (404, "protocol"),
            (409, "protocol"),
            (500, "service"),
            (502, "gateway"),
            (503, "busy"),
        ] {
            let outcome = answered(path, Reply::raw(status, r#"{"success":true}"#)).await;
            assert_eq!(kind(&outcome.unwrap_err()), expected, "{path} {status}");
        }
        assert_eq!(kind(&answered(path, Reply::raw(200, "done")).await.unwrap_err()), "protocol", "{path}");
    }
}

#[tokio::test]
async fn what_is_registered_is_visible_to_its_owner_until_it_is_deregistered() {
    let provider = FakeProvider::start().await;
    let (authorizer, task) = (authorizer(&provider), ResourceRef::task("t1"));
    let bob = agentex_authz::Principal::from_json(json!({"service_account_id": "bob"}));

    authorizer.register(&alice(), &task, Some(ResourceRef::agent("a1"))).await.unwrap();
    authorizer.register(&alice(), &task, Some(ResourceRef::agent("a1"))).await.unwrap();
    let taken = authorizer.register(&bob, &task, None).await;

    assert!(matches!(taken, Err(AuthzError::Refused)), "{taken:?}");
    assert_eq!(provider.owners("task", "t1"), ["alice"]);
    assert_eq!(authorizer.check(&alice(), Operation::Cancel, &task).await.unwrap(), Decision::Allow);
    assert_eq!(authorizer.check(&bob, Operation::Read, &task).await.unwrap(), Decision::Deny);
    let mine = authorizer.list_resources(&alice(), ResourceKind::Task, Operation::Read).await.unwrap();
    assert!(mine.contains("t1"));

    authorizer.deregister(&alice(), &task).await.unwrap();
    authorizer.deregister(&alice(), &task).await.unwrap();
    assert_eq!(authorizer.check(&alice(), Operation::Read, &task).await.unwrap(), Decision::Deny);
}
