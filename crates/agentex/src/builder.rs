use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;

use agentex_acp::{AcpClient, AcpOptions};
use agentex_app::{App, Keyring, Ports, SecretsKey, Settings};
use agentex_authz::{AllowAll, Authenticator, Authorizer, NoAuthentication};
use agentex_domain::ports::{Clock, Stores, SystemClock};
use agentex_http::HttpOptions;
use agentex_inprocess::InProcessOptions;
#[cfg(feature = "postgres")]
use agentex_postgres::PgOptions;
#[cfg(feature = "redis")]
use agentex_redis::RedisOptions;
#[cfg(feature = "sqlite")]
use agentex_sqlite::SqliteOptions;

use crate::running::Claim;
use crate::store::{OpenStore, StoreChoice};
use crate::streams::{OpenStreams, StreamsChoice};
use crate::{Agentex, BuildError, WorkerHandle};

impl Agentex {
    /// Begins with where rows live.
    #[must_use]
    pub fn builder() -> Presets {
        Presets { _private: () }
    }
}

/// Where rows live; everything else has a default.
#[derive(Debug, Clone, Copy)]
pub struct Presets {
    _private: (),
}

impl Presets {
    /// Everything in this process: rows in `agentex.db` in `data_dir`, streams in memory. The folder is created when
    /// missing and belongs to one process at a time.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn embedded(self, data_dir: impl Into<PathBuf>) -> Builder {
        self.sqlite(SqliteOptions::new(data_dir.into().join("agentex.db")))
    }

    /// Like [`Presets::embedded`], with the file and its use spelled out. The secrets key and the lock lie beside the file.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite(self, options: SqliteOptions) -> Builder {
        Builder::new(StoreChoice::Sqlite(options))
    }

    /// Rows in PostgreSQL, streams in memory. One process only, unless [`Builder::redis`] is added.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn standalone(self, database_url: impl Into<String>) -> Builder {
        self.postgres(PgOptions::new(database_url))
    }

    /// Rows in PostgreSQL, streams in Redis: any number of processes.
    #[cfg(all(feature = "postgres", feature = "redis"))]
    #[must_use]
    pub fn platform(self, database_url: impl Into<String>, redis_url: impl Into<String>) -> Builder {
        self.standalone(database_url).redis(redis_url)
    }

    /// Like [`Presets::standalone`], with the use of the database spelled out.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres(self, options: PgOptions) -> Builder {
        Builder::new(StoreChoice::Postgres(options))
    }

    /// Rows in repositories of the embedder's own, who also creates their schema and closes them.
    #[must_use]
    pub fn stores(self, stores: Stores) -> Builder {
        Builder::new(StoreChoice::Own(stores))
    }
}

/// What the control plane is made of. Every setter replaces a default.
pub struct Builder {
    store: StoreChoice,
    streams: StreamsChoice,
    migrate_on_start: bool,
    authorizer: Arc<dyn Authorizer>,
    authenticator: Arc<dyn Authenticator>,
    secrets_key: Option<SecretsKey>,
    api_key_pepper: String,
    clock: Arc<dyn Clock>,
    settings: Settings,
    http: HttpOptions,
    acp: AcpOptions,
}

impl Builder {
    fn new(store: StoreChoice) -> Self {
        Self {
            store,
            streams: StreamsChoice::InProcess(None),
            migrate_on_start: true,
            authorizer: Arc::new(AllowAll),
            authenticator: Arc::new(NoAuthentication),
            secrets_key: None,
            api_key_pepper: String::new(),
            clock: Arc::new(SystemClock),
            settings: Settings::default(),
            http: HttpOptions::default(),
            acp: AcpOptions::default(),
        }
    }

