//! The event stream on a real Redis: the contract, and what only it promises.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]

mod contract;
mod outage;
mod sharing;
mod support;
mod wire;
