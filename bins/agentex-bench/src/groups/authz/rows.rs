//! Tasks and their relationships, written straight into the database of a server that does not run: over HTTP a million
//! would take a quarter of an hour.
//!
//! Everything is there that the server would have written, but for the trackers. The oldest hundredth of the tasks
//! belongs to `hermit`, and of every 99 others, in the order of time, one to `reader`. Ids come in no order.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};

use crate::deployment::Place;

/// Everybody who is asked about sees one task in this many.
pub(super) const VISIBLE_SHARE: u32 = 100;

const UNFINISHED: &str = "SELECT count(*) FROM authz_intents";

/// Loads `tasks` tasks of the agent.
pub(super) async fn load(place: &Place<'_>, agent: &str, tasks: u32) -> anyhow::Result<()> {
    match place {
        Place::Sqlite(file) => sqlite(file, agent, tasks).await,
        Place::Postgres(url) => postgres(url, agent, tasks).await,
    }
}

/// How many changes of the graph are not finished.
pub(super) async fn unfinished(place: &Place<'_>) -> anyhow::Result<i64> {
    match place {
        Place::Sqlite(file) => {
            let mut connection = SqliteConnectOptions::new().filename(file).read_only(true).connect().await?;
            let count = sqlx::query_scalar(UNFINISHED).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok(count)
        }
        Place::Postgres(url) => {
            let mut connection = PgConnection::connect(url).await?;
            let count = sqlx::query_scalar(UNFINISHED).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok(count)
        }
    }
}

async fn sqlite(file: &Path, agent: &str, tasks: u32) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-400000")
        .pragma("temp_store", "memory");
    let mut connection: SqliteConnection = options.connect().await?;
    sqlx::query("CREATE TEMPORARY TABLE loaded (id TEXT, owner TEXT, at INTEGER)").execute(&mut connection).await?;
    sqlx::query(
        "WITH RECURSIVE numbers (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < ?1)
         INSERT INTO loaded
         SELECT printf('%08x-0000-4000-8000-000000000000', (i * 2654435761) % 4294967296),
                CASE WHEN i < ?1 / 100 THEN 'hermit' WHEN i % 99 = 0 THEN 'reader' ELSE 'user-' || (i % 99) END,
                (unixepoch() - (?1 - i)) * 1000000
           FROM numbers",
    )
    .bind(tasks)
    .execute(&mut connection)
    .await?;
    sqlx::query(
        "INSERT INTO tasks (id, status, status_reason, created_at, updated_at, task_metadata)
         SELECT id, 'RUNNING', 'Task created, forwarding to ACP server', at, at, json_object('owner', owner)
           FROM loaded
          ORDER BY at",
    )
    .execute(&mut connection)
    .await?;
    for statement in [
        "INSERT INTO task_agents (task_id, agent_id, created_at)
         SELECT id, ?1, at
           FROM loaded
          ORDER BY id",
        "INSERT INTO authz_owners (resource_type, selector, parent_selector, owner, created_at)
         SELECT 'task', id, ?1, json_object('user_id', owner, 'account_id', 'acme'), at
           FROM loaded
          ORDER BY id",
        "INSERT INTO authz_relationships
                (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation)
         SELECT 'task', id, 'owner', 'user', owner, '' FROM loaded
          UNION ALL
         SELECT 'task', id, 'tenant', 'account', 'acme', '' FROM loaded
          UNION ALL
         SELECT 'task', id, 'parent_agent', 'agent', ?1, '' FROM loaded
          ORDER BY 2, 3",
    ] {
        sqlx::query(statement).bind(agent).execute(&mut connection).await?;
    }
    // What a server that ran for long would have done, too.
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

async fn postgres(url: &str, agent: &str, tasks: u32) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("CREATE TEMPORARY TABLE loaded (id text, owner text, at timestamptz)").execute(&mut connection).await?;
    sqlx::query(
        "INSERT INTO loaded
         SELECT lpad(to_hex((i * 2654435761) % 4294967296), 8, '0') || '-0000-4000-8000-000000000000',
                CASE WHEN i < $1 / 100 THEN 'hermit' WHEN i % 99 = 0 THEN 'reader' ELSE 'user-' || (i % 99) END,
                now() - ($1 - i) * interval '1 second'
           FROM generate_series(0, $1 - 1) AS numbers (i)",
    )
    .bind(i64::from(tasks))
    .execute(&mut connection)
    .await?;
    sqlx::query(
        "INSERT INTO tasks (id, status, status_reason, created_at, updated_at, task_metadata)
         SELECT id, 'RUNNING', 'Task created, forwarding to ACP server', at, at, jsonb_build_object('owner', owner)
           FROM loaded
          ORDER BY at",
    )
    .execute(&mut connection)
    .await?;
    for statement in [
        "INSERT INTO task_agents (task_id, agent_id, created_at)
         SELECT id, $1, at
           FROM loaded
          ORDER BY id",
        "INSERT INTO authz_owners (resource_type, selector, parent_selector, owner, created_at)
         SELECT 'task', id, $1, jsonb_build_object('user_id', owner, 'account_id', 'acme'), at
           FROM loaded
          ORDER BY id",
        "INSERT INTO authz_relationships
                (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation)
         SELECT 'task', id, 'owner', 'user', owner, '' FROM loaded
          UNION ALL
         SELECT 'task', id, 'tenant', 'account', 'acme', '' FROM loaded
          UNION ALL
         SELECT 'task', id, 'parent_agent', 'agent', $1::text, '' FROM loaded
          ORDER BY 2, 3",
    ] {
        sqlx::query(statement).bind(agent).execute(&mut connection).await?;
    }
    // What the database does by itself, sooner or later.
    sqlx::query("VACUUM (ANALYZE) tasks, task_agents, authz_owners, authz_relationships")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}
