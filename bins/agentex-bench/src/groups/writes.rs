//! What agents write most: spans, batches of messages, states and checkpoints; and what it costs that a request may be
//! repeated.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Bench;
use crate::compare::{CALLERS, Work, measure as alone};
use crate::deployment::{Backend, Deployment};
use crate::http;
use crate::load::{Numbered, UNUSED};
use crate::report::{Line, Unit};

/// Agents are called by nobody here.
const NOWHERE: &str = "http://127.0.0.1:1";
/// Messages of one batch.
const BATCH: usize = 50;

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let agent = deployment.register("bench", "sync", NOWHERE).await?;
    let task = deployment.task(&agent).await?;
    let state = json!({"task_id": task, "agent_id": agent, "state": {"step": 0, "seen": ["a", "b", "c"]}});
    let state = deployment.call("POST", "/states", &state).await?;
    let state = format!("/states/{}", state["id"].as_str().unwrap_or_default());
    deployment.call("POST", "/checkpoints/put", &checkpoint(&task, "0")).await?;

    let message = json!({"task_id": task, "content": text()});
    let post_message = http::with_json("POST", "/messages", &message);
    let batch = json!({"task_id": task, "contents": vec![text(); BATCH]});
    let rows: [(&str, Bytes, &'static str); 8] = [
        ("POST /spans", http::with_json("POST", "/spans", &span(&task)), "\"trace_id\":"),
        ("POST /messages/batch, 50", http::with_json("POST", "/messages/batch", &batch), "\"streaming_status\":"),
        (
            "PUT /states/{id}",
            http::with_json("PUT", &state, &json!({"state": {"step": 1, "seen": ["a", "b"]}})),
            "step",
        ),
        (
            "POST /checkpoints/put",
            http::with_json("POST", "/checkpoints/put", &checkpoint(&task, UNUSED)),
            "\"checkpoint_id\":",
        ),
        (
            "POST /checkpoints/get-tuple",
            http::with_json("POST", "/checkpoints/get-tuple", &json!({"thread_id": task, "checkpoint_id": "0"})),
            "\"pending_writes\":",
        ),
        ("POST /messages, not to be repeated", post_message.clone(), "\"streaming_status\":"),
        (
            "POST /messages, first attempt of the SDK",
            http::with_header(&post_message, "x-stainless-retry-count", "0"),
            "\"streaming_status\":",
        ),
        (
            "POST /messages, with a new idempotency key",
            http::with_header(&post_message, "idempotency-key", UNUSED),
            "\"streaming_status\":",
        ),
    ];
    let mut lines = Vec::new();
    for (name, request, expected) in rows {
        let work = Work::Numbered(Numbered::new(deployment.target(&request, expected)));
        lines.extend(row(bench, &deployment, name, &work).await?);
    }
    deployment.stop().await?;
    Ok(lines)
}

async fn row(bench: &Bench, deployment: &Deployment, name: &str, work: &Work) -> anyhow::Result<[Line; 3]> {
    let figures = alone(bench.effort, deployment, work).await?;
    let line =
        |what: String, unit, value| Line { measure: format!("{name}, {what}"), unit, target: None, value, raw: None };
    Ok([
        line(format!("{CALLERS} connections"), Unit::PerSecond, figures.rate),
        line("one connection, p50".to_owned(), Unit::Millis, figures.p50),
        line("one connection, p99".to_owned(), Unit::Millis, figures.p99),
    ])
}

fn text() -> Value {
    json!({
        "type": "text", "author": "agent", "style": "static", "format": "plain", "attachments": null,
        "content": "The quick brown fox jumps over the lazy dog, again and again.",
    })
}

fn span(task: &str) -> Value {
    json!({
        "trace_id": task, "task_id": task, "parent_id": null, "name": "chat completion",
        "start_time": "2026-01-02T03:04:05.678901Z", "end_time": "2026-01-02T03:04:06.789012Z",
        "input": {"messages": [{"role": "user", "content": "The quick brown fox jumps over the lazy dog."}]},
        "output": {"role": "assistant", "content": "It does, again and again."}, "data": {"tokens": 27},
    })
}

/// A checkpoint as the SDK's saver puts it, with one new blob of 1 KiB.
fn checkpoint(task: &str, id: &str) -> Value {
    json!({
        "thread_id": task, "checkpoint_id": id,
        "checkpoint": {"v": 4, "id": id, "channel_versions": {"messages": id}},
        "metadata": {"step": 1, "source": "loop"},
        "blobs": [{"channel": "messages", "version": id, "type": "msgpack", "blob": "abcd".repeat(342)}],
    })
}
