use agentex_authz::Scope;
use agentex_domain::{Direction, PageRequest};
use serde::Serialize;
use sqlx::{QueryBuilder, Sqlite, SqlitePool, Transaction};

/// The pools of one database file. SQLite has one writer at a time, so all writes queue for one connection here instead
/// of fighting for the file's lock; readers never wait for it.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// Exactly one connection. A writing statement with `RETURNING` must be read to its end (`fetch_all`): it commits
    /// when it is done, and `fetch_optional` stops after the first row, before a failed commit would show.
    pub(crate) writer: SqlitePool,
    /// Read-only connections; they see everything that was committed before their statement began.
    pub(crate) readers: SqlitePool,
}

impl Database {
    /// Begins a transaction that holds the write lock from the start, so that what it reads stays true until it
    /// commits. Dropping it rolls back.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Begins a transaction that only reads and waits for nobody; it sees the moment of its first statement.
    #[expect(clippy::disallowed_methods, reason = "SQLite's driver rolls back what nobody took over")]
    pub(crate) async fn begin_reading(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.readers.begin().await
    }
}

/// JSON as it is stored; numbers keep all their digits.
pub(crate) fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("entities hold string keys and finite numbers only")
}

/// Adds `AND column IN (…)` unless everything is in scope.
pub(crate) fn push_scope(query: &mut QueryBuilder<Sqlite>, column: &'static str, scope: &Scope) {
    if let Scope::Only(ids) = scope {
        query.push(" AND ").push(column).push(" IN (SELECT value FROM json_each(").push_bind(json_text(ids)).push("))");
    }
}

/// Adds `ORDER BY` over `columns`, all in one direction. Nulls are the smallest values.
pub(crate) fn push_order(query: &mut QueryBuilder<Sqlite>, columns: &[&'static str], direction: Direction) {
    let suffix = match direction {
        Direction::Ascending => " ASC",
        Direction::Descending => " DESC",
    };
    for (position, column) in columns.iter().enumerate() {
        query.push(if position == 0 { " ORDER BY " } else { ", " }).push(column).push(suffix);
    }
}

/// Adds `LIMIT … OFFSET …`.
pub(crate) fn push_page(query: &mut QueryBuilder<Sqlite>, page: PageRequest) {
    query.push(" LIMIT ").push_bind(i64::from(page.limit)).push(" OFFSET ").push_bind(page.offset());
}
