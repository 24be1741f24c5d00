use std::sync::Arc;

use agentex_authz::local::{Changes, GraphAuthorizer, Revision, StoreUse};
use agentex_authz::{Authorizer, Operation, Principal, ResourceRef};

use crate::{Fixture, open};

mod contract {
    use super::Fixture;

    agentex_testkit::relationship_contract!({
        let fixture = Fixture::new().await;
        (fixture.store.relationships(), fixture)
    });
}

mod authorizer {
    use super::*;

    agentex_testkit::authorizer_contract!({
        let fixture = Fixture::new().await;
        (authorizer(&fixture, StoreUse::Exclusive).await, fixture)
    });
}

async fn authorizer(fixture: &Fixture, store_use: StoreUse) -> Arc<dyn Authorizer> {
    Arc::new(GraphAuthorizer::open(fixture.store.relationships(), store_use).await.unwrap())
}

#[tokio::test]
async fn a_follower_that_is_behind_what_is_remembered_loads_everything() {
    let fixture = Fixture::new().await;
    let alice = Principal::from_json(serde_json::json!({"user_id": "alice", "account_id": "acme"}));
    let follower = authorizer(&fixture, StoreUse::Shared).await;
    let other = open(&fixture.path()).await;
    let writer = GraphAuthorizer::open(other.relationships(), StoreUse::Shared).await.unwrap();
    writer.register(&alice, &ResourceRef::task("t"), None).await.unwrap();
    writer.register(&alice, &ResourceRef::task("u"), None).await.unwrap();

    fixture.behind_its_back("UPDATE authz_revision SET forgotten = 1").await;

    let store = fixture.store.relationships();
    assert_eq!(store.changes_since(Revision(0)).await.unwrap(), Changes::Reload);
    assert!(matches!(store.changes_since(Revision(1)).await.unwrap(), Changes::Since { .. }));
    for task in ["t", "u"] {
        let decision = follower.check(&alice, Operation::Read, &ResourceRef::task(task)).await.unwrap();
        assert!(decision.is_allowed(), "{task}");
    }
}

#[tokio::test]
async fn changes_that_are_long_past_are_thrown_away() {
    let fixture = Fixture::new().await;
    let alice = Principal::from_json(serde_json::json!({"user_id": "alice", "account_id": "acme"}));
    let authorizer = authorizer(&fixture, StoreUse::Shared).await;
    authorizer.register(&alice, &ResourceRef::task("t"), None).await.unwrap();
    fixture.behind_its_back("UPDATE authz_revision SET revision = 100999").await;

    authorizer.register(&alice, &ResourceRef::task("u"), None).await.unwrap();

    let store = fixture.store.relationships();
    assert_eq!(store.changes_since(Revision(999)).await.unwrap(), Changes::Reload);
    let Changes::Since { changes, revision } = store.changes_since(Revision(1_000)).await.unwrap() else {
        panic!("forgotten too early")
    };
    assert_eq!((changes.len(), revision), (2, Revision(101_000)));
}
