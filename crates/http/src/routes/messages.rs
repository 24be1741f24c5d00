use std::sync::Arc;

use agentex_app::App;
use agentex_domain::input::{HAS_NUL, has_nul};
use agentex_domain::ports::MessageOrder;
use agentex_domain::{Direction, MessageCursor, MessageFilter, TaskId, TimeDirection};
use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa::IntoParams;

use super::page_request;
use crate::bodies::messages::{
    CreateMessageRequest, CreateMessagesRequest, MessagePageBody, TaskMessageBody, TimeDirectionWords,
    UpdateMessageRequest, UpdateMessagesRequest,
};
use crate::error::ApiError;
use crate::extract::{ApiBody, ApiQuery, Authenticated, MessagePath, QueryParams, QueryReader};
use crate::{Shared, cursor};

const COLUMNS: [(&str, MessageOrder); 4] = [
    ("created_at", MessageOrder::CreatedAt),
    ("updated_at", MessageOrder::UpdatedAt),
    ("id", MessageOrder::Id),
    ("streaming_status", MessageOrder::StreamingStatus),
];

/// Which messages to list, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListMessagesQuery {
    /// The task.
    task_id: String,
    /// Most messages to answer.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// 1 is the first page.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    page_number: i64,
    /// One of created_at, updated_at, id, streaming_status.
    #[param(value_type = Option<String>)]
    order_by: MessageOrder,
    /// asc or desc.
    #[param(value_type = Option<String>, default = "desc")]
    order_direction: Direction,
    /// Which messages, as JSON: one filter object or an array of them, each with `content` (a part of the content),
    /// `streaming_status` and `exclude`. A message is shown when it fits any filter without `exclude` (or there is none)
    /// and no filter with it.
    filters: Option<String>,
}

impl QueryParams for ListMessagesQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let task_id = query.required_identifier("task_id").map(str::to_owned);
        let (limit, page_number) = (query.limit(), query.page_number());
        let order_by = query.order_by(&COLUMNS);
        let order_direction = query.order_direction(Direction::Descending);
        let filters = query.text("filters").map(str::to_owned);
        Some(Self { task_id: task_id?, limit: limit?, page_number: page_number?, order_by, order_direction, filters })
    }
}

/// Which messages to page through, and where to go on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageMessagesQuery {
    /// The task.
    task_id: String,
    /// Most messages to answer.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Which side of the cursor to read.
    #[param(value_type = Option<TimeDirectionWords>, default = "older")]
    direction: TimeDirection,
    /// Which messages, as in the list.
    filters: Option<String>,
}

impl QueryParams for PageMessagesQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let task_id = query.required_identifier("task_id").map(str::to_owned);
        let limit = query.limit();
        let cursor = query.text("cursor").filter(|cursor| !cursor.is_empty()).map(str::to_owned);
        let directions = [("older", TimeDirection::Older), ("newer", TimeDirection::Newer)];
        let direction = query.choice("direction", &directions).unwrap_or_default();
        let filters = query.text("filters").map(str::to_owned);
        Some(Self { task_id: task_id?, limit: limit?, cursor, direction, filters })
    }
}

fn filter(text: Option<&str>) -> Result<MessageFilter, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(MessageFilter::default()) };
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ApiError::invalid(format!("Invalid JSON in filters parameter: {error}")))?;
    if has_nul(&value) {
        return Err(ApiError::problem("query.filters", HAS_NUL));
    }
    MessageFilter::from_json(&value).map_err(|text| ApiError::invalid(format!("Invalid filters parameter: {text}")))
}

fn position(text: Option<&str>, tolerant: bool) -> Result<Option<MessageCursor>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    match cursor::decode(text) {
        Some(cursor) => Ok(Some(cursor)),
        None if tolerant => Ok(None),
        None => Err(ApiError::invalid("Invalid cursor format")),
    }
}

/// Store a message.
#[utoipa::path(
    post,
    path = "/messages",
    operation_id = "create_message_messages_post",
    tag = "Messages",
    request_body = CreateMessageRequest,
    responses((status = 200, description = "The message.", body = TaskMessageBody))
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Json<TaskMessageBody>, ApiError> {
    let request = body.read::<CreateMessageRequest>()?;
    Ok(Json(app.messages.create(&caller, request.into()).await?.into()))
}

