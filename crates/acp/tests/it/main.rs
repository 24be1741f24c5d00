//! The client against real connections.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot go on fails its test")]

mod agent;
mod build;
mod calls;
mod connections;
mod forward;
mod health;
mod metrics;
mod streams;
mod tls;
mod transfer;
