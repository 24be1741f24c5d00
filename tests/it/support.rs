//! The programs a whole-system test runs: our server on each preset, and agents and clients of the public SDK.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentex_testkit::http_client::HttpClient;
use agentex_testkit::server_process::ServerProcess;
use agentex_testkit::services::postgres::{self, TestDatabase};
use agentex_testkit::services::redis::{self, TestRedis};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long an agent may take until it listens: its imports alone take a core for a quarter of a minute.
const AGENT_STARTS: Duration = Duration::from_secs(150);

/// The server binary of this build.
pub(crate) fn server_binary() -> PathBuf {
    // target/<profile>/deps/it-<hash> → target/<profile>/agentex
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().and_then(Path::parent).unwrap().join("agentex");
    assert!(binary.exists(), "the server is not built: run `cargo build --workspace` (scripts/test does)");
    binary
}

/// A deployment of the product: one or more servers over one store.
pub(crate) struct Deployment {
    pub(crate) servers: Vec<ServerProcess>,
    pub(crate) redis: Option<TestRedis>,
    _database: Option<TestDatabase>,
    data: TempDir,
    environment: Vec<(String, String)>,
}

impl Deployment {
    /// Servers that a test has started itself.
    pub(crate) fn of(servers: Vec<ServerProcess>) -> Self {
        let data = TempDir::new().unwrap();
        Self { servers, redis: None, _database: None, data, environment: Vec::new() }
    }

    /// The binary alone.
    pub(crate) async fn embedded() -> Self {
        Self::embedded_with(&[]).await
    }

    /// The binary alone, with more settings.
    pub(crate) async fn embedded_with(environment: &[(&str, &str)]) -> Self {
        let data = TempDir::new().unwrap();
        let server = serve(&["--data-dir", &data.path().display().to_string()], environment).await;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { servers: vec![server], redis: None, _database: None, data, environment }
    }

    /// PostgreSQL, streams in the process.
    pub(crate) async fn postgres() -> Self {
        Self::over_postgres(None, 1).await
    }

    /// PostgreSQL and Redis, two servers.
    pub(crate) async fn replicas() -> Self {
        Self::over_postgres(Some(redis::redis().await), 2).await
    }

    async fn over_postgres(redis: Option<TestRedis>, count: usize) -> Self {
        let data = TempDir::new().unwrap();
        let database = postgres::fresh_database().await;
        let mut servers = Vec::new();
        for index in 0..count {
            let dir = data.path().join(index.to_string()).display().to_string();
            let mut environment = vec![("DATABASE_URL", database.url())];
            if let Some(redis) = &redis {
                environment.push(("REDIS_URL", redis.url()));
            }
            servers.push(serve(&["--data-dir", &dir], &environment).await);
        }
        Self { servers, redis, _database: Some(database), data, environment: Vec::new() }
    }

    /// The first server's URL.
    pub(crate) fn url(&self) -> String {
        self.servers[0].url().to_owned()
    }

    /// Kills the embedded server without warning and starts another on its data.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.servers.remove(0).kill9();
        let data = self.data.path().display().to_string();
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.servers.push(serve(&["--data-dir", &data], &environment).await);
    }
}

async fn serve(arguments: &[&str], environment: &[(&str, &str)]) -> ServerProcess {
    let mut all = vec!["serve", "--host", "127.0.0.1", "--port", "0"];
    all.extend_from_slice(arguments);
    ServerProcess::start(server_binary(), all, environment.iter().copied()).await
}

/// A release of the public SDK.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sdk {
    Newest,
    Oldest,
}

