//! Running the program.

use std::process::{Command, Output};

use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::http_client::HttpClient;
use agentex_testkit::server_process::ServerProcess;
use serde_json::{Value, json};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_agentex");

/// What the program said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program to its end with this environment and no other.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().envs(environment.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ended {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A temporary folder for data, and its name as an argument.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Does not exist yet.
    pub(crate) fn data(&self) -> String {
        self.0.path().join("data").to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A server on a free port with its data in `folder`.
pub(crate) async fn serve(folder: &Folder, more: &[&str]) -> ServerProcess {
    serve_with(folder, more, &[]).await
}

pub(crate) async fn serve_with(folder: &Folder, more: &[&str], environment: &[(&str, &str)]) -> ServerProcess {
    let data = folder.data();
    let arguments = ["serve", "--port", "0", "--data-dir", &data].into_iter().chain(more.iter().copied());
    // The environment of the test is passed on, so what could be set in it is unset.
    let unset = [
        "DATABASE_URL",
        "REDIS_URL",
        "RUST_LOG",
        "ENVIRONMENT",
        "AGENTEX_CONFIG",
        "AGENTEX_AUTH_URL",
        "AGENTEX_AUTHZ_BACKEND",
        "AGENTEX_SECRETS_KEY",
    ];
    let environment = unset.map(|name| (name, "")).into_iter().chain(environment.iter().copied());
    ServerProcess::start(PROGRAM, arguments, environment).await
}

/// Registers `agent` as a synchronous agent and gives its registration.
pub(crate) async fn register(client: &HttpClient, agent: &FakeAgent) -> Value {
    let body = json!({
        "name": "echo",
        "description": "says it again",
        "acp_url": agent.url(),
        "acp_type": "sync",
    });
    client.post("/agents/register", &body).await.expect(200)
}

/// A call to the agent `echo`.
pub(crate) fn call(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// Creates a task of the agent `echo` and gives its id.
pub(crate) async fn create_task(client: &HttpClient) -> String {
    let created = client.post("/agents/name/echo/rpc", &call("task/create", &json!({}))).await.expect(200);
    created["result"]["id"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned()
}
