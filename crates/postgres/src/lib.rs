#![doc = include_str!("../README.md")]

mod agent_row;
mod agents;
mod api_keys;
mod deployments;
mod error;
mod events;
mod json;
mod labels;
mod message_filter;
mod messages;
mod migrate;
mod options;
mod ordering;
mod relationships;
mod store;
mod tasks;

pub use migrate::MigrateError;
pub use options::PgOptions;
pub use store::PgStore;
