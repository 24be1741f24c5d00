//! Whole-system tests. They expect the workspace's binaries to be built; `scripts/test` does that.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod crash;
mod durability;
mod schedules;
mod sdk;
mod support;
