//! The PostgreSQL adapter against a real server: the suite that every store passes, and what only this one can get
//! wrong.

#![expect(clippy::disallowed_methods, reason = "the tests hold transactions of their own, and wait for them to begin")]
#![expect(clippy::unwrap_used, reason = "everything here runs inside tests, where a failed unwrap is a failed test")]

mod abandoned;
mod batches;
mod checkpoints;
mod contract;
mod database;
mod errors;
mod legacy_rows;
mod migrations;
mod plans;
mod races;
mod relationships;
mod retention;
mod rollout;
mod schema;
mod timers;
