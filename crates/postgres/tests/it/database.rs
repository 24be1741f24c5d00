use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use agentex_domain::ports::Stores;
use agentex_postgres::{PgOptions, PgStore};
use agentex_testkit::services::postgres::{TestDatabase, fresh_database_from};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

pub(crate) const BASELINE: &str = include_str!("../../../../migrations/postgres/0001_baseline.sql");

/// A migrated database of one test, with the store on it and a way round the store.
pub(crate) struct Database {
    pub(crate) store: PgStore,
    pub(crate) stores: Stores,
    pub(crate) sql: PgPool,
    pub(crate) place: TestDatabase,
}

/// The text of every migration, in order: another one makes another template.
fn migration_files() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/postgres");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

pub(crate) async fn migrated() -> Database {
    let mut hasher = DefaultHasher::new();
    migration_files().hash(&mut hasher);
    let template = format!("agentex_{:016x}", hasher.finish());
    let place = fresh_database_from(&template, |url| async move {
        let store = connect(&url).await;
        store.migrate().await.unwrap();
        store.close().await;
    })
    .await;
    let store = connect(place.url()).await;
    Database { stores: store.stores(), store, sql: round_the_store(&place).await, place }
}

/// Few connections, because many tests share a server.
pub(crate) fn options(url: &str) -> PgOptions {
    PgOptions {
        max_connections: 8,
        min_connections: 0,
        acquire_timeout: Duration::from_secs(20),
        ..PgOptions::new(url)
    }
}

pub(crate) async fn connect(url: &str) -> PgStore {
    PgStore::connect(options(url)).await.unwrap()
}

pub(crate) async fn round_the_store(place: &TestDatabase) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect(place.url()).await.unwrap()
}

impl Database {
    /// Runs statements that are part of the test.
    pub(crate) async fn run(&self, statements: &'static str) {
        sqlx::raw_sql(statements).execute(&self.sql).await.unwrap();
    }

    /// Returns when a statement of this database waits for a lock.
    pub(crate) async fn until_somebody_waits(&self) {
        const WAITING: &str = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
                                               WHERE datname = current_database() AND wait_event_type = 'Lock')";
        while !sqlx::query_scalar::<_, bool>(WAITING).fetch_one(&self.sql).await.unwrap() {
            tokio::task::yield_now().await;
        }
    }
}