impl Sdk {
    /// The environment's Python, ready for arguments.
    pub(crate) fn python(self) -> Command {
        let tools = tools();
        let name = match self {
            Self::Newest => "sdk-venv",
            Self::Oldest => "sdk-venv-oldest",
        };
        let python = tools.join(name).join("bin/python");
        assert!(python.exists(), "{} is missing: run `scripts/setup-sdk`", python.display());
        let mut command = Command::new(python);
        if tools.join(name).join(".optimized").exists() {
            command.env("PYTHONOPTIMIZE", "1");
        }
        command
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where `scripts/setup-sdk` puts things.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("AGENTEX_TOOLS_DIR").map_or_else(|| repository().join(".tools"), PathBuf::from)
}

/// A running agent of the SDK. Ends with the value.
pub(crate) struct SdkAgent {
    pub(crate) name: &'static str,
    /// Where the server calls it.
    pub(crate) url: String,
    _process: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl SdkAgent {
    /// Starts `tests/sdk/agents/<program>` against a server and waits until it has registered and listens.
    pub(crate) async fn start(sdk: Sdk, program: &str, name: &'static str, deployment: &Deployment) -> Self {
        Self::start_with(sdk, program, name, deployment, &[]).await
    }

    /// The same with more in its environment, which goes before what it has otherwise.
    pub(crate) async fn start_with(
        sdk: Sdk,
        program: &str,
        name: &'static str,
        deployment: &Deployment,
        environment: &[(&str, &str)],
    ) -> Self {
        let (mut command, url) = agent_command(sdk, program, name, deployment, environment);
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        match tokio::time::timeout(AGENT_STARTS, output.next_line()).await {
            Ok(Ok(Some(line))) if line == "READY" => Self { name, url, _process: process, _output: output },
            other => panic!("{program} did not start: {other:?}"),
        }
    }

    /// Starts an agent that does not get to work, and gives its exit code and what it printed.
    pub(crate) async fn fail_to_start(
        sdk: Sdk,
        program: &str,
        name: &'static str,
        deployment: &Deployment,
    ) -> (Option<i32>, String) {
        let (mut command, _) = agent_command(sdk, program, name, deployment, &[]);
        let ended = tokio::time::timeout(AGENT_STARTS, command.output()).await.expect("the agent gives up").unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
    }
}

/// An agent ready to start, and where it will listen.
fn agent_command(
    sdk: Sdk,
    program: &str,
    name: &str,
    deployment: &Deployment,
    environment: &[(&str, &str)],
) -> (Command, String) {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut command = sdk.python();
    command
        .arg(repository().join("tests/sdk/agents").join(program))
        .args(["--port", &port.to_string()])
        .env("AGENTEX_BASE_URL", deployment.url())
        .env("AGENT_NAME", name)
        // Without Redis an agent of the SDK logs that it cannot publish and goes on: port 1 refuses at once.
        .env("REDIS_URL", deployment.redis.as_ref().map_or("redis://127.0.0.1:1", TestRedis::url))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    (command, format!("http://127.0.0.1:{port}"))
}

/// Somebody at a server, with the SDK or without.
pub(crate) struct User {
    sdk: Sdk,
    url: String,
    token: Option<&'static str>,
}

impl User {
    /// Without credentials.
    pub(crate) fn nobody(sdk: Sdk, deployment: &Deployment) -> Self {
        Self { sdk, url: deployment.url(), token: None }
    }

    /// With a bearer token.
    pub(crate) fn with_token(sdk: Sdk, deployment: &Deployment, token: &'static str) -> Self {
        Self { sdk, url: deployment.url(), token: Some(token) }
    }

    /// The same user at another server of the deployment.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self { sdk: self.sdk, url: url.to_owned(), token: self.token }
    }

    /// A client that sends the user's credentials.
    pub(crate) fn http(&self) -> HttpClient {
        let client = HttpClient::new(&self.url);
        match self.token {
            Some(token) => client.with_header("authorization", &format!("Bearer {token}")),
            None => client,
        }
    }

    /// Runs `tests/sdk/client.py` and reads its answer.
    pub(crate) async fn sdk(&self, command: &str, arguments: &[&str]) -> Value {
        let (done, answer) = self.run(command, arguments).await;
        assert!(done, "{command} {arguments:?}: {answer:#}");
        answer
    }

    /// Runs `tests/sdk/client.py` for a command that the server refuses, and reads what the SDK made of it.
    pub(crate) async fn refused(&self, command: &str, arguments: &[&str]) -> Value {
        let (done, answer) = self.run(command, arguments).await;
        assert!(!done, "{command} {arguments:?}: {answer:#}");
        answer["error"].clone()
    }

    /// Runs a program of `tests/sdk` with the SDK against the server, and reads its answer.
    pub(crate) async fn program(&self, program: &str, arguments: &[&str]) -> Value {
        let (done, answer) = self.start(program, &[&["--base-url", &self.url], arguments].concat()).await;
        assert!(done, "{program} {arguments:?}: {answer:#}");
        answer
    }

    async fn run(&self, command: &str, arguments: &[&str]) -> (bool, Value) {
        self.start("client.py", &[&[command, "--base-url", &self.url], arguments].concat()).await
    }

    async fn start(&self, program: &str, arguments: &[&str]) -> (bool, Value) {
        let mut client = self.sdk.python();
        client.arg(repository().join("tests/sdk").join(program)).args(arguments).kill_on_drop(true);
        if let Some(token) = self.token {
            client.env("AGENTEX_SDK_API_KEY", token);
        }
        let output = client.output().await.unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        });
        (output.status.success(), answer)
    }
}
