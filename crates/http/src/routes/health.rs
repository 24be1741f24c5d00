use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode, header};
use serde::Serialize;

use crate::Shared;

/// All probes together; each has its own, shorter limit.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    checks: BTreeMap<&'static str, Check>,
}

#[derive(Serialize)]
struct Check {
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct NotReady {
    status: &'static str,
    error: &'static str,
}

/// Answers the health paths before anything else looks at the request: an orchestrator has no credentials, and its probes
/// belong in no log.
pub(crate) async fn answer(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let alive = match request.uri().path() {
        "/healthz" => true,
        "/readyz" | "/healthcheck" => false,
        _ => return next.run(request).await,
    };
    if request.method() != Method::GET {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response();
    }
    if alive {
        return Json(Alive { status: "ok" }).into_response();
    }
    match tokio::time::timeout(READY_TIMEOUT, readiness(&shared)).await {
        Ok((status, ready)) => (status, Json(ready)).into_response(),
        Err(_) => {
            let body = NotReady { status: "timeout", error: "Health check timed out" };
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn readiness(shared: &Shared) -> (StatusCode, Ready) {
    let results = shared.app.readiness.check().await;
    let checks: BTreeMap<_, _> = results
        .into_iter()
        .map(|result| (result.name, Check { healthy: result.error.is_none(), error: result.error }))
        .collect();
    if shared.app.readiness.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, Ready { status: "draining", checks })
    } else if checks.values().all(|check| check.healthy) {
        (StatusCode::OK, Ready { status: "ok", checks })
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Ready { status: "degraded", checks })
    }
}
