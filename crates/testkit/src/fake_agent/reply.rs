use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};

use super::{Gate, Watch};

/// How the agent answers a call.
#[derive(Debug, Clone)]
pub struct Reply {
    gates: Vec<Gate>,
    id: Option<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Result(Value),
    Error(Value),
    Raw { status: u16, body: Bytes },
    Stream(Vec<Step>),
    Hang,
    Disconnect,
}

/// One step of a streamed answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// A line of text; the line feed is added.
    Line(String),
    /// Bytes as they are, for lines cut in two or without end.
    Bytes(Bytes),
    /// A line with this update as the `result` of a JSON-RPC answer to the call.
    Update(Value),
    /// A line with a JSON-RPC error.
    Error {
        /// The code.
        code: i64,
        /// The text.
        message: String,
    },
    /// Waits until the gate is open.
    Wait(Gate),
    /// Breaks the connection; the body stays incomplete.
    Die,
    /// Goes silent for ever with the connection open.
    Hang,
}

impl Reply {
    fn new(kind: Kind) -> Self {
        Self { gates: Vec::new(), id: None, headers: Vec::new(), kind }
    }

    /// What asynchronous agents answer at once: `{"status": "processing"}`.
    #[must_use]
    pub fn accepted() -> Self {
        Self::result(json!({"status": "processing"}))
    }

    /// A JSON-RPC result; `Value::Null` for none.
    #[must_use]
    pub fn result(result: Value) -> Self {
        Self::new(Kind::Result(result))
    }

    /// A JSON-RPC error.
    #[must_use]
    pub fn error(code: i64, message: &str) -> Self {
        Self::new(Kind::Error(json!({"code": code, "message": message, "data": null})))
    }

    /// Any status with any body, declared as JSON.
    #[must_use]
    pub fn http(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(Kind::Raw { status, body: body.into() })
    }

    /// A temporary redirect.
    ///
    /// # Panics
    /// When `to` cannot stand in a header.
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        Self::http(307, Bytes::new()).with_header("location", to)
    }

    /// Newline-delimited JSON in these steps.
    #[must_use]
    pub fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::new(Kind::Stream(steps.into_iter().collect())).with_header("content-type", "application/x-ndjson")
    }

    /// A stream of updates without pauses.
    #[must_use]
    pub fn updates(updates: impl IntoIterator<Item = Value>) -> Self {
        Self::stream(updates.into_iter().map(Step::Update))
    }

    /// No answer at all; the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// The connection breaks without an answer.
    #[must_use]
    pub fn disconnect() -> Self {
        Self::new(Kind::Disconnect)
    }

    /// The same, but not before the gate is open.
    #[must_use]
    pub fn after(mut self, gate: &Gate) -> Self {
        self.gates.push(gate.clone());
        self
    }

    /// The same with another JSON-RPC id than the call's.
    #[must_use]
    pub fn with_id(mut self, id: Value) -> Self {
        self.id = Some(id);
        self
    }

    /// The same with a header set.
    ///
    /// # Panics
    /// When it is not a valid header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, HeaderValue::from_str(value).unwrap()));
        self
    }

    pub(super) async fn answer(self, id: Value, mut watch: Watch) -> Response {
        for gate in &self.gates {
            gate.pass().await;
        }
        let id = self.id.unwrap_or(id);
        let mut response = match self.kind {
            Kind::Result(result) => json(200, &json!({"jsonrpc": "2.0", "result": result, "error": null, "id": id})),
            Kind::Error(error) => json(200, &json!({"jsonrpc": "2.0", "result": null, "error": error, "id": id})),
            Kind::Raw { status, body } => with_type(status, Body::from(body)),
            Kind::Stream(steps) => {
                // The stream takes the watch along: it is over when the stream is.
                let mut response = Response::new(Body::from_stream(run(steps, id, watch)));
                set(&mut response, self.headers);
                return response;
            }
            Kind::Hang => std::future::pending().await,
            Kind::Disconnect => {
                watch.finish();
                // Ends the connection's task, and says nothing about it.
                std::panic::resume_unwind(Box::new("the agent breaks the connection"))
            }
        };
        watch.finish();
        set(&mut response, self.headers);
        response
    }
}

pub(super) fn json(status: u16, body: &Value) -> Response {
    with_type(status, Body::from(body.to_string()))
}

fn with_type(status: u16, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn set(response: &mut Response, headers: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
}

fn run(steps: Vec<Step>, id: Value, watch: Watch) -> impl Stream<Item = Result<Bytes, Died>> + Send {
    let state = (VecDeque::from(steps), id, watch);
    futures::stream::unfold(state, |(mut steps, id, mut watch)| async move {
        loop {
            let Some(step) = steps.pop_front() else {
                watch.finish();
                return None;
            };
            let line = match step {
                Step::Line(text) => text,
                Step::Update(update) => {
                    json!({"jsonrpc": "2.0", "result": update, "error": null, "id": id}).to_string()
                }
                Step::Error { code, message } => {
                    let error = json!({"code": code, "message": message, "data": null});
                    json!({"jsonrpc": "2.0", "result": null, "error": error, "id": id}).to_string()
                }
                Step::Bytes(bytes) => return Some((Ok(bytes), (steps, id, watch))),
                Step::Wait(gate) => {
                    gate.pass().await;
                    continue;
                }
                Step::Die => {
                    // Lets the server send what it holds back, so that the caller gets every line before this one.
                    tokio::task::yield_now().await;
                    watch.finish();
                    return Some((Err(Died), (VecDeque::new(), id, watch)));
                }
                Step::Hang => {
                    let never: Infallible = std::future::pending().await;
                    match never {}
                }
            };
            return Some((Ok(Bytes::from(line + "\n")), (steps, id, watch)));
        }
    })
    .fuse()
}

/// What makes the server break the connection instead of ending the body.
#[derive(Debug)]
struct Died;

impl std::fmt::Display for Died {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the agent died")
    }
}

impl std::error::Error for Died {}
