#![doc = include_str!("../README.md")]

mod client;
mod forward;
mod headers;
mod limit;
mod measure;
mod options;
mod reply;
mod request;
mod resolve;
mod stream;
mod tls;

pub use client::AcpClient;
pub use options::{AcpOptions, AcpSetupError, PassThrough};
