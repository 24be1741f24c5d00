use std::time::Duration;

use agentex_domain::ports::BoxError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The revisions of the reference, oldest first. Its newest is what the baseline creates.
const REFERENCE_REVISIONS: [&str; 32] = [
    "1718c7749b91",
    "5b1c4391600d",
    "588bf9d4ab7a",
    "e7bab805840b",
    "7736391266fa",
    "bc9b04a3f508",
    "b17f16df0fbb",
    "356ff27e3095",
    "a3a5873491af",
    "09916d346af6",
    "17c57fe68d04",
    "87454c35c13e",
    "dbac39ab82c3",
    "739800d3e1ce",
    "09368a02d6cc",
    "d7addd4229e8",
    "329fbafa4ff9",
    "a5d67f2d7356",
    "24429f13b8bd",
    "d024851e790c",
    "d1a6cde41b3f",
    "4a9b7787ccd7",
    "57c5ed4f59ae",
    "9ff3ee32c81b",
    "e9c4ff9e6542",
    "a9959ebcbe98",
    "6c942325c828",
    "c7a1b2d3e4f5",
    "3b1c9d2e4f6a",
    "e7f8a9b0c1d2",
    "9a4b8c7d6e5f",
    REFERENCE_HEAD,
];
const REFERENCE_HEAD: &str = "a1b2c3d4e5f6";

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 12] = [
    Migration {
        version: BASELINE,
        name: "baseline",
        sql: include_str!("../../../migrations/postgres/0001_baseline.sql"),
    },
    Migration { version: 2, name: "product", sql: include_str!("../../../migrations/postgres/0002_product.sql") },
    Migration {
        version: 3,
        name: "product_indexes",
        sql: include_str!("../../../migrations/postgres/0003_product_indexes.sql"),
    },
    Migration {
        version: 4,
        name: "relationships",
        sql: include_str!("../../../migrations/postgres/0004_relationships.sql"),
    },
    Migration { version: 5, name: "lifecycle", sql: include_str!("../../../migrations/postgres/0005_lifecycle.sql") },
    Migration {
        version: 6,
        name: "api_key_names",
        sql: include_str!("../../../migrations/postgres/0006_api_key_names.sql"),
    },
    Migration { version: 7, name: "task_list", sql: include_str!("../../../migrations/postgres/0007_task_list.sql") },
    Migration {
        version: 8,
        name: "tracker_list",
        sql: include_str!("../../../migrations/postgres/0008_tracker_list.sql"),
    },
    Migration {
        version: 9,
        name: "idempotency_keys",
        sql: include_str!("../../../migrations/postgres/0009_idempotency_keys.sql"),
    },
    Migration { version: 10, name: "speed", sql: include_str!("../../../migrations/postgres/0010_speed.sql") },
    Migration { version: 11, name: "schedules", sql: include_str!("../../../migrations/postgres/0011_schedules.sql") },
    Migration {
        version: 12,
        name: "gateway_events",
        sql: include_str!("../../../migrations/postgres/0012_gateway_events.sql"),
    },
];
const BASELINE: i32 = 1;

/// First line of a file whose statements cannot share a transaction.
const NO_TRANSACTION: &str = "-- migrate: no-transaction";

