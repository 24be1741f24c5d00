//! Calls to an agent that answers at once: what the way through the server adds.

use serde_json::{Value, json};

use super::Bench;
use super::rows::processor;
use crate::agent::{InstantAgent, Reply, direct_call};
use crate::compare::{CALLERS, Comparison, Work, compare};
use crate::deployment::{Backend, Deployment};
use crate::http;
use crate::load::Target;
use crate::report::{self, Line, Unit};

/// Methods, the kind of agent that takes them, and what the reference takes of processor time, as far as known.
const METHODS: [(&str, &str, Option<f64>); 4] = [
    ("task/interrupt", "sync", None),
    ("event/send", "async", None),
    ("message/send", "sync", None),
    ("task/create", "async", Some(37.0)),
];

/// Part of every answer that is not a failure.
const NO_ERROR: &str = "\"error\":null";

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let agent = InstantAgent::start(Reply::Whole)?;
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let mut lines = Vec::new();
    for (method, acp_type, reference_ms) in METHODS {
        let id = deployment.register(&format!("bench-{acp_type}"), acp_type, &agent.url()).await?;
        let task = deployment.task(&id).await?;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params(method, &task)});
        let path = format!("/agents/{id}/rpc");
        let request = http::with_json("POST", &path, &body);
        let straight = Target { address: agent.address(), request: direct_call(method), expected: NO_ERROR };
        let through = Work::Request(deployment.target(&request, NO_ERROR));
        let comparison = compare(bench.effort, &deployment, &through, &Work::Request(straight)).await?;
        lines.extend(rows(method, comparison, reference_ms));
    }
    deployment.stop().await?;
    Ok(lines)
}

fn params(method: &str, task: &str) -> Value {
    let content = json!({"type": "text", "author": "user", "content": "hello"});
    match method {
        "task/create" => json!({}),
        "task/interrupt" => json!({"task_id": task}),
        _ => json!({"task_id": task, "content": content}),
    }
}

fn rows(method: &str, comparison: Comparison, reference_ms: Option<f64>) -> Vec<Line> {
    let Comparison { server, baseline, processor_ms } = comparison;
    let added = |which: &str, through: f64, direct: f64, most| Line {
        measure: format!("{method}, added to the agent's own time, {which}"),
        unit: Unit::Millis,
        target: Some(report::Target::AtMost(most, most)),
        value: through - direct,
        raw: Some(direct),
    };
    vec![
        added("p50", server.p50, baseline.p50, 0.3),
        added("p99", server.p99, baseline.p99, 1.0),
        Line {
            measure: format!("{method}, {CALLERS} connections"),
            unit: Unit::PerSecond,
            target: None,
            value: server.rate,
            raw: Some(baseline.rate),
        },
        processor(method, processor_ms, reference_ms),
    ]
}
