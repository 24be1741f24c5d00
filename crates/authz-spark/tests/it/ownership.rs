//! Registering, deregistering, granting and revoking.

use agentex_authz::{Authorizer, AuthzError, Operation, Principal, ResourceKind, ResourceRef};
use serde_json::json;

use crate::support::{alice, bob, spark, user};

/// authz §7: 200
#[tokio::test]
async fn registering_writes_owner_account_and_parent() {
    let spark = spark().await;

    spark.register(&alice(), &ResourceRef::task("t"), Some(ResourceRef::agent("a"))).await.unwrap();

    let raw = spark.raw().await;
    let expected = ["task:t#owner@user:alice", "task:t#parent_agent@agent:a", "task:t#tenant@account:acme"];
    assert_eq!(raw.relationships("task").await, expected);
    let members = ["account:acme#member@service_account:*", "account:acme#member@user:*"];
    assert_eq!(raw.relationships("account").await, members);
}

/// In one call, so that nobody ever sees a part.
/// authz §7: 200
#[tokio::test]
async fn a_registration_that_is_refused_leaves_nothing_behind() {
    let spark = spark().await;
    let raw = spark.raw().await;
    raw.write(&["agent_api_key:k#parent_agent@agent:other"]).await;

    let refused = spark.register(&alice(), &ResourceRef::api_key("k"), Some(ResourceRef::agent("a"))).await;

    assert!(matches!(refused, Err(AuthzError::Refused)), "{refused:?}");
    assert_eq!(raw.relationships("agent_api_key").await, ["agent_api_key:k#parent_agent@agent:other"]);
}

/// authz §7: 201
#[tokio::test]
async fn what_somebody_else_owns_stays_theirs() {
    let spark = spark().await;
    let agent = ResourceRef::agent("a");
    spark.register(&alice(), &agent, None).await.unwrap();

    for other in [bob(), Principal::from_json(json!({"service_account_id": "alice", "account_id": "acme"}))] {
        let refused = spark.another().register(&other, &agent, None).await;
        assert!(matches!(refused, Err(AuthzError::Refused)), "{refused:?}");
        assert!(!spark.may(&other, Operation::Read, &agent).await);
    }
    let expected = ["agent:a#owner@user:alice", "agent:a#tenant@account:acme"];
    assert_eq!(spark.raw().await.relationships("agent").await, expected);
}

#[tokio::test]
async fn repeating_a_registration_succeeds_and_changes_nothing() {
    let spark = spark().await;
    let (task, parent) = (ResourceRef::task("t"), Some(ResourceRef::agent("a")));
    spark.register(&alice(), &task, parent.clone()).await.unwrap();
    let before = spark.raw().await.relationships("task").await;

    spark.register(&alice(), &task, parent.clone()).await.unwrap();
    spark.another().register(&alice(), &task, parent).await.unwrap();

    assert_eq!(spark.raw().await.relationships("task").await, before);
}

#[tokio::test]
async fn the_same_owner_cannot_move_a_resource_to_another_account_or_parent() {
    let spark = spark().await;
    let key = ResourceRef::api_key("k");
    spark.register(&alice(), &key, Some(ResourceRef::agent("a"))).await.unwrap();

    let account = spark.register(&user("alice", "other"), &key, Some(ResourceRef::agent("a"))).await;
    let parent = spark.register(&alice(), &key, Some(ResourceRef::agent("b"))).await;

    assert!(matches!(account, Err(AuthzError::Refused)), "{account:?}");
    assert!(matches!(parent, Err(AuthzError::Refused)), "{parent:?}");
}

#[tokio::test]
async fn a_registration_completes_what_was_partly_revoked() {
    let spark = spark().await;
    let agent = ResourceRef::agent("a");
    spark.register(&alice(), &agent, None).await.unwrap();
    spark.revoke(&alice(), Operation::Delete, &agent).await.unwrap();

    spark.register(&alice(), &agent, None).await.unwrap();

    assert!(spark.may(&alice(), Operation::Delete, &agent).await);
}

/// authz §7: 201
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_register_the_same_resource_one_wins() {
    let spark = std::sync::Arc::new(spark().await);

    let attempts: Vec<_> = (0..16)
        .map(|number| {
            let spark = std::sync::Arc::clone(&spark);
            tokio::spawn(async move {
                let owner = user(&format!("u{number}"), "acme");
                spark.another().register(&owner, &ResourceRef::agent("a"), None).await
            })
        })
        .collect();
    let mut won = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(()) => won += 1,
            Err(error) => assert!(matches!(error, AuthzError::Refused), "{error:?}"),
        }
    }

    assert_eq!(won, 1);
    assert_eq!(spark.raw().await.relationships("agent").await.len(), 2, "one owner and one account");
}

