use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentex::app::{RelaySettings, Settings};
use agentex::authz::local::{GraphAuthorizer, RelationshipStore, StoreUse};
use agentex::authz::model::Relationship;
use agentex::authz::wrap::CircuitOptions;
use agentex::authz::{Authenticator, AuthnError, Authorizer, CredentialHeaders, Principal, ResourceKind, ResourceRef};
use agentex::domain::ports::{Clock, Stores, SystemClock};
use agentex::postgres::{PgOptions, PgStore};
use agentex::spark::{SparkAuthorizer, SparkSettings};
use agentex::sqlite::{SqliteOptions, SqliteStore};
use agentex::{Agentex, Authorization, AuthorizationLimits};
use agentex_testkit::audit::{Audit, rows_and_edges};
use agentex_testkit::services::postgres::{TestDatabase, fresh_database_from};
use agentex_testkit::services::spicedb::{TestSpiceDb, spicedb};
use agentex_testkit::tripwire::Tripwire;
use agentex_testkit::{TestClock, tls};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// Who decides, and where rows are.
pub(crate) enum Home {
    Sqlite(TempDir),
    Postgres(TestDatabase),
    Spark(TestDatabase, TestSpiceDb),
}

impl Home {
    /// Rows and edges in one file.
    pub(crate) async fn sqlite() -> Self {
        let home = Self::Sqlite(tempfile::tempdir().unwrap());
        home.place().open().await.close().await;
        home
    }

    /// Rows and edges in one database.
    pub(crate) async fn postgres() -> Self {
        Self::Postgres(database().await)
    }

    /// Rows in PostgreSQL, edges in SpiceDB.
    pub(crate) async fn spark() -> Self {
        let home = Self::Spark(database().await, spicedb().await);
        let Place::Spark { endpoint, token, .. } = home.place() else { unreachable!("it was made so") };
        spark(&endpoint, &token).ensure_schema().await.unwrap();
        home
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Sqlite(folder) => Place::Sqlite(folder.path().join("agentex.db")),
            Self::Postgres(database) => Place::Postgres(database.url().to_owned()),
            Self::Spark(database, spicedb) => Place::Spark {
                database: database.url().to_owned(),
                endpoint: spicedb.endpoint().to_owned(),
                token: spicedb.token().to_owned(),
            },
        }
    }
}

async fn database() -> TestDatabase {
    fresh_database_from("agentex_durability", |url| async move {
        let store = PgStore::connect(PgOptions::new(url)).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
    })
    .await
}

/// Where a home can be found, also by another process.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
    Spark { database: String, endpoint: String, token: String },
}

impl Place {
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite\n{}", file.display()),
            Self::Postgres(database) => format!("postgres\n{database}"),
            Self::Spark { database, endpoint, token } => format!("spark\n{database}\n{endpoint}\n{token}"),
        }
    }

    pub(crate) fn from_text(text: &str) -> Self {
        let parts: Vec<&str> = text.lines().collect();
        match parts[..] {
            ["sqlite", file] => Self::Sqlite(file.into()),
            ["postgres", database] => Self::Postgres(database.to_owned()),
            ["spark", database, endpoint, token] => {
                Self::Spark { database: database.to_owned(), endpoint: endpoint.to_owned(), token: token.to_owned() }
            }
            _ => panic!("not a place: {text}"),
        }
    }

    pub(crate) async fn open(&self) -> World {
        tls::install();
        match self {
            Self::Sqlite(file) => {
                let store = SqliteStore::open(SqliteOptions::new(file)).await.unwrap();
                store.migrate().await.unwrap();
                let edges = store.relationships();
                let graph = GraphAuthorizer::open(Arc::clone(&edges), StoreUse::Exclusive).await.unwrap();
                let (stores, authorizer) = (store.stores(), Arc::new(graph));
                World { stores, authorizer, edges: Edges::Local(edges), store: Store::Sqlite(store) }
            }
            Self::Postgres(url) => {
                let store = connect(url).await;
                let edges = store.relationships();
                let graph = GraphAuthorizer::open(Arc::clone(&edges), StoreUse::Shared).await.unwrap();
                let (stores, authorizer) = (store.stores(), Arc::new(graph));
                World { stores, authorizer, edges: Edges::Local(edges), store: Store::Postgres(store) }
            }
            Self::Spark { database, endpoint, token } => {
                let store = connect(database).await;
                let spark = Arc::new(spark(endpoint, token));
                let (stores, authorizer) = (store.stores(), Arc::<SparkAuthorizer>::clone(&spark));
                World { stores, authorizer, edges: Edges::Spark(spark), store: Store::Postgres(store) }
            }
        }
    }
}

async fn connect(url: &str) -> PgStore {
    let options = PgOptions { max_connections: 8, min_connections: 0, ..PgOptions::new(url) };
    PgStore::connect(options).await.unwrap()
}

fn spark(endpoint: &str, token: &str) -> SparkAuthorizer {
    let settings = SparkSettings { timeout: Duration::from_secs(20), ..SparkSettings::new(endpoint).with_token(token) };
    SparkAuthorizer::new(&settings).unwrap()
}

/// An open store with its authorizer.
pub(crate) struct World {
    pub(crate) stores: Stores,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    edges: Edges,
    store: Store,
}

enum Edges {
    Local(Arc<dyn RelationshipStore>),
    Spark(Arc<SparkAuthorizer>),
}

enum Store {
    Sqlite(SqliteStore),
    Postgres(PgStore),
}

impl World {
    /// The product as it is, with all the time in the world for what is unfinished.
    pub(crate) async fn product(&self) -> Product {
        Product::over(self.stores.clone(), Arc::clone(&self.authorizer), patient(), Arc::new(SystemClock)).await
    }

