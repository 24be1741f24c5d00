use agentex_domain::ports::Stores;
#[cfg(feature = "postgres")]
use agentex_postgres::{PgOptions, PgStore};
#[cfg(feature = "sqlite")]
use agentex_sqlite::{SqliteOptions, SqliteStore};

use crate::BuildError;

/// Where rows live, before anything is opened.
#[derive(Debug)]
pub(crate) enum StoreChoice {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteOptions),
    #[cfg(feature = "postgres")]
    Postgres(PgOptions),
    Own(Stores),
}

/// An open store.
#[derive(Debug)]
pub(crate) enum OpenStore {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(PgStore),
    Own(Stores),
}

impl OpenStore {
    pub(crate) async fn open(choice: StoreChoice) -> Result<Self, BuildError> {
        match choice {
            #[cfg(feature = "sqlite")]
            StoreChoice::Sqlite(options) => SqliteStore::open(options)
                .await
                .map(Self::Sqlite)
                .map_err(|source| BuildError::Store { store: "SQLite", source }),
            #[cfg(feature = "postgres")]
            StoreChoice::Postgres(options) => PgStore::connect(options)
                .await
                .map(Self::Postgres)
                .map_err(|source| BuildError::Store { store: "PostgreSQL", source }),
            StoreChoice::Own(stores) => Ok(Self::Own(stores)),
        }
    }

    /// Brings the schema up to date; a store of the embedder's own is the embedder's business.
    pub(crate) async fn migrate(&self) -> Result<u32, BuildError> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => {
                store.migrate().await.map_err(|source| BuildError::Migration { store: "SQLite", source: source.into() })
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store
                .migrate()
                .await
                .map_err(|source| BuildError::Migration { store: "PostgreSQL", source: source.into() }),
            Self::Own(_) => Ok(0),
        }
    }

    pub(crate) fn stores(&self) -> Stores {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.stores(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.stores(),
            Self::Own(stores) => stores.clone(),
        }
    }

    /// Waits for running statements and closes every connection of the process's own.
    pub(crate) async fn close(&self) {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.close().await,
            Self::Own(_) => {}
        }
    }
}