/// Store several messages of one task, all or none.
#[utoipa::path(
    post,
    path = "/messages/batch",
    operation_id = "batch_create_messages_messages_batch_post",
    tag = "Messages",
    request_body = CreateMessagesRequest,
    responses((status = 200, description = "The messages, in the order sent.", body = Vec<TaskMessageBody>))
)]
pub(crate) async fn create_batch(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Json<Vec<TaskMessageBody>>, ApiError> {
    let CreateMessagesRequest { task_id, contents, created_at } = body.read()?;
    let messages = app.messages.create_batch(&caller, task_id, contents, created_at).await?;
    Ok(Json(messages.into_iter().map(TaskMessageBody::from).collect()))
}

/// Replace a message's content.
#[utoipa::path(
    put,
    path = "/messages/{message_id}",
    operation_id = "update_message_messages__message_id__put",
    tag = "Messages",
    params(("message_id" = String, Path, description = "The message's id.")),
    request_body = UpdateMessageRequest,
    responses((status = 200, description = "The message.", body = TaskMessageBody))
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    MessagePath(id): MessagePath,
    body: ApiBody,
) -> Result<Json<TaskMessageBody>, ApiError> {
    let UpdateMessageRequest { task_id, content, streaming_status } = body.read()?;
    Ok(Json(app.messages.update(&caller, task_id, id, content, streaming_status).await?.into()))
}

/// Replace the contents of several messages of one task, all or none.
#[utoipa::path(
    put,
    path = "/messages/batch",
    operation_id = "batch_update_messages_messages_batch_put",
    tag = "Messages",
    request_body = UpdateMessagesRequest,
    responses((status = 200, description = "The messages, in the order sent.", body = Vec<TaskMessageBody>))
)]
pub(crate) async fn update_batch(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Json<Vec<TaskMessageBody>>, ApiError> {
    let UpdateMessagesRequest { task_id, updates } = body.read::<UpdateMessagesRequest>()?.in_order_of(body.text());
    let messages = app.messages.update_batch(&caller, task_id, updates).await?;
    Ok(Json(messages.into_iter().map(TaskMessageBody::from).collect()))
}

/// Read a message.
#[utoipa::path(
    get,
    path = "/messages/{message_id}",
    operation_id = "get_message_messages__message_id__get",
    tag = "Messages",
    params(("message_id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "The message.", body = TaskMessageBody))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    MessagePath(id): MessagePath,
) -> Result<Json<TaskMessageBody>, ApiError> {
    Ok(Json(app.messages.get(&caller, &id).await?.into()))
}

/// List a task's messages, newest first unless asked otherwise.
#[utoipa::path(
    get,
    path = "/messages",
    operation_id = "list_messages_messages_get",
    tag = "Messages",
    params(ListMessagesQuery),
    responses((status = 200, description = "One page of messages.", body = Vec<TaskMessageBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<Vec<TaskMessageBody>>, ApiError> {
    let ListMessagesQuery { task_id, limit, page_number, order_by, order_direction, filters } = query.read()?;
    let (task_id, filter) = (TaskId::from(task_id), filter(filters.as_deref())?);
    let page = page_request(limit, page_number)?;
    let messages = app.messages.list(&caller, &task_id, filter, order_by, order_direction, page).await?;
    Ok(Json(messages.into_iter().map(TaskMessageBody::from).collect()))
}

/// Page through a task's messages with a cursor.
#[utoipa::path(
    get,
    path = "/messages/paginated",
    operation_id = "list_messages_paginated_messages_paginated_get",
    tag = "Messages",
    params(PageMessagesQuery),
    responses((status = 200, description = "One page of messages, newest first.", body = MessagePageBody))
)]
pub(crate) async fn page(
    State(shared): State<Shared>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<MessagePageBody>, ApiError> {
    let PageMessagesQuery { task_id, limit, cursor, direction, filters } = query.read()?;
    let (task_id, filter) = (TaskId::from(task_id), filter(filters.as_deref())?);
    let cursor = position(cursor.as_deref(), shared.options.invalid_cursor_tolerated)?;
    let page = shared.app.messages.page(&caller, &task_id, filter, cursor, direction, limit).await?;
    Ok(Json(page.into()))
}
