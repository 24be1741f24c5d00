#![doc = include_str!("../README.md")]

mod event_stream;

pub use event_stream::{InProcessOptions, InProcessStream};
