use std::sync::Arc;

use agentex_app::{App, StateQuery};
use agentex_domain::ports::StateOrder;
use agentex_domain::{AgentId, Direction, PageRequest, TaskId, TaskState, Timestamp};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use utoipa::IntoParams;

use crate::bodies::errors::MessageBody;
use crate::bodies::states::{CreateStateRequest, StateBody, UpdateStateRequest};
use crate::error::ApiError;
use crate::extract::{ApiBody, ApiQuery, Authenticated, QueryParams, QueryReader, StatePath};

const COLUMNS: [(&str, StateOrder); 5] = [
    ("id", StateOrder::Id),
    ("task_id", StateOrder::TaskId),
    ("agent_id", StateOrder::AgentId),
    ("created_at", StateOrder::CreatedAt),
    ("updated_at", StateOrder::UpdatedAt),
];

/// Which states to list, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListStatesQuery {
    /// Only states of this task.
    task_id: Option<String>,
    /// Only states of this agent.
    agent_id: Option<String>,
    /// Most states to answer; never more than 1000.
    #[param(value_type = Option<i64>, minimum = 1, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: u64,
    /// One of id, task_id, agent_id, created_at, updated_at. Without it the oldest come first.
    #[param(value_type = Option<String>)]
    order_by: StateOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
}

impl QueryParams for ListStatesQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let task_id = query.identifier("task_id").map(str::to_owned);
        let agent_id = query.optional_name("agent_id").map(str::to_owned);
        let page = query.bounded_page();
        let order_by = query.order_by(&COLUMNS);
        let order_direction = match (order_by, query.order_direction(Direction::Ascending)) {
            (StateOrder::Insertion, _) => Direction::Ascending,
            (_, direction) => direction,
        };
        let PageRequest { limit, page_number } = page?;
        Some(Self { task_id, agent_id, limit, page_number, order_by, order_direction })
    }
}

impl From<ListStatesQuery> for StateQuery {
    fn from(query: ListStatesQuery) -> Self {
        let ListStatesQuery { task_id, agent_id, limit, page_number, order_by, order_direction } = query;
        Self {
            task_id: task_id.map(TaskId::from),
            agent_id: agent_id.map(AgentId::from),
            order: order_by,
            direction: order_direction,
            page: PageRequest { limit, page_number },
        }
    }
}

/// A state, and in the header `ETag` which version of it.
pub(crate) struct Versioned(TaskState);

impl IntoResponse for Versioned {
    fn into_response(self) -> Response {
        let version = format!("\"{}\"", self.0.updated_at.as_micros());
        ([(header::ETAG, version)], Json(StateBody::from(self.0))).into_response()
    }
}

/// The versions that a change is meant for, from the header `If-Match`. `None`: any.
struct IfMatch(Option<Vec<Timestamp>>);

impl IfMatch {
    /// What is no version of a state matches none.
    fn read(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(header::IF_MATCH).iter().peekable();
        if given.peek().is_none() {
            return Self(None);
        }
        let tags: Vec<&str> = given.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(',')).collect();
        if tags.iter().any(|tag| tag.trim() == "*") {
            return Self(None);
        }
        let version = |tag: &str| {
            let micros = tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
            Timestamp::from_micros(micros)
        };
        Self(Some(tags.into_iter().filter_map(version).collect()))
    }
}

/// Store a state.
#[utoipa::path(
    post,
    path = "/states",
    operation_id = "create_task_state_states_post",
    tag = "States",
    request_body = CreateStateRequest,
    responses((
        status = 200,
        description = "The state.",
        body = StateBody,
        headers(("ETag" = String, description = "The version of the state."))
    ))
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Versioned, ApiError> {
    let request = body.read::<CreateStateRequest>()?;
    Ok(Versioned(app.states.create(&caller, request.into()).await?))
}

/// List states, of one task or of all that the caller may read.
#[utoipa::path(
    get,
    path = "/states",
    operation_id = "filter_states_states_get",
    tag = "States",
    params(ListStatesQuery),
    responses((status = 200, description = "One page of states.", body = Vec<StateBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<StateBody>>, ApiError> {
    let states = app.states.list(&caller, query.read::<ListStatesQuery>()?.into()).await?;
    Ok(Json(states.into_iter().map(StateBody::from).collect()))
}

/// Read a state.
#[utoipa::path(
    get,
    path = "/states/{state_id}",
    operation_id = "get_state_states__state_id__get",
    tag = "States",
    params(("state_id" = String, Path, description = "The state's id.")),
    responses((
        status = 200,
        description = "The state.",
        body = StateBody,
        headers(("ETag" = String, description = "The version of the state."))
    ))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    StatePath(id): StatePath,
) -> Result<Versioned, ApiError> {
    Ok(Versioned(app.states.get(&caller, &id).await?))
}

/// Replace a state.
///
/// Other members of the body than `state` are ignored. Two that read and write the same state lose nothing of each other with
/// `If-Match`: the version that was read, from `ETag`.
#[utoipa::path(
    put,
    path = "/states/{state_id}",
    operation_id = "update_task_state_states__state_id__put",
    tag = "States",
    params(
        ("state_id" = String, Path, description = "The state's id."),
        ("If-Match" = Option<String>, Header, description = "Versions that may be replaced; without it any."),
    ),
    request_body = UpdateStateRequest,
    responses(
        (
            status = 200,
            description = "The state.",
            body = StateBody,
            headers(("ETag" = String, description = "The version of the state."))
        ),
        (status = 412, description = "It has been changed since.", body = MessageBody)
    )
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    StatePath(id): StatePath,
    headers: HeaderMap,
    body: ApiBody,
) -> Result<Versioned, ApiError> {
    let UpdateStateRequest { state } = body.read()?;
    let IfMatch(versions) = IfMatch::read(&headers);
    Ok(Versioned(app.states.update(&caller, &id, &state, versions.as_deref()).await?))
}

/// Delete a state.
#[utoipa::path(
    delete,
    path = "/states/{state_id}",
    operation_id = "delete_task_state_states__state_id__delete",
    tag = "States",
    params(("state_id" = String, Path, description = "The state's id.")),
    responses((status = 200, description = "What it was.", body = StateBody))
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    StatePath(id): StatePath,
) -> Result<Json<StateBody>, ApiError> {
    Ok(Json(app.states.delete(&caller, &id).await?.into()))
}
