//! The tools themselves, against real services and a real port.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod fake_agent;
mod memory;
mod processes;
mod services;
