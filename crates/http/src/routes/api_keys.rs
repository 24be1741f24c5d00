use std::sync::Arc;

use agentex_app::{AgentSelector, ApiKeyName, ApiKeyQuery, App};
use agentex_domain::{AgentId, ApiKeyKind, PageRequest};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use utoipa::IntoParams;

use crate::bodies::api_keys::{
    ApiKeyBody, ApiKeyTypeWords, CreateApiKeyRequest, CreateWebhookTriggerRequest, CreatedApiKeyBody,
    WebhookTriggerBody,
};
use crate::bodies::errors::MessageBody;
use crate::error::ApiError;
use crate::extract::{ApiBody, ApiKeyNamePath, ApiKeyPath, ApiQuery, Authenticated, QueryParams, QueryReader};

/// Which keys to list: those of exactly one of `agent_id` and `agent_name`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListApiKeysQuery {
    /// The agent's id.
    agent_id: Option<String>,
    /// The agent's name.
    agent_name: Option<String>,
    /// Only keys of this type.
    #[param(value_type = Option<ApiKeyTypeWords>)]
    api_key_type: Option<ApiKeyKind>,
    /// Most keys to answer.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: u64,
}

impl QueryParams for ListApiKeysQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let agent_id = query.optional_name("agent_id").map(str::to_owned);
        let agent_name = query.optional_name("agent_name").map(str::to_owned);
        let api_key_type = query.choice("api_key_type", &ApiKeyKind::ALL);
        let page = query.page();
        let PageRequest { limit, page_number } = page?;
        Some(Self { agent_id, agent_name, api_key_type, limit, page_number })
    }
}

/// Whose key is meant by a name: that of exactly one of `agent_id` and `agent_name`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NamedApiKeyQuery {
    /// The agent's id.
    agent_id: Option<String>,
    /// The agent's name.
    agent_name: Option<String>,
    /// Names are unique within a type only.
    #[param(value_type = Option<ApiKeyTypeWords>, default = "external")]
    api_key_type: ApiKeyKind,
}

impl QueryParams for NamedApiKeyQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let agent_id = query.optional_name("agent_id").map(str::to_owned);
        let agent_name = query.optional_name("agent_name").map(str::to_owned);
        let api_key_type = query.choice("api_key_type", &ApiKeyKind::ALL).unwrap_or(ApiKeyKind::External);
        Some(Self { agent_id, agent_name, api_key_type })
    }
}

impl NamedApiKeyQuery {
    fn key(self, name: String, to_do: &str) -> Result<ApiKeyName, ApiError> {
        let Self { agent_id, agent_name, api_key_type } = self;
        Ok(ApiKeyName { agent: one_agent(agent_id, agent_name, to_do)?, name, kind: api_key_type })
    }
}

/// The agent that exactly one of the two names.
pub(crate) fn one_agent(id: Option<String>, name: Option<String>, to_do: &str) -> Result<AgentSelector, ApiError> {
    match (id, name) {
        (Some(id), None) => Ok(AgentSelector::Id(AgentId::from(id))),
        (None, Some(name)) => Ok(AgentSelector::Name(name)),
        (None, None) => {
            Err(ApiError::invalid(format!("Either 'agent_id' or 'agent_name' must be provided to {to_do}.")))
        }
        (Some(_), Some(_)) => {
            Err(ApiError::invalid(format!("Only one of 'agent_id' or 'agent_name' should be provided to {to_do}.")))
        }
    }
}

