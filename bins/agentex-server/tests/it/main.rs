//! The real program, from outside.

#![expect(clippy::unwrap_used, reason = "a failed unwrap in a test, or what tests share, is a failed test")]

#[cfg(all(feature = "sgp", feature = "spark", feature = "oidc"))]
mod authorization;
mod commands;
mod permissions;
mod postgres;
mod program;
mod secrets;
mod serving;
mod stopping;
