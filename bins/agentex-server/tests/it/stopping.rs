//! How a server ends.

use std::time::Duration;

use agentex_testkit::fake_agent::{FakeAgent, Gate, Reply};
use agentex_testkit::http_client::HttpClient;
use serde_json::{Value, json};

use crate::program::{Folder, call, create_task, register, serve};

const SOON: Duration = Duration::from_secs(20);

/// A message that the agent `echo` has to answer.
fn message(task: &str) -> Value {
    let content = json!({ "type": "text", "author": "user", "content": "hello" });
    call("message/send", &json!({ "task_id": task, "content": content }))
}

/// What it answers once the gate is open.
fn reply(gate: &Gate) -> Reply {
    let content = json!({ "type": "text", "author": "agent", "content": "hello yourself" });
    Reply::updates([json!({ "type": "full", "index": 0, "content": content })]).after(gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_open_streams_and_exits_cleanly() {
    let folder = Folder::new();
    let agent = FakeAgent::start().await;
    let mut server = serve(&folder, &[]).await;
    let client = HttpClient::new(server.url());
    register(&client, &agent).await;
    let task = create_task(&client).await;
    let mut stream = client.events(&format!("/tasks/{task}/stream")).await;
    assert_eq!(stream.next_json().await["type"], "connected");

    server.ask_to_stop();

    while stream.next().await.is_some() {}
    assert_eq!(server.exit_code().await, Some(0));
}

/// Behaviour 61 of the conventions.
/// conventions §11: 61
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_turns_readiness_off_at_once_and_lets_requests_finish() {
    let folder = Folder::new();
    let agent = FakeAgent::start().await;
    let gate = Gate::closed();
    agent.on("message/send", reply(&gate));
    let mut server = serve(&folder, &[]).await;
    let client = HttpClient::new(server.url());
    register(&client, &agent).await;
    let task = create_task(&client).await;
    let asking = {
        let (client, task) = (HttpClient::new(server.url()), task.clone());
        tokio::spawn(async move { client.post("/agents/name/echo/rpc", &message(&task)).await })
    };
    gate.reached().await;

    server.ask_to_stop();
    server.wrote("draining", SOON).await;

    let probe = HttpClient::new(server.url()).get("/readyz").await;
    assert_eq!((probe.status, &probe.json()["status"]), (503, &json!("draining")));
    assert_eq!(HttpClient::new(server.url()).get("/healthz").await.status, 200);
    gate.open();
    let answered = asking.await.unwrap();
    assert_eq!(answered.status, 200, "{}", answered.text());
    assert_eq!(answered.json()["result"][0]["content"]["content"], "hello yourself", "{}", answered.text());
    assert_eq!(server.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let (_folder, mut server, gate) = busy(&[]).await;

    server.ask_to_stop();
    server.wrote("draining", SOON).await;
    server.ask_to_stop();

    assert_eq!(server.exit_code().await, Some(1));
    drop(gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_takes_no_longer_than_it_may() {
    let (_folder, mut server, gate) = busy(&["--drain-timeout", "0.2"]).await;

    assert_eq!(server.terminate().await, Some(1));
    assert!(server.output().contains("stopped before everything was finished"), "{}", server.output());
    drop(gate);
}

/// A server with a request that is not answered before the gate opens.
async fn busy(arguments: &[&str]) -> (Folder, agentex_testkit::server_process::ServerProcess, Gate) {
    let folder = Folder::new();
    let agent = FakeAgent::start().await;
    let gate = Gate::closed();
    agent.on("message/send", reply(&gate));
    let server = serve(&folder, arguments).await;
    let client = HttpClient::new(server.url());
    register(&client, &agent).await;
    let task = create_task(&client).await;
    tokio::spawn(async move {
        let _agent = agent;
        // The server dies under this request, which is the point.
        let _ = tokio::spawn(async move { client.post("/agents/name/echo/rpc", &message(&task)).await }).await;
    });
    gate.reached().await;
    (folder, server, gate)
}
