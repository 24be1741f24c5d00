//! The in-memory event stream and the embedded scheduler, against their contracts and in what only they do.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers too")]

mod contract;
mod lifetime;
mod scheduler;
