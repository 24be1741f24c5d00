//! Small documents, one for every kind of finding.

mod deliberate;
mod operations;
mod reading;
mod schemas;

use serde_json::{Value, json};

use crate::compare;
use crate::document::Document;

/// A document with one `POST /things` that has `operation`, and these components.
fn document(operation: &Value, components: &Value) -> Document {
    let root = json!({ "paths": { "/things": { "post": operation } }, "components": { "schemas": components } });
    Document::parse(&root.to_string()).unwrap()
}

/// A document whose one operation takes `schema`.
fn taking(schema: &Value) -> Document {
    document(&json!({ "requestBody": content(schema), "responses": {} }), &json!({}))
}

/// A document whose one operation answers `schema`.
fn answering(schema: &Value) -> Document {
    document(&json!({ "responses": { "200": content(schema) } }), &json!({}))
}

fn content(schema: &Value) -> Value {
    json!({ "content": { "application/json": { "schema": schema } } })
}

fn found(theirs: &Document, ours: &Document) -> Vec<String> {
    compare::documents(theirs, ours).iter().map(|finding| squeezed(&finding.to_string())).collect()
}

/// What is found in requests and in responses when theirs says `theirs` and ours says `ours`.
fn both_ways(theirs: Value, ours: Value) -> (Vec<String>, Vec<String>) {
    (found(&taking(&theirs), &taking(&ours)), found(&answering(&theirs), &answering(&ours)))
}

/// One blank between words: columns are for people.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
