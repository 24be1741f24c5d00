use std::convert::Infallible;
use std::sync::Arc;

use agentex_app::{App, CallTarget, Caller, Error, RpcOutcome, TurnUpdate};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Version, header};
use serde::Serialize;
use serde_json::Value;

use super::streams::streaming;
use crate::bodies::messages::TaskMessageBody;
use crate::bodies::rpc::{EventBody, RpcAnswer, RpcAnswerBody, RpcCall};
use crate::bodies::tasks::TaskBody;
use crate::error::{ApiError, rpc_failure, unless_hidden};
use crate::extract::{AgentPath, ApiBody, Authenticated, Context, DeploymentAddress, DeploymentPath};

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Call an agent.
///
/// What is wrong before the agent is called (no such agent or task, no permission, wrong parameters) is an HTTP error. What
/// goes wrong afterwards is a JSON-RPC error in an answer of status 200. A streamed `message/send` is answered line by
/// line.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/rpc",
    operation_id = "handle_agent_rpc_by_id_agents__agent_id__rpc_post",
    tag = "Agents",
    params(("agent_id" = String, Path, description = "The agent's id.")),
    request_body = RpcCall,
    responses((
        status = 200,
        description = "The answer; streamed, one such object per line.",
        content((RpcAnswerBody = "application/json"), (RpcAnswerBody = "application/x-ndjson"))
    ))
)]
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
    context: Context,
    version: Version,
    body: ApiBody,
) -> Result<Response, ApiError> {
    dispatch(&app, &caller, CallTarget::Agent(agent), context, version, &body).await
}

/// Call an agent by name.
#[utoipa::path(
    post,
    path = "/agents/name/{agent_name}/rpc",
    operation_id = "handle_agent_rpc_by_name_agents_name__agent_name__rpc_post",
    tag = "Agents",
    params(("agent_name" = String, Path, description = "The agent's name.")),
    request_body = RpcCall,
    responses((
        status = 200,
        description = "The answer; streamed, one such object per line.",
        content((RpcAnswerBody = "application/json"), (RpcAnswerBody = "application/x-ndjson"))
    ))
)]
pub(crate) async fn call_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
    context: Context,
    version: Version,
    body: ApiBody,
) -> Result<Response, ApiError> {
    dispatch(&app, &caller, CallTarget::Agent(agent), context, version, &body).await
}

/// Call one deployment of an agent, whether it is production or not.
///
/// It takes the same permissions as calling the agent, and is answered in the same way.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/deployments/{deployment_id}/rpc",
    operation_id = "handle_deployment_rpc_agents__agent_id__deployments__deployment_id__rpc_post",
    tag = "Deployments",
    params(
        ("deployment_id" = String, Path, description = "The deployment's id."),
        ("agent_id" = String, Path, description = "The agent's id.")
    ),
    request_body = RpcCall,
    responses((
        status = 200,
        description = "The answer; streamed, one such object per line.",
        content((RpcAnswerBody = "application/json"), (RpcAnswerBody = "application/x-ndjson"))
    ))
)]
pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    DeploymentPath(DeploymentAddress { agent, deployment }): DeploymentPath,
    context: Context,
    version: Version,
    body: ApiBody,
) -> Result<Response, ApiError> {
    dispatch(&app, &caller, CallTarget::Deployment { agent, deployment }, context, version, &body).await
}

async fn dispatch(
    app: &App,
    caller: &Caller,
    target: CallTarget,
    Context(context): Context,
    version: Version,
    body: &ApiBody,
) -> Result<Response, ApiError> {
    let call = match body.read::<RpcCall>() {
        Ok(call) => call,
        Err(problems) => return Err(unless_hidden(see(app, caller, &target), problems).await),
    };
    let streamed = call.is_streamed();
    let RpcCall { id, request, .. } = call;
    let authorized = app.rpc.authorize(caller, target, request, context).await?;
    Ok(match app.rpc.dispatch(authorized).await {
        Ok(RpcOutcome::Task(task)) => answer(&id, TaskBody::from(task)),
        Ok(RpcOutcome::Messages(messages)) => {
            answer(&id, messages.into_iter().map(TaskMessageBody::from).collect::<Vec<_>>())
        }
        Ok(RpcOutcome::Event(event)) => answer(&id, EventBody::from(event)),
        Ok(RpcOutcome::Updates(updates)) => lines(id, updates, version),
        Err(error) if streamed => lines(id, stream::iter([Err(error)]), version),
        Err(error) => Json(RpcAnswer::<()>::failure(&id, rpc_failure(error))).into_response(),
    })
}

/// Whether what is called is there for the caller to see.
async fn see(app: &App, caller: &Caller, target: &CallTarget) -> Result<(), Error> {
    match target {
        CallTarget::Agent(agent) => app.agents.get(caller, agent).await.map(drop),
        CallTarget::Deployment { agent, deployment } => app.deployments.get(caller, agent, deployment).await.map(drop),
    }
}

fn answer(id: &Value, result: impl Serialize) -> Response {
    Json(RpcAnswer::success(id, result)).into_response()
}

/// One line per update, each passed on as it comes. Dropping the body drops the updates, which tells the use case that the
/// caller has gone.
fn lines(
    id: Value,
    updates: impl Stream<Item = Result<TurnUpdate, Error>> + Send + 'static,
    version: Version,
) -> Response {
    let lines = updates.map(move |update| {
        Ok::<_, Infallible>(match update {
            Ok(update) => line(&RpcAnswer::success(&id, update)),
            Err(error) => line(&RpcAnswer::<()>::failure(&id, rpc_failure(error))),
        })
    });
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, NDJSON);
    streaming(&mut response, version);
    response
}

fn line(answer: &impl Serialize) -> Bytes {
    let mut line = Vec::with_capacity(512);
    serde_json::to_writer(&mut line, answer).expect("answers are built of maps with text keys, and memory takes all");
    line.push(b'\n');
    line.into()
}
