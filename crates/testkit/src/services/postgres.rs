//! PostgreSQL: one server for all tests, one database per test.

use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;
use url::Url;

use super::{Missing, containers, locate};
use crate::process::{ChildProcess, Line, free_port};

/// The environment variable with the URL of a running server. Its user must be allowed to create databases.
pub const URL_VARIABLE: &str = "AGENTEX_TEST_POSTGRES_URL";
/// The environment variable with the folder of `initdb` and `postgres`.
pub const BIN_VARIABLE: &str = "AGENTEX_TEST_PG_BIN";

const READY: &str = "database system is ready to accept connections";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running PostgreSQL server; a private one stops, and its files go, when the last holder lets go.
#[derive(Debug)]
pub struct PostgresServer {
    maintenance_url: Url,
    _owned: Owned,
}

#[derive(Debug)]
enum Owned {
    Elsewhere,
    Process { _process: ChildProcess, _files: TempDir },
    Container { _process: ChildProcess },
}

impl PostgresServer {
    /// The URL of its maintenance database.
    #[must_use]
    pub fn url(&self) -> &str {
        self.maintenance_url.as_str()
    }

    fn database_url(&self, name: &str) -> String {
        let mut url = self.maintenance_url.clone();
        url.set_path(name);
        url.into()
    }
}

/// An empty (or cloned) database of its own for one test. Dropped with the value, whoever is still connected.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    server: Arc<PostgresServer>,
}

impl TestDatabase {
    /// Where to connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database's name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the server's maintenance database, to create or drop databases oneself.
    #[must_use]
    pub fn maintenance_url(&self) -> &str {
        self.server.url()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (url, name) = (self.server.url().to_owned(), self.name.clone());
        // The runtime this runs in cannot be blocked on, and may be about to end.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let drop_it = async {
                let mut connection = PgConnection::connect(&url).await.ok()?;
                sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")))
                    .execute(&mut connection)
                    .await
                    .ok()
            };
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), drop_it).await.ok().flatten() })
        });
        let _ = dropped.join();
    }
}

/// A new, empty database.
///
/// # Panics
/// When no PostgreSQL can be had; the text says what to install.
pub async fn fresh_database() -> TestDatabase {
    let server = server().await.unwrap_or_else(|missing| panic!("{missing}"));
    create(server, None).await
}

/// A new database with the contents `init` gave to `template`, which is made once per server and then cloned.
///
/// `init` gets the URL of an empty database and must close its connections. `template` names the contents: on a server
/// that outlives the tests, other contents under an old name are not noticed, so put a version or hash into it.
///
/// # Panics
/// When no PostgreSQL can be had; the text says what to install.
pub async fn fresh_database_from<F, Fut>(template: &str, init: F) -> TestDatabase
where
    F: FnOnce(String) -> Fut,
    Fut: Future<Output = ()>,
{
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(template.bytes().all(plain), "template names are lower-case letters, digits and underscores");
    let server = server().await.unwrap_or_else(|missing| panic!("{missing}"));
    ensure_template(&server, template, init).await;
    create(server, Some(template)).await
}

async fn ensure_template<F, Fut>(server: &PostgresServer, template: &str, init: F)
where
    F: FnOnce(String) -> Fut,
    Fut: Future<Output = ()>,
{
    const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)";
    let mut connection = connect(server).await;
    if sqlx::query_scalar(EXISTS).bind(template).fetch_one(&mut connection).await.unwrap() {
        return;
    }
    // Tests run in processes of their own; all but one wait here and then find the template. The lock goes with the
    // connection.
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(template)
        .execute(&mut connection)
        .await
        .unwrap();
    if sqlx::query_scalar(EXISTS).bind(template).fetch_one(&mut connection).await.unwrap() {
        return;
    }
    // Made under another name, so that nobody sees a template that is half done.
    let draft = unique("d");
    run(&mut connection, format!("CREATE DATABASE {draft}")).await.unwrap();
    init(server.database_url(&draft)).await;
    disconnect_others(&mut connection, &draft).await;
    run(&mut connection, format!("ALTER DATABASE {draft} RENAME TO {template}")).await.unwrap();
    connection.close().await.unwrap();
}

