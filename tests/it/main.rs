//! Whole-system tests. They expect the workspace's binaries to be built; `scripts/test` does that.

mod architecture;
mod crash;
mod sdk;
mod support;
