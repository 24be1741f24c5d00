//! The in-memory event stream, against its contract and in what only it does.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]

mod contract;
mod lifetime;
