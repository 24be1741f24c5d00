//! SpiceDB: one server for all tests, an empty SpiceDB in it per test, and servers of one's own for tests that stop it.
//!
//! A write that was acknowledged is in every later read that asks for its token or for the newest state, also when many
//! write at once. SpiceDB's store in memory does not keep that by itself: up to version 1.54 at least, reads may miss a
//! write that met another one (authzed/spicedb#3212), so the launcher passes on one write at a time. A server named by
//! [`ENDPOINT_VARIABLE`], or in a container, has to be without that defect, or tests of writers at the same time fail
//! now and then.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{Missing, containers, locate};
use crate::process::{ChildProcess, Stream, free_port};

/// The environment variable with the URL of a running server. It must give every bearer token a store of its own, as
/// `spicedb serve-testing` does.
pub const ENDPOINT_VARIABLE: &str = "AGENTEX_TEST_SPICEDB_ENDPOINT";
/// The environment variable with the path of SpiceDB as a library.
pub const LIBRARY_VARIABLE: &str = "AGENTEX_TEST_SPICEDB_LIB";

const READY: &str = "listening on ";
const READY_IN_CONTAINER: &str = "grpc server started serving";
const START_LIMIT: Duration = Duration::from_secs(60);
const LAUNCHER: &str = "spicedb-launcher";
const LIBRARY: &str = "libspicedb.so";

/// An empty SpiceDB of one's own, without a schema: the token chooses it.
#[derive(Debug)]
pub struct TestSpiceDb {
    server: Arc<SharedSpiceDb>,
    token: String,
}

impl TestSpiceDb {
    /// Where to connect, as an `http` URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.server.endpoint()
    }

    /// The bearer token to send.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// A running SpiceDB; a private one stops when the last holder lets go.
#[derive(Debug)]
pub struct SharedSpiceDb {
    endpoint: String,
    _owned: Owned,
}

#[derive(Debug)]
enum Owned {
    Elsewhere,
    Process { _process: SpiceDbServer },
    Container { _process: ChildProcess },
}

impl SharedSpiceDb {
    /// Where to connect, as an `http` URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// An empty SpiceDB in the server of this process, which is started at the first use.
///
/// # Panics
/// When no SpiceDB can be had; the text says what to install.
pub async fn spicedb() -> TestSpiceDb {
    let server = server().await.unwrap_or_else(|missing| panic!("{missing}"));
    TestSpiceDb { server, token: fresh_token() }
}

/// A bearer token nobody else has.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a token, not the id of an entity")]
pub fn fresh_token() -> String {
    format!("test-{}", uuid::Uuid::new_v4().simple())
}

/// The SpiceDB of this process, started at the first use.
///
/// # Errors
/// No SpiceDB can be had.
pub async fn server() -> Result<Arc<SharedSpiceDb>, Missing> {
    static SHARED: Mutex<Weak<SharedSpiceDb>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(obtain().await?);
    *shared = Arc::downgrade(&started);
    Ok(started)
}

async fn obtain() -> Result<SharedSpiceDb, Missing> {
    let mut missing = missing();
    match std::env::var(ENDPOINT_VARIABLE) {
        Ok(endpoint) => return Ok(SharedSpiceDb { endpoint, _owned: Owned::Elsewhere }),
        Err(_) => missing.tried(format!("{ENDPOINT_VARIABLE} is not set")),
    }
    if let Some(server) = start_private(&mut missing).await {
        return Ok(SharedSpiceDb { endpoint: server.endpoint(), _owned: Owned::Process { _process: server } });
    }
    let ready = |line: &crate::process::Line| line.text.contains(READY_IN_CONTAINER);
    match containers::run("authzed/spicedb", 50051, &[], &["serve-testing"], ready).await {
        Ok((process, port)) => {
            return Ok(SharedSpiceDb { endpoint: url_of(port), _owned: Owned::Container { _process: process } });
        }
        Err(error) => missing.tried(format!("no container: {error:#}")),
    }
    Err(missing)
}

fn missing() -> Missing {
    Missing::new("SpiceDB", "scripts/setup-spicedb && cargo build -p agentex-spicedb-launcher")
}

async fn start_private(missing: &mut Missing) -> Option<SpiceDbServer> {
    let Some(launcher) = launcher() else {
        missing.tried(format!("no {LAUNCHER} beside this program"));
        return None;
    };
    let Some(library) = library() else {
        missing.tried(format!("no {LIBRARY} in {LIBRARY_VARIABLE}, AGENTEX_TOOLS_DIR or .tools"));
        return None;
    };
    match SpiceDbServer::start_program(launcher.clone(), library).await {
        Ok(server) => Some(server),
        Err(error) => {
            missing.tried(format!("{} does not start: {error:#}", launcher.display()));
            None
        }
    }
}

/// Programs of the workspace are built into the folder above the one of its tests.
fn launcher() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().skip(1).take(2).map(|folder| folder.join(LAUNCHER)).find(|launcher| launcher.is_file())
}

fn library() -> Option<PathBuf> {
    if let Some(library) = std::env::var_os(LIBRARY_VARIABLE) {
        return Some(PathBuf::from(library)).filter(|library| library.is_file());
    }
    let tools = std::env::var_os("AGENTEX_TOOLS_DIR").map(PathBuf::from).into_iter().chain([locate::tools()]);
    tools.map(|tools| tools.join("spicedb").join(LIBRARY)).find(|library| library.is_file())
}

fn url_of(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A SpiceDB of one's own, for tests that stop it. Nothing is kept over a restart.
#[derive(Debug)]
pub struct SpiceDbServer {
    launcher: PathBuf,
    library: PathBuf,
    port: u16,
    process: Option<ChildProcess>,
    files: TempDir,
}

impl SpiceDbServer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When SpiceDB is not installed on this machine; the text says what to do.
    pub async fn start() -> Self {
        let mut missing = missing();
        match start_private(&mut missing).await {
            Some(server) => server,
            None => panic!("{missing}"),
        }
    }

    /// Where to connect; the same after a restart.
    #[must_use]
    pub fn endpoint(&self) -> String {
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
        let started = launch(&self.launcher, &self.library, self.port, &self.files).await;
        self.process = Some(started.unwrap_or_else(|error| panic!("SpiceDB does not start again: {error:#}")));
    }

    async fn start_program(launcher: PathBuf, library: PathBuf) -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix("agentex-test-spicedb-").tempdir()?;
        let mut attempts = 0;
        loop {
            let port = free_port();
            attempts += 1;
            match launch(&launcher, &library, port, &files).await {
                Ok(process) => return Ok(Self { launcher, library, port, process: Some(process), files }),
                Err(error) if attempts == 5 => return Err(error),
                Err(_) => {}
            }
        }
    }
}

async fn launch(launcher: &PathBuf, library: &PathBuf, port: u16, files: &TempDir) -> anyhow::Result<ChildProcess> {
    let mut command = Command::new(launcher);
    // The library leaves the sockets of its streams in the folder for temporary files.
    command.arg(library).arg(port.to_string()).env("TMPDIR", files.path());
    // It keeps nothing that would be worth an orderly end.
    let process = ChildProcess::start(command, Signal::KILL)?;
    let ready =
        |line: &crate::process::Line| (line.stream == Stream::Out && line.text.starts_with(READY)).then_some(());
    anyhow::ensure!(process.output().first(START_LIMIT, ready).await.is_some(), "{}", process.output().text());
    Ok(process)
}
