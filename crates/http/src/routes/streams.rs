use std::convert::Infallible;
use std::sync::Arc;

use agentex_app::{App, Caller, Error, StreamItem, TaskSelector};
use agentex_domain::input::Problems;
use agentex_domain::ports::{Cursor, StreamError};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use utoipa::IntoParams;

use crate::error::{ApiError, unless_hidden};
use crate::extract::{ApiQuery, Authenticated, QueryParams, QueryReader, TaskPath};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A comment, and on purpose not followed by a blank line: readers that remember the last id take a blank line for an event
/// without data.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":ping\n");

/// Where to go on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResumeQuery {
    /// The id of the last event seen; wins over the header `Last-Event-ID`.
    last_event_id: Option<String>,
}

impl QueryParams for ResumeQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        Some(Self { last_event_id: query.text("last_event_id").map(str::to_owned) })
    }
}

/// Watch a task.
///
/// Server-sent events: `connected` first, then what happens, until the task has ended. Every event has an id to come back
/// with.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}/stream",
    operation_id = "stream_task_events_tasks__task_id__stream_get",
    tag = "Tasks",
    params(("task_id" = String, Path, description = "The task's id."), ResumeQuery),
    responses((status = 200, description = "Events as they happen.", body = String, content_type = "text/event-stream"))
)]
pub(crate) async fn watch(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
    query: ApiQuery,
    version: Version,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    open(&app, &caller, &task, &query, version, &headers).await
}

/// Watch a task by name.
#[utoipa::path(
    get,
    path = "/tasks/name/{task_name}/stream",
    operation_id = "stream_task_events_by_name_tasks_name__task_name__stream_get",
    tag = "Tasks",
    params(("task_name" = String, Path, description = "The task's name."), ResumeQuery),
    responses((status = 200, description = "Events as they happen.", body = String, content_type = "text/event-stream"))
)]
pub(crate) async fn watch_by_name(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    TaskPath(task): TaskPath,
    query: ApiQuery,
    version: Version,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    open(&app, &caller, &task, &query, version, &headers).await
}

async fn open(
    app: &App,
    caller: &Caller,
    task: &TaskSelector,
    query: &ApiQuery,
    version: Version,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let resume_after =
        match query.read::<ResumeQuery>().map_err(Problems::into).and_then(|query| cursor(query, headers)) {
            Ok(resume_after) => resume_after,
            Err(invalid) => return Err(unless_hidden(app.tasks.get(caller, task, false), invalid).await),
        };
    let items = app.task_streams.open(caller, task, resume_after).await?;
    let blocks = items.map(|item| {
        Ok::<_, Infallible>(match item {
            StreamItem::Frame { id, json } => frame(id, &json),
            StreamItem::KeepAlive => KEEP_ALIVE,
        })
    });
    let mut response = Body::from_stream(blocks).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, EVENT_STREAM);
    streaming(&mut response, version);
    Ok(response)
}

fn cursor(query: ResumeQuery, headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let bad = || ApiError::from(Error::Stream(StreamError::BadCursor));
    let text = match query.last_event_id {
        Some(text) => text,
        None => match headers.get(LAST_EVENT_ID) {
            Some(value) => value.to_str().map_err(|_| bad())?.to_owned(),
            None => return Ok(None),
        },
    };
    // An empty id is how event sources say that they have none.
    if text.is_empty() { Ok(None) } else { Cursor::parse(&text).map(Some).ok_or_else(bad) }
}

/// One event, written in one go.
fn frame(id: Cursor, json: &[u8]) -> Bytes {
    use std::io::Write as _;

    let mut block = Vec::with_capacity(json.len() + 56);
    write!(block, "id: {id}\ndata: ").expect("memory takes all");
    block.extend_from_slice(json);
    block.extend_from_slice(b"\n\n");
    block.into()
}

/// Marks an answer that goes on: nothing between here and the reader may keep it or hold it back.
pub(super) fn streaming(response: &mut Response, version: Version) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    // Later versions of HTTP have no connection headers and refuse messages with them.
    if version <= Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_three_lines() {
        let id = Cursor { millis: 5, number: 1 };

        assert_eq!(frame(id, br#"{"type":"done"}"#), "id: 5-1\ndata: {\"type\":\"done\"}\n\n");
    }

    #[test]
    fn only_old_versions_of_http_are_told_to_keep_the_connection() {
        for (version, connection) in [(Version::HTTP_11, Some("keep-alive")), (Version::HTTP_2, None)] {
            let mut response = Response::default();
            streaming(&mut response, version);
            assert_eq!(response.headers().get("connection").map(|value| value.to_str().unwrap()), connection);
        }
    }
}
