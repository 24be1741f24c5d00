#![doc = include_str!("../README.md")]

mod calls;
mod connection;
mod failure;
mod gateway;
mod names;
mod options;
mod payload;
mod probe;
mod scheduler;
#[cfg(feature = "worker")]
mod worker;

pub use connection::Temporal;
pub use options::{ClientIdentity, InvalidOptions, TemporalOptions, TlsOptions};
pub use scheduler::TemporalScheduler;
#[cfg(feature = "worker")]
pub use worker::{Worker, WorkerError, WorkerOptions};
