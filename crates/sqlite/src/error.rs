use agentex_domain::ports::{BoxError, StoreError};
use sqlx::error::{DatabaseError, ErrorKind};

const BUSY: i32 = 5;

/// SQLite's primary result codes that mean "not now" or "not reachable" rather than "this statement is wrong":
/// busy, locked, out of memory, read-only, interrupted, input/output, damaged file, full disk, cannot open, locking
/// protocol, not a database.
const OUTAGES: [i32; 11] = [BUSY, 6, 7, 8, 9, 10, 11, 13, 14, 15, 26];

/// Turns a driver error met while handling `what` into the port's error.
pub(crate) fn store_error(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match error {
        sqlx::Error::Database(error) => database_error(what, error),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            StoreError::Corrupt { table: what, id: "(undecodable)".to_owned(), source: error.into() }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => unavailable(error),
        _ => StoreError::Failed(error.into()),
    }
}

/// The store, not a statement, is what failed.
pub(crate) fn unavailable(error: impl Into<BoxError>) -> StoreError {
    StoreError::Unavailable(error.into())
}

/// Whether another process has the file right now.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(primary_code) == Some(BUSY)
}

/// The low byte of SQLite's extended result code.
fn primary_code(error: &dyn DatabaseError) -> Option<i32> {
    let extended: i32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}

fn database_error(what: &'static str, error: Box<dyn DatabaseError>) -> StoreError {
    match error.kind() {
        ErrorKind::UniqueViolation => StoreError::Duplicate { what },
        ErrorKind::ForeignKeyViolation => StoreError::Dangling { what },
        _ => {
            if primary_code(&*error).is_some_and(|code| OUTAGES.contains(&code)) {
                unavailable(sqlx::Error::Database(error))
            } else {
                StoreError::Failed(sqlx::Error::Database(error).into())
            }
        }
    }
}
