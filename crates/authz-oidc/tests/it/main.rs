//! The authenticator against a real issuer on a loopback port.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot go on fails its test")]

mod accounts;
mod discovery;
mod logs;
mod outages;
mod rotation;
mod setup;
mod signatures;
mod support;
mod validity;
