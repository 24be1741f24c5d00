use std::sync::Arc;

use agentex_app::{App, TrackerQuery};
use agentex_domain::ports::TrackerOrder;
use agentex_domain::{AgentId, Direction, PageRequest, TaskId};
use axum::Json;
use axum::extract::State;
use utoipa::IntoParams;

use crate::bodies::trackers::{TrackerBody, UpdateTrackerRequest};
use crate::error::ApiError;
use crate::extract::{ApiBody, ApiQuery, Authenticated, QueryParams, QueryReader, TrackerPath};

const COLUMNS: [(&str, TrackerOrder); 6] = [
    ("id", TrackerOrder::Id),
    ("agent_id", TrackerOrder::AgentId),
    ("task_id", TrackerOrder::TaskId),
    ("status", TrackerOrder::Status),
    ("created_at", TrackerOrder::CreatedAt),
    ("updated_at", TrackerOrder::UpdatedAt),
];

/// Which trackers to list, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTrackersQuery {
    /// Only trackers of this agent.
    agent_id: Option<String>,
    /// Only trackers of this task.
    task_id: Option<String>,
    /// Most trackers to answer; never more than 1000.
    #[param(value_type = Option<i64>, minimum = 1, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: u64,
    /// One of id, agent_id, task_id, status, created_at, updated_at.
    #[param(value_type = Option<String>)]
    order_by: TrackerOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
}

impl QueryParams for ListTrackersQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let agent_id = query.optional_name("agent_id").map(str::to_owned);
        let task_id = query.identifier("task_id").map(str::to_owned);
        let page = query.bounded_page();
        let order_by = query.order_by(&COLUMNS);
        let order_direction = query.order_direction(Direction::Ascending);
        let PageRequest { limit, page_number } = page?;
        Some(Self { agent_id, task_id, limit, page_number, order_by, order_direction })
    }
}

impl From<ListTrackersQuery> for TrackerQuery {
    fn from(query: ListTrackersQuery) -> Self {
        let ListTrackersQuery { agent_id, task_id, limit, page_number, order_by, order_direction } = query;
        Self {
            task_id: task_id.map(TaskId::from),
            agent_id: agent_id.map(AgentId::from),
            order: order_by,
            direction: order_direction,
            page: PageRequest { limit, page_number },
        }
    }
}

/// Read how far an agent has processed the events of a task.
#[utoipa::path(
    get,
    path = "/tracker/{tracker_id}",
    operation_id = "get_agent_task_tracker_tracker__tracker_id__get",
    tag = "Agent Task Tracker",
    params(("tracker_id" = String, Path, description = "The tracker's id.")),
    responses((status = 200, description = "The tracker.", body = TrackerBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TrackerPath(id): TrackerPath,
) -> Result<Json<TrackerBody>, ApiError> {
    Ok(Json(app.trackers.get(&caller, &id).await?.into()))
}

/// List the trackers of tasks that the caller may read.
#[utoipa::path(
    get,
    path = "/tracker",
    operation_id = "filter_agent_task_tracker_tracker_get",
    tag = "Agent Task Tracker",
    params(ListTrackersQuery),
    responses((status = 200, description = "One page of trackers.", body = Vec<TrackerBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<TrackerBody>>, ApiError> {
    let trackers = app.trackers.list(&caller, query.read::<ListTrackersQuery>()?.into()).await?;
    Ok(Json(trackers.into_iter().map(TrackerBody::from).collect()))
}

/// Note an agent's progress. The cursor never moves backwards.
#[utoipa::path(
    put,
    path = "/tracker/{tracker_id}",
    operation_id = "update_agent_task_tracker_tracker__tracker_id__put",
    tag = "Agent Task Tracker",
    params(("tracker_id" = String, Path, description = "The tracker's id.")),
    request_body = UpdateTrackerRequest,
    responses((status = 200, description = "The tracker.", body = TrackerBody))
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TrackerPath(id): TrackerPath,
    body: ApiBody,
) -> Result<Json<TrackerBody>, ApiError> {
    let change = body.read::<UpdateTrackerRequest>()?.into();
    Ok(Json(app.trackers.update(&caller, &id, &change).await?.into()))
}
