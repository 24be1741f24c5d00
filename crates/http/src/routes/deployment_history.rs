use std::sync::Arc;

use agentex_app::{App, DeploymentHistoryQuery};
use agentex_domain::ports::DeploymentHistoryOrder;
use agentex_domain::{Direction, PageRequest};
use axum::Json;
use axum::extract::State;
use utoipa::IntoParams;

use super::api_keys::one_agent;
use crate::bodies::deployments::DeploymentHistoryBody;
use crate::error::ApiError;
use crate::extract::{ApiQuery, Authenticated, DeploymentHistoryPath, QueryParams, QueryReader};

const COLUMNS: [(&str, DeploymentHistoryOrder); 7] = [
    ("id", DeploymentHistoryOrder::Id),
    ("author_name", DeploymentHistoryOrder::AuthorName),
    ("author_email", DeploymentHistoryOrder::AuthorEmail),
    ("branch_name", DeploymentHistoryOrder::BranchName),
    ("build_timestamp", DeploymentHistoryOrder::BuildTimestamp),
    ("deployment_timestamp", DeploymentHistoryOrder::DeploymentTimestamp),
    ("commit_hash", DeploymentHistoryOrder::CommitHash),
];

/// Whose history to list, of exactly one of `agent_id` and `agent_name`, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListDeploymentHistoryQuery {
    /// The agent's id.
    agent_id: Option<String>,
    /// The agent's name.
    agent_name: Option<String>,
    /// Most entries to answer; never more than 1000.
    #[param(value_type = Option<i64>, minimum = 1, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: u64,
    /// One of id, author_name, author_email, branch_name, build_timestamp, deployment_timestamp, commit_hash.
    #[param(value_type = Option<String>, default = "deployment_timestamp")]
    order_by: DeploymentHistoryOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
}

impl QueryParams for ListDeploymentHistoryQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let agent_id = query.optional_name("agent_id").map(str::to_owned);
        let agent_name = query.optional_name("agent_name").map(str::to_owned);
        let page = query.bounded_page();
        let order_by = query.order_by(&COLUMNS);
        let order_direction = query.order_direction(Direction::Ascending);
        let PageRequest { limit, page_number } = page?;
        Some(Self { agent_id, agent_name, limit, page_number, order_by, order_direction })
    }
}

impl TryFrom<ListDeploymentHistoryQuery> for DeploymentHistoryQuery {
    type Error = ApiError;

    fn try_from(query: ListDeploymentHistoryQuery) -> Result<Self, ApiError> {
        let ListDeploymentHistoryQuery { agent_id, agent_name, limit, page_number, order_by, order_direction } = query;
        Ok(Self {
            agent: one_agent(agent_id, agent_name, "list deployment history")?,
            order: order_by,
            direction: order_direction,
            page: PageRequest { limit, page_number },
        })
    }
}

/// Read one entry of the deployment history.
#[utoipa::path(
    get,
    path = "/deployment-history/{deployment_id}",
    operation_id = "get_deployment_by_id_deployment_history__deployment_id__get",
    tag = "Deployment History",
    params(("deployment_id" = String, Path, description = "The entry's id.")),
    responses((status = 200, description = "The entry.", body = DeploymentHistoryBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    DeploymentHistoryPath(id): DeploymentHistoryPath,
) -> Result<Json<DeploymentHistoryBody>, ApiError> {
    Ok(Json(app.deployment_history.get(&caller, &id).await?.into()))
}

/// List the commits of an agent that were deployed, newest first.
#[utoipa::path(
    get,
    path = "/deployment-history",
    operation_id = "list_deployments_deployment_history_get",
    tag = "Deployment History",
    params(ListDeploymentHistoryQuery),
    responses((status = 200, description = "One page of entries.", body = Vec<DeploymentHistoryBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<DeploymentHistoryBody>>, ApiError> {
    let query = query.read::<ListDeploymentHistoryQuery>()?.try_into()?;
    let entries = app.deployment_history.list(&caller, query).await?;
    Ok(Json(entries.into_iter().map(DeploymentHistoryBody::from).collect()))
}
