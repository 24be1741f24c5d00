use std::sync::LazyLock;

use axum::extract::State;
use axum::response::{Html, IntoResponse};
use bytes::Bytes;
use http::header;

use crate::error::ApiError;
use crate::{Shared, openapi};

/// The document and the page, made once per process.
static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&openapi()).expect("the document is built of maps with text keys").into());
static PAGE: LazyLock<String> = LazyLock::new(|| crate::page::render(&openapi()));

/// The API document.
pub(crate) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

/// The API document as a page for people.
pub(crate) async fn page() -> Html<&'static str> {
    Html(PAGE.as_str())
}

/// The metrics of the process.
pub(crate) async fn metrics(State(shared): State<Shared>) -> Result<impl IntoResponse, ApiError> {
    let render = shared.options.metrics.as_ref().ok_or(ApiError::NoRoute)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render()))
}
