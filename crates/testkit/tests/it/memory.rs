//! The relationships and flags in memory that tools and tests stand on keep the promises that real stores keep.

use std::sync::Arc;
use std::time::Duration;

use agentex_authz::Authorizer;
use agentex_authz::local::{
    Changes, GraphAuthorizer, MemoryRelationships, RelationshipStore, RelationshipStoreError, Revision, Snapshot,
    StoreUse, Write, Written,
};
use agentex_authz::router::{MemoryRollout, RolloutStore};

/// Writes take a moment, as they do on a disk: a case of the contract drops a caller while its write is under way, and
/// memory alone could be done before.
#[derive(Default)]
struct Unhurried(MemoryRelationships);

#[async_trait::async_trait]
impl RelationshipStore for Unhurried {
    async fn load(&self) -> Result<Snapshot, RelationshipStoreError> {
        self.0.load().await
    }

    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        self.0.revision().await
    }

    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        self.0.changes_since(seen).await
    }

    async fn write(&self, write: &Write) -> Result<Written, RelationshipStoreError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.write(write).await
    }
}

mod contract {
    use super::*;

    agentex_testkit::relationship_contract!((Arc::new(Unhurried::default()) as Arc<dyn RelationshipStore>, ()));
}

mod authorizer {
    use super::*;

    agentex_testkit::authorizer_contract!({
        let store = Arc::new(MemoryRelationships::default());
        let authorizer = GraphAuthorizer::open(store, StoreUse::Shared).await.unwrap();
        (Arc::new(authorizer) as Arc<dyn Authorizer>, ())
    });
}

mod rollout {
    use super::*;

    agentex_testkit::rollout_contract!((Arc::new(MemoryRollout::default()) as Arc<dyn RolloutStore>, ()));
}
