//! Temporal: one server for development for all tests, and servers of one's own for tests that stop it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{Missing, containers, locate};
use crate::process::{ChildProcess, Line, free_port};

/// The environment variable with `host:port` of a running server that has the namespace `default`.
pub const ADDRESS_VARIABLE: &str = "AGENTEX_TEST_TEMPORAL_ADDRESS";
/// The environment variable with the path of the `temporal` program.
pub const BIN_VARIABLE: &str = "AGENTEX_TEST_TEMPORAL_BIN";

const READY: &str = "Temporal Server:";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A Temporal shared with other tests: use ids and task queues nobody else uses.
#[derive(Debug)]
pub struct TestTemporal {
    server: Arc<SharedTemporal>,
    unique: String,
}

impl TestTemporal {
    /// Where to connect, as `host:port`. The namespace is `default`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.server.address
    }

    /// A text no other test has, for ids and task queues.
    #[must_use]
    pub fn unique(&self) -> &str {
        &self.unique
    }
}

/// A running Temporal; a private one stops when the last holder lets go.
#[derive(Debug)]
pub struct SharedTemporal {
    address: String,
    _owned: Owned,
}

#[derive(Debug)]
enum Owned {
    Elsewhere,
    Process { _process: TemporalServer },
    Container { _process: ChildProcess },
}

impl SharedTemporal {
    /// Where to connect, as `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// The Temporal of this process, started at the first use.
///
/// # Panics
/// When no Temporal can be had; the text says what to install.
#[expect(clippy::disallowed_methods, reason = "a prefix of ids, not the id of an entity")]
pub async fn temporal() -> TestTemporal {
    let server = server().await.unwrap_or_else(|missing| panic!("{missing}"));
    TestTemporal { server, unique: format!("test-{}", uuid::Uuid::new_v4().simple()) }
}

/// The Temporal of this process, started at the first use.
///
/// # Errors
/// No Temporal can be had.
pub async fn server() -> Result<Arc<SharedTemporal>, Missing> {
    static SHARED: Mutex<Weak<SharedTemporal>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(obtain().await?);
    *shared = Arc::downgrade(&started);
    Ok(started)
}

async fn obtain() -> Result<SharedTemporal, Missing> {
    let mut missing = missing();
    match std::env::var(ADDRESS_VARIABLE) {
        Ok(address) => return Ok(SharedTemporal { address, _owned: Owned::Elsewhere }),
        Err(_) => missing.tried(format!("{ADDRESS_VARIABLE} is not set")),
    }
    if let Some(server) = start_private(&[], &mut missing).await {
        return Ok(SharedTemporal { address: server.address(), _owned: Owned::Process { _process: server } });
    }
    let arguments = ["server", "start-dev", "--headless", "--ip", "0.0.0.0", "--log-level", "error"];
    match containers::run("temporalio/temporal", 7233, &[], &arguments, ready).await {
        Ok((process, port)) => {
            return Ok(SharedTemporal { address: address_of(port), _owned: Owned::Container { _process: process } });
        }
        Err(error) => missing.tried(format!("no container: {error:#}")),
    }
    Err(missing)
}

fn missing() -> Missing {
    Missing::new("Temporal", "scripts/setup-temporal")
}

async fn start_private(settings: &[&str], missing: &mut Missing) -> Option<TemporalServer> {
    let Some(program) = program() else {
        missing.tried(format!("no temporal in {BIN_VARIABLE}, AGENTEX_TOOLS_DIR, PATH or .tools"));
        return None;
    };
    match TemporalServer::start_program(program.clone(), settings).await {
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
    const NAME: &str = "temporal";
    let tools = std::env::var_os("AGENTEX_TOOLS_DIR").map(|tools| PathBuf::from(tools).join("temporal/bin"));
    locate::holding(&locate::folders(tools), &[NAME]).map(|folder| folder.join(NAME))
}

fn address_of(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn ready(line: &Line) -> bool {
    line.text.contains(READY)
}

/// A Temporal of one's own, for tests that stop it. What it knows survives a restart.
#[derive(Debug)]
pub struct TemporalServer {
    program: PathBuf,
    port: u16,
    settings: Vec<String>,
    process: Option<ChildProcess>,
    files: TempDir,
}

impl TemporalServer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is no `temporal` program on this machine; the text says what to install.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with settings Temporal reads while it runs, each `name=JSON`.
    ///
    /// # Panics
    /// When there is no `temporal` program on this machine; the text says what to install.
    pub async fn start_with(settings: &[&str]) -> Self {
        let mut missing = missing();
        match start_private(settings, &mut missing).await {
            Some(server) => server,
            None => panic!("{missing}"),
        }
    }

    /// Where to connect, as `host:port`; the same after a restart.
    #[must_use]
    pub fn address(&self) -> String {
        address_of(self.port)
    }

    /// Kills it as a crash would; connections break.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it again on the same port after [`Self::kill`] and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        let started = launch(&self.program, self.port, &self.settings, &self.files).await;
        self.process = Some(started.unwrap_or_else(|error| panic!("Temporal does not start again: {error:#}")));
    }

    async fn start_program(program: PathBuf, settings: &[&str]) -> anyhow::Result<Self> {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let files = tempfile::Builder::new().prefix("agentex-test-temporal-").tempdir()?;
        let mut attempts = 0;
        loop {
            let port = free_port();
            attempts += 1;
            match launch(&program, port, &settings, &files).await {
                Ok(process) => return Ok(Self { program, port, settings, process: Some(process), files }),
                Err(error) if attempts == 5 => return Err(error),
                Err(_) => {}
            }
        }
    }
}

async fn launch(program: &PathBuf, port: u16, settings: &[String], files: &TempDir) -> anyhow::Result<ChildProcess> {
    let mut command = Command::new(program);
    // It writes settings into the home folder.
    command.current_dir(files.path()).env("HOME", files.path());
    command.args(["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--log-level", "error", "--db-filename", "temporal.db"]);
    for setting in settings {
        command.args(["--dynamic-config-value", setting]);
    }
    let process = ChildProcess::start(command, Signal::KILL)?;
    let started = process.output().first(START_LIMIT, |line| ready(line).then_some(())).await;
    anyhow::ensure!(started.is_some(), "{}", process.output().text());
    Ok(process)
}
