use std::sync::Arc;

use agentex_app::{App, REGISTRATION_TOKEN_PREFIX, RegisterAgent};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::bodies::agents::{BuildRegisteredBody, RegisterAgentRequest, RegisterBuildRequest, RegisteredBody};
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
    headers: HeaderMap,
    body: ApiBody,
) -> Result<impl IntoResponse, ApiError> {
    let request = RegisterAgent::from(body.read::<RegisterAgentRequest>()?);
    let registered = app.registrations.register(&caller, request.with_token(token(&headers))).await?;
    // The answer holds a secret.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(RegisteredBody::from(registered))))
}

/// A registration token in the user-info of the URL a pod was given, which clients send as basic authentication. It may be
/// the user or the password.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    [password, user].into_iter().find(|part| part.starts_with(REGISTRATION_TOKEN_PREFIX)).map(str::to_owned)
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
    responses((status = 200, description = "The agent.", body = BuildRegisteredBody))
)]
pub(crate) async fn register_build(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<impl IntoResponse, ApiError> {
    let request = body.read::<RegisterBuildRequest>()?;
    let built = app.registrations.register_build(&caller, request.into()).await?;
    // The answer may hold a secret.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(BuildRegisteredBody::from(built))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        token(&headers)
    }

    #[test]
    fn a_token_may_be_the_user_or_the_password_of_basic_authentication() {
        for credentials in ["token:agxr_1", "agxr_1:", "agxr_1", ":agxr_1", "agxr_1:x"] {
            let encoded = STANDARD.encode(credentials);
            assert_eq!(sent(&format!("Basic {encoded}")).as_deref(), Some("agxr_1"), "{credentials}");
            assert_eq!(sent(&format!("basic {encoded}")).as_deref(), Some("agxr_1"), "{credentials}");
        }
        for other in ["Bearer agxr_1", "Basic ???", "Basic", &format!("Basic {}", STANDARD.encode("alice:secret"))] {
            assert_eq!(sent(other), None, "{other}");
        }
    }
}
