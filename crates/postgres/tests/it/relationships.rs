use std::sync::Arc;

use agentex_authz::local::{Changes, GraphAuthorizer, Revision, StoreUse};
use agentex_authz::{Authorizer, Operation, Principal, ResourceRef};

use crate::database::{Database, connect, migrated};

mod contract {
    use super::migrated;

    agentex_testkit::relationship_contract!({
        let database = migrated().await;
        (database.store.relationships(), database)
    });
}

mod authorizer {
    use super::*;

    agentex_testkit::authorizer_contract!({
        let database = migrated().await;
        (authorizer(&database).await, database)
    });
}

async fn authorizer(database: &Database) -> Arc<dyn Authorizer> {
    Arc::new(GraphAuthorizer::open(database.store.relationships(), StoreUse::Shared).await.unwrap())
}

fn alice() -> Principal {
    Principal::from_json(serde_json::json!({"user_id": "alice", "account_id": "acme"}))
}

#[tokio::test]
async fn a_follower_that_is_behind_what_is_remembered_loads_everything() {
    let database = migrated().await;
    let follower = authorizer(&database).await;
    let other = connect(database.place.url()).await;
    let writer = GraphAuthorizer::open(other.relationships(), StoreUse::Shared).await.unwrap();
    writer.register(&alice(), &ResourceRef::task("t"), None).await.unwrap();
    writer.register(&alice(), &ResourceRef::task("u"), None).await.unwrap();

    database.run("UPDATE authz_revision SET forgotten = 1").await;

    let store = database.store.relationships();
    assert_eq!(store.changes_since(Revision(0)).await.unwrap(), Changes::Reload);
    assert!(matches!(store.changes_since(Revision(1)).await.unwrap(), Changes::Since { .. }));
    for task in ["t", "u"] {
        let decision = follower.check(&alice(), Operation::Read, &ResourceRef::task(task)).await.unwrap();
        assert!(decision.is_allowed(), "{task}");
    }
}

#[tokio::test]
async fn changes_that_are_long_past_are_thrown_away() {
    let database = migrated().await;
    let authorizer = authorizer(&database).await;
    authorizer.register(&alice(), &ResourceRef::task("t"), None).await.unwrap();
    database.run("UPDATE authz_revision SET revision = 100999").await;

    authorizer.register(&alice(), &ResourceRef::task("u"), None).await.unwrap();

    let store = database.store.relationships();
    assert_eq!(store.changes_since(Revision(999)).await.unwrap(), Changes::Reload);
    let Changes::Since { changes, revision } = store.changes_since(Revision(1_000)).await.unwrap() else {
        panic!("forgotten too early")
    };
    assert_eq!((changes.len(), revision), (2, Revision(101_000)));
}

/// A writer that has its revision but has not committed holds the next one up, so that revisions appear in their order.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_waits_for_the_one_before_it() {
    let database = migrated().await;
    let authorizer = authorizer(&database).await;
    let mut holder = database.sql.begin().await.unwrap();
    sqlx::query("UPDATE authz_revision SET revision = revision + 1").execute(&mut *holder).await.unwrap();

    let task = ResourceRef::task("t");
    let registering = tokio::spawn({
        let (authorizer, task) = (Arc::clone(&authorizer), task.clone());
        async move { authorizer.register(&alice(), &task, None).await }
    });
    database.until_somebody_waits().await;
    assert!(!authorizer.check(&alice(), Operation::Read, &task).await.unwrap().is_allowed());
    holder.commit().await.unwrap();

    registering.await.unwrap().unwrap();
    assert!(authorizer.check(&alice(), Operation::Read, &task).await.unwrap().is_allowed());
    assert_eq!(database.store.relationships().revision().await.unwrap(), Revision(2));
}
