#![doc = include_str!("../README.md")]

mod agents;
mod api_keys;
mod checkpoints;
mod conditions;
mod database;
mod deployments;
mod error;
mod events;
mod intents;
mod lifecycle;
mod messages;
mod owners;
mod probe;
mod registration_tokens;
mod relationships;
mod rollout;
mod rows;
mod spans;
mod states;
mod store;
mod task_items;
mod tasks;
mod trackers;

pub use store::{SqliteOptions, SqliteStore};
