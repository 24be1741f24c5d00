use std::sync::Arc;

use agentex_app::App;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;

use crate::bodies::agents::{AgentBody, RegisterAgentRequest, RegisterBuildRequest, RegisteredBody};
use crate::error::ApiError;
use crate::extract::{ApiBody, Authenticated};

/// Register an agent's process.
///
/// Creates the agent or brings it up to date. Repeating it is harmless and answers the same key.
#[utoipa::path(
    post,
    path = "/agents/register",
    operation_id = "register_agent_agents_register_post",
    tag = "Agents",
    request_body = RegisterAgentRequest,
    responses((status = 200, description = "The agent and its key.", body = RegisteredBody))
)]
pub(crate) async fn register(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<impl IntoResponse, ApiError> {
    let request = body.read::<RegisterAgentRequest>()?;
    let registered = app.registrations.register(&caller, request.into()).await?;
    // The answer holds a secret.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(RegisteredBody::from(registered))))
}

/// Register an agent that is not deployed yet.
///
/// A live agent of the name is answered as it is.
#[utoipa::path(
    post,
    path = "/agents/register-build",
    operation_id = "register_build_agents_register_build_post",
    tag = "Agents",
    request_body = RegisterBuildRequest,
    responses((status = 200, description = "The agent.", body = AgentBody))
)]
pub(crate) async fn register_build(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Json<AgentBody>, ApiError> {
    let request = body.read::<RegisterBuildRequest>()?;
    let agent = app.registrations.register_build(&caller, request.into()).await?;
    Ok(Json(agent.into()))
}
