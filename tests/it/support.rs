//! The programs a whole-system test runs: our server on each preset, and agents and clients of the public SDK.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentex_testkit::server_process::ServerProcess;
use agentex_testkit::services::postgres::{self, TestDatabase};
use agentex_testkit::services::redis::{self, TestRedis};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

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
}

impl Deployment {
    /// The binary alone.
    pub(crate) async fn embedded() -> Self {
        let data = TempDir::new().unwrap();
        let server = serve(&["--data-dir", &data.path().display().to_string()], &[]).await;
        Self { servers: vec![server], redis: None, _database: None, data }
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
        Self { servers, redis, _database: Some(database), data }
    }

    /// The first server's URL.
    pub(crate) fn url(&self) -> String {
        self.servers[0].url().to_owned()
    }

    /// Kills the embedded server without warning and starts another on its data.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.servers.remove(0).kill9();
        let data = self.data.path().display().to_string();
        self.servers.push(serve(&["--data-dir", &data], &[]).await);
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
    fn python(self) -> Command {
        let tools = std::env::var_os("AGENTEX_TOOLS_DIR").map_or_else(|| repository().join(".tools"), PathBuf::from);
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

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A running agent of the SDK. Ends with the value.
pub(crate) struct SdkAgent {
    pub(crate) name: &'static str,
    _process: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl SdkAgent {
    /// Starts `tests/sdk/agents/<program>` against a server and waits until it has registered and listens.
    pub(crate) async fn start(sdk: Sdk, program: &str, name: &'static str, deployment: &Deployment) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = sdk.python();
        command
            .arg(repository().join("tests/sdk/agents").join(program))
            .args(["--port", &port.to_string()])
            .env("AGENTEX_BASE_URL", deployment.url())
            .env("AGENT_NAME", name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // Without Redis an agent of the SDK logs that it cannot publish and goes on: port 1 refuses at once.
        command.env("REDIS_URL", deployment.redis.as_ref().map_or("redis://127.0.0.1:1", TestRedis::url));
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(Duration::from_secs(150), output.next_line()).await;
        match ready {
            Ok(Ok(Some(line))) if line == "READY" => Self { name, _process: process, _output: output },
            other => panic!("{program} did not start: {other:?}"),
        }
    }
}

/// Runs `tests/sdk/client.py` and reads its answer.
pub(crate) async fn sdk_client(sdk: Sdk, url: &str, command: &str, arguments: &[&str]) -> Value {
    let output = sdk
        .python()
        .arg(repository().join("tests/sdk/client.py"))
        .args([command, "--base-url", url])
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    assert!(output.status.success(), "{command} {arguments:?}: {answer:#}");
    answer
}
