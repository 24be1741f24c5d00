//! The permission model: the schema language, its parser, and the graph it is evaluated over.

mod evaluate;
mod graph;
mod lookup;
mod parse;
mod schema;

pub use evaluate::{CheckContext, EvaluationError};
pub use graph::{Graph, Object, Relationship, Subject};
pub use parse::SchemaError;
pub use schema::{AllowedSubject, Definition, Expression, Schema, SubjectForm};

/// The permission model of agentex, as SpiceDB loads it.
pub const SCHEMA: &str = include_str!("schema.zed");
