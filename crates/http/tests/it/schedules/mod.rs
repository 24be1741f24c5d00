//! Schedules of both kinds, and what becomes of their occurrences. The numbers are those of the schedules page unless a test
//! says otherwise.

mod fires;
mod keeper;
mod runs;
mod workflows;

use serde_json::{Value, json};

use crate::support::{World, id};

/// An agent of alice, where callers say who they are; else of whoever asks.
async fn agent(world: &World, acp_type: &str, url: &str) -> String {
    let body = crate::support::registration("a", acp_type, url);
    let agent = world.call_as("alice", "POST", "/agents/register", Some(body)).await.ok();
    id(&agent).to_owned()
}

/// A run schedule to make.
fn hourly(name: &str) -> Value {
    json!({"name": name, "cron_expression": "0 * * * *", "initial_input": {"content": "go"}})
}

/// A workflow schedule to make.
fn flow(name: &str) -> Value {
    json!({"name": name, "workflow_name": "W", "task_queue": "q", "cron_expression": "0 * * * *", "interval_seconds": 60})
}
