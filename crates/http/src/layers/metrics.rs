use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::Method;

use super::route_of;

const SECONDS: &str = "agentex_http_request_seconds";

/// Says what the metrics mean.
pub(crate) fn describe() {
    ::metrics::describe_histogram!(
        SECONDS,
        ::metrics::Unit::Seconds,
        "Time from the request to the headers of the answer."
    );
}

/// Measures the time to the answer's headers.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let method = known(request.method());
    let route = route_of(&request);
    let started = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    ::metrics::histogram!(SECONDS, "method" => method, "route" => route, "status" => status)
        .record(started.elapsed().as_secs_f64());
    response
}

/// Callers may invent methods; labels must not grow with them.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
