use std::sync::Arc;

use agentex_app::{App, Exported, RehydrateFrom, Uploaded};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use crate::bodies::retention::{
    CleanTaskBody, CleanTaskRequest, ExportTaskBody, ExportTaskToUrlBody, ExportTaskToUrlRequest, RehydrateRequest,
    RehydrateTaskRequest,
};
use crate::error::ApiError;
use crate::extract::{ApiBody, Authenticated, TaskIdPath};

/// Read the contents of a task.
///
/// Its messages and states as they are at one moment. The answer is what `rehydrate` takes.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}/export",
    operation_id = "export_task_tasks__task_id__export_get",
    tag = "Task retention",
    params(("task_id" = String, Path, description = "The task's id.")),
    responses((status = 200, description = "The contents.", body = ExportTaskBody))
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskIdPath(task_id): TaskIdPath,
) -> Result<Response, ApiError> {
    let Exported { document, .. } = app.retention.export(&caller, &task_id).await?;
    let length = document.length;
    let mut response = Response::new(Body::from_stream(document.chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// Put the contents of a task somewhere.
///
/// The same document is put to a presigned URL, which must be https and at a public address. Redirects are failures.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/export",
    operation_id = "export_task_to_url_tasks__task_id__export_post",
    tag = "Task retention",
    params(("task_id" = String, Path, description = "The task's id.")),
    request_body = ExportTaskToUrlRequest,
    responses((status = 200, description = "It is there.", body = ExportTaskToUrlBody))
)]
pub(crate) async fn export_to_url(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskIdPath(task_id): TaskIdPath,
    body: ApiBody,
) -> Result<Json<ExportTaskToUrlBody>, ApiError> {
    let ExportTaskToUrlRequest { upload_url } = body.read()?;
    let Uploaded { bytes, messages, states } = app.retention.export_to_url(&caller, &task_id, &upload_url).await?;
    Ok(Json(ExportTaskToUrlBody {
        task_id: task_id.into_string(),
        upload_url,
        uploaded_bytes: bytes,
        messages_count: messages,
        task_states_count: states,
    }))
}

/// Take the contents of a task away.
///
/// Refused while the task is running, was used recently (unless forced) or has events that an agent has not processed.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/clean",
    operation_id = "clean_task_tasks__task_id__clean_post",
    tag = "Task retention",
    params(("task_id" = String, Path, description = "The task's id.")),
    request_body = CleanTaskRequest,
    responses((status = 200, description = "They are gone.", body = CleanTaskBody))
)]
pub(crate) async fn clean(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskIdPath(task_id): TaskIdPath,
    body: ApiBody,
) -> Result<Json<CleanTaskBody>, ApiError> {
    let request = body.read::<CleanTaskRequest>()?;
    let report = app.retention.clean(&caller, &task_id, request.into()).await?;
    Ok(Json(CleanTaskBody::new(task_id, report)))
}

/// Put contents back into a cleaned task.
///
/// All or nothing, with their ids and times: from the request, or from a presigned URL of an exported snapshot, which must be
/// https and at a public address.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/rehydrate",
    operation_id = "rehydrate_task_tasks__task_id__rehydrate_post",
    tag = "Task retention",
    params(("task_id" = String, Path, description = "The task's id.")),
    request_body = RehydrateTaskRequest,
    responses((status = 204, description = "They are back."))
)]
pub(crate) async fn rehydrate(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskIdPath(task_id): TaskIdPath,
    body: ApiBody,
) -> Result<StatusCode, ApiError> {
    let from = RehydrateFrom::try_from(body.read::<RehydrateRequest>()?)?;
    app.retention.rehydrate(&caller, &task_id, from).await?;
    Ok(StatusCode::NO_CONTENT)
}