/// Names the lock that only one migrating session can hold.
const LOCK_KEY: i64 = 0x6167_656e_7465_7800;
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The reference's own migrations are not complete; nothing was changed.
    #[error("Database is at alembic revision {revision}; upgrade the reference to a1b2c3d4e5f6 first")]
    OlderReference {
        /// The revision found.
        revision: String,
    },
    /// The database belongs to a version of the reference that is not known here; nothing was changed.
    #[error(
        "Database is at alembic revision {revision}, which is unknown here; \
         set ALLOW_UNKNOWN_BASELINE=true to use it as it is"
    )]
    UnknownReference {
        /// The revision found, or what was found instead of one.
        revision: String,
    },
    /// A statement was refused, for example because it did not get its lock within three seconds. Earlier migrations
    /// stay; of this one nothing is kept, unless it builds indexes one by one: those that are complete stay and the
    /// next run goes on after them.
    #[error("migration {name} failed")]
    Refused {
        /// The migration.
        name: &'static str,
        /// What the server said.
        #[source]
        source: BoxError,
    },
    /// The database could not be reached, or its ledger not be read.
    #[error("the database cannot be migrated now")]
    Unavailable(#[source] BoxError),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Applies what the ledger does not list yet, on a session of its own, and says how many files that were.
pub(crate) async fn run(options: &PgConnectOptions, allow_unknown_baseline: bool) -> Result<u32, MigrateError> {
    let mut session = PgConnection::connect_with(options).await?;
    wait_for_turn(&mut session).await?;
    // After the wait, because the time limit on locks would cut it short.
    sqlx::raw_sql(
        "SET lock_timeout = '3s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '10s'",
    )
    .execute(&mut session)
    .await?;

    let applied = apply_missing(&mut session, allow_unknown_baseline).await;

    // Closing the session gives the lock back, whatever happened.
    if let Err(error) = session.close().await {
        tracing::debug!(%error, "migration session did not close in order");
    }
    applied
}

/// How many files [`run`] would apply.
pub(crate) async fn pending(session: &mut PgConnection, allow_unknown_baseline: bool) -> Result<u32, MigrateError> {
    let mut done = read_ledger(session).await?;
    if done.is_empty()
        && let Some(revision) = reference_revision(session).await?
    {
        check_revision(&revision, allow_unknown_baseline)?;
        done.push(BASELINE);
    }
    let missing = MIGRATIONS.iter().filter(|migration| !done.contains(&migration.version)).count();
    Ok(u32::try_from(missing).expect("there are few migrations"))
}

/// Polls instead of waiting inside the server: a waiting statement holds a snapshot, and the session that has the
/// lock would wait for that snapshot when it builds an index concurrently.
async fn wait_for_turn(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut waited = false;
    while !sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)")
        .bind(LOCK_KEY)
        .fetch_one(&mut *session)
        .await?
    {
        if !waited {
            tracing::info!("waiting for another instance that is migrating the database");
            waited = true;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
    Ok(())
}

async fn apply_missing(session: &mut PgConnection, allow_unknown_baseline: bool) -> Result<u32, MigrateError> {
    let mut done = read_ledger(session).await?;
    if done.is_empty() {
        let adopted = reference_revision(session).await?;
        if let Some(revision) = &adopted {
            check_revision(revision, allow_unknown_baseline)?;
        }
        create_ledger(session).await?;
        if adopted.is_some() {
            record(session, &MIGRATIONS[0]).await?;
            done.push(BASELINE);
            tracing::info!("adopted the reference's database");
        }
    }

    let mut applied = 0;
    for migration in MIGRATIONS.iter().filter(|migration| !done.contains(&migration.version)) {
        apply(session, migration)
            .await
            .map_err(|error| MigrateError::Refused { name: migration.name, source: error.into() })?;
        tracing::info!(version = migration.version, name = migration.name, "migration applied");
        applied += 1;
    }
    Ok(applied)
}

/// The versions applied so far; none when there is no ledger yet.
async fn read_ledger(session: &mut PgConnection) -> Result<Vec<i32>, sqlx::Error> {
    if !table_exists(session, "agentex_migrations").await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM agentex_migrations ORDER BY version").fetch_all(session).await
}

async fn create_ledger(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS agentex_migrations (
             version    integer PRIMARY KEY,
             name       text NOT NULL,
             applied_at timestamptz NOT NULL DEFAULT now()
         )",
    )
    .execute(session)
    .await?;
    Ok(())
}

async fn reference_revision(session: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    if !table_exists(session, "alembic_version").await? {
        return Ok(None);
    }
    let revisions: Vec<String> =
        sqlx::query_scalar("SELECT version_num::text FROM alembic_version ORDER BY version_num")
            .fetch_all(session)
            .await?;
    Ok(Some(if revisions.is_empty() { "(none)".to_owned() } else { revisions.join(", ") }))
}

fn check_revision(revision: &str, allow_unknown: bool) -> Result<(), MigrateError> {
    if revision == REFERENCE_HEAD {
        Ok(())
    } else if REFERENCE_REVISIONS.contains(&revision) {
        Err(MigrateError::OlderReference { revision: revision.to_owned() })
    } else if allow_unknown {
        tracing::warn!(revision, "adopting a database at an unknown revision of the reference");
        Ok(())
    } else {
        Err(MigrateError::UnknownReference { revision: revision.to_owned() })
    }
}

async fn table_exists(session: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(name).fetch_one(session).await
}

async fn apply(session: &mut PgConnection, migration: &Migration) -> Result<(), sqlx::Error> {
    if migration.sql.starts_with(NO_TRANSACTION) {
        for statement in statements(migration.sql) {
            if let Some(index) = index_built_concurrently(statement) {
                drop_if_invalid(session, index).await?;
            }
            sqlx::raw_sql(statement).execute(&mut *session).await?;
        }
        return record(session, migration).await;
    }
    let mut transaction = session.begin().await?;
    sqlx::raw_sql(migration.sql).execute(&mut *transaction).await?;
    record(&mut transaction, migration).await?;
    transaction.commit().await
}

async fn record(session: &mut PgConnection, migration: &Migration) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO agentex_migrations (version, name) VALUES ($1, $2)")
        .bind(migration.version)
        .bind(migration.name)
        .execute(session)
        .await?;
    Ok(())
}

