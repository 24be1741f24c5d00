//! The adapters against real connections.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot go on fails its test")]

mod authentication;
mod caching;
mod checks;
mod connections;
mod lists;
mod logs;
mod sgp;
mod support;
mod writes;
