use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::Shared;
use crate::bodies::errors::{DetailBody, MessageBody};
use crate::bodies::linear;
use crate::error::ApiError;
use crate::extract::collect;

/// Linear agent webhook ingress for the @agentex app
///
/// What people say in a session becomes a turn of an agent; the answer goes back to the session.
#[utoipa::path(
    post,
    path = "/linear/events",
    operation_id = "linear_events_linear_events_post",
    tag = "Linear",
    responses(
        (status = 200, description = "Successful Response", body = Object),
        (status = 400, description = "The body is no JSON object.", body = Object),
        (status = 404, description = "Linear is off here.", body = DetailBody),
        (status = 408, description = "The body did not arrive.", body = MessageBody),
        (status = 413, description = "The request is too large.", body = MessageBody)
    )
)]
pub(crate) async fn events(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let linear = shared.app.gateways.linear().ok_or(ApiError::NoRoute)?;
    let (parts, body) = request.into_parts();
    let options = &shared.options;
    let body = collect(&parts.headers, body, options.max_body_bytes, options.request_timeout).await?;
    let signature = parts.headers.get("linear-signature").map(|value| value.as_bytes());
    let refused = || Json(json!({"ok": false})).into_response();
    if !linear.is_genuine(signature, &body) {
        return Ok(refused());
    }
    let payload = match serde_json::from_slice::<Value>(&body) {
        Ok(payload) if payload.is_object() => payload,
        _ => return Ok((StatusCode::BAD_REQUEST, refused()).into_response()),
    };
    if !linear.is_fresh(linear::sent_at(&payload)) {
        return Ok(refused());
    }
    let delivery = parts.headers.get("linear-delivery").and_then(|value| value.to_str().ok());
    if let Some(prompt) = linear::prompt(&payload, delivery.filter(|delivery| !delivery.is_empty())) {
        linear.heard(prompt, &body).await?;
    }
    Ok(Json(json!({"ok": true})).into_response())
}
