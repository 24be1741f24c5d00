//! Requests that are sent more than once: with a key, and as automatic retries of the SDK.

mod automatic;
mod keyed;

use agentex_testkit::fake_agent::{FakeAgent, Reply};
use serde_json::{Value, json};

use crate::support::{Answer, World, id, text_content};

const REPLAYED: &str = "idempotency-replayed";

fn message(task: &Value, text: &str) -> String {
    json!({"task_id": id(task), "content": text_content(text)}).to_string()
}

async fn count(world: &World, task: &Value) -> usize {
    world.get(&format!("/messages?task_id={}", id(task))).await.ok().as_array().unwrap().len()
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header(REPLAYED) == Some("true")
}

/// Checks that `later` is `first` once more.
fn same(first: &Answer, later: &Answer) {
    assert!(!is_replayed(first) && is_replayed(later), "{first:?} {later:?}");
    assert_eq!((later.status, &later.body), (first.status, &first.body));
    assert_eq!(later.header("content-type"), first.header("content-type"));
    assert_ne!(later.header("x-request-id"), first.header("x-request-id"));
}

/// A server with a synchronous agent that replies like this, and the body of a turn of its task `t`.
async fn with_agent(reply: Reply, stream: bool) -> (World, FakeAgent, String) {
    let (world, agent) = (World::new().await, FakeAgent::start().await);
    world.agent("a", "sync", agent.url()).await;
    agent.on("message/send", reply);
    world.task_with("a", json!({"name": "t"})).await;
    let params = json!({"task_name": "t", "stream": stream, "content": text_content("go")});
    (world, agent, json!({"method": "message/send", "id": 1, "params": params}).to_string())
}

/// A reply of one text.
fn one_text() -> Reply {
    Reply::updates([full_text()])
}

fn full_text() -> Value {
    let content = json!({"type": "text", "author": "agent", "content": "hello"});
    json!({"type": "full", "index": 0, "content": content})
}

const CALL: &str = "/agents/name/a/rpc";
