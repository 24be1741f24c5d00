//! A server that runs.

use std::time::Duration;

use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::http_client::HttpClient;
use serde_json::json;

use crate::program::{Folder, create_task, register, run, serve};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_server_says_where_in_one_line_and_is_healthy() {
    let folder = Folder::new();
    let mut server = serve(&folder, &["--log", "error"]).await;
    let client = HttpClient::new(server.url());

    assert_eq!(client.get("/healthz").await.expect(200), json!({ "status": "ok" }));
    let ready = client.get("/readyz").await.expect(200);
    assert_eq!(ready, json!({ "status": "ok", "checks": { "sqlite": { "healthy": true } } }));
    assert_eq!(client.get("/healthcheck").await.expect(200), ready);
    assert_eq!(client.get("/openapi.json").await.expect(200)["info"]["title"], "Agentex API");

    let expected = format!(
        "agentex {} listening on {} (store: sqlite, streams: in-process, authorization: disabled)\n",
        env!("CARGO_PKG_VERSION"),
        server.url()
    );
    assert_eq!(server.terminate().await, Some(0));
    assert_eq!(server.output(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_without_authorization_is_logged_loudly_and_once() {
    let folder = Folder::new();
    let server = serve(&folder, &["--log-format=json"]).await;

    let line = server.wrote("authorization is disabled", SOON).await;

    assert!(line.contains(r#""level":"WARN""#), "{line}");
    assert_eq!(server.output().matches("authorization is disabled").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_logged_as_json_with_the_id_that_the_caller_gets_back() {
    let folder = Folder::new();
    let server = serve(&folder, &["--log-format", "json"]).await;
    let client = HttpClient::new(server.url()).with_header("x-request-id", "my-request-7");

    let answer = client.get("/agents?page_number=1&api_key=s3cret").await;

    assert_eq!(answer.header("x-request-id"), Some("my-request-7"));
    let line = server.wrote("my-request-7", SOON).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["route"], &line["status"], &line["message"]),
        (&json!("/agents"), &json!(200), &json!("request"))
    );
    assert!(!server.output().contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_beside_the_api_on_loopback_unless_switched_off() {
    let folder = Folder::new();
    let on = serve(&folder, &[]).await;
    let client = HttpClient::new(on.url());
    let _ = client.get("/agents").await.expect(200);

    let metrics = client.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    assert!(text.contains("# TYPE agentex_http_request_seconds histogram"), "{text}");
    assert!(text.contains(r#"le="0.005""#) && text.contains(r#"route="/agents""#), "{text}");

    let folder = Folder::new();
    let off = serve(&folder, &["--metrics=false"]).await;
    assert_eq!(HttpClient::new(off.url()).get("/metrics").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_can_have_a_listener_of_their_own() {
    let folder = Folder::new();
    let server = serve(&folder, &["--metrics-listen", "127.0.0.1:0", "--log-format=json"]).await;
    let line: serde_json::Value = serde_json::from_str(&server.wrote("serving metrics", SOON).await).unwrap();
    let base = line["url"].as_str().unwrap().strip_suffix("/metrics").unwrap();

    let client = HttpClient::new(server.url());
    let _ = client.get("/agents").await.expect(200);
    assert_eq!(client.get("/metrics").await.status, 404);
    let metrics = HttpClient::new(base);
    assert!(metrics.get("/metrics").await.text().contains("agentex_http_request_seconds"));
    assert_eq!(metrics.get("/agents").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_crash_and_so_do_the_keys() {
    let folder = Folder::new();
    let agent = FakeAgent::start().await;
    let mut server = serve(&folder, &[]).await;
    let client = HttpClient::new(server.url());
    let registered = register(&client, &agent).await;
    let task = create_task(&client).await;

    server.kill9();

    let server = serve(&folder, &[]).await;
    let client = HttpClient::new(server.url());
    assert_eq!(client.get("/agents/name/echo").await.expect(200)["id"], registered["id"]);
    assert_eq!(client.get(&format!("/tasks/{task}")).await.expect(200)["status"], "RUNNING");
    // The key is sealed in the database, so this also shows that it is opened with the same secret.
    assert_eq!(register(&client, &agent).await["agent_api_key"], registered["agent_api_key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused_and_does_not_disturb_the_first() {
    let folder = Folder::new();
    let mut server = serve(&folder, &[]).await;

    let refused = run(&["serve", "--port", "0", "--data-dir", &folder.data(), "--log", "error"], &[]);

    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert_eq!(refused.err.lines().count(), 1, "{}", refused.err);
    assert!(refused.err.contains("in use by another agentex process"), "{}", refused.err);
    let _ = HttpClient::new(server.url()).get("/readyz").await.expect(200);
    assert_eq!(server.terminate().await, Some(0));
    assert_eq!(serve(&folder, &[]).await.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_and_limits_come_from_the_configuration() {
    let folder = Folder::new();
    let text = "[server]\nallowed_origins = [\"https://a.example\"]\nmax_body_bytes = 100\n";
    let file = folder.file("agentex.toml", text);
    let server = serve(&folder, &["--config", &file]).await;

    let page = |origin: &str| HttpClient::new(server.url()).with_header("origin", origin);
    let allowed = page("https://a.example").get("/agents").await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(page("https://b.example").get("/agents").await.header("access-control-allow-origin"), None);
    let large = json!({ "name": "x".repeat(200) });
    assert_eq!(page("https://a.example").post("/agents/register", &large).await.status, 413);
}