/// authz §7: 207
#[tokio::test]
async fn deregistering_removes_every_relationship_of_the_resource_and_no_other() {
    let spark = spark().await;
    let (task, kept) = (ResourceRef::task("t"), ResourceRef::task("t2"));
    for task in [&task, &kept] {
        spark.register(&alice(), task, Some(ResourceRef::agent("a"))).await.unwrap();
    }
    spark.grant(&bob(), Operation::Update, &task).await.unwrap();
    let raw = spark.raw().await;
    raw.write(&["task:t#viewer@group:g#member", "agent:t#viewer@user:bob"]).await;

    spark.deregister(&bob(), &task).await.unwrap();

    let left = raw.relationships("task").await;
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|edge| edge.starts_with("task:t2#")), "{left:?}");
    assert_eq!(raw.relationships("agent").await, ["agent:t#viewer@user:bob"]);
    assert!(!spark.may(&alice(), Operation::Read, &task).await);
    spark.deregister(&bob(), &task).await.unwrap();
    spark.register(&bob(), &task, None).await.unwrap();
}

#[tokio::test]
async fn grants_are_roles_and_both_directions_can_be_repeated() {
    use Operation::{Cancel, Create, Delete, Execute, Read, Update};
    let spark = spark().await;
    let raw = spark.raw().await;
    let cases = [
        (ResourceRef::agent("a"), Read, "viewer"),
        (ResourceRef::agent("a"), Update, "editor"),
        (ResourceRef::agent("a"), Execute, "editor"),
        (ResourceRef::agent("a"), Create, "owner"),
        (ResourceRef::task("t"), Execute, "owner"),
        (ResourceRef::task("t"), Cancel, "owner"),
        (ResourceRef::api_key("k"), Delete, "owner"),
        (ResourceRef::schedule("s"), Update, "editor"),
    ];
    for (resource, operation, role) in cases {
        let kind = agentex_authz::model::definition_of(resource.kind);

        spark.grant(&bob(), operation, &resource).await.unwrap();
        spark.grant(&bob(), operation, &resource).await.unwrap();
        let written = raw.relationships(kind).await;
        assert_eq!(written, [format!("{kind}:{}#{role}@user:bob", resource.selector)], "{operation}");

        spark.revoke(&bob(), operation, &resource).await.unwrap();
        spark.revoke(&bob(), operation, &resource).await.unwrap();
        assert_eq!(raw.relationships(kind).await, [""; 0]);
    }
}

/// authz §7: 204
#[tokio::test]
async fn writes_for_nobody_or_for_no_single_resource_are_errors_and_write_nothing() {
    let spark = spark().await;
    let both = Principal::from_json(json!({"user_id": "u", "service_account_id": "s", "account_id": "acme"}));
    let nowhere = Principal::from_json(json!({"user_id": "u"}));
    let agent = ResourceRef::agent("a");

    for owner in [&Principal::anonymous(), &both, &nowhere] {
        let refused = spark.register(owner, &agent, None).await;
        assert!(matches!(refused, Err(AuthzError::Protocol(_))), "{refused:?}");
    }
    for principal in [&Principal::anonymous(), &both] {
        let refused = spark.grant(principal, Operation::Read, &agent).await;
        assert!(matches!(refused, Err(AuthzError::Protocol(_))), "{refused:?}");
        let refused = spark.revoke(principal, Operation::Read, &agent).await;
        assert!(matches!(refused, Err(AuthzError::Protocol(_))), "{refused:?}");
    }
    let long = "x".repeat(1025);
    for resource in [ResourceRef::any(ResourceKind::Agent), ResourceRef::agent(""), ResourceRef::agent(long)] {
        let refused = spark.register(&alice(), &resource, None).await;
        assert!(matches!(refused, Err(AuthzError::Protocol(_))), "{resource}: {refused:?}");
        let refused = spark.deregister(&alice(), &resource).await;
        assert!(matches!(refused, Err(AuthzError::Protocol(_))), "{resource}: {refused:?}");
    }
    let parent = spark.register(&alice(), &agent, Some(ResourceRef::agent("b"))).await;
    assert!(matches!(parent, Err(AuthzError::Protocol(_))), "{parent:?}");
    let parent = spark.register(&alice(), &ResourceRef::api_key("k"), Some(ResourceRef::task("t"))).await;
    assert!(matches!(parent, Err(AuthzError::Protocol(_))), "{parent:?}");

    assert_eq!(spark.raw().await.relationships("agent").await, [""; 0]);
}
