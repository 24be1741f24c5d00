#![doc = include_str!("../README.md")]

mod agent_row;
mod agents;
mod api_keys;
mod checkpoints;
mod deployments;
mod error;
mod events;
mod intent_row;
mod intents;
mod json;
mod labels;
mod lifecycle;
mod message_filter;
mod messages;
mod migrate;
mod options;
mod ordering;
mod owners;
mod registration_tokens;
mod relationships;
mod rollout;
mod spans;
mod states;
mod store;
mod task_items;
mod task_lists;
mod task_row;
mod tasks;
mod trackers;

pub use migrate::MigrateError;
pub use options::PgOptions;
pub use store::PgStore;
