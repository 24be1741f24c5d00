//! The SQLite store against real files: what every store promises, and what only a file can get wrong.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod checkpoints;
mod files;
mod foreign_rows;
mod json;
mod migrations;
mod relationships;
mod retention;
mod rollout;
mod timers;

use std::path::{Path, PathBuf};

use agentex_domain::ports::Stores;
use agentex_sqlite::{SqliteOptions, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

/// A migrated store on a file that goes away with it.
struct Fixture {
    store: SqliteStore,
    folder: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("agentex.db")).await;
        store.migrate().await.unwrap();
        Self { store, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("agentex.db")
    }

    fn stores(&self) -> Stores {
        self.store.stores()
    }

    /// Runs one statement as another program on the same file would.
    async fn behind_its_back(&self, sql: &'static str) {
        let mut connection = connect(&self.path()).await;
        let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{sql}");
        connection.close().await.unwrap();
    }
}

/// A fresh store for one case of the contract.
async fn fresh() -> (Stores, Fixture) {
    let fixture = Fixture::new().await;
    (fixture.stores(), fixture)
}

mod contract {
    agentex_testkit::store_contract!(crate::fresh().await);
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::new(path)).await.unwrap()
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).foreign_keys(true).connect().await.unwrap()
}
