//! Resident memory of the server.

use std::time::Duration;

use serde_json::json;

use super::Bench;
use crate::agent::{InstantAgent, Reply};
use crate::compare::CALLERS;
use crate::deployment::{Backend, Deployment};
use crate::http;
use crate::load::Target as Load;
use crate::process::resident_mib;
use crate::report::{Line, Target, Unit};

/// After which a server counts as idle.
const REST: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let agent = InstantAgent::start(Reply::Whole)?;
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    tokio::time::sleep(REST).await;
    let idle = resident_mib(deployment.id())?;

    let id = deployment.register("bench", "sync", &agent.url()).await?;
    let task = deployment.task(&id).await?;
    let content = json!({"type": "text", "author": "user", "content": "hello"});
    let send =
        json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"task_id": task, "content": content}});
    for request in [
        http::get(&format!("/agents/{id}")),
        http::with_json("POST", "/messages", &json!({"task_id": task, "content": content})),
        http::with_json("POST", &format!("/agents/{id}/rpc"), &send),
        http::get(&format!("/messages?task_id={task}")),
        http::get("/tasks"),
    ] {
        // Every one of these answers names an id, of the thing or of the call.
        let load = Load { address: deployment.address(), request, expected: "\"id\":" };
        load.round(CALLERS, bench.effort.round).await?;
    }
    tokio::time::sleep(REST).await;
    let after = resident_mib(deployment.id())?;
    deployment.stop().await?;

    let line = |what: &str, value, target| Line {
        measure: format!("Resident memory, {what}"),
        unit: Unit::Mebibytes,
        target,
        value,
        raw: None,
    };
    Ok(vec![line("idle", idle, Some(Target::AtMost(30.0, 30.0))), line("after load", after, None)])
}
