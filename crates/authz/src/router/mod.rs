//! Moving accounts one by one from the legacy permission service to Spark (SpiceDB).
//!
//! Each verb has one backend at any time, so going back is turning a flag off:
//!
//! | Verb | Legacy | Spark |
//! |---|---|---|
//! | grant, revoke | always | never |
//! | register, deregister | never | while the account's dual-write flag is on; otherwise they succeed without a call |
//! | check, list, explain | while the account's read flag is off | while it is on |
//!
//! The flags come from a [`RolloutStore`]; [`AccountRouter`] remembers them for a while, so that neither each decision
//! nor an outage of the store costs a question.

mod account_router;
mod flags;
mod known;
mod memory;
mod shadow;
#[cfg(test)]
mod tests;

pub use account_router::{AccountRouter, RouterSettings};
#[cfg(any(test, feature = "mock"))]
pub use flags::MockRolloutStore;
pub use flags::{RolloutFlags, RolloutStore, RolloutStoreError};
pub use memory::MemoryRollout;
pub use shadow::Shadow;