async fn create(server: Arc<PostgresServer>, template: Option<&str>) -> TestDatabase {
    let name = unique("t");
    let mut connection = connect(&server).await;
    match template {
        None => run(&mut connection, format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap(),
        Some(template) => {
            // A maintenance process of the server may be looking at the template for a moment.
            let mut attempts = 0;
            while let Err(error) = run(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await {
                attempts += 1;
                assert!(attempts < 5, "cannot clone {template}: {error}");
                disconnect_others(&mut connection, template).await;
            }
        }
    }
    let _ = connection.close().await;
    TestDatabase { url: server.database_url(&name), name, server }
}

async fn connect(server: &PostgresServer) -> PgConnection {
    match PgConnection::connect(server.url()).await {
        Ok(connection) => connection,
        Err(error) => panic!("the PostgreSQL for tests does not answer: {error}"),
    }
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|_| ())
}

async fn disconnect_others(connection: &mut PgConnection, database: &str) {
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(database)
        .execute(connection)
        .await
        .unwrap();
}

#[expect(clippy::disallowed_methods, reason = "names of databases, not ids of entities")]
fn unique(kind: &str) -> String {
    format!("{kind}_{}", uuid::Uuid::new_v4().simple())
}

/// The server of this process, started at the first use.
///
/// # Errors
/// No PostgreSQL can be had.
pub async fn server() -> Result<Arc<PostgresServer>, Missing> {
    static SHARED: Mutex<Weak<PostgresServer>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(obtain().await?);
    *shared = Arc::downgrade(&started);
    Ok(started)
}

async fn obtain() -> Result<PostgresServer, Missing> {
    let mut missing = Missing::new("PostgreSQL", "apt-get install postgresql");
    match std::env::var(URL_VARIABLE) {
        Ok(url) => {
            let maintenance_url = Url::parse(&url).unwrap_or_else(|error| panic!("{URL_VARIABLE}: {error}"));
            return Ok(PostgresServer { maintenance_url, _owned: Owned::Elsewhere });
        }
        Err(_) => missing.tried(format!("{URL_VARIABLE} is not set")),
    }
    match programs() {
        Some(bin) => match start(&bin).await {
            Ok(server) => return Ok(server),
            Err(error) => missing.tried(format!("{} does not start: {error:#}", bin.join("postgres").display())),
        },
        None => missing
            .tried(format!("no initdb and postgres in {BIN_VARIABLE}, PATH, /usr/lib/postgresql/*/bin or .tools")),
    }
    match contain().await {
        Ok(server) => return Ok(server),
        Err(error) => missing.tried(format!("no container: {error:#}")),
    }
    Err(missing)
}

fn programs() -> Option<PathBuf> {
    const NEEDED: [&str; 2] = ["initdb", "postgres"];
    if let Some(folder) = std::env::var_os(BIN_VARIABLE) {
        return locate::holding(&[PathBuf::from(folder)], &NEEDED);
    }
    let versions = locate::children(Path::new("/usr/lib/postgresql")).into_iter().map(|version| version.join("bin"));
    locate::holding(&locate::folders(versions), &NEEDED)
}

async fn start(bin: &Path) -> anyhow::Result<PostgresServer> {
    let files = tempfile::Builder::new().prefix("agentex-test-pg-").tempdir()?;
    let account = Account::to_run_as();
    if let Some(account) = &account {
        std::os::unix::fs::chown(files.path(), Some(account.uid), Some(account.gid))?;
    }
    let data = files.path().join("data");
    let command = |program: &str| {
        let mut command = Command::new(bin.join(program));
        command.current_dir(files.path()).env("LC_ALL", "C");
        if let Some(account) = &account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    };

    let mut initdb = command("initdb");
    initdb.arg("-D").arg(&data).args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
    let made = tokio::task::spawn_blocking(move || initdb.output()).await??;
    anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

    let mut last_words = String::new();
    for _ in 0..5 {
        let port = free_port();
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "log_destination=stderr",
            "logging_collector=off",
        ] {
            postgres.args(["-c", setting]);
        }
        // An immediate shutdown: nothing in these files is worth a checkpoint.
        let process = ChildProcess::start(postgres, Signal::QUIT)?;
        let ready = process.output().first(START_LIMIT, |line| line.text.contains(READY).then_some(()));
        if ready.await.is_some() {
            let maintenance_url = loopback_url(port)?;
            return Ok(PostgresServer { maintenance_url, _owned: Owned::Process { _process: process, _files: files } });
        }
        last_words = process.output().text();
    }
    anyhow::bail!("{last_words}")
}

async fn contain() -> anyhow::Result<PostgresServer> {
    // Its first start runs a server for the set-up only, which says that it is ready too.
    let set_up = AtomicBool::new(false);
    let ready = |line: &Line| {
        set_up.fetch_or(line.text.contains("init process complete"), Ordering::Relaxed);
        set_up.load(Ordering::Relaxed) && line.text.contains(READY)
    };
    let options = ["--env", "POSTGRES_HOST_AUTH_METHOD=trust"];
    let arguments = ["-c", "fsync=off", "-c", "max_connections=300"];
    let (process, port) = containers::run("postgres:17-alpine", 5432, &options, &arguments, ready).await?;
    Ok(PostgresServer { maintenance_url: loopback_url(port)?, _owned: Owned::Container { _process: process } })
}

fn loopback_url(port: u16) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"))?)
}

/// PostgreSQL refuses to run as root, as which containers often run tests.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn to_run_as() -> Option<Self> {
        rustix::process::geteuid().is_root().then(|| Self::find("postgres").or_else(|| Self::find("nobody"))).flatten()
    }

    fn find(name: &str) -> Option<Self> {
        let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2);
        Some(Self { uid: numbers.next()?.parse().ok()?, gid: numbers.next()?.parse().ok()? })
    }
}
