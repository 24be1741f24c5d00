use std::sync::Arc;

use agentex_app::{AgentQuery, AgentSelector, App, Caller};
use agentex_domain::input::{HAS_NUL, has_nul};
use agentex_domain::ports::AgentOrder;
use agentex_domain::{Direction, PageRequest, TaskId};
use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa::IntoParams;

use crate::bodies::DeleteResponse;
use crate::bodies::agents::AgentBody;
use crate::error::ApiError;
use crate::extract::{AgentPath, ApiQuery, Authenticated, QueryParams, QueryReader};

const COLUMNS: [(&str, AgentOrder); 6] = [
    ("id", AgentOrder::Id),
    ("name", AgentOrder::Name),
    ("status", AgentOrder::Status),
    ("created_at", AgentOrder::CreatedAt),
    ("updated_at", AgentOrder::UpdatedAt),
    ("registered_at", AgentOrder::RegisteredAt),
];

/// Which agents to list, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAgentsQuery {
    /// Only agents that work on this task.
    task_id: Option<String>,
    /// Only agents whose card's metadata contains this JSON object.
    agent_card_metadata: Option<String>,
    /// Most agents to answer.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: u64,
    /// One of id, name, status, created_at, updated_at, registered_at.
    #[param(value_type = Option<String>)]
    order_by: AgentOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
}

impl QueryParams for ListAgentsQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let task_id = query.identifier("task_id").map(str::to_owned);
        let agent_card_metadata = query.text("agent_card_metadata").map(str::to_owned);
        let page = query.page();
        let order_by = query.order_by(&COLUMNS);
        let order_direction = query.order_direction(Direction::Ascending);
        let PageRequest { limit, page_number } = page?;
        Some(Self { task_id, agent_card_metadata, limit, page_number, order_by, order_direction })
    }
}

impl TryFrom<ListAgentsQuery> for AgentQuery {
    type Error = ApiError;

    fn try_from(query: ListAgentsQuery) -> Result<Self, ApiError> {
        let ListAgentsQuery { task_id, agent_card_metadata, limit, page_number, order_by, order_direction } = query;
        let card_metadata = match agent_card_metadata {
            None => None,
            Some(text) => match serde_json::from_str::<Value>(&text) {
                Ok(value) if has_nul(&value) => return Err(ApiError::problem("query.agent_card_metadata", HAS_NUL)),
                Ok(Value::Object(members)) => Some(members),
                Ok(_) => return Err(ApiError::invalid("agent_card_metadata must decode to a JSON object.")),
                Err(error) => {
                    let text = format!("Invalid JSON in agent_card_metadata query parameter: {error}");
                    return Err(ApiError::invalid(text));
                }
            },
        };
        Ok(Self {
            task_id: task_id.map(TaskId::from),
            card_metadata,
            order: order_by,
            direction: order_direction,
            page: PageRequest { limit, page_number },
        })
    }
}

/// List the agents the caller may read.
#[utoipa::path(
    get,
    path = "/agents",
    operation_id = "list_agents_agents_get",
    tag = "Agents",
    params(ListAgentsQuery),
    responses((status = 200, description = "One page of agents.", body = Vec<AgentBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<AgentBody>>, ApiError> {
    let query = query.read::<ListAgentsQuery>()?.try_into()?;
    let agents = app.agents.list(&caller, query).await?;
    Ok(Json(agents.into_iter().map(AgentBody::from).collect()))
}

/// Read an agent.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}",
    operation_id = "get_agent_by_id_agents__agent_id__get",
    tag = "Agents",
    params(("agent_id" = String, Path, description = "The agent's id.")),
    responses((status = 200, description = "The agent.", body = AgentBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
) -> Result<Json<AgentBody>, ApiError> {
    Ok(Json(app.agents.get(&caller, &agent).await?.into()))
}

/// Read an agent by name.
#[utoipa::path(
    get,
    path = "/agents/name/{agent_name}",
    operation_id = "get_agent_by_name_agents_name__agent_name__get",
    tag = "Agents",
    params(("agent_name" = String, Path, description = "The agent's name.")),
    responses((status = 200, description = "The agent.", body = AgentBody))
)]
pub(crate) async fn get_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
) -> Result<Json<AgentBody>, ApiError> {
    Ok(Json(app.agents.get(&caller, &agent).await?.into()))
}

/// Delete an agent.
///
/// Its keys stop working at once; its name stays taken.
#[utoipa::path(
    delete,
    path = "/agents/{agent_id}",
    operation_id = "delete_agent_by_id_agents__agent_id__delete",
    tag = "Agents",
    params(("agent_id" = String, Path, description = "The agent's id.")),
    responses((status = 200, description = "It is deleted.", body = DeleteResponse))
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
) -> Result<Json<DeleteResponse>, ApiError> {
    remove(&app, &caller, &agent).await
}

/// Delete an agent by name.
///
/// Its keys stop working at once; its name stays taken.
#[utoipa::path(
    delete,
    path = "/agents/name/{agent_name}",
    operation_id = "delete_agent_by_name_agents_name__agent_name__delete",
    tag = "Agents",
    params(("agent_name" = String, Path, description = "The agent's name.")),
    responses((status = 200, description = "It is deleted.", body = DeleteResponse))
)]
pub(crate) async fn delete_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
) -> Result<Json<DeleteResponse>, ApiError> {
    remove(&app, &caller, &agent).await
}

async fn remove(app: &App, caller: &Caller, agent: &AgentSelector) -> Result<Json<DeleteResponse>, ApiError> {
    let id = app.agents.delete(caller, agent).await?;
    let message = format!("Agent '{agent}' deleted successfully");
    Ok(Json(DeleteResponse { id: id.into_string(), message }))
}
