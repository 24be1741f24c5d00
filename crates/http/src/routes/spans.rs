use std::sync::Arc;

use agentex_app::{App, SpanQuery};
use agentex_domain::ports::SpanOrder;
use agentex_domain::{Direction, PageRequest, TaskId};
use axum::Json;
use axum::extract::State;
use utoipa::IntoParams;

use crate::bodies::spans::{CreateSpanRequest, SpanBody, UpdateSpanRequest};
use crate::error::ApiError;
use crate::extract::{ApiBody, ApiQuery, Authenticated, QueryParams, QueryReader, SpanPath};

const COLUMNS: [(&str, SpanOrder); 7] = [
    ("start_time", SpanOrder::StartTime),
    ("end_time", SpanOrder::EndTime),
    ("id", SpanOrder::Id),
    ("trace_id", SpanOrder::TraceId),
    ("task_id", SpanOrder::TaskId),
    ("parent_id", SpanOrder::ParentId),
    ("name", SpanOrder::Name),
];

/// Which spans to list, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSpansQuery {
    /// Only spans of this trace.
    trace_id: Option<String>,
    /// Only spans of this task, and those whose trace has its id.
    task_id: Option<String>,
    /// Most spans to answer.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: u64,
    /// One of start_time, end_time, id, trace_id, task_id, parent_id, name.
    #[param(value_type = Option<String>)]
    order_by: SpanOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
}

impl QueryParams for ListSpansQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let trace_id = query.text("trace_id").filter(|trace_id| !trace_id.is_empty()).map(str::to_owned);
        let task_id = query.optional_name("task_id").map(str::to_owned);
        let page = query.page();
        let order_by = query.order_by(&COLUMNS);
        let order_direction = query.order_direction(Direction::Ascending);
        let PageRequest { limit, page_number } = page?;
        Some(Self { trace_id, task_id, limit, page_number, order_by, order_direction })
    }
}

impl From<ListSpansQuery> for SpanQuery {
    fn from(query: ListSpansQuery) -> Self {
        let ListSpansQuery { trace_id, task_id, limit, page_number, order_by, order_direction } = query;
        Self {
            trace_id,
            task_id: task_id.map(TaskId::from),
            order: order_by,
            direction: order_direction,
            page: PageRequest { limit, page_number },
        }
    }
}

/// Store a span.
#[utoipa::path(
    post,
    path = "/spans",
    operation_id = "create_span_spans_post",
    tag = "Spans",
    request_body = CreateSpanRequest,
    responses((status = 200, description = "The span.", body = SpanBody))
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Json<SpanBody>, ApiError> {
    let request = body.read::<CreateSpanRequest>()?;
    Ok(Json(app.spans.create(&caller, request.into()).await?.into()))
}

/// Change a span, for example to end it.
#[utoipa::path(
    patch,
    path = "/spans/{span_id}",
    operation_id = "partial_update_span_spans__span_id__patch",
    tag = "Spans",
    params(("span_id" = String, Path, description = "The span's id.")),
    request_body = UpdateSpanRequest,
    responses((status = 200, description = "The span.", body = SpanBody))
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    SpanPath(id): SpanPath,
    body: ApiBody,
) -> Result<Json<SpanBody>, ApiError> {
    let request = body.read::<UpdateSpanRequest>()?;
    Ok(Json(app.spans.update(&caller, &id, request.into()).await?.into()))
}

/// Read a span.
#[utoipa::path(
    get,
    path = "/spans/{span_id}",
    operation_id = "get_span_spans__span_id__get",
    tag = "Spans",
    params(("span_id" = String, Path, description = "The span's id.")),
    responses((status = 200, description = "The span.", body = SpanBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    SpanPath(id): SpanPath,
) -> Result<Json<SpanBody>, ApiError> {
    Ok(Json(app.spans.get(&caller, &id).await?.into()))
}

/// List the spans the caller may read, latest begun first unless asked otherwise.
#[utoipa::path(
    get,
    path = "/spans",
    operation_id = "list_spans_spans_get",
    tag = "Spans",
    params(ListSpansQuery),
    responses((status = 200, description = "One page of spans.", body = Vec<SpanBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<SpanBody>>, ApiError> {
    let query = query.read::<ListSpansQuery>()?;
    let spans = app.spans.list(&caller, query.into()).await?;
    Ok(Json(spans.into_iter().map(SpanBody::from).collect()))
}
