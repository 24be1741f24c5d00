use std::sync::Arc;

use agentex_app::{App, DeploymentQuery};
use agentex_domain::ports::DeploymentOrder;
use agentex_domain::{Direction, PageRequest};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use utoipa::IntoParams;

use crate::bodies::DeleteResponse;
use crate::bodies::deployments::{CreateDeploymentRequest, CreatedDeploymentBody, DeploymentBody};
use crate::error::{ApiError, unless_hidden};
use crate::extract::{
    AgentPath, ApiBody, ApiQuery, Authenticated, DeploymentAddress, DeploymentPath, QueryParams, QueryReader,
};

const COLUMNS: [(&str, DeploymentOrder); 5] = [
    ("id", DeploymentOrder::Id),
    ("docker_image", DeploymentOrder::DockerImage),
    ("status", DeploymentOrder::Status),
    ("created_at", DeploymentOrder::CreatedAt),
    ("promoted_at", DeploymentOrder::PromotedAt),
];

/// Which deployments to list, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListDeploymentsQuery {
    /// Most deployments to answer; never more than 1000.
    #[param(value_type = Option<i64>, minimum = 1, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: u64,
    /// One of id, docker_image, status, created_at, promoted_at.
    #[param(value_type = Option<String>, default = "created_at")]
    order_by: DeploymentOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
}

impl QueryParams for ListDeploymentsQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let page = query.bounded_page();
        let order_by = query.order_by(&COLUMNS);
        let order_direction = query.order_direction(Direction::Ascending);
        let PageRequest { limit, page_number } = page?;
        Some(Self { limit, page_number, order_by, order_direction })
    }
}

impl From<ListDeploymentsQuery> for DeploymentQuery {
    fn from(query: ListDeploymentsQuery) -> Self {
        let ListDeploymentsQuery { limit, page_number, order_by, order_direction } = query;
        Self { order: order_by, direction: order_direction, page: PageRequest { limit, page_number } }
    }
}

/// Make a deployment, before its pod starts.
///
/// It is pending until the pod registers with its id as `deployment_id` in the metadata.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/deployments",
    operation_id = "create_deployment_agents__agent_id__deployments_post",
    tag = "Deployments",
    params(("agent_id" = String, Path, description = "The agent's id.")),
    request_body = CreateDeploymentRequest,
    responses((status = 200, description = "The deployment.", body = CreatedDeploymentBody))
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
    body: ApiBody,
) -> Result<impl IntoResponse, ApiError> {
    let request = match body.read::<CreateDeploymentRequest>() {
        Ok(request) => request,
        Err(problems) => return Err(unless_hidden(app.agents.get(&caller, &agent), problems).await),
    };
    let created = app.deployments.create(&caller, &agent, request.into()).await?;
    // The answer may hold a secret.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(CreatedDeploymentBody::from(created))))
}

/// List an agent's deployments, newest first. Deleted ones are left out.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/deployments",
    operation_id = "list_deployments_agents__agent_id__deployments_get",
    tag = "Deployments",
    params(("agent_id" = String, Path, description = "The agent's id."), ListDeploymentsQuery),
    responses((status = 200, description = "One page of deployments.", body = Vec<DeploymentBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    AgentPath(agent): AgentPath,
    query: ApiQuery,
) -> Result<Json<Vec<DeploymentBody>>, ApiError> {
    let query = match query.read::<ListDeploymentsQuery>() {
        Ok(query) => query,
        Err(problems) => return Err(unless_hidden(app.agents.get(&caller, &agent), problems).await),
    };
    let deployments = app.deployments.list(&caller, &agent, query.into()).await?;
    Ok(Json(deployments.into_iter().map(DeploymentBody::from).collect()))
}

/// Read a deployment, deleted or not.
#[utoipa::path(
    get,
    path = "/agents/{agent_id}/deployments/{deployment_id}",
    operation_id = "get_deployment_agents__agent_id__deployments__deployment_id__get",
    tag = "Deployments",
    params(
        ("deployment_id" = String, Path, description = "The deployment's id."),
        ("agent_id" = String, Path, description = "The agent's id.")
    ),
    responses((status = 200, description = "The deployment.", body = DeploymentBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    DeploymentPath(DeploymentAddress { agent, deployment }): DeploymentPath,
) -> Result<Json<DeploymentBody>, ApiError> {
    Ok(Json(app.deployments.get(&caller, &agent, &deployment).await?.into()))
}

/// Make a deployment the one that calls to the agent go to.
///
/// Calls go to one deployment or to the other; there is no moment in between.
#[utoipa::path(
    post,
    path = "/agents/{agent_id}/deployments/{deployment_id}/promote",
    operation_id = "promote_deployment_agents__agent_id__deployments__deployment_id__promote_post",
    tag = "Deployments",
    params(
        ("deployment_id" = String, Path, description = "The deployment's id."),
        ("agent_id" = String, Path, description = "The agent's id.")
    ),
    responses((status = 200, description = "The deployment.", body = DeploymentBody))
)]
pub(crate) async fn promote(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    DeploymentPath(DeploymentAddress { agent, deployment }): DeploymentPath,
) -> Result<Json<DeploymentBody>, ApiError> {
    Ok(Json(app.deployments.promote(&caller, &agent, &deployment).await?.into()))
}

/// Delete a deployment that is not production.
#[utoipa::path(
    delete,
    path = "/agents/{agent_id}/deployments/{deployment_id}",
    operation_id = "delete_deployment_agents__agent_id__deployments__deployment_id__delete",
    tag = "Deployments",
    params(
        ("deployment_id" = String, Path, description = "The deployment's id."),
        ("agent_id" = String, Path, description = "The agent's id.")
    ),
    responses((status = 200, description = "It is deleted.", body = DeleteResponse))
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    DeploymentPath(DeploymentAddress { agent, deployment }): DeploymentPath,
) -> Result<Json<DeleteResponse>, ApiError> {
    app.deployments.delete(&caller, &agent, &deployment).await?;
    let message = format!("Deployment '{deployment}' deleted successfully");
    Ok(Json(DeleteResponse { id: deployment.into_string(), message }))
}
