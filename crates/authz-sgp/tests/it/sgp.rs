use std::sync::Arc;

use agentex_authz::{Authorizer, Check, Decision, Operation, ResourceKind, ResourceRef};
use agentex_authz_sgp::{ParentLookup, SgpAuthorizer, SgpOptions, SgpPaths, SgpRegister, WireOptions};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use async_trait::async_trait;
use serde_json::json;

use crate::support::{CHECK, GRANT, REVOKE, alice, alice_json, kind};

/// Knows that the keys `k1` and `k2` belong to the agent `a1`, and cannot tell about `broken`.
struct Parents;

#[async_trait]
impl ParentLookup for Parents {
    async fn parent_of(
        &self,
        resource: &ResourceRef,
    ) -> Result<Option<ResourceRef>, Box<dyn std::error::Error + Send + Sync>> {
        match resource.selector.as_str() {
            "k1" | "k2" => Ok(Some(ResourceRef::agent("a1"))),
            "broken" => Err("store down".into()),
            _ => Ok(None),
        }
    }
}

fn sgp(provider: &FakeProvider, change: impl FnOnce(&mut SgpOptions)) -> SgpAuthorizer {
    let mut options = SgpOptions::at(WireOptions::to(provider.url()));
    change(&mut options);
    SgpAuthorizer::new(options, Arc::new(Parents)).unwrap()
}

/// authz §7: 199.
#[tokio::test]
async fn registering_makes_an_owner_and_deregistering_unmakes_it() {
    let provider = FakeProvider::start().await;
    let (authorizer, task) = (sgp(&provider, |_| {}), ResourceRef::task("t1"));

    authorizer.register(&alice(), &task, Some(ResourceRef::agent("a1"))).await.unwrap();
    authorizer.register(&alice(), &task, Some(ResourceRef::agent("a1"))).await.unwrap();

    assert_eq!(provider.owners("task", "t1"), ["alice"]);
    assert_eq!(authorizer.check(&alice(), Operation::Read, &task).await.unwrap(), Decision::Allow);
    assert!(authorizer.list_resources(&alice(), ResourceKind::Task, Operation::Read).await.unwrap().contains("t1"));

    authorizer.deregister(&alice(), &task).await.unwrap();

    assert_eq!(authorizer.check(&alice(), Operation::Read, &task).await.unwrap(), Decision::Deny);
    let resource = json!({"type": "task", "selector": "t1"});
    assert_eq!(
        provider.call(GRANT, 1).await.json(),
        json!({"principal": alice_json(), "resource": resource, "operation": "create"})
    );
    assert_eq!(
        provider.call(REVOKE, 0).await.json(),
        json!({"principal": alice_json(), "resource": resource, "operation": "delete"})
    );
}

#[tokio::test]
async fn registering_can_be_switched_to_do_nothing() {
    let provider = FakeProvider::start().await;
    let (authorizer, task) = (sgp(&provider, |options| options.register = SgpRegister::Noop), ResourceRef::task("t1"));

    authorizer.register(&alice(), &task, None).await.unwrap();
    authorizer.deregister(&alice(), &task).await.unwrap();
    assert!(provider.requests().is_empty());

    authorizer.grant(&alice(), Operation::Create, &task).await.unwrap();
    assert_eq!(authorizer.check(&alice(), Operation::Read, &task).await.unwrap(), Decision::Allow);
}

/// Two factors: owning the key and updating its agent.
#[tokio::test]
async fn changing_a_key_also_needs_update_on_its_agent() {
    let provider = FakeProvider::start().await;
    let (authorizer, key) = (sgp(&provider, |_| {}), ResourceRef::api_key("k1"));
    authorizer.register(&alice(), &key, None).await.unwrap();

    for operation in [Operation::Update, Operation::Delete] {
        assert_eq!(authorizer.check(&alice(), operation, &key).await.unwrap(), Decision::Deny, "{operation}");
    }
    assert_eq!(authorizer.check(&alice(), Operation::Read, &key).await.unwrap(), Decision::Allow);

    provider.allow("alice", "agent", "a1", "update");
    for operation in [Operation::Update, Operation::Delete] {
        assert_eq!(authorizer.check(&alice(), operation, &key).await.unwrap(), Decision::Allow, "{operation}");
    }
    let somebody_elses = ResourceRef::api_key("k2");
    assert_eq!(authorizer.check(&alice(), Operation::Delete, &somebody_elses).await.unwrap(), Decision::Deny);
}