    /// Task streams in Redis, where other processes and agents see them.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn redis(self, url: impl Into<String>) -> Self {
        self.redis_options(RedisOptions { url: url.into(), ..RedisOptions::default() })
    }

    /// Like [`Builder::redis`], with the use of Redis spelled out.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn redis_options(mut self, options: RedisOptions) -> Self {
        self.streams = StreamsChoice::Redis(options);
        self
    }

    /// Task streams in memory, with what is kept of them spelled out.
    #[must_use]
    pub fn in_process_streams(mut self, options: InProcessOptions) -> Self {
        self.streams = StreamsChoice::InProcess(Some(options));
        self
    }

    /// Whether [`Builder::build`] brings the schema up to date first. Default true. When false, the schema must be up to
    /// date already; see [`Builder::migrate`].
    #[must_use]
    pub fn migrate_on_start(mut self, migrate: bool) -> Self {
        self.migrate_on_start = migrate;
        self
    }

    /// Who may do what. Default: everybody everything.
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// Who is calling. Default: nobody is asked.
    #[must_use]
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.authenticator = authenticator;
        self
    }

    /// What stored secrets are encrypted with. By default an embedded store keeps a key of its own in `secrets.key` beside
    /// the database, and other stores keep secrets in clear.
    #[must_use]
    pub fn secrets_key(mut self, key: SecretsKey) -> Self {
        self.secrets_key = Some(key);
        self
    }

    /// The key of look-up digests. Changing it makes every existing API key unknown. Default empty.
    #[must_use]
    pub fn api_key_pepper(mut self, pepper: impl Into<String>) -> Self {
        self.api_key_pepper = pepper.into();
        self
    }

    /// What time it is. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What the use cases can be tuned in.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How the HTTP surface behaves.
    #[must_use]
    pub fn http(mut self, options: HttpOptions) -> Self {
        self.http = options;
        self
    }

    /// How agents are called.
    #[must_use]
    pub fn acp(mut self, options: AcpOptions) -> Self {
        self.acp = options;
        self
    }

    /// Brings the schema up to date, says how many migrations that took, and closes the store again.
    ///
    /// # Errors
    /// The store cannot be opened or migrated. [`BuildError::InUse`] when a running process holds an embedded store.
    pub async fn migrate(self) -> Result<u32, BuildError> {
        let prepared = Prepared::new(self.store, self.secrets_key).await?;
        let migrated = prepared.store.migrate().await;
        prepared.store.close().await;
        migrated
    }

    /// Opens the store, migrates it unless told otherwise, and wires everything. Redis and agents are not talked to yet.
    ///
    /// # Errors
    /// [`BuildError`] names the part that could not be set up.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn build(self) -> Result<Agentex, BuildError> {
        let agent_client = AcpClient::new(self.acp).map_err(BuildError::AgentClient)?;
        let in_process = InProcessOptions { clock: Arc::clone(&self.clock), ..InProcessOptions::default() };
        let streams = OpenStreams::open(self.streams, in_process)?;
        let Prepared { store, secrets_key, claim } = Prepared::new(self.store, self.secrets_key).await?;
        if self.migrate_on_start {
            let applied = store.migrate().await?;
            if applied > 0 {
                tracing::info!(applied, "schema brought up to date");
            }
        }
        if secrets_key.is_none() {
            tracing::warn!("there is no key to encrypt stored secrets with; agents' API keys are kept in clear");
        }

        let ports = Ports {
            stores: store.stores(),
            streams: streams.port(),
            agent_client: Arc::new(agent_client),
            authorizer: self.authorizer,
            authenticator: self.authenticator,
            keyring: Keyring::new(secrets_key.as_ref(), &self.api_key_pepper),
            clock: self.clock,
            probes: streams.probes(),
        };
        let app = Arc::new(App::new(ports, self.settings));
        let router = agentex_http::router(Arc::clone(&app), self.http);
        let worker = WorkerHandle::new(Arc::clone(&app), store, streams, claim);
        Ok(Agentex { app, router, worker })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("store", &self.store)
            .field("streams", &self.streams)
            .field("migrate_on_start", &self.migrate_on_start)
            .field("secrets_key", &self.secrets_key)
            .field("settings", &self.settings)
            .field("http", &self.http)
            .field("acp", &self.acp)
            .finish_non_exhaustive()
    }
}

/// An open store with the key of its secrets.
struct Prepared {
    store: OpenStore,
    secrets_key: Option<SecretsKey>,
    claim: Option<Claim>,
}

impl Prepared {
    async fn new(choice: StoreChoice, secrets_key: Option<SecretsKey>) -> Result<Self, BuildError> {
        #[cfg(feature = "sqlite")]
        if let StoreChoice::Sqlite(options) = &choice {
            let database = options.path.clone();
            let (claim, secrets_key) = tokio::task::spawn_blocking(move || {
                let claim = Claim::claim(&database)?;
                let key = secrets_key.map_or_else(|| claim.secrets_key(), Ok)?;
                Ok((claim, key))
            })
            .await
            .expect("the task does not panic and is not cancelled")?;
            let store = OpenStore::open(choice).await?;
            return Ok(Self { store, secrets_key: Some(secrets_key), claim: Some(claim) });
        }
        Ok(Self { store: OpenStore::open(choice).await?, secrets_key, claim: None })
    }
}
