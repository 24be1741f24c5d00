use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::Arc;

use agentex_acp::{AcpClient, AcpOptions, ChatClients, ChatOptions, HttpTransfer, TransferOptions};
use agentex_app::{App, ChatPorts, Keyring, Ports, SecretsKey, Settings};
use agentex_authz::{Authenticator, Authorizer};
use agentex_domain::ports::{Clock, Stores, SystemClock};
use agentex_http::HttpOptions;
use agentex_inprocess::{InProcessOptions, SchedulerOptions};
#[cfg(feature = "postgres")]
use agentex_postgres::PgOptions;
#[cfg(feature = "redis")]
use agentex_redis::RedisOptions;
#[cfg(feature = "sqlite")]
use agentex_sqlite::SqliteOptions;
#[cfg(feature = "temporal")]
use agentex_temporal::TemporalOptions;

use crate::authorization::{Authorization, Backend, Opened, Places};
use crate::running::Claim;
use crate::scheduling::{OpenScheduler, SchedulerChoice, Setting};
use crate::store::{OpenStore, StoreChoice};
use crate::streams::{OpenStreams, StreamsChoice};
use crate::tools::{Tools, ToolsUse};
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
    secrets_key: Option<SecretsKey>,
    parts: Parts,
}

/// What is put together over the open store.
struct Parts {
    authorization: Authorization,
    api_key_pepper: String,
    clock: Arc<dyn Clock>,
    settings: Settings,
    http: HttpOptions,
    acp: AcpOptions,
    transfer: TransferOptions,
    chat: ChatOptions,
    scheduler: SchedulerChoice,
    /// Whether what comes due is done by this process.
    works: bool,
}

impl Builder {
    fn new(store: StoreChoice) -> Self {
        Self {
            store,
            streams: StreamsChoice::InProcess(None),
            migrate_on_start: true,
            secrets_key: None,
            parts: Parts {
                authorization: Authorization::disabled(),
                api_key_pepper: String::new(),
                clock: Arc::new(SystemClock),
                settings: Settings::default(),
                http: HttpOptions::default(),
                acp: AcpOptions::default(),
                transfer: TransferOptions::default(),
                chat: ChatOptions::default(),
                scheduler: SchedulerChoice::InProcess(SchedulerOptions::default()),
                works: true,
            },
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

    /// Who may do what, and who is calling. Default: everybody everything, and nobody is asked.
    #[must_use]
    pub fn authorization(mut self, authorization: Authorization) -> Self {
        self.parts.authorization = authorization;
        self
    }

    /// Who may do what, by a backend of one's own. Without [`Builder::authenticator`] every caller is anonymous to it.
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.parts.authorization.backend = Backend::Own(authorizer);
        self
    }

    /// Who is calling, in place of whoever [`Builder::authorization`] named.
    #[must_use]
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.parts.authorization.authenticator = authenticator;
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
        self.parts.api_key_pepper = pepper.into();
        self
    }

