use std::sync::Arc;

use agentex_authz::local::{RelationshipStore, StoreUse};
use agentex_authz::router::RolloutStore;
#[cfg(feature = "postgres")]
use agentex_domain::ports::StoreError;
use agentex_domain::ports::Stores;
#[cfg(feature = "postgres")]
use agentex_postgres::{PgOptions, PgStore};
#[cfg(feature = "sqlite")]
use agentex_sqlite::{SqliteOptions, SqliteStore};

use crate::BuildError;

/// How long a database may take to accept the first connection.
#[cfg(feature = "postgres")]
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Where rows live, before anything is opened.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is moved twice")]
pub(crate) enum StoreChoice {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteOptions),
    #[cfg(feature = "postgres")]
    Postgres(PgOptions),
    Own(Stores),
}

impl StoreChoice {
    /// Refuses an embedded store that no server has made yet.
    pub(crate) fn must_exist(&self) -> Result<(), BuildError> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(options) if !options.path.exists() => {
                Err(BuildError::NoDatabase { file: options.path.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// An open store.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is moved twice")]
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
            StoreChoice::Postgres(options) => {
                // The pool would try again for as long as a busy server's callers wait for a connection.
                let connected = tokio::time::timeout(CONNECT_LIMIT, PgStore::connect(options)).await;
                let store = connected.unwrap_or_else(|_| {
                    let text = format!("no connection within {} s", CONNECT_LIMIT.as_secs());
                    Err(StoreError::Unavailable(text.into()))
                });
                store.map(Self::Postgres).map_err(|source| BuildError::Store { store: "PostgreSQL", source })
            }
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

    /// Refuses a schema that is not up to date; a store of the embedder's own is the embedder's business.
    pub(crate) async fn must_be_migrated(&self) -> Result<(), BuildError> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => up_to_date("SQLite", store.pending().await),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => up_to_date("PostgreSQL", store.pending().await),
            Self::Own(_) => Ok(()),
        }
    }

    /// Where a local backend keeps relationships, and who else writes them: nobody when this process holds the store.
    pub(crate) fn relationships(&self, held: bool) -> Option<(Arc<dyn RelationshipStore>, StoreUse)> {
        #[cfg(not(feature = "sqlite"))]
        let _ = held;
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => {
                Some((store.relationships(), if held { StoreUse::Exclusive } else { StoreUse::Shared }))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Some((store.relationships(), StoreUse::Shared)),
            Self::Own(_) => None,
        }
    }

    /// Accounts' rollout flags.
    pub(crate) fn rollout(&self) -> Option<Arc<dyn RolloutStore>> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => Some(store.rollout()),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Some(store.rollout()),
            Self::Own(_) => None,
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

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn up_to_date<E>(store: &'static str, pending: Result<u32, E>) -> Result<(), BuildError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match pending {
        Ok(0) => Ok(()),
        Ok(pending) => Err(BuildError::Outdated { store, pending }),
        Err(source) => Err(BuildError::Migration { store, source: Box::new(source) }),
    }
}
