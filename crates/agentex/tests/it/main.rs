//! The facade as an embedder uses it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap in a test, or what tests share, is a failed test")]

mod authorization;
mod gateways;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use agentex::app::{AgentSelector, Caller, SecretsKey};
use agentex::{Agentex, BuildError};
use agentex_testkit::TestClock;
use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::http_client::HttpClient;
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn embedded(folder: &TempDir) -> Agentex {
    Agentex::builder().embedded(folder.path()).build().await.unwrap()
}

/// Serves `router` until the test ends and says where.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

pub(crate) async fn register(client: &HttpClient, agent: &FakeAgent) -> Value {
    let body = json!({ "name": "echo", "description": "d", "acp_url": agent.url(), "acp_type": "sync" });
    client.post("/agents/register", &body).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_under_a_path_of_another_service() {
    let folder = folder();
    let agentex = embedded(&folder).await;
    let service = Router::new().route("/hello", get(|| async { "hello" })).nest("/agents-api", agentex.router());
    let url = serve(service).await;
    let (outside, inside) = (HttpClient::new(url.as_str()), HttpClient::new(format!("{url}/agents-api")));

    let agent = FakeAgent::start().await;
    let registered = register(&inside, &agent).await;

    assert_eq!(outside.get("/hello").await.text(), "hello");
    assert_eq!(inside.get("/readyz").await.expect(200)["status"], "ok");
    assert_eq!(inside.get("/agents").await.expect(200)[0]["id"], registered["id"]);
    assert_eq!(outside.get("/agents").await.status, 404);
    let by_use_case = agentex.app().agents.get(&Caller::Anonymous, &AgentSelector::Name("echo".into())).await.unwrap();
    assert_eq!(registered["id"], by_use_case.id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_closes_the_store_and_lets_the_next_one_in() {
    let folder = folder();
    let first = embedded(&folder).await;
    let url = serve(first.router()).await;
    let agent = FakeAgent::start().await;
    let registered = register(&HttpClient::new(url.as_str()), &agent).await;
    assert!(matches!(Agentex::builder().embedded(folder.path()).build().await, Err(BuildError::InUse { .. })));

    first.worker().drained(Duration::from_secs(10)).await.unwrap();

    assert_eq!(HttpClient::new(url.as_str()).get("/readyz").await.status, 503);
    let second = embedded(&folder).await;
    let client = HttpClient::new(serve(second.router()).await);
    assert_eq!(register(&client, &agent).await["agent_api_key"], registered["agent_api_key"], "the key was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_ends_streams_and_turns_readiness_off() {
    let folder = folder();
    let agentex = embedded(&folder).await;
    let client = HttpClient::new(serve(agentex.router()).await);
    let agent = FakeAgent::start().await;
    register(&client, &agent).await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {} });
    let created = client.post("/agents/name/echo/rpc", &call).await.expect(200);
    let path = format!("/tasks/{}/stream", created["result"]["id"].as_str().unwrap());
    let mut stream = client.events(&path).await;
    assert_eq!(stream.next_json().await["type"], "connected");

    agentex.worker().shutdown();

    while stream.next().await.is_some() {}
    assert_eq!(client.get("/readyz").await.status, 503);
    let _ = client.get("/agents").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_is_a_step_of_its_own_when_it_should_be() {
    let folder = folder();
    let builder = || Agentex::builder().embedded(folder.path()).migrate_on_start(false);

    let unmigrated = builder().build().await.unwrap();
    let refused = unmigrated.app().agents.get(&Caller::Anonymous, &AgentSelector::Name("echo".into())).await;
    assert!(refused.is_err_and(|error| !matches!(error, agentex::app::Error::NotFound(_))));
    unmigrated.worker().drained(Duration::from_secs(10)).await.unwrap();

    assert!(builder().migrate().await.unwrap() > 0);
    assert_eq!(builder().migrate().await.unwrap(), 0);

    let migrated = builder().build().await.unwrap();
    let absent = migrated.app().agents.get(&Caller::Anonymous, &AgentSelector::Name("echo".into())).await;
    assert!(matches!(absent, Err(agentex::app::Error::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_and_the_key_are_the_embedders_when_given() {
    let folder = folder();
    let clock = Arc::new(TestClock::default());
    let key = SecretsKey::generate();
    let agentex = Agentex::builder()
        .embedded(folder.path())
        .clock(Arc::clone(&clock) as Arc<dyn agentex::domain::ports::Clock>)
        .secrets_key(key)
        .build()
        .await
        .unwrap();
    let client = HttpClient::new(serve(agentex.router()).await);

    let registered = register(&client, &FakeAgent::start().await).await;

    let now = serde_json::to_value(agentex::domain::ports::Clock::now(&*clock)).unwrap();
    assert_eq!(registered["created_at"], now);
    assert!(!folder.path().join("secrets.key").exists());
}

#[cfg(all(feature = "postgres", feature = "redis"))]
#[tokio::test(flavor = "multi_thread")]
async fn the_platform_preset_shares_tasks_and_streams_between_processes() {
    use agentex_testkit::services::{postgres::fresh_database, redis::redis};
    let (database, redis) = (fresh_database().await, redis().await);
    let build = || Agentex::builder().platform(database.url(), redis.url()).build();
    let (one, two) = (build().await.unwrap(), build().await.unwrap());
    let first = HttpClient::new(serve(one.router()).await);
    let second = HttpClient::new(serve(two.router()).await);
    let agent = FakeAgent::start().await;
    register(&first, &agent).await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {} });
    let created = first.post("/agents/name/echo/rpc", &call).await.expect(200);
    let task = created["result"]["id"].as_str().unwrap();
    let mut watched = second.events(&format!("/tasks/{task}/stream")).await;
    assert_eq!(watched.next_json().await["type"], "connected");

    let _ = first.post(&format!("/tasks/{task}/complete"), &json!({})).await.expect(200);

    let event = watched.next_json().await;
    assert_eq!(event["type"], "task_updated", "{event}");
    for agentex in [one, two] {
        agentex.worker().drained(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_named_without_its_url() {
    let errors = [
        Agentex::builder().standalone("postgres://u:s3cret@host:notaport/d").build().await.unwrap_err(),
        Agentex::builder().embedded(folder().path()).redis("nonsense s3cret").build().await.unwrap_err(),
    ];

    for (error, part) in errors.into_iter().zip(["PostgreSQL", "Redis"]) {
        let debug = format!("{error:?}");
        let shown = format!("{debug} {:#}", anyhow::Error::from(error));
        assert!(shown.contains(part) && !shown.contains("s3cret"), "{shown}");
    }
}
