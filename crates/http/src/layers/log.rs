use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use super::request_id::RequestId;
use super::route_of;

/// One line per request: method, route template, status and time to the answer's headers. Never paths, queries, headers or
/// bodies, so there is nothing to redact. Everything logged meanwhile carries the request id.
pub(crate) async fn requests(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = route_of(&request);
    let id = request.extensions().get::<RequestId>().map(|id| id.as_str().to_owned()).unwrap_or_default();
    // At error level, so that filtering out chatter does not take the id off the errors.
    let span = tracing::error_span!("request", request_id = id);
    let started = Instant::now();
    async {
        let response = next.run(request).await;
        tracing::info!(
            %method,
            route,
            status = response.status().as_u16(),
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request"
        );
        response
    }
    .instrument(span)
    .await
}
