//! Reading everything back.

use agentex_authz::model::{Object, Relationship, Subject};
use agentex_authz::{Authorizer, AuthzError, Operation, ResourceKind, ResourceRef, Scope};

use crate::support::{alice, bob, spark, user};

fn edge(id: &str, relation: &str, subject: Subject) -> Relationship {
    Relationship { resource: Object::new("task", id), relation: relation.into(), subject, acting_in: None }
}

fn whole(kind: &str, id: &str) -> Subject {
    Subject::object(Object::new(kind, id))
}

#[tokio::test]
async fn what_was_written_is_read_back_with_its_ids_as_they_were_given() {
    let spark = spark().await;
    let who = user("alice@example.com", "Ä & Co.");
    spark.register(&who, &ResourceRef::task("t::1"), Some(ResourceRef::agent("a::1"))).await.unwrap();
    spark.register(&alice(), &ResourceRef::agent("not a task"), None).await.unwrap();
    spark.grant(&bob(), Operation::Update, &ResourceRef::task("t::1")).await.unwrap();
    spark.raw().await.write(&["task:t2#viewer@group:g#member"]).await;

    let found = spark.another().relationships(ResourceKind::Task).await.unwrap();

    let members = Subject { relation: Some("member".into()), ..whole("group", "g") };
    let mut expected = [
        edge("t::1", "owner", whole("user", "alice@example.com")),
        edge("t::1", "tenant", whole("account", "Ä & Co.")),
        edge("t::1", "parent_agent", whole("agent", "a::1")),
        edge("t::1", "editor", whole("user", "bob")),
        edge("t2", "viewer", members),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(spark.relationships(ResourceKind::Schedule).await.unwrap(), []);
}

#[tokio::test]
async fn more_than_fits_on_a_page_is_read_back_completely_and_once() {
    let spark = spark().await;
    let ids: Vec<String> = (0..2_000).map(|number| format!("t{number}")).collect();
    let raw = spark.raw().await;
    // Full pages to the end: one more has to be asked for, and is empty.
    for chunk in ids.chunks(1_000) {
        let edges: Vec<String> = chunk.iter().map(|id| format!("task:{id}#owner@user:alice")).collect();
        raw.write(&edges.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    let found = spark.relationships(ResourceKind::Task).await.unwrap();

    let mut expected: Vec<Relationship> = ids.iter().map(|id| edge(id, "owner", whole("user", "alice"))).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_id_that_is_not_ours_is_an_error_and_not_left_out() {
    let spark = spark().await;
    spark.raw().await.write(&["task:b64=a|b#owner@user:alice"]).await;

    let found = spark.relationships(ResourceKind::Task).await;

    assert!(matches!(found, Err(AuthzError::Protocol(_))), "{found:?}");
}

/// Everything that was registered and deregistered at the same time is as the calls said.
/// authz §7: 207, 208
#[tokio::test(flavor = "multi_thread")]
async fn after_writers_at_the_same_time_there_is_what_they_left() {
    let spark = std::sync::Arc::new(spark().await);

    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let spark = std::sync::Arc::clone(&spark);
            tokio::spawn(async move {
                for number in 0..6 {
                    let task = ResourceRef::task(format!("t{writer}-{number}"));
                    spark.register(&alice(), &task, None).await.unwrap();
                    if number % 2 == 1 {
                        spark.deregister(&alice(), &task).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }

    let kept: Vec<String> = (0..16).flat_map(|writer| [0, 2, 4].map(|number| format!("t{writer}-{number}"))).collect();
    let mut expected: Vec<Relationship> = kept
        .iter()
        .flat_map(|id| [edge(id, "owner", whole("user", "alice")), edge(id, "tenant", whole("account", "acme"))])
        .collect();
    expected.sort();
    assert_eq!(spark.relationships(ResourceKind::Task).await.unwrap(), expected);
    let listed = spark.list_resources(&alice(), ResourceKind::Task, Operation::Read).await.unwrap();
    assert_eq!(listed, Scope::Only(kept.into_iter().collect()));
}