    /// What time it is. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.parts.clock = clock;
        self
    }

    /// What the use cases can be tuned in.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.parts.settings = settings;
        self
    }

    /// How the HTTP surface behaves.
    #[must_use]
    pub fn http(mut self, options: HttpOptions) -> Self {
        self.parts.http = options;
        self
    }

    /// How agents are called.
    #[must_use]
    pub fn acp(mut self, options: AcpOptions) -> Self {
        self.parts.acp = options;
        self
    }

    /// How snapshots of tasks are carried to and from URLs that callers give. Only public addresses are ever dialled.
    #[must_use]
    pub fn transfer(mut self, options: TransferOptions) -> Self {
        self.parts.transfer = options;
        self
    }

    /// How chat applications are called. Which of them reach agents is part of [`Builder::settings`].
    #[must_use]
    pub fn chat(mut self, options: ChatOptions) -> Self {
        self.parts.chat = options;
        self
    }

    /// Schedules in the store, with how they are carried out spelled out. Any number of processes may share a store.
    #[must_use]
    pub fn in_process_scheduler(mut self, options: SchedulerOptions) -> Self {
        self.parts.scheduler = SchedulerChoice::InProcess(options);
        self
    }

    /// Schedules and background work on Temporal.
    #[cfg(feature = "temporal")]
    #[must_use]
    pub fn temporal(mut self, options: TemporalOptions) -> Self {
        self.parts.scheduler = SchedulerChoice::Temporal(Box::new(options));
        self
    }

    /// Whether this process also does what comes due: scheduled runs, health checks, retention sweeps. Default true; with
    /// false some other process must.
    #[must_use]
    pub fn background_work(mut self, works: bool) -> Self {
        self.parts.works = works;
        self
    }

    /// Brings the schema up to date, says how many migrations that took, and closes the store again.
    ///
    /// # Errors
    /// The store cannot be opened or migrated. [`BuildError::InUse`] when a running process holds an embedded store.
    pub async fn migrate(self) -> Result<u32, BuildError> {
        let prepared = Prepared::alone(self.store, self.secrets_key).await?;
        let migrated = prepared.store.migrate().await;
        prepared.store.close().await;
        migrated
    }

    /// Opens the store, migrates it unless told otherwise, opens the authorization backend and wires everything. Redis and
    /// agents are not talked to yet. Unfinished changes of the authorization graph are worked on from now on, until
    /// [`WorkerHandle::shutdown`].
    ///
    /// # Errors
    /// [`BuildError`] names the part that could not be set up.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn build(self) -> Result<Agentex, BuildError> {
        let Self { store, streams, migrate_on_start, secrets_key, parts } = self;
        let streams = parts.open_streams(streams)?;
        let prepared = Prepared::alone(store, secrets_key).await?;
        let wired = async {
            if migrate_on_start {
                let applied = prepared.store.migrate().await?;
                if applied > 0 {
                    tracing::info!(applied, "schema brought up to date");
                }
            }
            if prepared.secrets_key.is_none() {
                tracing::warn!("there is no key to encrypt stored secrets with; agents' API keys are kept in clear");
            }
            parts.wire(&prepared, &streams, true).await
        };
        let Wired { app, http, scheduler, works, .. } = match wired.await {
            Ok(wired) => wired,
            Err(error) => {
                prepared.store.close().await;
                return Err(error);
            }
        };
        let router = agentex_http::router(Arc::clone(&app), http);
        let scheduler = works.then_some(scheduler);
        let worker = WorkerHandle::start(Arc::clone(&app), prepared.store, streams, prepared.claim, scheduler);
        Ok(Agentex { app, router, worker })
    }

    /// Opens what `build` would, to look at it and to administer it: no router, no migrations, nothing in the background,
    /// streams in memory.
    ///
    /// # Errors
    /// [`BuildError`]; [`BuildError::NoDatabase`] and [`BuildError::Outdated`] where there is nothing to look at yet.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn open_tools(self, tools_use: ToolsUse) -> Result<Tools, BuildError> {
        let Self { store, secrets_key, parts, .. } = self;
        let streams = parts.open_streams(StreamsChoice::InProcess(None))?;
        store.must_exist()?;
        let prepared = match tools_use {
            ToolsUse::Alone => Prepared::alone(store, secrets_key).await?,
            ToolsUse::Beside => Prepared::beside(store, secrets_key).await?,
        };
        let wired = async {
            prepared.store.must_be_migrated().await?;
            parts.wire(&prepared, &streams, false).await
        };
        match wired.await {
            Ok(Wired { app, opened, .. }) => Ok(Tools::new(app, opened, prepared.store, prepared.claim)),
            Err(error) => {
                prepared.store.close().await;
                Err(error)
            }
        }
    }
}

impl Parts {
    fn open_streams(&self, choice: StreamsChoice) -> Result<OpenStreams, BuildError> {
        let in_process = InProcessOptions { clock: Arc::clone(&self.clock), ..InProcessOptions::default() };
        OpenStreams::open(choice, in_process)
    }