    /// The product behind a wire.
    pub(crate) async fn wired(&self, wire: &Tripwire) -> Product {
        let stores = Stores { intents: wire.intents(Arc::clone(&self.stores.intents)), ..self.stores.clone() };
        let authorizer = wire.authorizer(Arc::clone(&self.authorizer));
        Product::over(stores, authorizer, patient(), Arc::new(SystemClock)).await
    }

    /// The restart after a crash, long after it: everything unfinished is due, and the relay of the new process is run
    /// until there is nothing left to do.
    pub(crate) async fn recover(&self) {
        let clock = TestClock::at(SystemClock.now());
        clock.advance(Duration::from_secs(7 * 24 * 3600));
        let (stores, authorizer) = (self.stores.clone(), Arc::clone(&self.authorizer));
        let product = Product::over(stores, authorizer, patient(), Arc::new(clock.clone())).await;
        product.quiet().await;
        product.agentex.app().schedules.mend().await.unwrap();
        let relay = &product.agentex.app().relay;
        for _ in 0..50 {
            relay.run_due().await.unwrap();
            if relay.backlog().await.unwrap().open == 0 {
                break;
            }
            // What failed or was replaced waits once more.
            clock.advance(Duration::from_secs(24 * 3600));
        }
    }

    pub(crate) async fn audit(&self) -> Audit {
        rows_and_edges(&self.stores, self.relationships().await, &*self.authorizer).await
    }

    /// All edges.
    pub(crate) async fn relationships(&self) -> Vec<Relationship> {
        match &self.edges {
            Edges::Local(store) => store.load().await.unwrap().relationships,
            Edges::Spark(spark) => {
                // A process that has written nothing yet may be answered from a few seconds ago. What it asks after a
                // write of its own is asked of the present.
                spark.deregister(&principal("nobody"), &ResourceRef::task("nothing")).await.unwrap();
                let mut all: Vec<Relationship> = Vec::new();
                for kind in [ResourceKind::Agent, ResourceKind::Task, ResourceKind::ApiKey, ResourceKind::Schedule] {
                    all.extend(spark.relationships(kind).await.unwrap());
                }
                all
            }
        }
    }

    /// Recovers, and holds rows and edges against each other.
    ///
    /// # Panics
    /// When they do not agree; the text says what does not, and after what.
    pub(crate) async fn settle(&self, after: &str) -> Audit {
        self.recover().await;
        let audit = self.audit().await;
        assert!(audit.is_clean(), "after {after}: {audit}");
        audit
    }

    pub(crate) async fn close(self) {
        match self.store {
            Store::Sqlite(store) => store.close().await,
            Store::Postgres(store) => store.close().await,
        }
    }
}

/// Nobody's work is taken over while a test is at it.
pub(crate) fn patient() -> RelaySettings {
    RelaySettings { interval: Duration::from_secs(3600), grace: Duration::from_secs(3600), ..RelaySettings::default() }
}

/// A running control plane and its HTTP surface.
pub(crate) struct Product {
    pub(crate) agentex: Agentex,
}

impl Product {
    pub(crate) async fn over(
        stores: Stores,
        authorizer: Arc<dyn Authorizer>,
        relay: RelaySettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let limits = AuthorizationLimits {
            timeout: Duration::from_secs(30),
            circuit: CircuitOptions { outages: u32::MAX, ..CircuitOptions::default() },
            ..AuthorizationLimits::default()
        };
        let authorization = Authorization::own(authorizer, Arc::new(ByName)).limits(limits);
        Self::with(stores, authorization, relay, clock).await
    }

    pub(crate) async fn with(
        stores: Stores,
        authorization: Authorization,
        relay: RelaySettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        tls::install();
        let builder = Agentex::builder().stores(stores).authorization(authorization).clock(clock);
        let agentex = builder.settings(Settings { relay, ..Settings::default() }).build().await.unwrap();
        Self { agentex }
    }

    /// Ends the product's own relay, after the pass it is at.
    pub(crate) async fn quiet(&self) {
        self.agentex.worker().drained(Duration::from_secs(60)).await.unwrap();
    }

    pub(crate) fn router(&self) -> Router {
        self.agentex.router()
    }

    /// A request of `user`.
    pub(crate) async fn call(&self, user: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        call(self.router(), user, method, path, body).await
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // Its relay would go on in the test's runtime.
        self.agentex.worker().shutdown();
    }
}

/// A reply.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Panics
    /// When it was none, or a JSON-RPC error.
    pub(crate) fn ok(self) -> Value {
        assert!(self.is_ok(), "{self:?}");
        self.body
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.status == 200 && self.body.get("error").is_none_or(Value::is_null)
    }
}

/// One request to a router, whose future does all of it: dropped, it is a client that is gone.
pub(crate) async fn call(router: Router, user: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let request = Request::builder().method(method).uri(path).header("x-api-key", user);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    };
    let response = router.oneshot(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() }
}

/// What is in the credentials of everybody, and must be in no table.
pub(crate) const CREDENTIAL: &str = "agx-test-credential-of-";

/// Callers name themselves; their principals carry credentials, as those of a permission service do.
pub(crate) struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        let user = headers.get("x-api-key").ok_or(AuthnError::Refused)?;
        Ok(Some(principal(user)))
    }
}

pub(crate) fn principal(user: &str) -> Principal {
    Principal::from_json(json!({
        "user_id": user,
        "account_id": "acme",
        "principal_type": "user",
        "api_key": format!("{CREDENTIAL}{user}"),
        "metadata": {"cookie": format!("{CREDENTIAL}{user}")},
    }))
}

/// Where a text can be found in a database file and its journals.
pub(crate) fn files_with(text: &str, database: &Path) -> Vec<PathBuf> {
    let folder = database.parent().unwrap();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let holds = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files.filter(holds).collect()
}
