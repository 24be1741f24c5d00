use std::net::SocketAddr;

use agentex_app::{ForwardCall, Forwarded};
use agentex_domain::ports::ForwardReply;
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, OriginalUri, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::Shared;
use crate::bodies::errors::DetailBody;
use crate::error::ApiError;
use crate::extract::collect;
use crate::layers::request_id::RequestId;

/// What agents can be sent.
pub(crate) const METHODS: [Method; 2] = [Method::GET, Method::POST];
/// The agent's own URL, with nothing below it.
pub(crate) const ROOT: &str = "/agents/forward/name/{agent_name}/";
/// The same with the slash forgotten.
pub(crate) const BARE: &str = "/agents/forward/name/{agent_name}";
const PREFIX: &str = "/agents/forward/name/";

/// Forward a GET request to an agent by name.
///
/// For webhooks and other outsiders. The request is passed on to the agent's own route with its path, query, body and headers,
/// without credentials. Who sends it proves it with an external key of the agent (`x-agent-api-key` or
/// `Authorization: AgentKey`), with a signature of GitHub or Slack, or as a principal who may execute the agent.
#[utoipa::path(
    get,
    path = "/agents/forward/name/{agent_name}/{*path}",
    operation_id = "forward_get_request_to_agent_agents_forward_name__agent_name___path__get",
    tag = "Agents",
    params(
        ("agent_name" = String, Path, description = "The agent's name."),
        ("path" = String, Path, description = "The path below the agent's URL; may be empty and contain slashes.")
    ),
    responses((status = 200, description = "Whatever the agent answers."))
)]
pub(crate) async fn get(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    forward(&shared, request).await
}

/// Forward a POST request to an agent by name.
///
/// As the GET request.
#[utoipa::path(
    post,
    path = "/agents/forward/name/{agent_name}/{*path}",
    operation_id = "forward_post_request_to_agent_agents_forward_name__agent_name___path__post",
    tag = "Agents",
    params(
        ("agent_name" = String, Path, description = "The agent's name."),
        ("path" = String, Path, description = "The path below the agent's URL; may be empty and contain slashes.")
    ),
    responses((status = 200, description = "Whatever the agent answers."))
)]
pub(crate) async fn post(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    forward(&shared, request).await
}

/// Either of them, to the agent's own URL.
pub(crate) async fn root(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    forward(&shared, request).await
}

/// Sends callers that left out the slash after the agent's name to where it is.
pub(crate) async fn add_slash(OriginalUri(original): OriginalUri) -> Result<Response, ApiError> {
    let query = original.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Relative to this host: behind a proxy the server knows neither the scheme nor the name callers use.
    let location = HeaderValue::from_str(&format!("{}/{query}", original.path()))
        .map_err(|_| ApiError::Bug("a request's path is no header text"))?;
    Ok((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response())
}

async fn forward(shared: &Shared, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let options = &shared.options;
    let body = collect(&parts.headers, body, options.max_forward_body_bytes, options.request_timeout)
        .await
        .map_err(ApiError::in_detail)?;
    let (agent_name, path) = parts
        .uri
        .path()
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('/'))
        .ok_or(ApiError::Bug("the route's template lacks the parts its handler reads"))?;
    let call = ForwardCall {
        method: parts.method.as_str().to_owned(),
        agent_name: agent_name.to_owned(),
        path: path.to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: headers(&parts),
        body,
        request_id: parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip()),
    };
    match shared.app.forwarding.forward(call).await? {
        Forwarded::Reply(reply) => relayed(reply),
        // Whoever sent the text must not make a browser run it here.
        Forwarded::Challenge(text) => {
            Ok(([(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))], text).into_response())
        }
        Forwarded::Duplicate => Ok(Json(DetailBody { detail: "duplicate delivery ignored".into() }).into_response()),
    }
}

/// Names and raw values in the order they came; HTTP/2 has the host outside of the headers.
fn headers(parts: &Parts) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<(String, Vec<u8>)> =
        parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    if let Some(authority) = parts.uri.authority().filter(|_| !parts.headers.contains_key(header::HOST)) {
        headers.push((header::HOST.as_str().to_owned(), authority.as_str().as_bytes().to_vec()));
    }
    headers
}

/// The agent's answer, its body passed on as it comes.
fn relayed(reply: ForwardReply) -> Result<Response, ApiError> {
    let ForwardReply { status, headers, body } = reply;
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| ApiError::Bug("an agent's status is none"))?;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}
