use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentex_authz::local::RelationshipStore;
use agentex_authz::router::RolloutStore;
use agentex_domain::ports::{StoreError, Stores};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::agent_checks::SqliteAgentChecks;
use crate::agents::SqliteAgents;
use crate::api_keys::SqliteApiKeys;
use crate::checkpoints::SqliteCheckpoints;
use crate::database::Database;
use crate::deployment_history::SqliteDeploymentHistory;
use crate::deployments::SqliteDeployments;
use crate::error::{is_busy, store_error, unavailable};
use crate::events::SqliteEvents;
use crate::gateways::SqliteGateways;
use crate::idempotency::SqliteIdempotency;
use crate::intents::SqliteIntents;
use crate::messages::SqliteMessages;
use crate::owners::SqliteOwners;
use crate::probe::SqliteProbe;
use crate::registration_tokens::SqliteRegistrationTokens;
use crate::relationships::SqliteRelationships;
use crate::retention::SqliteRetention;
use crate::rollout::SqliteRollout;
use crate::run_schedules::SqliteRunSchedules;
use crate::spans::SqliteSpans;
use crate::states::SqliteStates;
use crate::tasks::SqliteTasks;
use crate::timers::SqliteTimers;
use crate::trackers::SqliteTrackers;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How much longer a call waits for its turn on the writer than one writer may wait for the file's lock, so that the
/// one holding the connection gives up before those behind it do.
const TURN_MARGIN: Duration = Duration::from_secs(5);

const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Where the database file is and how it is used.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file. It and its folder are created when missing, readable by the owner only.
    pub path: PathBuf,
    /// How long a statement waits for another process that holds the file's lock.
    pub busy_timeout: Duration,
    /// Most connections that read at the same time; at least one.
    pub readers: u32,
}

impl SqliteOptions {
    /// The usual settings: five seconds of patience and four readers.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), busy_timeout: Duration::from_secs(5), readers: 4 }
    }
}

