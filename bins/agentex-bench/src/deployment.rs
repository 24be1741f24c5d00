//! The server under test.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentex_testkit::server_process::ServerProcess;
use agentex_testkit::services::postgres::{self, TestDatabase};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Connection};
use crate::load::{Target, TaskCycle};
use crate::raw::Raw;

/// Variables that would make a server another one than is meant to be measured.
const DEPLOYMENT_VARIABLES: [&str; 6] = [
    "DATABASE_URL",
    "REDIS_URL",
    "READ_ONLY_DATABASE_URL",
    "AGENTEX_AUTHZ_BACKEND",
    "AGENTEX_AUTH_URL",
    "AGENTEX_TOKENS_FILE",
];

/// Who can call a server with authorization: the owner of everything that is made over HTTP, somebody who may read
/// other tasks, and somebody who may read nothing but very old ones.
pub(crate) const USERS: [&str; 3] = [OWNER, "reader", "hermit"];
pub(crate) const OWNER: &str = "owner";
/// The one account there is.
pub(crate) const ACCOUNT: &str = "acme";

/// The bearer token of one of [`USERS`].
pub(crate) fn token(user: &str) -> String {
    format!("{user}-0123456789abcdef")
}

/// Who decides on the server that is measured, and who says who is calling.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Authorization<'a> {
    /// Everybody may do everything.
    Off,
    /// The server, over relationships in its store; static tokens.
    Local,
    /// The auth provider with this URL, in both respects.
    Provider(&'a str),
}

/// Where the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
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
    fn settings(&self) -> (Vec<String>, Vec<(&'static str, String)>) {
        let folder = self.files.path().join("data").display().to_string();
        let arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", &folder].map(str::to_owned);
        let database = self.database.as_ref().map(|database| ("DATABASE_URL", database.url().to_owned()));
        (arguments.into(), database.into_iter().collect())
    }

    /// What switches authorization on.
    fn authorization(&self, authorization: Authorization<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
        Ok(match authorization {
            Authorization::Off => Vec::new(),
            Authorization::Local => {
                let file = self.files.path().join("tokens.toml");
                let tokens = USERS.map(|user| {
                    let token = token(user);
                    format!("[[token]]\ntoken = \"{token}\"\nuser_id = \"{user}\"\naccounts = [\"{ACCOUNT}\"]\n")
                });
                std::fs::write(&file, tokens.concat())?;
                let file = file.display().to_string();
                vec![("AGENTEX_AUTHZ_BACKEND", "local".to_owned()), ("AGENTEX_TOKENS_FILE", file)]
            }
            Authorization::Provider(url) => vec![("AGENTEX_AUTH_URL", url.to_owned())],
        })
    }

    /// Starts a server as a user would, and returns when it says that it is ready.
    pub(crate) async fn start(&self, program: &Path) -> ServerProcess {
        let (arguments, environment) = self.settings();
        ServerProcess::start(program, arguments, environment).await
    }

    /// Where the rows are.
    pub(crate) fn place(&self) -> Place<'_> {
        match &self.database {
            None => Place::Sqlite(self.files.path().join("data/agentex.db")),
            Some(database) => Place::Postgres(database.url()),
        }
    }
}

/// The database of a server.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// A file.
    Sqlite(PathBuf),
    /// A URL.
    Postgres(&'a str),
}

/// A running server with data of its own.
pub(crate) struct Deployment {
    server: ServerProcess,
    address: SocketAddr,
    log: PathBuf,
    /// Of whoever calls, where somebody asks.
    token: Option<String>,
    data: Data,
}

impl Deployment {
    /// Starts a server on fresh data, with its default settings.
    pub(crate) async fn start(program: &Path, backend: Backend, redis: Option<&str>) -> anyhow::Result<Self> {
        let redis = redis.map(|url| ("REDIS_URL", url.to_owned()));
        Self::spawn(program, Data::fresh(backend).await?, redis.into_iter().collect(), None).await
    }

    /// Starts a server on data that may have rows already. Where somebody asks, the caller is [`OWNER`].
    pub(crate) async fn on(data: Data, program: &Path, authorization: Authorization<'_>) -> anyhow::Result<Self> {
        let environment = data.authorization(authorization)?;
        let token = (!environment.is_empty()).then(|| token(OWNER));
        Self::spawn(program, data, environment, token).await
    }

