use agentex_domain::{FilterTerm, MessageFilter};
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder};

/// Keeps only the messages (table `m`) that match `filter`. Keys and values of the filter are bound, never written
/// into the statement.
///
/// Every condition is true or false but never unknown, so that excluding is the exact opposite of including.
pub(crate) fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &MessageFilter) {
    if !filter.include.is_empty() {
        query.push(" AND (");
        push_any(query, &filter.include);
        query.push(")");
    }
    if !filter.exclude.is_empty() {
        query.push(" AND NOT (");
        push_any(query, &filter.exclude);
        query.push(")");
    }
}

fn push_any(query: &mut QueryBuilder<Postgres>, terms: &[FilterTerm]) {
    for (place, term) in terms.iter().enumerate() {
        query.push(if place == 0 { "(TRUE" } else { " OR (TRUE" });
        push_term(query, term);
        query.push(")");
    }
}

fn push_term(query: &mut QueryBuilder<Postgres>, term: &FilterTerm) {
    for (path, value) in &term.equals {
        if storable(path, value) {
            query.push(" AND m.content @> ").push_bind(Json(nested(path, value)));
        } else {
            query.push(" AND FALSE");
        }
    }
    for (path, value) in &term.arrays {
        if storable(path, value) {
            query.push(" AND COALESCE(");
            push_path(query, path);
            query.push(" = ").push_bind(Json(value)).push(", FALSE)");
        } else {
            query.push(" AND FALSE");
        }
    }
    for path in term.nulls.iter().filter(|path| storable(path, &Value::Null)) {
        query.push(" AND COALESCE(");
        push_path(query, path);
        query.push(", 'null'::jsonb) = 'null'::jsonb");
    }
    if let Some(status) = term.streaming_status {
        query.push(" AND (m.streaming_status IS NOT NULL AND m.streaming_status = ");
        query.push_bind(status.as_str()).push(")");
    }
}

/// Step by step rather than with one `#>`, which would take a key like `0` for a place in an array.
fn push_path(query: &mut QueryBuilder<Postgres>, path: &[String]) {
    query.push("m.content");
    for key in path {
        query.push(" -> ").push_bind(key.as_str());
    }
}

fn nested(path: &[String], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| json!({ key: inner }))
}

/// PostgreSQL cannot hold U+0000, so nothing stored has or equals a text with one.
fn storable(path: &[String], value: &Value) -> bool {
    !path.iter().any(|key| key.contains('\0')) && !agentex_domain::input::has_nul(value)
}