/// One open database file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// Opens the file. The schema is left as it is; see [`SqliteStore::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be created or opened or is not a database.
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        // Absolute, because SQLite reads a meaning into relative names such as `:memory:` and `file:x`.
        let path = std::path::absolute(&options.path).map_err(unavailable)?;
        create_private(&path).await.map_err(unavailable)?;

        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(options.busy_timeout)
            .foreign_keys(true)
            .statement_cache_capacity(256);
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(options.busy_timeout + TURN_MARGIN)
                .idle_timeout(None)
                .max_lifetime(None)
                // A connection is a thread of this process: asking whether it is alive costs more than it tells.
                .test_before_acquire(false)
        };
        let write = connect.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
        let writer = connect_writer(&pool(1), &write, options.busy_timeout).await.map_err(store_error("database"))?;
        let readers = pool(options.readers.max(1)).connect_lazy_with(connect.read_only(true));
        Ok(Self { database: Database { writer, readers } })
    }

    /// Brings the schema up to date, all or nothing, and says how many migrations that took. A second process doing the
    /// same waits for the first and finds nothing left to do.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the file was written by a newer release or a migration was changed after it was
    /// applied; [`StoreError::Unavailable`] when the file stays locked.
    pub async fn migrate(&self) -> Result<u32, StoreError> {
        let failed = |error: sqlx::migrate::MigrateError| StoreError::Failed(error.into());
        let mut transaction = self.database.begin().await.map_err(store_error("schema"))?;
        let connection = &mut *transaction;
        let before = applied(connection).await.map_err(store_error("schema"))?;
        MIGRATIONS.run_direct(None, connection, false).await.map_err(failed)?;
        let after = applied(connection).await.map_err(store_error("schema"))?;
        transaction.commit().await.map_err(store_error("schema"))?;
        Ok(u32::try_from(after.len() - before.len()).expect("there are a handful of migrations"))
    }

    /// How many migrations [`SqliteStore::migrate`] would apply. Nothing is changed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be read.
    pub async fn pending(&self) -> Result<u32, StoreError> {
        let mut reading = self.database.readers.acquire().await.map_err(store_error("schema"))?;
        let applied = applied(&mut reading).await.map_err(store_error("schema"))?;
        let pending = MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version));
        Ok(u32::try_from(pending.count()).expect("there are a handful of migrations"))
    }

    /// The repositories on this file. They share its connections and stay usable until [`SqliteStore::close`].
    #[must_use]
    pub fn stores(&self) -> Stores {
        let database = || self.database.clone();
        Stores {
            agents: Arc::new(SqliteAgents { database: database() }),
            api_keys: Arc::new(SqliteApiKeys { database: database() }),
            deployments: Arc::new(SqliteDeployments { database: database() }),
            deployment_history: Arc::new(SqliteDeploymentHistory { database: database() }),
            tasks: Arc::new(SqliteTasks { database: database() }),
            messages: Arc::new(SqliteMessages { database: database() }),
            events: Arc::new(SqliteEvents { database: database() }),
            states: Arc::new(SqliteStates { database: database() }),
            trackers: Arc::new(SqliteTrackers { database: database() }),
            spans: Arc::new(SqliteSpans { database: database() }),
            checkpoints: Arc::new(SqliteCheckpoints { database: database() }),
            intents: Arc::new(SqliteIntents { database: database() }),
            owners: Arc::new(SqliteOwners { database: database() }),
            registration_tokens: Arc::new(SqliteRegistrationTokens { database: database() }),
            idempotency: Arc::new(SqliteIdempotency { database: database() }),
            gateways: Arc::new(SqliteGateways { database: database() }),
            retention: Arc::new(SqliteRetention { database: database() }),
            run_schedules: Arc::new(SqliteRunSchedules { database: database() }),
            timers: Arc::new(SqliteTimers::new(database())),
            agent_checks: Arc::new(SqliteAgentChecks { database: database() }),
            probe: Arc::new(SqliteProbe { database: database() }),
        }
    }

    /// The relationships of embedded authorization, kept in this file.
    #[must_use]
    pub fn relationships(&self) -> Arc<dyn RelationshipStore> {
        Arc::new(SqliteRelationships { database: self.database.clone() })
    }

    /// How far each account has moved between permission services, kept in this file.
    #[must_use]
    pub fn rollout(&self) -> Arc<dyn RolloutStore> {
        Arc::new(SqliteRollout { database: self.database.clone() })
    }

    /// Waits for running statements and closes every connection. The writer goes last: it is the one that may fold the
    /// write-ahead log back into the file. Calls after this fail with [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.database.readers.close().await;
        self.database.writer.close().await;
    }
}

/// The versions of the migrations the file has seen; none before the ledger exists.
async fn applied(connection: &mut sqlx::SqliteConnection) -> Result<Vec<i64>, sqlx::Error> {
    let ledgers: u32 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await?;
    if ledgers == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(connection).await
}

/// Opens the writer, waiting for another process that has the file for as long as a statement would. Switching a new
/// file to write-ahead logging is the one thing for which SQLite itself does not wait.
async fn connect_writer(
    pool: &SqlitePoolOptions,
    options: &SqliteConnectOptions,
    patience: Duration,
) -> Result<SqlitePool, sqlx::Error> {
    let deadline = Instant::now() + patience;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(RETRY_PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// Makes sure that the file exists. New folders and files belong to the owner alone; existing ones keep their modes.
/// SQLite gives its side files the mode of the main one.
async fn create_private(path: &Path) -> std::io::Result<()> {
    let mut folder = tokio::fs::DirBuilder::new();
    folder.recursive(true);
    let mut file = tokio::fs::OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    {
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent() {
        folder.create(parent).await?;
    }
    // A file that exists must not be opened here: closing it would drop the locks that this process holds on it through
    // SQLite.
    match file.open(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