/// The statements of a file in which each ends with a semicolon at the end of a line. The bodies of functions are quoted
/// with `$$`, and semicolons in there end nothing.
fn statements(sql: &'static str) -> impl Iterator<Item = &'static str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = rest.match_indices(";\n").map(|(end, _)| end);
        let end = ends.into_iter().find(|end| rest[..*end].matches("$$").count().is_multiple_of(2));
        let statement;
        (statement, rest) = match end {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest, ""),
        };
        Some(statement)
    })
    .map(skip_comments)
    .filter(|statement| !statement.is_empty())
}

fn skip_comments(mut sql: &'static str) -> &'static str {
    loop {
        sql = sql.trim();
        if !sql.starts_with("--") {
            return sql;
        }
        sql = sql.split_once('\n').map_or("", |(_, rest)| rest);
    }
}

fn index_built_concurrently(statement: &'static str) -> Option<&'static str> {
    let index = statement
        .strip_prefix("CREATE INDEX CONCURRENTLY IF NOT EXISTS ")
        .or_else(|| statement.strip_prefix("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "))?;
    index.split_whitespace().next()
}

/// A build that was interrupted leaves an index that is maintained but never used, and `IF NOT EXISTS` would be
/// content with it.
async fn drop_if_invalid(session: &mut PgConnection, index: &'static str) -> Result<(), sqlx::Error> {
    let invalid: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)",
    )
    .bind(index)
    .fetch_one(&mut *session)
    .await?;
    if invalid {
        tracing::warn!(index, "dropping what an interrupted build left behind");
        sqlx::raw_sql(AssertSqlSafe(format!("DROP INDEX CONCURRENTLY {index}"))).execute(session).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_without_gaps() {
        let mut versions = MIGRATIONS.iter().map(|migration| migration.version).zip(1..);

        assert!(versions.all(|(version, place)| version == place));
    }

    #[test]
    fn a_file_without_transaction_is_cut_into_whole_statements() {
        let cut: Vec<&str> = statements(MIGRATIONS[2].sql).collect();

        assert!(cut.iter().all(|s| s.starts_with("SET statement_timeout") || index_built_concurrently(s).is_some()));
        assert_eq!(cut.first(), Some(&"SET statement_timeout = 0"));
        assert_eq!(cut.last(), Some(&"SET statement_timeout = '30s'"));
        let unique: Vec<&str> = statements(MIGRATIONS[5].sql).filter_map(index_built_concurrently).collect();
        assert_eq!(unique, ["uq_agent_api_keys_agent_name_type", "uq_agent_api_keys_api_key_digest"]);
    }

    #[test]
    fn the_body_of_a_function_is_not_cut() {
        let speed = MIGRATIONS.iter().find(|migration| migration.name == "speed").unwrap();

        let functions: Vec<&str> =
            statements(speed.sql).filter(|s| s.starts_with("CREATE OR REPLACE FUNCTION")).collect();

        assert_eq!(functions.len(), 2);
        assert!(functions.iter().all(|function| function.ends_with("END;\n$$")), "{functions:?}");
    }

    #[test]
    fn an_older_revision_is_told_from_an_unknown_one() {
        assert!(check_revision(REFERENCE_HEAD, false).is_ok());
        assert!(matches!(check_revision("9a4b8c7d6e5f", true), Err(MigrateError::OlderReference { .. })));
        assert!(matches!(check_revision("0123", false), Err(MigrateError::UnknownReference { .. })));
        assert!(check_revision("0123", true).is_ok());
    }
}
