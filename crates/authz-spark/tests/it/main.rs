//! `SparkAuthorizer` on a real SpiceDB.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod audit;
mod contention;
mod contract;
mod decisions;
mod differential;
mod engine;
mod freshness;
mod lists;
mod ownership;
mod schema;
mod support;
mod trouble;
