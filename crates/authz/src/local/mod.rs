//! Authorization inside the process: the permission model evaluated over relationships that the product's own store
//! keeps.

mod authorizer;
mod follower;
mod memory;
mod names;
mod queue;
mod store;

pub use authorizer::GraphAuthorizer;
pub use follower::StoreUse;
pub use memory::MemoryRelationships;
pub use names::Names;
pub use store::{
    Change, Changes, Precondition, RelationshipStore, RelationshipStoreError, Revision, Snapshot, Write, Written,
};
