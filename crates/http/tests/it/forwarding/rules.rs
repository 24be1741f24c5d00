//! What is not forwarded at all.

use agentex_app::{ForwardingSettings, Settings};
use agentex_http::HttpOptions;

use super::*;

/// api-keys §7: 46
#[tokio::test]
async fn where_nothing_is_hidden_an_agent_that_cannot_be_reached_is_absent_before_anything_else() {
    let stage = Stage::open().await;
    stage.world.post("/agents/register-build", json!({"name": "built", "description": "d"})).await.ok();
    stage.world.agent("gone", "sync", &stage.pod.url).await;
    stage.world.delete("/agents/name/gone").await.ok();

    for name in ["nobody", "built", "gone"] {
        let text = format!("Agent {name} not found or has no ACP URL.");
        for headers in [&[][..], &[("x-agent-api-key", "k")], &[("x-hub-signature-256", "sha256=00")]] {
            refused(&stage.post(&format!("{name}/x"), headers, "{}").await, 404, &text);
        }
    }
    let odd = stage.get("no%20body%00%ff/x", &[]).await;
    assert_eq!(odd.status, 404);
}

/// api-keys §7: 59
#[tokio::test]
async fn only_get_and_post_are_forwarded() {
    for stage in [Stage::open().await, Stage::guarded().await] {
        for method in ["PUT", "PATCH", "DELETE", "HEAD"] {
            for path in ["a/x", "a/", "a"] {
                let answer = stage.send(method, path, &[], b"").await;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("allow")),
                    (405, Some("GET, POST")),
                    "{method} {path}"
                );
            }
        }
        assert!(stage.pod.seen().is_empty());
    }
}

/// api-keys §7: 60
#[tokio::test]
async fn an_outsider_reaches_neither_the_agents_endpoint_nor_what_lies_beside_it() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    for path in ["api", "api/", "//api", "%61pi", "API", "healthz", "api?x=1"] {
        refused(&stage.post(&format!("a/{path}"), &key, "{}").await, 404, "Not Found");
    }
    for path in ["../api", "x/../api", "x/%2e%2E/api", "x%2f..%2fapi", "x\\..\\api", "."] {
        let answer = stage.post(&format!("a/{path}"), &key, "{}").await;
        assert_eq!(answer.status.as_u16(), 400, "{path}: {}", answer.text());
        assert!(answer.json()["detail"].is_string(), "{path}");
    }
    assert!(stage.pod.seen().is_empty());
}

#[tokio::test]
async fn what_is_reserved_can_be_configured() {
    let forwarding =
        ForwardingSettings { reserved_paths: vec!["private/x".to_owned()], ..ForwardingSettings::default() };
    let settings = Settings { forwarding, ..Settings::default() };
    let stage = Stage::with(Setup { settings, authorization: Authorization::Off, ..Setup::default() }).await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    assert_eq!(stage.get("a/api", &key).await.status, 200);
    assert_eq!(stage.get("a/private", &key).await.status, 200);
    refused(&stage.get("a/private//x/", &key).await, 404, "Not Found");
}

/// api-keys §7: 61
#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_the_agent_is_called() {
    let http = HttpOptions { max_forward_body_bytes: 16, ..HttpOptions::default() };
    let stage = Stage::with(Setup { http, authorization: Authorization::Off, ..Setup::default() }).await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    refused(&stage.post("a/x", &key, [b'x'; 17]).await, 413, "Request body is too large");
    assert!(stage.pod.seen().is_empty());
    assert_eq!(stage.post("a/x", &key, [b'x'; 16]).await.status, 200);
}
