#![doc = include_str!("../README.md")]

mod agent_checks;
mod agents;
mod api_keys;
mod checkpoints;
mod conditions;
mod database;
mod deployment_history;
mod deployments;
mod error;
mod events;
mod gateways;
mod idempotency;
mod intents;
mod lifecycle;
mod messages;
mod owners;
mod probe;
mod registration_tokens;
mod relationships;
mod retention;
mod rollout;
mod rows;
mod run_schedules;
mod spans;
mod states;
mod store;
mod task_items;
mod tasks;
mod timers;
mod trackers;

pub use store::{SqliteOptions, SqliteStore};
