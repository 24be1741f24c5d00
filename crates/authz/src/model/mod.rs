//! The permission model: the schema language, its parser, and the graph it is evaluated over.

mod edges;
mod evaluate;
mod explain;
mod graph;
mod lookup;
mod matrix;
mod numbers;
mod objects;
mod parse;
mod question;
mod schema;
mod vocabulary;

pub use evaluate::{CheckContext, EvaluationError};
pub use explain::Explanation;
pub use graph::{Graph, Object, Relationship, Subject};
pub use matrix::permission_matrix;
pub use parse::SchemaError;
pub use question::Question;
pub use schema::{AllowedSubject, Definition, Expression, Schema, SubjectForm};
pub use vocabulary::{
    account_of, admission_to, creation_permission, definition_of, is_id, role_granted_by, subject_of,
};

/// The permission model of agentex, as SpiceDB loads it.
pub const SCHEMA: &str = include_str!("schema.zed");
