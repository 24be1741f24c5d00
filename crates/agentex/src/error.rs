use std::path::PathBuf;

use agentex_acp::AcpSetupError;
use agentex_app::SecretsKeyError;
use agentex_domain::ports::{BoxError, StoreError, StreamError};

/// Which part could not be set up. Neither the texts nor those of the sources contain URLs or secrets.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder of the embedded store cannot be created, read or written.
    #[error("data folder {} cannot be used", folder.display())]
    DataFolder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process serves the same embedded store; two would not see each other's streams.
    #[error("database file {} is in use by another agentex process", file.display())]
    InUse {
        /// The database file.
        file: PathBuf,
    },
    /// The key file of the embedded store holds something else.
    #[error("secrets key in {} is damaged", file.display())]
    SecretsKey {
        /// The key file.
        file: PathBuf,
        /// What a key looks like.
        #[source]
        source: SecretsKeyError,
    },
    /// The store does not open.
    #[error("{store} cannot be used")]
    Store {
        /// Which store: `SQLite` or `PostgreSQL`.
        store: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The store's schema cannot be brought up to date.
    #[error("{store} cannot be migrated")]
    Migration {
        /// Which store: `SQLite` or `PostgreSQL`.
        store: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// There is no embedded database yet, and this is not what makes one.
    #[error("there is no database file {}", file.display())]
    NoDatabase {
        /// Where it would be.
        file: PathBuf,
    },
    /// The store's schema is not up to date, and this is not what migrates it.
    #[error("{store} has {pending} migrations to go; migrate it first")]
    Outdated {
        /// Which store: `SQLite` or `PostgreSQL`.
        store: &'static str,
        /// How many are missing.
        pending: u32,
    },
    /// The authorization backend cannot be set up.
    #[error("authorization backend {backend} cannot be used")]
    Authorization {
        /// Which: see [`Authorization::name`](crate::Authorization::name).
        backend: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The options of Temporal cannot be used.
    #[error("Temporal cannot be used")]
    Temporal(#[source] BoxError),
    /// The stream backend cannot be set up.
    #[error("Redis cannot be used")]
    Streams(#[source] StreamError),
    /// The client that calls agents cannot be set up.
    #[error("agent client cannot be set up")]
    AgentClient(#[source] AcpSetupError),
    /// The client that carries snapshots cannot be set up.
    #[error("snapshot transfer cannot be set up")]
    Transfer(#[source] AcpSetupError),
    /// The clients of chat applications cannot be set up.
    #[error("clients of chat applications cannot be set up")]
    Chat(#[source] AcpSetupError),
}