    async fn wire(self, prepared: &Prepared, streams: &OpenStreams, starting: bool) -> Result<Wired, BuildError> {
        let agent_client = Arc::new(AcpClient::new(self.acp).map_err(BuildError::AgentClient)?);
        let transfer = HttpTransfer::new(self.transfer).map_err(BuildError::Transfer)?;
        let chat = ChatClients::new(self.chat).map_err(BuildError::Chat)?;
        let Authorization { backend, authenticator, limits } = self.authorization;
        let places = Places {
            stores: prepared.store.stores(),
            relationships: prepared.store.relationships(prepared.claim.is_some()),
            rollout: prepared.store.rollout(),
            starting,
        };
        let opened = Opened::open(backend, &limits, places).await?;
        let stores = prepared.store.stores();
        let setting = Setting {
            stores: &stores,
            clock: &self.clock,
            health_checks: self.settings.schedules.health_checks,
            task_queue: &self.settings.schedules.task_queue,
        };
        let scheduler = OpenScheduler::open(self.scheduler, &setting)?;
        let ports = Ports {
            stores: prepared.store.stores(),
            streams: streams.port(),
            agent_client: Arc::<AcpClient>::clone(&agent_client),
            agent_health: Arc::<AcpClient>::clone(&agent_client),
            forwarder: agent_client,
            scheduler: Some(scheduler.port()),
            workflows: scheduler.workflows(),
            transfer: Arc::new(transfer),
            chat: ChatPorts {
                slack: Some(Arc::new(chat.slack())),
                linear: Some(Arc::new(chat.linear())),
                directory: Some(Arc::new(chat.directory())),
            },
            authorizer: opened.authorizer.clone(),
            authenticator,
            keyring: Keyring::new(prepared.secrets_key.as_ref(), &self.api_key_pepper),
            clock: self.clock,
            probes: streams.probes(),
        };
        let app = Arc::new(App::new(ports, self.settings));
        Ok(Wired { app, http: self.http, opened, scheduler, works: self.works })
    }
}

/// Everything but what keeps it open.
struct Wired {
    app: Arc<App>,
    http: HttpOptions,
    opened: Opened,
    scheduler: OpenScheduler,
    works: bool,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("store", &self.store)
            .field("streams", &self.streams)
            .field("migrate_on_start", &self.migrate_on_start)
            .field("secrets_key", &self.secrets_key)
            .field("authorization", &self.parts.authorization)
            .field("settings", &self.parts.settings)
            .field("http", &self.parts.http)
            .field("acp", &self.parts.acp)
            .field("transfer", &self.parts.transfer)
            .field("chat", &self.parts.chat)
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
    /// Holds an embedded store, so that no other process does.
    async fn alone(choice: StoreChoice, secrets_key: Option<SecretsKey>) -> Result<Self, BuildError> {
        #[cfg(feature = "sqlite")]
        if let StoreChoice::Sqlite(options) = &choice {
            let database = options.path.clone();
            let (claim, secrets_key) = blocking(move || {
                let claim = Claim::claim(&database)?;
                let key = secrets_key.map_or_else(|| claim.secrets_key(), Ok)?;
                Ok((claim, key))
            })
            .await?;
            let store = OpenStore::open(choice).await?;
            return Ok(Self { store, secrets_key: Some(secrets_key), claim: Some(claim) });
        }
        Ok(Self { store: OpenStore::open(choice).await?, secrets_key, claim: None })
    }

    /// Opens an embedded store whether or not another process holds it.
    async fn beside(choice: StoreChoice, secrets_key: Option<SecretsKey>) -> Result<Self, BuildError> {
        #[cfg(feature = "sqlite")]
        if let (StoreChoice::Sqlite(options), None) = (&choice, &secrets_key) {
            let database = options.path.clone();
            let secrets_key = blocking(move || Claim::existing_secrets_key(&database)).await?;
            return Ok(Self { store: OpenStore::open(choice).await?, secrets_key, claim: None });
        }
        Ok(Self { store: OpenStore::open(choice).await?, secrets_key, claim: None })
    }
}

#[cfg(feature = "sqlite")]
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.expect("the task does not panic and is not cancelled")
}
