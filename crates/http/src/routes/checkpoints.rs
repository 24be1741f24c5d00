//! Checkpoints. Their bodies carry the state of whole conversations, so they may be larger than others.

use std::sync::Arc;

use agentex_app::App;
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::bodies::checkpoints::{
    CheckpointBody, CheckpointTupleBody, DeleteThreadRequest, GetCheckpointRequest, ListCheckpointsRequest,
    PutCheckpointBody, PutCheckpointRequest, PutWritesRequest,
};
use crate::error::ApiError;
use crate::extract::{ApiBody, Authenticated, CheckpointApiBody};

/// Read a checkpoint with its blobs and the writes since.
#[utoipa::path(
    post,
    path = "/checkpoints/get-tuple",
    operation_id = "get_checkpoint_tuple_checkpoints_get_tuple_post",
    tag = "Checkpoints",
    request_body = GetCheckpointRequest,
    responses((status = 200, description = "The checkpoint; null when there is none.", body = Option<CheckpointTupleBody>))
)]
pub(crate) async fn find(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Json<Option<CheckpointTupleBody>>, ApiError> {
    let GetCheckpointRequest { thread_id, checkpoint_ns, checkpoint_id } = body.read()?;
    let found = app.checkpoints.find(&caller, &thread_id, &checkpoint_ns, checkpoint_id).await?;
    Ok(Json(found.map(CheckpointTupleBody::from)))
}

/// Store a checkpoint and the blobs that are new in it.
#[utoipa::path(
    post,
    path = "/checkpoints/put",
    operation_id = "put_checkpoint_checkpoints_put_post",
    tag = "Checkpoints",
    request_body = PutCheckpointRequest,
    responses((status = 200, description = "What was stored.", body = PutCheckpointBody))
)]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    CheckpointApiBody(body): CheckpointApiBody,
) -> Result<Json<PutCheckpointBody>, ApiError> {
    let (checkpoint, blobs) = body.read::<PutCheckpointRequest>()?.with_digits_of(body.text())?;
    Ok(Json(app.checkpoints.put(&caller, checkpoint, blobs).await?.into()))
}

/// Store what steps have written since a checkpoint.
#[utoipa::path(
    post,
    path = "/checkpoints/put-writes",
    operation_id = "put_writes_checkpoints_put_writes_post",
    tag = "Checkpoints",
    request_body = PutWritesRequest,
    responses((status = 204, description = "They are stored."))
)]
pub(crate) async fn put_writes(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    CheckpointApiBody(body): CheckpointApiBody,
) -> Result<StatusCode, ApiError> {
    let request = body.read::<PutWritesRequest>()?;
    app.checkpoints.put_writes(&caller, request.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the checkpoints of a thread, newest first, without blobs and writes.
#[utoipa::path(
    post,
    path = "/checkpoints/list",
    operation_id = "list_checkpoints_checkpoints_list_post",
    tag = "Checkpoints",
    request_body = ListCheckpointsRequest,
    responses((status = 200, description = "The checkpoints.", body = Vec<CheckpointBody>))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<Json<Vec<CheckpointBody>>, ApiError> {
    let (thread, filter, limit) = body.read::<ListCheckpointsRequest>()?.into_parts();
    let checkpoints = app.checkpoints.list(&caller, &thread, filter, limit).await?;
    Ok(Json(checkpoints.into_iter().map(CheckpointBody::from).collect()))
}

/// Delete everything of a thread.
#[utoipa::path(
    post,
    path = "/checkpoints/delete-thread",
    operation_id = "delete_thread_checkpoints_delete_thread_post",
    tag = "Checkpoints",
    request_body = DeleteThreadRequest,
    responses((status = 204, description = "Nothing of it is left."))
)]
pub(crate) async fn delete_thread(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    body: ApiBody,
) -> Result<StatusCode, ApiError> {
    let DeleteThreadRequest { thread_id } = body.read()?;
    app.checkpoints.delete_thread(&caller, &thread_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
