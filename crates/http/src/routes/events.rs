use std::sync::Arc;

use agentex_app::{App, EventQuery};
use agentex_domain::{AgentId, EventId, TaskId};
use axum::Json;
use axum::extract::State;
use utoipa::IntoParams;

use crate::bodies::rpc::EventBody;
use crate::error::ApiError;
use crate::extract::{ApiQuery, Authenticated, EventPath, QueryParams, QueryReader};

/// Which events to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListEventsQuery {
    /// Only those that follow this event; an unknown one is ignored.
    last_processed_event_id: Option<String>,
    /// Most events to answer; all when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The task.
    task_id: String,
    /// The agent they are for.
    agent_id: String,
}

impl QueryParams for ListEventsQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let last_processed_event_id = query.optional_name("last_processed_event_id").map(str::to_owned);
        let limit = query.text("limit").is_some().then(|| query.limit());
        let task_id = query.required_identifier("task_id").map(str::to_owned);
        let agent_id = query.required_identifier("agent_id").map(str::to_owned);
        Some(Self { last_processed_event_id, limit: limit.flatten(), task_id: task_id?, agent_id: agent_id? })
    }
}

impl From<ListEventsQuery> for EventQuery {
    fn from(query: ListEventsQuery) -> Self {
        let ListEventsQuery { last_processed_event_id, limit, task_id, agent_id } = query;
        Self {
            task_id: TaskId::from(task_id),
            agent_id: AgentId::from(agent_id),
            after: last_processed_event_id.map(EventId::from),
            limit,
        }
    }
}

/// Read an event.
#[utoipa::path(
    get,
    path = "/events/{event_id}",
    operation_id = "get_event_events__event_id__get",
    tag = "Events",
    params(("event_id" = String, Path, description = "The event's id.")),
    responses((status = 200, description = "The event.", body = EventBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    EventPath(id): EventPath,
) -> Result<Json<EventBody>, ApiError> {
    Ok(Json(app.events.get(&caller, &id).await?.into()))
}

/// List the events of a task for an agent, in the order in which they were accepted.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "list_events_events_get",
    tag = "Events",
    params(ListEventsQuery),
    responses((status = 200, description = "The events.", body = Vec<EventBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<EventBody>>, ApiError> {
    let events = app.events.list(&caller, query.read::<ListEventsQuery>()?.into()).await?;
    Ok(Json(events.into_iter().map(EventBody::from).collect()))
}