    async fn spawn(
        program: &Path,
        data: Data,
        more: Vec<(&'static str, String)>,
        token: Option<String>,
    ) -> anyhow::Result<Self> {
        let log = data.files.path().join("log");
        let server = serve(program, &data, &log, more).await;
        let address = server.url().strip_prefix("http://").context("the server has no http URL")?.parse()?;
        Ok(Self { server, address, log, token, data })
    }

    /// Another process on the same database, with the same Redis. It does what comes due as the first one does, and ends
    /// with the value.
    pub(crate) async fn replica(&self, program: &Path, redis: &str) -> ServerProcess {
        let log = self.data.files.path().join("log-of-replica");
        serve(program, &self.data, &log, vec![("REDIS_URL", redis.to_owned())]).await
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
        match self.data.place() {
            Place::Sqlite(file) => Raw::sqlite(&file).await,
            Place::Postgres(url) => Raw::postgres(url).await,
        }
    }

    /// The database itself.
    pub(crate) fn place(&self) -> Place<'_> {
        self.data.place()
    }

    /// From now on [`USERS`] call as this one.
    pub(crate) fn call_as(&mut self, user: &str) {
        self.token = Some(token(user));
    }

    /// The request as the caller makes it.
    pub(crate) fn as_caller(&self, request: &Bytes) -> Bytes {
        self.token.as_ref().map_or_else(|| request.clone(), |token| http::with_token(request, token))
    }

    /// The request as a load, whose good answers all have `expected` in them.
    pub(crate) fn target(&self, request: &Bytes, expected: &'static str) -> Target {
        Target { address: self.address, request: self.as_caller(request), expected }
    }

    /// Creating and deleting tasks of an agent as a load.
    pub(crate) fn task_cycle(&self, agent_id: &str) -> TaskCycle {
        TaskCycle { address: self.address, create: self.as_caller(&create_task(agent_id)), token: self.token.clone() }
    }

    /// Makes a request and reads the JSON of its answer, which must be a 200.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.as_caller(&http::with_json(method, path, body));
        http::call(self.address, &request).await.with_context(|| format!("{method} {path}"))
    }

    /// The metrics as text.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let text = Connection::open(self.address).await?.exchange(&http::get("/metrics")).await?;
        Ok(String::from_utf8(text.into())?)
    }

    /// Registers an agent and answers its id.
    pub(crate) async fn register(&self, name: &str, acp_type: &str, url: &str) -> anyhow::Result<String> {
        let body = json!({"name": name, "description": "Answers at once", "acp_url": url, "acp_type": acp_type});
        let agent = self.call("POST", "/agents/register", &body).await?;
        Ok(agent["id"].as_str().context("an agent without id")?.to_owned())
    }

    /// Creates a task of the agent and answers its id.
    pub(crate) async fn task(&self, agent_id: &str) -> anyhow::Result<String> {
        let request = self.as_caller(&create_task(agent_id));
        let answer = http::call(self.address, &request).await.context("task/create")?;
        Ok(answer["result"]["id"].as_str().with_context(|| format!("no task: {answer}"))?.to_owned())
    }

    /// Forgets what the server logged so far; it goes on at the beginning of the file.
    pub(crate) fn empty_log(&self) -> anyhow::Result<()> {
        std::fs::File::options().write(true).truncate(true).open(&self.log)?;
        Ok(())
    }

    /// Stops the server and answers its data. It must end by itself, with success.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Data> {
        let code = tokio::time::timeout(Duration::from_secs(40), self.server.terminate()).await?;
        let log = || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(20)..].join("\n")
        };
        ensure!(code == Some(0), "the server ended with {code:?}:\n{}", log());
        Ok(self.data)
    }
}

/// A server on the data. It logs into a file, as services do: the line is part of what a request costs.
async fn serve(program: &Path, data: &Data, log: &Path, more: Vec<(&'static str, String)>) -> ServerProcess {
    let (arguments, mut environment) = data.settings();
    environment.extend(more);
    // The shell becomes the server, so the process keeps its id.
    let mut shell = vec!["-c".into(), r#"exec "$@" 2>>"$0""#.into(), log.as_os_str().to_owned()];
    shell.push(program.as_os_str().to_owned());
    shell.extend(arguments.into_iter().map(Into::into));
    ServerProcess::start("/bin/sh", shell, environment).await
}

/// The request that creates a task of the agent.
fn create_task(agent_id: &str) -> Bytes {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {}});
    http::with_json("POST", &format!("/agents/{agent_id}/rpc"), &body)
}
