use agentex_app::{SlackGateway, SlackMessage};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::Shared;
use crate::bodies::errors::{DetailBody, MessageBody};
use crate::bodies::slack;
use crate::error::ApiError;
use crate::extract::collect;

const COMMAND: &str = "/agents";

/// Slack Events API ingress for the @agent app
///
/// What people say to the bot becomes a turn of an agent; the answer goes back to their thread.
#[utoipa::path(
    post,
    path = "/slack/events",
    operation_id = "slack_events_slack_events_post",
    tag = "Slack",
    responses(
        (status = 200, description = "Successful Response", body = Object),
        (status = 400, description = "The body is no JSON object.", body = Object),
        (status = 404, description = "Slack is off here.", body = DetailBody),
        (status = 408, description = "The body did not arrive.", body = MessageBody),
        (status = 413, description = "The request is too large.", body = MessageBody)
    )
)]
pub(crate) async fn events(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let slack = gateway(&shared)?;
    let (headers, body) = taken(&shared, request).await?;
    if !is_genuine(&slack, &headers, &body) {
        return Ok(answer(json!({"ok": false})));
    }
    let payload = match serde_json::from_slice::<Value>(&body) {
        Ok(payload) if payload.is_object() => payload,
        _ => return Ok((StatusCode::BAD_REQUEST, answer(json!({"ok": false}))).into_response()),
    };
    if payload["type"] == "url_verification" {
        return Ok(answer(json!({"challenge": payload["challenge"]})));
    }
    if let Some(message) = slack::message(&payload) {
        slack.heard(message).await?;
    }
    Ok(answer(json!({"ok": true})))
}

/// Slack slash-command ingress (e.g. /agents)
///
/// Shows which agents there are.
#[utoipa::path(
    post,
    path = "/slack/commands",
    operation_id = "slack_commands_slack_commands_post",
    tag = "Slack",
    responses(
        (status = 200, description = "Successful Response", body = Object),
        (status = 404, description = "Slack is off here.", body = DetailBody),
        (status = 408, description = "The body did not arrive.", body = MessageBody),
        (status = 413, description = "The request is too large.", body = MessageBody)
    )
)]
pub(crate) async fn commands(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let slack = gateway(&shared)?;
    let (headers, body) = taken(&shared, request).await?;
    if !is_genuine(&slack, &headers, &body) {
        return Ok(answer(slack::ephemeral("Signature verification failed.")));
    }
    let form = Form::read(&body);
    let command = form.field("command");
    if command != Some(COMMAND) {
        let text = format!("Unsupported command: {}", command.unwrap_or("(none)"));
        return Ok(answer(slack::ephemeral(&text)));
    }
    let agents = slack.agents().await;
    if let Some(trigger) = form.field("trigger_id").filter(|_| !agents.is_empty()) {
        let view = slack::agent_view(&agents, form.field("channel_id").unwrap_or_default());
        if slack.open_view(trigger, &view).await {
            return Ok(answer(json!({})));
        }
    }
    Ok(answer(slack::agent_list(&agents, slack.default_agent())))
}

/// Slack interactivity ingress (modals, shortcuts)
///
/// What people submit in the dialogue of the command becomes a turn of the agent they picked.
#[utoipa::path(
    post,
    path = "/slack/interactions",
    operation_id = "slack_interactions_slack_interactions_post",
    tag = "Slack",
    responses(
        (status = 200, description = "Successful Response", body = Object),
        (status = 404, description = "Slack is off here.", body = DetailBody),
        (status = 408, description = "The body did not arrive.", body = MessageBody),
        (status = 413, description = "The request is too large.", body = MessageBody)
    )
)]
pub(crate) async fn interactions(State(shared): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let slack = gateway(&shared)?;
    let (headers, body) = taken(&shared, request).await?;
    if !is_genuine(&slack, &headers, &body) {
        return Ok(answer(json!({})));
    }
    let form = Form::read(&body);
    let payload = form.field("payload").and_then(|payload| serde_json::from_str::<Value>(payload).ok());
    let Some(submission) = payload.as_ref().and_then(slack::submission) else { return Ok(answer(json!({}))) };
    if !submission.is_whole() {
        return Ok(answer(slack::complaint("Pick an agent and enter a message.")));
    }
    let (text, blocks) = submission.breadcrumb();
    let Some(ts) = slack.announce(&submission.channel, &text, &blocks).await else {
        return Ok(answer(slack::complaint("I could not post to that channel. Invite the bot to it and try again.")));
    };
    let message = SlackMessage {
        event_id: None,
        thread_ts: None,
        text: format!("{} {}", submission.agent, submission.message),
        team: submission.team,
        channel: submission.channel,
        ts,
        addressed: true,
    };
    slack.heard(message).await?;
    Ok(answer(json!({})))
}

fn gateway(shared: &Shared) -> Result<SlackGateway<'_>, ApiError> {
    shared.app.gateways.slack().ok_or(ApiError::NoRoute)
}

async fn taken(shared: &Shared, request: Request) -> Result<(HeaderMap, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let options = &shared.options;
    let body = collect(&parts.headers, body, options.max_body_bytes, options.request_timeout).await?;
    Ok((parts.headers, body))
}

fn is_genuine(slack: &SlackGateway<'_>, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
    slack.is_genuine(header("x-slack-request-timestamp"), header("x-slack-signature"), body)
}

fn answer(body: Value) -> Response {
    Json(body).into_response()
}

/// A body of name and value pairs; one that is something else has none.
struct Form(Vec<(String, String)>);

impl Form {
    fn read(body: &[u8]) -> Self {
        Self(serde_urlencoded::from_bytes(body).unwrap_or_default())
    }

    /// The first value of this name that is not empty.
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }
}
