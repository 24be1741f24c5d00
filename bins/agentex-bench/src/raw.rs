//! The database driver alone, with the statements, pools and settings of the server's stores.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use serde_json::value::RawValue;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::types::Json;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgPool, SqlitePool};

use crate::load::Call;
use crate::stats::Round;

/// The server's own limits.
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 30;

const SQLITE_AGENT: &str = "
    SELECT agents.id, agents.name, agents.description, agents.docker_image, agents.status, agents.status_reason,
           agents.acp_url, agents.acp_type, agents.created_at, agents.updated_at, agents.registration_metadata,
           agents.registered_at, agents.agent_input_type, agents.production_deployment_id
      FROM agents
     WHERE agents.id = ?1";
const SQLITE_AGENTS: &str = "
    SELECT agents.id, agents.name, agents.description, agents.docker_image, agents.status, agents.status_reason,
           agents.acp_url, agents.acp_type, agents.created_at, agents.updated_at, agents.registration_metadata,
           agents.registered_at, agents.agent_input_type, agents.production_deployment_id
      FROM agents
     WHERE agents.status <> 'Deleted'
     ORDER BY agents.updated_at DESC, agents.created_at DESC, agents.id DESC
     LIMIT ?1 OFFSET ?2";
const SQLITE_INSERT: &str = "
    INSERT INTO task_messages (id, task_id, content, streaming_status, created_at, updated_at)
    SELECT value ->> 0, ?1, value ->> 1, value ->> 2, value ->> 3, value ->> 4
      FROM json_each(?2)
     WHERE EXISTS (SELECT 1 FROM tasks WHERE tasks.id = ?1 AND tasks.status <> 'DELETED')
     ORDER BY key";
const POSTGRES_AGENT: &str = "
    SELECT a.id, a.docker_image, a.name, a.description, a.acp_type, a.status::text AS status, a.status_reason,
           a.acp_url, COALESCE(a.created_at, a.updated_at, 'epoch') AS created_at,
           COALESCE(a.updated_at, a.created_at, 'epoch') AS updated_at,
           a.registration_metadata, a.registered_at, a.agent_input_type::text AS agent_input_type,
           a.production_deployment_id
      FROM agents a
     WHERE a.id = $1";
const POSTGRES_AGENTS: &str = "
    SELECT a.id, a.docker_image, a.name, a.description, a.acp_type, a.status::text AS status, a.status_reason,
           a.acp_url, COALESCE(a.created_at, a.updated_at, 'epoch') AS created_at,
           COALESCE(a.updated_at, a.created_at, 'epoch') AS updated_at,
           a.registration_metadata, a.registered_at, a.agent_input_type::text AS agent_input_type,
           a.production_deployment_id
      FROM agents a
     WHERE a.status <> 'DELETED'
     ORDER BY a.updated_at DESC, a.created_at DESC, a.id DESC
     LIMIT $1 OFFSET $2";
const POSTGRES_INSERT: &str = "
    INSERT INTO task_messages (id, task_id, content, streaming_status, created_at, updated_at)
    SELECT n.id, t.id, n.content, n.streaming_status, n.created_at, n.updated_at
      FROM tasks t
     CROSS JOIN unnest($2::text[], $3::jsonb[], $4::text[], $5::timestamptz[], $6::timestamptz[])
                WITH ORDINALITY AS n (id, content, streaming_status, created_at, updated_at, place)
     WHERE t.id = $1 AND t.status <> 'DELETED'
     ORDER BY n.place";

/// A statement of the server.
#[derive(Debug, Clone)]
pub(crate) enum Statement {
    /// Find the agent with this id.
    Agent(String),
    /// The first 50 agents.
    Agents,
    /// Insert a message of this content into the task with this id.
    Message {
        /// The task.
        task_id: String,
        /// JSON.
        content: String,
    },
}

/// Connections of the driver to the store that a running server uses.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pools: Pools,
    inserted: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    Postgres(PgPool),
}

impl Raw {
    pub(crate) async fn sqlite(file: &Path) -> anyhow::Result<Self> {
        let connect = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false);
        let writer = pool(1).connect_with(connect.clone()).await?;
        let readers = pool(SQLITE_READERS).connect_with(connect.read_only(true)).await?;
        Ok(Self { pools: Pools::Sqlite { writer, readers }, inserted: Arc::default() })
    }

    pub(crate) async fn postgres(url: &str) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .min_connections(2)
            .test_before_acquire(false)
            .connect(url)
            .await?;
        Ok(Self { pools: Pools::Postgres(pool), inserted: Arc::default() })
    }

    /// Has `callers` repeat the statement for about `length`. Rows are fetched, not taken apart.
    pub(crate) async fn round(&self, statement: &Statement, callers: usize, length: Duration) -> anyhow::Result<Round> {
        let (raw, statement) = (self.clone(), statement.clone());
        let call = move || -> Call {
            let (raw, statement) = (raw.clone(), statement.clone());
            Box::pin(async move { raw.run(&statement).await })
        };
        crate::load::round(callers, length, call).await
    }

    pub(crate) async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }

    async fn run(&self, statement: &Statement) -> anyhow::Result<()> {
        match statement {
            Statement::Agent(id) => {
                let found = match &self.pools {
                    Pools::Sqlite { readers, .. } => {
                        sqlx::query(SQLITE_AGENT).bind(id).fetch_optional(readers).await?.is_some()
                    }
                    Pools::Postgres(pool) => sqlx::query(POSTGRES_AGENT).bind(id).fetch_optional(pool).await?.is_some(),
                };
                ensure!(found, "the driver finds no agent");
            }
            Statement::Agents => {
                let found = match &self.pools {
                    Pools::Sqlite { readers, .. } => {
                        sqlx::query(SQLITE_AGENTS).bind(50_i64).bind(0_i64).fetch_all(readers).await?.len()
                    }
                    Pools::Postgres(pool) => {
                        sqlx::query(POSTGRES_AGENTS).bind(50_i64).bind(0_i64).fetch_all(pool).await?.len()
                    }
                };
                ensure!(found == 50, "the driver finds {found} agents");
            }
            Statement::Message { task_id, content } => {
                let inserted = self.insert(task_id, content).await?;
                ensure!(inserted == 1, "the driver inserts {inserted} messages");
            }
        }
        Ok(())
    }

    async fn insert(&self, task_id: &str, content: &str) -> anyhow::Result<u64> {
        // As long as the server's ids, and ascending as they are.
        let id = format!("01900000-0000-7000-8000-{:012x}", self.inserted.fetch_add(1, Ordering::Relaxed));
        let now: DateTime<Utc> = std::time::SystemTime::now().into();
        Ok(match &self.pools {
            Pools::Sqlite { writer, .. } => {
                let micros = now.timestamp_micros();
                let batch = serde_json::to_string(&[(id, content, None::<&str>, micros, micros)])?;
                sqlx::query(SQLITE_INSERT).bind(task_id).bind(batch).execute(writer).await?.rows_affected()
            }
            Pools::Postgres(pool) => {
                let content: &RawValue = serde_json::from_str(content)?;
                let query = sqlx::query(POSTGRES_INSERT)
                    .bind(task_id)
                    .bind(vec![id])
                    .bind(vec![Json(content)])
                    .bind(vec![None::<&str>])
                    .bind(vec![now])
                    .bind(vec![now]);
                query.execute(pool).await?.rows_affected()
            }
        })
    }
}
