#![doc = include_str!("../README.md")]

mod commands;
mod options;
mod reader;
mod stream;
mod subscriber;
mod topic;
mod topics;
mod wire;

pub use options::RedisOptions;
pub use stream::RedisStream;
