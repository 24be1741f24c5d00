//! Redis: one server for all tests, and servers of one's own for tests that stop it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{Missing, containers, locate};
use crate::process::{ChildProcess, free_port};

/// The environment variable with the URL of a running server.
pub const URL_VARIABLE: &str = "AGENTEX_TEST_REDIS_URL";
/// The environment variable with the path of the `redis-server` program.
pub const BIN_VARIABLE: &str = "AGENTEX_TEST_REDIS_BIN";

const READY: &str = "eady to accept connections";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A Redis shared with other tests: use ids or keys nobody else uses.
#[derive(Debug)]
pub struct TestRedis {
    server: Arc<SharedRedis>,
    prefix: String,
}

impl TestRedis {
    /// Where to connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// A text no other test has, to begin keys with; ends in a colon.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A running Redis; a private one stops when the last holder lets go.
#[derive(Debug)]
pub struct SharedRedis {
    url: String,
    _owned: Owned,
}

#[derive(Debug)]
enum Owned {
    Elsewhere,
    Process { _process: RedisServer },
    Container { _process: ChildProcess },
}

impl SharedRedis {
    /// Where to connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The Redis of this process, started at the first use.
///
/// # Panics
/// When no Redis can be had; the text says what to install.
#[expect(clippy::disallowed_methods, reason = "a key prefix, not the id of an entity")]
pub async fn redis() -> TestRedis {
    let server = server().await.unwrap_or_else(|missing| panic!("{missing}"));
    TestRedis { server, prefix: format!("test-{}:", uuid::Uuid::new_v4().simple()) }
}

/// The Redis of this process, started at the first use.
///
/// # Errors
/// No Redis can be had.
pub async fn server() -> Result<Arc<SharedRedis>, Missing> {
    static SHARED: Mutex<Weak<SharedRedis>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(obtain().await?);
    *shared = Arc::downgrade(&started);
    Ok(started)
}

async fn obtain() -> Result<SharedRedis, Missing> {
    let mut missing = missing();
    match std::env::var(URL_VARIABLE) {
        Ok(url) => return Ok(SharedRedis { url, _owned: Owned::Elsewhere }),
        Err(_) => missing.tried(format!("{URL_VARIABLE} is not set")),
    }
    if let Some(server) = start_private(&mut missing).await {
        return Ok(SharedRedis { url: server.url(), _owned: Owned::Process { _process: server } });
    }
    match containers::run("redis:7-alpine", 6379, &[], &["--save", ""], |line| line.text.contains(READY)).await {
        Ok((process, port)) => {
            return Ok(SharedRedis { url: url_of(port), _owned: Owned::Container { _process: process } });
        }
        Err(error) => missing.tried(format!("no container: {error:#}")),
    }
    Err(missing)
}

fn missing() -> Missing {
    Missing::new("Redis", "apt-get install redis-server")
}

async fn start_private(missing: &mut Missing) -> Option<RedisServer> {
    let Some(program) = program() else {
        missing.tried(format!("no redis-server in {BIN_VARIABLE}, PATH, /usr/bin or .tools"));
        return None;
    };
    match RedisServer::start_program(program.clone()).await {
        Ok(server) => Some(server),
        Err(error) => {
            missing.tried(format!("{} does not start: {error:#}", program.display()));
            None
        }
    }
}

fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os(BIN_VARIABLE) {
        return Some(PathBuf::from(program)).filter(|program| program.is_file());
    }
    const NAME: &str = "redis-server";
    let more = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    locate::holding(&locate::folders(more), &[NAME]).map(|folder| folder.join(NAME))
}

fn url_of(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// A Redis of one's own, for tests that stop it or count its connections. Nothing is kept over a restart.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    port: u16,
    process: Option<ChildProcess>,
    files: TempDir,
}

impl RedisServer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is no `redis-server` program on this machine; the text says what to install.
    pub async fn start() -> Self {
        let mut missing = missing();
        match start_private(&mut missing).await {
            Some(server) => server,
            None => panic!("{missing}"),
        }
    }

    /// Where to connect; the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        url_of(self.port)
    }

    /// Kills it as a crash would; connections break and its data is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it again on the same port after [`Self::kill`], empty, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        let started = launch(&self.program, self.port, &self.files).await;
        self.process = Some(started.unwrap_or_else(|error| panic!("redis-server does not start again: {error:#}")));
    }

    async fn start_program(program: PathBuf) -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix("agentex-test-redis-").tempdir()?;
        let mut attempts = 0;
        loop {
            let port = free_port();
            attempts += 1;
            match launch(&program, port, &files).await {
                Ok(process) => return Ok(Self { program, port, process: Some(process), files }),
                Err(error) if attempts == 5 => return Err(error),
                Err(_) => {}
            }
        }
    }
}

async fn launch(program: &PathBuf, port: u16, files: &TempDir) -> anyhow::Result<ChildProcess> {
    let mut command = Command::new(program);
    command.current_dir(files.path()).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]).args([
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
        "--logfile",
        "",
    ]);
    let process = ChildProcess::start(command, Signal::TERM)?;
    let ready = process.output().first(START_LIMIT, |line| line.text.contains(READY).then_some(())).await;
    anyhow::ensure!(ready.is_some(), "{}", process.output().text());
    Ok(process)
}
