//! The server under test.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentex_testkit::server_process::ServerProcess;
use agentex_testkit::services::postgres::{self, TestDatabase};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::raw::Raw;

/// Variables that would make a server another one than is meant to be measured.
const DEPLOYMENT_VARIABLES: [&str; 3] = ["DATABASE_URL", "REDIS_URL", "READ_ONLY_DATABASE_URL"];

/// Where the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// Refuses an environment whose settings the servers would inherit.
pub(crate) fn check_environment() -> anyhow::Result<()> {
    for name in DEPLOYMENT_VARIABLES {
        ensure!(std::env::var_os(name).is_none(), "{name} is set; unset it, the servers measured here would use it");
    }
    Ok(())
}

/// Where the data of a server is. Outlives it, so that another can be started on it.
pub(crate) struct Data {
    files: TempDir,
    database: Option<TestDatabase>,
}

impl Data {
    /// Empty, not even migrated.
    pub(crate) async fn fresh(backend: Backend) -> anyhow::Result<Self> {
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(postgres::fresh_database().await),
        };
        Ok(Self { files: tempfile::Builder::new().prefix("agentex-bench-").tempdir()?, database })
    }

    /// Arguments and environment of a server on this data.
    fn settings<'a>(&'a self, redis: Option<&'a str>) -> (Vec<String>, Vec<(&'static str, &'a str)>) {
        let folder = self.files.path().join("data").display().to_string();
        let arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", &folder].map(str::to_owned);
        let database = self.database.as_ref().map(|database| ("DATABASE_URL", database.url()));
        let redis = redis.map(|url| ("REDIS_URL", url));
        (arguments.into(), database.into_iter().chain(redis).collect())
    }

    /// Starts a server as a user would, and returns when it says that it is ready.
    pub(crate) async fn start(&self, program: &Path) -> ServerProcess {
        let (arguments, environment) = self.settings(None);
        ServerProcess::start(program, arguments, environment).await
    }
}

/// A running server with data of its own.
pub(crate) struct Deployment {
    server: ServerProcess,
    address: SocketAddr,
    log: PathBuf,
    data: Data,
}

impl Deployment {
    /// Starts a server on fresh data, with its default settings. It logs into a file, as services do: the line is part
    /// of what a request costs.
    pub(crate) async fn start(program: &Path, backend: Backend, redis: Option<&str>) -> anyhow::Result<Self> {
        let data = Data::fresh(backend).await?;
        let log = data.files.path().join("log");
        let (arguments, environment) = data.settings(redis);
        // The shell becomes the server, so the process keeps its id.
        let mut shell = vec!["-c".into(), r#"exec "$@" 2>>"$0""#.into(), log.clone().into_os_string()];
        shell.push(program.as_os_str().to_owned());
        shell.extend(arguments.into_iter().map(Into::into));
        let server = ServerProcess::start("/bin/sh", shell, environment).await;
        let address = server.url().strip_prefix("http://").context("the server has no http URL")?.parse()?;
        Ok(Self { server, address, log, data })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's process id.
    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }

    /// The driver on the store that the server uses.
    pub(crate) async fn raw(&self) -> anyhow::Result<Raw> {
        match &self.data.database {
            None => Raw::sqlite(&self.data.files.path().join("data/agentex.db")).await,
            Some(database) => Raw::postgres(database.url()).await,
        }
    }

    /// Makes a request and reads the JSON of its answer, which must be a 200.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = http::with_json(method, path, body);
        http::call(self.address, &request).await.with_context(|| format!("{method} {path}"))
    }

    /// Registers an agent and answers its id.
    pub(crate) async fn register(&self, name: &str, acp_type: &str, url: &str) -> anyhow::Result<String> {
        let body = json!({"name": name, "description": "Answers at once", "acp_url": url, "acp_type": acp_type});
        let agent = self.call("POST", "/agents/register", &body).await?;
        Ok(agent["id"].as_str().context("an agent without id")?.to_owned())
    }

    /// Creates a task of the agent and answers its id.
    pub(crate) async fn task(&self, agent_id: &str) -> anyhow::Result<String> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {}});
        let answer = self.call("POST", &format!("/agents/{agent_id}/rpc"), &body).await?;
        Ok(answer["result"]["id"].as_str().with_context(|| format!("no task: {answer}"))?.to_owned())
    }

    /// Forgets what the server logged so far; it goes on at the beginning of the file.
    pub(crate) fn empty_log(&self) -> anyhow::Result<()> {
        std::fs::File::options().write(true).truncate(true).open(&self.log)?;
        Ok(())
    }

    /// Stops the server. It must end by itself, with success.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let code = tokio::time::timeout(Duration::from_secs(40), self.server.terminate()).await?;
        let log = || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(20)..].join("\n")
        };
        ensure!(code == Some(0), "the server ended with {code:?}:\n{}", log());
        Ok(())
    }
}