#[tokio::test]
async fn a_denied_key_is_not_looked_up_and_reading_needs_one_factor() {
    let provider = FakeProvider::start().await;
    let authorizer = sgp(&provider, |_| {});

    // The lookup of this key would fail.
    let denied = authorizer.check(&alice(), Operation::Delete, &ResourceRef::api_key("broken")).await.unwrap();
    provider.on(CHECK, Reply::json(json!({"success": true})));
    let read = authorizer.check(&alice(), Operation::Read, &ResourceRef::api_key("broken")).await.unwrap();
    let task = authorizer.check(&alice(), Operation::Delete, &ResourceRef::task("broken")).await.unwrap();

    assert_eq!((denied, read, task), (Decision::Deny, Decision::Allow, Decision::Allow));
    assert_eq!(provider.calls(CHECK).len(), 3);
}

#[tokio::test]
async fn a_key_without_a_known_agent_is_denied_and_a_failed_lookup_is_an_outage() {
    let provider = FakeProvider::start().await;
    provider.on(CHECK, Reply::json(json!({"success": true})));
    let authorizer = sgp(&provider, |_| {});
    let delete = async |id: &str| authorizer.check(&alice(), Operation::Delete, &ResourceRef::api_key(id)).await;

    assert_eq!(delete("nobody's").await.unwrap(), Decision::Deny);
    assert_eq!(kind(&delete("broken").await.unwrap_err()), "unavailable");
}

#[tokio::test]
async fn a_failed_second_factor_is_an_error_and_not_a_decision() {
    let provider = FakeProvider::start().await;
    provider.once(CHECK, Reply::json(json!({"success": true}))).once(CHECK, Reply::status(503));

    let outcome = sgp(&provider, |_| {}).check(&alice(), Operation::Delete, &ResourceRef::api_key("k1")).await;

    assert_eq!(kind(&outcome.unwrap_err()), "busy");
}

#[tokio::test]
async fn several_questions_have_the_second_factor_too() {
    let provider = FakeProvider::start().await;
    let authorizer = sgp(&provider, |_| {});
    authorizer.register(&alice(), &ResourceRef::api_key("k1"), None).await.unwrap();
    let checks =
        [Operation::Read, Operation::Delete].map(|operation| Check { operation, resource: ResourceRef::api_key("k1") });

    let decisions = authorizer.check_many(&alice(), &checks).await.unwrap();

    assert_eq!(decisions, [Decision::Allow, Decision::Deny]);
}

#[tokio::test]
async fn paths_and_names_of_operations_are_those_of_the_deployment() {
    let provider = FakeProvider::start().await;
    let authorizer = sgp(&provider, |options| {
        options.paths = SgpPaths {
            check: "/legacy/may/check".to_owned(),
            search: "/legacy/find/search".to_owned(),
            grant: "/legacy/own/grant".to_owned(),
            revoke: "/legacy/own/revoke".to_owned(),
        };
        options.operation_names =
            [(Operation::Update, "write".to_owned()), (Operation::Create, "own".to_owned())].into();
    });
    let task = ResourceRef::task("t1");

    authorizer.register(&alice(), &task, None).await.unwrap();
    assert!(authorizer.check(&alice(), Operation::Update, &task).await.unwrap().is_allowed());
    assert!(authorizer.list_resources(&alice(), ResourceKind::Task, Operation::Update).await.unwrap().contains("t1"));
    authorizer.deregister(&alice(), &task).await.unwrap();

    assert_eq!(provider.call("/legacy/own/grant", 0).await.json()["operation"], "own");
    assert_eq!(provider.call("/legacy/may/check", 0).await.json()["operation"], "write");
    assert_eq!(provider.call("/legacy/find/search", 0).await.json()["filter_operation"], "write");
    assert_eq!(provider.call("/legacy/own/revoke", 0).await.json()["operation"], "delete");
}
