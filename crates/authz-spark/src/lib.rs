#![doc = include_str!("../README.md")]

mod audit;
mod authorizer;
mod client;
mod failure;
mod freshness;
mod ids;
mod registration;
mod relationships;
mod schema;
mod settings;

pub use authorizer::SparkAuthorizer;
pub use schema::SchemaChange;
pub use settings::{InvalidSettings, SparkSettings};
