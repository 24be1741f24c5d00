//! The relationships and flags in memory that tools and tests stand on keep the promises that real stores keep.

use std::sync::Arc;

use agentex_authz::Authorizer;
use agentex_authz::local::{GraphAuthorizer, MemoryRelationships, RelationshipStore, StoreUse};
use agentex_authz::router::{MemoryRollout, RolloutStore};

mod contract {
    use super::*;

    agentex_testkit::relationship_contract!((
        Arc::new(MemoryRelationships::default()) as Arc<dyn RelationshipStore>,
        ()
    ));
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
