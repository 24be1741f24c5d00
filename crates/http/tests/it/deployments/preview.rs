//! Calls of one deployment.

use agentex_authz::Operation::{Read, Update};
use agentex_authz::ResourceRef;
use agentex_testkit::fake_agent::{FakeAgent, Reply};
use serde_json::{Value, json};

use super::{FORBIDDEN, absent, deployments, path, pending, pod_of, promote, ready, with_agent};
use crate::support::{Answer, World, id, registration, text_content};

fn rpc(deployment: &Value) -> String {
    format!("{}/rpc", path(deployment))
}

fn send(stream: bool) -> Value {
    json!({"id": 1, "method": "message/send", "params": {"content": text_content("hi"), "stream": stream}})
}

fn replying(text: &str) -> Reply {
    let content = json!({"type": "text", "author": "agent", "content": text});
    Reply::updates([json!({"type": "full", "index": 0, "content": content})])
}

/// agents §13: 60
#[tokio::test]
async fn a_preview_reaches_the_deployment_and_not_production() {
    let (world, agent) = with_agent().await;
    let (production, next) = (FakeAgent::start().await, FakeAgent::start().await);
    next.on("message/send", replying("from the next"));
    let made = pending(&world, &agent).await;
    let without = format!("Deployment {} does not have an ACP URL configured", id(&made));
    world.post(&rpc(&made), send(false)).await.refused(400, &without);
    assert_eq!(world.get("/tasks").await.ok(), json!([]));
    promote(&world, &ready(&world, &agent, production.url()).await).await;
    world.post("/agents/register", pod_of(id(&made), next.url())).await.ok();

    let whole = world.post(&rpc(&made), send(false)).await.ok();
    let streamed = world.post(&rpc(&made), send(true)).await;

    assert_eq!((&whole["id"], &whole["error"]), (&json!(1), &Value::Null), "{whole}");
    assert_eq!(whole["result"][0]["content"]["content"], "from the next");
    assert_eq!(streamed.header("content-type"), Some("application/x-ndjson"));
    assert!(streamed.text().lines().next().unwrap().contains("from the next"), "{}", streamed.text());
    assert!(production.requests().is_empty());
    assert_eq!(next.methods(), ["message/send", "message/send"]);
    assert_eq!(next.call(0).await.header("x-agent-api-key"), agent["agent_api_key"].as_str());
}

/// What goes wrong once the call is made is told as on the agent's own route.
#[tokio::test]
async fn a_preview_fails_in_the_words_of_a_call() {
    let (world, agent) = with_agent().await;
    let pod = FakeAgent::start().await;
    let made = ready(&world, &agent, pod.url()).await;

    let unsupported = json!({"id": "x", "method": "event/send", "params": {"task_id": id(&world.task("a").await)}});
    for body in [unsupported, send(false)] {
        let preview = world.post(&rpc(&made), body.clone()).await.ok();
        let direct = world.post("/agents/name/a/rpc", body).await.ok();
        assert_eq!((&preview["id"], &preview["error"]["code"]), (&direct["id"], &direct["error"]["code"]));
        assert_eq!(preview["error"]["code"], -32603);
    }
    for wrong in
        [json!({}), json!({"method": "task/destroy", "params": {}}), json!({"method": "task/cancel", "params": {}})]
    {
        assert_eq!(
            world.post(&rpc(&made), wrong.clone()).await.invalid(),
            world.post("/agents/name/a/rpc", wrong).await.invalid()
        );
    }
}

/// The gate is that of the agent's own route: the agent, then the task.
///
/// agents §13: 61
/// authz §7: 135
/// rpc §7: 59
#[tokio::test]
async fn a_preview_asks_for_the_task_like_any_call() {
    let world = World::with_authorization().await;
    let pod = FakeAgent::start().await;
    let by =
        async |user: &str, path: &str, body: Value| -> Answer { world.call_as(user, "POST", path, Some(body)).await };
    let agent = by("alice", "/agents/register", registration("a", "async", pod.url())).await.ok();
    let made = by("alice", &deployments(&agent), json!({"docker_image": "i"})).await.ok();
    by("alice", "/agents/register", pod_of(id(&made), pod.url())).await.ok();
    let new = json!({"method": "task/create", "params": {"name": "t"}});
    let task = by("alice", &rpc(&made), new).await.ok()["result"].clone();
    for user in ["ann", "eve", "vic"] {
        world.share(user, Update, ResourceRef::agent(id(&agent))).await;
    }
    world.share("eve", Update, ResourceRef::task(id(&task))).await;
    world.share("vic", Read, ResourceRef::task(id(&task))).await;
    let call = |method: &str| json!({"method": method, "params": {"task_id": id(&task)}});
    let seen = pod.calls().len();

    for method in ["event/send", "task/interrupt", "task/cancel"] {
        world.calls.take();
        let hidden = by("ann", &rpc(&made), call(method)).await;
        hidden.refused(404, &format!("Item with id '{}' does not exist.", id(&task)));
        let operation = if method == "task/cancel" { "cancel" } else { "update" };
        let first = world.calls.take().remove(0);
        assert_eq!(first, format!("check execute agent:{}, {operation} task:{}", id(&agent), id(&task)));
        by("vic", &rpc(&made), call(method)).await.refused(403, FORBIDDEN);
    }
    by("eve", &rpc(&made), call("task/cancel")).await.refused(403, FORBIDDEN);
    by("mallory", &rpc(&made), call("event/send")).await.refused(404, &absent(id(&made), id(&agent)));
    let named = json!({"method": "task/create", "params": {"name": "t"}});
    by("ann", &rpc(&made), named).await.refused(404, "Item with name 't' does not exist.");
    assert_eq!(pod.calls().len(), seen, "nothing reached the pod");
    assert_eq!(by("eve", &rpc(&made), call("event/send")).await.ok()["error"], Value::Null);
    assert_eq!(pod.calls().len(), seen + 1);
}
