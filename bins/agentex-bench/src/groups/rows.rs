//! Rows that are read and written over REST, next to the driver with the same statements.

use bytes::Bytes;
use serde_json::json;

use super::Bench;
use crate::compare::{CALLERS, Comparison, Work, compare};
use crate::deployment::{Backend, Deployment};
use crate::http;
use crate::raw::Statement;
use crate::report::{Line, Target, Unit};

/// Agents that are registered; the list shows 50 of them.
const AGENTS: usize = 60;
/// Agents are called by nobody here.
const NOWHERE: &str = "http://127.0.0.1:1";
/// The issue wants the processor time to be nearer to a hundredth than to a tenth of the reference's.
pub(super) const NEARER_TO_A_HUNDREDTH: f64 = 0.055;

pub(super) async fn agent(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let ids = register(&deployment).await?;
    let request = http::get(&format!("/agents/{}", ids[AGENTS / 2]));
    let statement = Statement::Agent(ids[AGENTS / 2].clone());
    let comparison = against_driver(bench, &deployment, request, "\"acp_type\":", statement).await?;
    deployment.stop().await?;
    Ok(lines("GET /agents/{id}", comparison, Some(Target::Share(0.5)), 9.0))
}

pub(super) async fn agents(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    register(&deployment).await?;
    let request = http::get("/agents?limit=50");
    let comparison = against_driver(bench, &deployment, request, "\"acp_type\":", Statement::Agents).await?;
    deployment.stop().await?;
    Ok(lines("GET /agents, 50 of 60", comparison, Some(Target::Share(0.5)), 20.0))
}

pub(super) async fn messages(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let agent = deployment.register("bench", "sync", NOWHERE).await?;
    let task_id = deployment.task(&agent).await?;
    let content = json!({
        "type": "text", "author": "user", "style": "static", "format": "plain", "attachments": null,
        "content": "The quick brown fox jumps over the lazy dog, again and again.",
    });
    let request = http::with_json("POST", "/messages", &json!({"task_id": task_id, "content": content}));
    let statement = Statement::Message { task_id, content: content.to_string() };
    let comparison = against_driver(bench, &deployment, request, "\"streaming_status\":", statement).await?;
    deployment.stop().await?;
    Ok(lines("POST /messages", comparison, None, 6.0))
}

async fn register(deployment: &Deployment) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::with_capacity(AGENTS);
    for number in 0..AGENTS {
        ids.push(deployment.register(&format!("bench-{number}"), "async", NOWHERE).await?);
    }
    Ok(ids)
}

async fn against_driver(
    bench: &Bench,
    deployment: &Deployment,
    request: Bytes,
    expected: &'static str,
    statement: Statement,
) -> anyhow::Result<Comparison> {
    let raw = deployment.raw().await?;
    let (server, driver) = (deployment.target(&request, expected), Work::Driver(raw.clone(), statement));
    let comparison = compare(bench.effort, deployment, &Work::Request(server), &driver).await?;
    raw.close().await;
    Ok(comparison)
}

fn lines(name: &str, comparison: Comparison, rate: Option<Target>, reference_ms: f64) -> Vec<Line> {
    let Comparison { server, baseline, processor_ms } = comparison;
    let latency = |which: &str, value, raw| Line {
        measure: format!("{name}, one connection, {which}"),
        unit: Unit::Millis,
        target: None,
        value,
        raw: Some(raw),
    };
    vec![
        Line {
            measure: format!("{name}, {CALLERS} connections"),
            unit: Unit::PerSecond,
            target: rate,
            value: server.rate,
            raw: Some(baseline.rate),
        },
        latency("p50", server.p50, baseline.p50),
        latency("p99", server.p99, baseline.p99),
        processor(name, processor_ms, Some(reference_ms)),
    ]
}

/// Processor time of the server per request, next to what the issue says of the reference.
pub(super) fn processor(name: &str, value: f64, reference_ms: Option<f64>) -> Line {
    let most = reference_ms.map(|reference| reference * NEARER_TO_A_HUNDREDTH);
    Line {
        measure: format!("{name}, processor time"),
        unit: Unit::Millis,
        target: most.map(|most| Target::AtMost(most, most)),
        value,
        raw: None,
    }
}
