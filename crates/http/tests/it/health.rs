use std::sync::Arc;

use crate::support::{FixedProbe, ProbeAnswer, Setup, World, impatient};

async fn with_probe(answer: ProbeAnswer) -> World {
    World::with(Setup {
        probes: vec![Arc::new(FixedProbe("redis", answer))],
        settings: impatient(),
        authenticated: true,
        ..Setup::default()
    })
    .await
}

/// conventions §11: 1, 2
#[tokio::test]
async fn liveness_asks_nobody() {
    let world = with_probe(ProbeAnswer::Silent).await;

    let answer = world.serve().await.get("/healthz").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some("15"));
}

/// Nobody authenticates.
/// conventions §11: 3, 6, 8
#[tokio::test]
async fn readiness_reports_every_dependency() {
    let world = with_probe(ProbeAnswer::Fine).await;

    for path in ["/readyz", "/healthcheck"] {
        let answer = world.get(path).await.ok();
        assert_eq!(answer["status"], "ok");
        assert_eq!(answer["checks"]["redis"], serde_json::json!({"healthy": true}));
        assert_eq!(answer["checks"]["sqlite"], serde_json::json!({"healthy": true}));
    }
}

/// conventions §11: 4, 5
#[tokio::test]
async fn a_broken_dependency_degrades() {
    for (probe, error) in
        [(ProbeAnswer::Broken("connection refused"), "connection refused"), (ProbeAnswer::Silent, "Connection timeout")]
    {
        let world = with_probe(probe).await;

        let answer = world.get("/readyz").await.expect(503);

        assert_eq!(answer["status"], "degraded");
        assert_eq!(answer["checks"]["redis"], serde_json::json!({"healthy": false, "error": error}));
        assert_eq!(answer["checks"]["sqlite"]["healthy"], true);
    }
}

/// The part of readiness.
/// conventions §11: 61
#[tokio::test]
async fn a_server_that_is_stopping_is_not_ready_but_alive() {
    let world = World::new().await;

    world.app.shutdown_token().cancel();

    assert_eq!(world.get("/readyz").await.expect(503)["status"], "draining");
    assert_eq!(world.get("/healthz").await.ok()["status"], "ok");
}

/// conventions §11: 7
#[tokio::test]
async fn only_get_is_answered() {
    let world = World::new().await;

    for (method, path) in [("POST", "/healthz"), ("HEAD", "/readyz"), ("OPTIONS", "/healthcheck")] {
        let answer = world.call(method, path, &[], None).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("GET")), "{method} {path}");
        assert!(answer.body.is_empty());
        assert!(answer.header("x-request-id").is_some());
    }
}
