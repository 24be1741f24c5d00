#![doc = include_str!("../README.md")]

mod agents;
mod api_keys;
mod conditions;
mod database;
mod deployments;
mod error;
mod events;
mod messages;
mod probe;
mod relationships;
mod rows;
mod store;
mod tasks;

pub use store::{SqliteOptions, SqliteStore};
