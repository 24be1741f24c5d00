//! The embedded scheduler over real stores, with a clock that the tests move.

mod checks;
mod contract;
mod fires;
mod lifetime;
mod replicas;
mod sweep;
mod world;
