//! Rows and edges agree whatever happens: crashes at every point, kills under load, vanished clients, permission
//! services that are down, slow or lying, races.
//!
//! The measure is always the same, [`agentex_testkit::audit`]: every live row has exactly the edges of its owner, every
//! edge belongs to a live row, every owner can read what is its own, and nothing is unfinished.

mod aborts;
mod changes;
mod disconnects;
mod kills;
mod outages;
mod races;
pub(crate) mod world;
