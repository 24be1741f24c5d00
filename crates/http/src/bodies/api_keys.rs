use agentex_app::{CreatedApiKey, NewApiKey, NewWebhookTrigger, WebhookTrigger};
use agentex_domain::input::Fields;
use agentex_domain::{ApiKey, ApiKeyKind, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::words;
use crate::error::ApiError;
use crate::extract::{IdentifierFields as _, RequestBody};
use crate::routes::api_keys::one_agent;

words!(ApiKeyTypeWords, "AgentAPIKeyType", "What a key may be used for.", ApiKeyKind::ALL.map(|(word, _)| word));

/// A key of an agent. Its secret is not shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentAPIKey)]
pub(crate) struct ApiKeyBody {
    /// Server-made id of the key; not the key itself.
    id: String,
    /// Whose key it is.
    agent_id: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Unique among the agent's keys of the type.
    name: String,
    #[schema(value_type = ApiKeyTypeWords)]
    api_key_type: &'static str,
}

impl From<ApiKey> for ApiKeyBody {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, agent_id, name, kind, sealed: _, digest: _, created_at } = key;
        Self { id: id.into_string(), agent_id: agent_id.into_string(), created_at, name, api_key_type: kind.as_str() }
    }
}

/// A new key and its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = CreateAPIKeyResponse)]
pub(crate) struct CreatedApiKeyBody {
    #[serde(flatten)]
    key: ApiKeyBody,
    /// The secret, in clear: shown here and nowhere else.
    api_key: String,
}

impl From<CreatedApiKey> for CreatedApiKeyBody {
    fn from(created: CreatedApiKey) -> Self {
        let CreatedApiKey { key, value } = created;
        Self { key: key.into(), api_key: value }
    }
}

/// A key to make, for exactly one of `agent_id` and `agent_name`.
#[derive(ToSchema)]
#[schema(as = CreateAPIKeyRequest)]
pub(crate) struct CreateApiKeyRequest {
    /// The agent's id.
    agent_id: Option<String>,
    /// The agent's name.
    agent_name: Option<String>,
    /// Unique among the agent's keys of the type.
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    #[schema(value_type = ApiKeyTypeWords, default = "external", required = false)]
    api_key_type: ApiKeyKind,
    /// The secret; a new random one unless given. That of an external key has at least 16 characters.
    api_key: Option<String>,
}

impl RequestBody for CreateApiKeyRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (agent_id, agent_name) = (fields.optional_name("agent_id"), fields.optional_name("agent_name"));
        let name = fields.identifier("name");
        let api_key_type = fields.optional_choice("api_key_type", &ApiKeyKind::ALL).unwrap_or(ApiKeyKind::External);
        let api_key = fields.optional_string("api_key");
        Some(Self { agent_id, agent_name, name: name?, api_key_type, api_key })
    }
}

impl TryFrom<CreateApiKeyRequest> for NewApiKey {
    type Error = ApiError;

    fn try_from(request: CreateApiKeyRequest) -> Result<Self, ApiError> {
        let CreateApiKeyRequest { agent_id, agent_name, name, api_key_type, api_key } = request;
        let agent = one_agent(agent_id, agent_name, "create an agent api_key")?;
        Ok(Self { agent, name, kind: api_key_type, value: api_key })
    }
}

/// A webhook to be verified and forwarded to an agent.
#[derive(ToSchema)]
#[schema(as = CreateWebhookTriggerRequest)]
pub(crate) struct CreateWebhookTriggerRequest {
    /// The agent that handles the webhook.
    agent_name: String,
    /// Whose webhook it is: github or slack.
    #[schema(value_type = ApiKeyTypeWords, default = "github", required = false)]
    source: ApiKeyKind,
    /// What the sender calls itself: the repository's full name, or the id of the Slack app.
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// Which of the agent's own routes the webhook is for.
    forward_path: String,
    /// The signing secret. Slack's must be given; for GitHub a new random one is made unless one is given.
    secret: Option<String>,
    /// Base of the URL to answer; the server's own unless given.
    base_url: Option<String>,
}

impl RequestBody for CreateWebhookTriggerRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let agent_name = fields.identifier("agent_name");
        let source = fields.optional_choice("source", &ApiKeyKind::ALL).unwrap_or(ApiKeyKind::Github);
        let (name, forward_path) = (fields.identifier("name"), fields.string("forward_path"));
        let (secret, base_url) = (fields.optional_string("secret"), fields.optional_string("base_url"));
        Some(Self { agent_name: agent_name?, source, name: name?, forward_path: forward_path?, secret, base_url })
    }
}

impl From<CreateWebhookTriggerRequest> for NewWebhookTrigger {
    fn from(request: CreateWebhookTriggerRequest) -> Self {
        let CreateWebhookTriggerRequest { agent_name, source, name, forward_path, secret, base_url } = request;
        Self { agent_name, source, name, forward_path, secret, base_url }
    }
}

/// A webhook that is verified and forwarded from now on.
#[derive(Serialize, ToSchema)]
#[schema(as = CreateWebhookTriggerResponse)]
pub(crate) struct WebhookTriggerBody {
    /// The id of the key that verifies it.
    key_id: String,
    /// The agent that handles it.
    agent_name: String,
    #[schema(value_type = ApiKeyTypeWords)]
    source: &'static str,
    /// What the sender calls itself.
    name: String,
    /// The signing secret, in clear: shown here and nowhere else.
    secret: String,
    /// Where it is to be sent, on this server.
    webhook_path: String,
    /// The same with a host, where one is known.
    webhook_url: Option<String>,
}

impl From<WebhookTrigger> for WebhookTriggerBody {
    fn from(trigger: WebhookTrigger) -> Self {
        let WebhookTrigger { key, agent_name, secret, path, url } = trigger;
        Self {
            key_id: key.id.into_string(),
            agent_name,
            source: key.kind.as_str(),
            name: key.name,
            secret,
            webhook_path: path,
            webhook_url: url,
        }
    }
}
