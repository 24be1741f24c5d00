#![doc = include_str!("../README.md")]

mod event_stream;
mod scheduler;

pub use event_stream::{InProcessOptions, InProcessStream};
pub use scheduler::{InProcessScheduler, SchedulerOptions};
