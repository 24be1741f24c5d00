//! Which resources somebody may do something with.

use std::collections::BTreeSet;

use agentex_authz::{Authorizer, AuthzError, Operation, Principal, ResourceKind, ResourceRef, Scope};
use agentex_authz_spark::{SparkAuthorizer, SparkSettings};

use crate::support::{alice, bob, spark, user};

fn only<'a>(ids: impl IntoIterator<Item = &'a str>) -> Scope {
    Scope::Only(ids.into_iter().map(str::to_owned).collect())
}

/// authz §7: 202
#[tokio::test]
async fn ids_of_any_shape_come_back_as_they_were_given() {
    let spark = spark().await;
    let who = user("alice@example.com", "Ä & Co. <1>");
    let ids = ["run-schedule::a1::r1", "a1--nightly build", "b64=YQ", "plain-1", "tâche"];

    for id in ids {
        spark.register(&who, &ResourceRef::schedule(id), Some(ResourceRef::agent("a::1"))).await.unwrap();
    }
    spark.register(&who, &ResourceRef::agent("a::1"), None).await.unwrap();

    for id in ids {
        assert!(spark.may(&who, Operation::Update, &ResourceRef::schedule(id)).await, "{id}");
    }
    let listed = spark.list_resources(&who, ResourceKind::Schedule, Operation::Read).await.unwrap();
    assert_eq!(listed, only(ids));
}

#[tokio::test]
async fn a_list_holds_what_the_checks_allow() {
    let spark = spark().await;
    for (owner, id) in [(alice(), "mine"), (bob(), "shared"), (bob(), "theirs"), (user("alice", "other"), "elsewhere")]
    {
        spark.register(&owner, &ResourceRef::task(id), None).await.unwrap();
    }
    spark.grant(&alice(), Operation::Read, &ResourceRef::task("shared")).await.unwrap();
    let list = |who, operation| {
        let spark = &spark;
        async move { spark.list_resources(&who, ResourceKind::Task, operation).await.unwrap() }
    };

    assert_eq!(list(alice(), Operation::Read).await, only(["mine", "shared"]));
    assert_eq!(list(alice(), Operation::Cancel).await, only(["mine"]));
    assert_eq!(list(user("alice", "other"), Operation::Read).await, only(["elsewhere"]));
    assert_eq!(list(alice(), Operation::Create).await, only([]), "an operation tasks do not have");
    assert_eq!(list(Principal::anonymous(), Operation::Read).await, only([]));
    let agents = spark.list_resources(&alice(), ResourceKind::Agent, Operation::Read).await.unwrap();
    assert_eq!(agents, only([]));
}

#[tokio::test]
async fn a_long_list_is_complete_and_one_that_is_too_long_is_an_error() {
    let spark = spark().await;
    // The account and its members.
    spark.register(&alice(), &ResourceRef::task("t0"), None).await.unwrap();
    let ids: BTreeSet<String> = (0..2_100).map(|number| format!("t{number}")).collect();
    let edges: Vec<String> = ids
        .iter()
        .flat_map(|id| [format!("task:{id}#tenant@account:acme"), format!("task:{id}#owner@user:alice")])
        .collect();
    let raw = spark.raw().await;
    for chunk in edges.chunks(1_000) {
        raw.write(&chunk.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    let listed = spark.another().list_resources(&alice(), ResourceKind::Task, Operation::Delete).await.unwrap();
    assert_eq!(listed, Scope::Only(ids.into()));

    let narrow = SparkSettings { max_list_ids: 2_099, ..spark.settings() };
    let refused = SparkAuthorizer::new(&narrow).unwrap();
    let refused = refused.list_resources(&alice(), ResourceKind::Task, Operation::Delete).await;
    assert!(matches!(refused, Err(AuthzError::Protocol(_))), "{refused:?}");
}
