use std::borrow::Cow;
use std::fmt;

use agentex_domain::ports::{BoxError, StoreError};
use sqlx::error::DatabaseError;

/// How often a statement that lost against a concurrent one is tried again.
const RETRIES: u32 = 3;

/// Turns what the driver says about a write of `what` into what the port promises.
pub(crate) fn store_error(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match code(&error).as_deref() {
        Some("23505") => StoreError::Duplicate { what },
        Some("23503") => StoreError::Dangling { what },
        _ if is_outage(&error) => StoreError::Unavailable(error.into()),
        _ => StoreError::Failed(error.into()),
    }
}

/// The constraint that refused the statement.
pub(crate) fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(DatabaseError::constraint)
}

/// A row of `table` that is not what the domain knows.
pub(crate) fn corrupt(table: &'static str, id: &str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Corrupt { table, id: id.to_owned(), source: source.into() }
}

/// The complaint of [`corrupt`] about a column with a value that means nothing here.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) column: &'static str,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {} has an unknown value", self.column)
    }
}

impl std::error::Error for Unreadable {}

/// Answers a look-up for text that PostgreSQL cannot hold (anything with U+0000) with nothing instead of a failure:
/// no row can have it.
pub(crate) fn nothing_if_unstorable<T: Default>(result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
    match result {
        Err(error) if matches!(code(&error).as_deref(), Some("22021" | "22P05")) => Ok(T::default()),
        other => other,
    }
}

/// Runs `attempt` again while it loses to a deadlock or a serialization conflict, which undo it completely.
pub(crate) async fn retry<T, A, F>(mut attempt: A) -> Result<T, StoreError>
where
    A: FnMut() -> F + Send,
    F: Future<Output = Result<T, StoreError>> + Send,
{
    for _ in 0..RETRIES {
        match attempt().await {
            Err(StoreError::Unavailable(error) | StoreError::Failed(error)) if lost_a_conflict(&error) => {
                tracing::debug!("statement lost a conflict and is tried again");
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

/// Whether the driver says that a statement lost against a concurrent one, which undid it completely.
pub(crate) fn lost_a_conflict(source: &BoxError) -> bool {
    source.downcast_ref::<sqlx::Error>().and_then(code).is_some_and(|code| is_conflict(&code))
}

fn is_conflict(code: &str) -> bool {
    matches!(code, "40001" | "40P01")
}

fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        // 08 connection, 28 credentials, 3D no such database, 53 out of resources, 57 shut down or cancelled by a
        // time limit, 25006 a primary that became a replica, 25P03 idle too long in a transaction, 55P03 a lock not
        // had in time.
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            ["08", "28", "3D", "53", "57"].iter().any(|class| code.starts_with(class))
                || matches!(&*code, "25006" | "25P03" | "55P03")
                || is_conflict(&code)
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(DatabaseError::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_error_that_is_nobodys_outage_is_a_failure() {
        assert!(matches!(store_error("x")(sqlx::Error::PoolTimedOut), StoreError::Unavailable(_)));
        assert!(matches!(store_error("x")(sqlx::Error::RowNotFound), StoreError::Failed(_)));
    }
}