/// Create an API key for an agent.
///
/// The secret is in this answer and never shown again.
#[utoipa::path(
    post,
    path = "/agent_api_keys",
    operation_id = "create_api_key_agent_api_keys_post",
    tag = "Agent APIKeys",
    request_body = CreateApiKeyRequest,
    responses(
        (status = 200, description = "The key and its secret.", body = CreatedApiKeyBody),
        (status = 409, description = "There is such a key already.", body = MessageBody)
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<impl IntoResponse, ApiError> {
    let request = body.read::<CreateApiKeyRequest>()?.try_into()?;
    let created = app.api_keys.create(&caller, request).await?;
    // The answer holds a secret.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(CreatedApiKeyBody::from(created))))
}

/// Set up a webhook of GitHub or Slack.
///
/// Creates the key that verifies its signatures, and answers the URL to send it to and the signing secret, which is never
/// shown again.
#[utoipa::path(
    post,
    path = "/agent_api_keys/webhook-trigger",
    operation_id = "create_webhook_trigger_agent_api_keys_webhook_trigger_post",
    tag = "Agent APIKeys",
    request_body = CreateWebhookTriggerRequest,
    responses(
        (status = 200, description = "Where to send the webhook.", body = WebhookTriggerBody),
        (status = 409, description = "There is such a key already.", body = MessageBody)
    )
)]
pub(crate) async fn create_webhook_trigger(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<impl IntoResponse, ApiError> {
    let request = body.read::<CreateWebhookTriggerRequest>()?.into();
    let trigger = app.api_keys.create_webhook_trigger(&caller, request).await?;
    // The answer holds a secret.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(WebhookTriggerBody::from(trigger))))
}

/// List an agent's API keys, oldest first.
#[utoipa::path(
    get,
    path = "/agent_api_keys",
    operation_id = "list_agent_api_keys_agent_api_keys_get",
    tag = "Agent APIKeys",
    params(ListApiKeysQuery),
    responses(
        (status = 200, description = "One page of keys.", body = Vec<ApiKeyBody>),
        (status = 404, description = "There is no such agent; only where authorization is off.", body = MessageBody)
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<ApiKeyBody>>, ApiError> {
    let ListApiKeysQuery { agent_id, agent_name, api_key_type, limit, page_number } = query.read()?;
    let agent = one_agent(agent_id, agent_name, "list agent api_keys")?;
    let query = ApiKeyQuery { agent, kind: api_key_type, page: PageRequest { limit, page_number } };
    let keys = app.api_keys.list(&caller, query).await?;
    Ok(Json(keys.into_iter().map(ApiKeyBody::from).collect()))
}

/// Read an API key.
#[utoipa::path(
    get,
    path = "/agent_api_keys/{id}",
    operation_id = "get_agent_api_key_agent_api_keys__id__get",
    tag = "Agent APIKeys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "The key.", body = ApiKeyBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    ApiKeyPath(id): ApiKeyPath,
) -> Result<Json<ApiKeyBody>, ApiError> {
    Ok(Json(app.api_keys.get(&caller, &id).await?.into()))
}

/// Read an API key by name.
///
/// The name may contain slashes, encoded or not.
#[utoipa::path(
    get,
    path = "/agent_api_keys/name/{*name}",
    operation_id = "get_agent_api_key_by_name_agent_api_keys_name__name__get",
    tag = "Agent APIKeys",
    params(("name" = String, Path, description = "The key's name."), NamedApiKeyQuery),
    responses((status = 200, description = "The key.", body = ApiKeyBody))
)]
pub(crate) async fn get_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    ApiKeyNamePath(name): ApiKeyNamePath,
    query: ApiQuery,
) -> Result<Json<ApiKeyBody>, ApiError> {
    let key = query.read::<NamedApiKeyQuery>()?.key(name, "get an agent api_key")?;
    Ok(Json(app.api_keys.get_by_name(&caller, &key).await?.into()))
}

/// Delete an API key.
///
/// It stops working at once. Deleting one that is gone already succeeds.
#[utoipa::path(
    delete,
    path = "/agent_api_keys/{id}",
    operation_id = "delete_agent_api_key_agent_api_keys__id__delete",
    tag = "Agent APIKeys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "It is deleted.", body = String, content_type = "application/json"))
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    ApiKeyPath(id): ApiKeyPath,
) -> Result<Json<String>, ApiError> {
    app.api_keys.delete(&caller, &id).await?;
    Ok(Json(format!("Agent API key with ID {id} deleted")))
}

/// Delete an API key by name.
///
/// It stops working at once. The name may contain slashes, encoded or not.
#[utoipa::path(
    delete,
    path = "/agent_api_keys/name/{*name}",
    operation_id = "delete_agent_api_key_by_name_agent_api_keys_name__api_key_name__delete",
    tag = "Agent APIKeys",
    params(("name" = String, Path, description = "The key's name."), NamedApiKeyQuery),
    responses((status = 200, description = "It is deleted.", body = String, content_type = "application/json"))
)]
pub(crate) async fn delete_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    ApiKeyNamePath(name): ApiKeyNamePath,
    query: ApiQuery,
) -> Result<Json<String>, ApiError> {
    let key = query.read::<NamedApiKeyQuery>()?.key(name, "delete an agent api_key")?;
    app.api_keys.delete_by_name(&caller, &key).await?;
    Ok(Json(format!("Agent api_key '{}' deleted", key.name)))
}
