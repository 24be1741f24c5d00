#![doc = include_str!("../README.md")]
#![expect(clippy::unwrap_used, reason = "everything here runs inside tests, where a failed unwrap is a failed test")]

pub mod audit;
pub mod build;
pub mod clock;
pub mod contract;
pub mod fake_agent;
pub mod fake_chat;
pub mod fake_provider;
pub mod http_client;
pub mod server_process;
pub mod services;
pub mod statements;
pub mod tls;
pub mod tripwire;

mod process;

pub use clock::TestClock;
