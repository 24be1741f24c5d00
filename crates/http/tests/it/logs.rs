use std::io::Write;
use std::sync::{Arc, Mutex};

use agentex_authz::AuthzError;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::World;

/// Everything logged on this thread, one JSON object per line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// One line per request with the request id, and nothing of what was sent.
/// conventions §11: 49, 51, 52
#[tokio::test]
async fn requests_are_logged_without_what_they_say() {
    let world = World::new().await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let headers = [("authorization", "Bearer s3cret-header"), ("x-request-id", "abc-1")];
    let body = json!({"name": "s3cret-body", "a": {"password": "s3cret-body"}}).to_string();
    world.call("POST", "/agents/register?x=s3cret-query", &headers, Some(&body)).await.invalid();
    world.get("/s3cret-path").await;
    world.get("/healthz").await;

    let requests: Vec<Value> = log.lines().into_iter().filter(|line| line["fields"]["message"] == "request").collect();
    assert_eq!(requests.len(), 2, "health is not logged");
    let first = &requests[0];
    assert_eq!((&first["fields"]["method"], &first["fields"]["status"]), (&json!("POST"), &json!(422)));
    assert_eq!(first["fields"]["route"], "/agents/register");
    assert_eq!(first["span"]["request_id"], "abc-1");
    assert!(first["fields"]["ms"].is_u64());
    assert_eq!(requests[1]["fields"]["route"], "unmatched");
    assert!(!log.text().contains("s3cret"), "{}", log.text());
}

/// The cause of a 5xx is in the log, once, with the id the caller was given, and nowhere else.
#[tokio::test]
async fn a_failure_is_logged_once_with_its_cause() {
    let world = World::new().await;
    world.agent("a", "sync", "http://a:1").await;
    world.rules.fail(|| AuthzError::Unavailable("10.0.0.7 refused".into()));
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let answer = world.get_with("/agents/name/a", &[("x-request-id", "abc-2")]).await;

    let failures: Vec<Value> =
        log.lines().into_iter().filter(|line| line["fields"]["message"] == "request failed").collect();
    assert_eq!(failures.len(), 1);
    assert!(failures[0]["fields"]["error"].as_str().unwrap().ends_with("10.0.0.7 refused"));
    assert!(log.text().contains(r#""request_id":"abc-2""#));
    assert!(!answer.text().contains("10.0.0.7"));
}
