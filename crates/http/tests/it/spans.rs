//! Spans. Numbers after `spans` are those of the page on states, events, trackers and spans.

use std::collections::BTreeSet;

use agentex_app::{AgentScope, AuthorizationSettings, Settings};
use agentex_authz::Operation::{Delete, Read, Update};
use agentex_authz::ResourceRef;
use serde_json::{Value, json};

use crate::support::{Answer, Authorization, Setup, World, id, ids};

const NOW: &str = "2025-01-02T03:04:05.123456Z";
const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

fn absent(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

fn span(trace: &str, task: Option<&str>) -> Value {
    json!({"trace_id": trace, "task_id": task, "name": "step", "start_time": NOW})
}

async fn patch(world: &World, id: &str, body: Value) -> Answer {
    world.call("PATCH", &format!("/spans/{id}"), &[], Some(&body.to_string())).await
}

fn set(list: &Value) -> BTreeSet<&str> {
    ids(list).into_iter().collect()
}

/// states §6: 24
#[tokio::test]
async fn a_span_gets_an_id_unless_it_brings_one_that_is_free() {
    let world = World::new().await;
    let task = world.task("a").await;

    let minimal = world.post("/spans", json!({"trace_id": "t", "name": "n", "start_time": NOW})).await.ok();
    let full = json!({
        "id": "my own", "trace_id": "t", "task_id": id(&task), "parent_id": id(&minimal), "name": "n",
        "start_time": NOW, "end_time": "2025-01-02T03:04:06Z", "input": {"a": 1}, "output": [{"b": null}], "data": [],
    });
    let stored = world.post("/spans", full.clone()).await.ok();

    assert_eq!(id(&minimal).len(), 36);
    let nothing = json!({
        "id": id(&minimal), "trace_id": "t", "task_id": null, "parent_id": null, "name": "n", "start_time": NOW,
        "end_time": null, "input": null, "output": null, "data": null,
    });
    assert_eq!(minimal, nothing);
    assert_eq!(stored, full);
    assert_eq!(world.get("/spans/my%20own").await.ok(), full);
    let again = world.post("/spans", full).await;
    again.refused(400, "Item already exists. Please check all unique constraints and try again.");
}

#[tokio::test]
async fn wrong_spans_are_refused() {
    let world = World::new().await;
    let with = |member: &str, value: Value| {
        let mut body = span("t", None);
        body[member] = value;
        body
    };
    for (body, told) in [
        (json!({}), "body.trace_id: Field required"),
        (json!({}), "body.name: Field required"),
        (json!({}), "body.start_time: Field required"),
        (with("start_time", Value::Null), "body.start_time: Input should be a valid datetime"),
        (with("start_time", json!("soon")), "body.start_time: Input should be a valid datetime"),
        (with("task_id", json!("")), "body.task_id"),
        (with("task_id", json!("*")), "body.task_id"),
        (with("input", json!("x")), "body.input: Input should be a valid dictionary or a list"),
        (with("output", json!([1])), "body.output"),
        (with("data", json!({"a": "\u{0}"})), "body.data: String should not contain NUL"),
        (with("name", json!("\u{0}")), "body.name: String should not contain NUL"),
    ] {
        let text = world.post("/spans", body.clone()).await.invalid();
        assert!(text.contains(told), "{body}: {text}");
    }
    let stored = world.post("/spans", span("t", None)).await.ok();
    assert!(patch(&world, id(&stored), json!({"end_time": 5})).await.invalid().contains("body.end_time"));
    for wrong in ["limit=0", "limit=1001", "page_number=0"] {
        world.get(&format!("/spans?{wrong}")).await.invalid();
    }
}

/// states §6: 25
#[tokio::test]
async fn a_change_merges_objects_and_replaces_the_rest() {
    let world = World::new().await;
    let task = world.task("a").await;
    let mut body = span("t", Some(id(&task)));
    body["data"] = json!({"b": 2});
    body["input"] = json!({"x": 1});
    let stored = world.post("/spans", body).await.ok();
    let path = format!("/spans/{}", id(&stored));

    let ended = patch(&world, id(&stored), json!({"end_time": NOW, "data": {"a": 1}, "input": {"y": 2}})).await.ok();
    assert_eq!((&ended["data"], &ended["input"]), (&json!({"a": 1, "b": 2}), &json!({"y": 2})));
    assert_eq!((&ended["end_time"], &ended["name"]), (&json!(NOW), &json!("step")));
    let nulls = json!({"end_time": null, "data": null, "name": null, "task_id": null, "unknown": 1});
    assert_eq!(patch(&world, id(&stored), nulls).await.ok(), ended);
    let list = patch(&world, id(&stored), json!({"data": [{"c": 3}]})).await.ok();
    assert_eq!(list["data"], json!([{"c": 3}]));
    assert_eq!(patch(&world, id(&stored), json!({"data": {"d": 4}})).await.ok()["data"], json!({"d": 4}));
    assert_eq!(world.get(&path).await.ok()["data"], json!({"d": 4}));
    patch(&world, "nope", json!({})).await.refused(404, &absent("nope"));
}

/// states §6: 26, 29, 30
#[tokio::test]
async fn without_authorization_everything_is_there_and_unknown_tasks_are_refused_in_neutral_words() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let (task, other) = (world.task("a").await, world.task("a").await);
    let post = async |trace: &str, task| world.post("/spans", span(trace, task)).await.ok();
    let named = post("t", Some(id(&task))).await;
    let traced = post(id(&task), None).await;
    let both = post(id(&task), Some(id(&other))).await;
    let free = post("t", None).await;
    let list = async |query: &str| world.get(&format!("/spans{query}")).await.ok();

    assert_eq!(set(&list("").await), set(&json!([named, traced, both, free])));
    assert_eq!(set(&list("?task_id=&trace_id=").await).len(), 4);
    assert_eq!(set(&list(&format!("?task_id={}", id(&task))).await), set(&json!([named, traced, both])));
    assert_eq!(set(&list(&format!("?task_id={}&trace_id=t", id(&task))).await), set(&json!([named])));
    assert_eq!(list("?task_id=nope").await, json!([]));
    assert_eq!(world.get(&format!("/spans/{}", id(&free))).await.ok(), free);
    let unknown = world.post("/spans", span("t", Some("nope"))).await;
    unknown.refused(400, "Invalid input resulted in constraint violation");
    let moved = patch(&world, id(&free), json!({"task_id": "nope"})).await;
    moved.refused(400, "Invalid input resulted in constraint violation");

    let mut paged = Vec::new();
    for page in 1..=4 {
        let page = list(&format!("?limit=1&page_number={page}")).await;
        paged.extend(ids(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(paged, ids(&list("").await), "all began at the same moment");
    paged.reverse();
    assert_eq!(paged, ids(&list("?order_by=start_time&order_direction=ASC").await));
    assert_eq!(paged, ids(&list("?order_by=nonsense&order_direction=up").await));
    for column in ["end_time", "id", "trace_id", "task_id", "parent_id", "name"] {
        assert_eq!(ids(&list(&format!("?order_by={column}")).await).len(), 4);
    }
    world.delete(&format!("/tasks/{}", id(&task))).await.ok();
    assert_eq!(world.get(&format!("/spans/{}", id(&named))).await.ok(), named);
}

/// Spans under a task take what the task takes; a hidden span is an absent one, byte for byte and question for question.
///
/// authz §7: 149
#[tokio::test]
async fn spans_of_hidden_tasks_are_absent_and_of_readable_ones_forbidden() {
    let world = World::new().await;
    let (task, readable, hidden) = (world.task("a").await, world.task("a").await, world.task("a").await);
    let post = async |task: &Value| world.post("/spans", span("t", Some(id(task)))).await;
    let (own, read_only, unseen) = (post(&task).await.ok(), post(&readable).await.ok(), post(&hidden).await.ok());
    let traced = world.post("/spans", span(id(&hidden), None)).await.ok();
    world.rules.deny(id(&readable), &[Update, Delete]);
    world.rules.hide(id(&hidden));
    world.rules.hide("nope");
    let gone = "00000000-0000-0000-0000-000000000000";
    world.rules.hide(gone);

    post(&hidden).await.refused(404, &absent(id(&hidden)));
    world.post("/spans", span("t", Some("nope"))).await.refused(404, &absent("nope"));
    post(&readable).await.refused(403, FORBIDDEN);
    world.get(&format!("/spans/{}", id(&read_only))).await.ok();
    patch(&world, id(&read_only), json!({"name": "x"})).await.refused(403, FORBIDDEN);

    world.calls.take();
    for (span, asked) in [(&unseen, id(&hidden)), (&json!({"id": "nope"}), gone)] {
        world.get(&format!("/spans/{}", id(span))).await.refused(404, &absent(id(span)));
        assert_eq!(world.calls.questions(), [format!("check read task:{asked}")]);
        patch(&world, id(span), json!({"name": "x"})).await.refused(404, &absent(id(span)));
        assert_eq!(world.calls.questions(), [format!("check update task:{asked}"), format!("check read task:{asked}")]);
    }
    world.get(&format!("/spans/{}", id(&traced))).await.refused(404, &absent(id(&traced)));
    assert_eq!(world.calls.questions(), [format!("check read task:{}", id(&hidden))]);

    patch(&world, id(&own), json!({"task_id": id(&hidden)})).await.refused(404, &absent(id(&hidden)));
    patch(&world, id(&own), json!({"task_id": id(&readable)})).await.refused(403, FORBIDDEN);
    patch(&world, id(&unseen), json!({"task_id": id(&task)})).await.refused(404, &absent(id(&unseen)));
    patch(&world, id(&own), json!({"task_id": id(&task), "name": "x"})).await.ok();
    world.rules.reset();
    assert_eq!(world.get(&format!("/spans/{}", id(&unseen))).await.ok(), unseen, "nothing was written");
    assert_eq!(world.get(&format!("/spans/{}", id(&own))).await.ok()["task_id"], task["id"]);
}

/// states §6: 28
///
/// authz §7: 149
#[tokio::test]
async fn a_list_shows_spans_of_visible_tasks_only() {
    let world = World::new().await;
    let (task, other) = (world.task("a").await, world.task("a").await);
    let post = async |trace: &str, task| world.post("/spans", span(trace, task)).await.ok();
    let named = post("t", Some(id(&task))).await;
    let traced = post(id(&task), None).await;
    post(id(&task), Some(id(&other))).await;
    post("t", None).await;
    world.rules.show_only(&[id(&task)]);
    world.rules.hide(id(&other));
    let visible = json!([named, traced]);
    world.calls.take();

    assert_eq!(set(&world.get("/spans").await.ok()), set(&visible));
    assert_eq!(world.calls.questions(), ["list read task"]);
    assert_eq!(ids(&world.get("/spans?limit=1&page_number=2").await.ok()).len(), 1, "pages are full");
    world.calls.take();
    assert_eq!(set(&world.get(&format!("/spans?task_id={}", id(&task))).await.ok()), set(&visible));
    assert_eq!(world.calls.questions(), [format!("check read task:{}", id(&task))]);
    world.get(&format!("/spans?task_id={}", id(&other))).await.refused(404, &absent(id(&other)));
    assert_eq!(world.get("/spans?trace_id=t").await.ok(), json!([named]));
    world.rules.show_only(&[]);
    assert_eq!(world.get("/spans").await.ok(), json!([]));
}

/// Anybody may write what belongs to no task, and only agents may read it: the answer to a change tells nobody else what was
/// there before.
#[tokio::test]
async fn spans_of_no_task_are_written_by_anybody_and_read_by_agents() {
    let settings = Settings {
        authorization: AuthorizationSettings { agent_scope: AgentScope::Own, ..AuthorizationSettings::compat() },
        ..Settings::default()
    };
    let world = World::with(Setup { authorization: Authorization::StrictRules, settings, ..Setup::default() }).await;
    let registration = crate::support::registration("worker", "sync", "http://worker.test:1");
    let agent = world.call_as("alice", "POST", "/agents/register", Some(registration)).await.ok();
    let key = agent["agent_api_key"].as_str().unwrap().to_owned();
    let as_agent = async |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        world.call(method, path, &[("x-agent-api-key", &key)], body.as_deref()).await
    };
    let mut body = span("t", None);
    body["data"] = json!({"secret": 1});
    body["input"] = json!({"secret": 2});
    let stored = world.call_as("alice", "POST", "/spans", Some(body)).await.ok();
    let path = format!("/spans/{}", id(&stored));

    let changed = json!({"data": {"mine": 3}, "end_time": NOW});
    let answer = world.call_as("bob", "PATCH", &path, Some(changed)).await.ok();
    assert_eq!((&answer["data"], &answer["input"]), (&json!({"mine": 3}), &Value::Null));
    world.call_as("bob", "GET", &path, None).await.refused(404, &absent(id(&stored)));
    world.rules.show_only(&[]);
    assert_eq!(world.call_as("bob", "GET", "/spans", None).await.ok(), json!([]));

    let read = as_agent("GET", &path, None).await.ok();
    assert_eq!((&read["data"], &read["input"]), (&json!({"secret": 1, "mine": 3}), &json!({"secret": 2})));
    assert_eq!(as_agent("GET", "/spans", None).await.ok(), json!([read]));
    assert_eq!(as_agent("PATCH", &path, Some(json!({}))).await.ok(), read);
}

/// The switch for clients that rely on it: whoever is known to the server, and nobody else.
#[tokio::test]
async fn where_spans_are_not_guarded_every_caller_sees_and_changes_them_and_nothing_else() {
    let authorization = AuthorizationSettings { spans_are_guarded: false, ..AuthorizationSettings::default() };
    let settings = Settings { authorization, ..Settings::default() };
    let world = World::with(Setup { authorization: Authorization::Graph, settings, ..Setup::default() }).await;
    let registration = crate::support::registration("a", "sync", "http://agent.test:1");
    world.call_as("alice", "POST", "/agents/register", Some(registration)).await.ok();
    let call = json!({"method": "task/create", "params": {}});
    let task = world.call_as("alice", "POST", "/agents/name/a/rpc", Some(call)).await.ok()["result"].clone();
    let stored = world.call_as("alice", "POST", "/spans", Some(span("t", Some(id(&task))))).await.ok();
    let path = format!("/spans/{}", id(&stored));

    let ended = world.call_as("bob", "PATCH", &path, Some(json!({"end_time": NOW}))).await.ok();
    assert_eq!(world.call_as("bob", "GET", &path, None).await.ok(), ended);
    assert_eq!(world.call_as("bob", "GET", "/spans", None).await.ok(), json!([ended]));
    assert_eq!(world.call("GET", &path, &[], None).await.status, 401);
    world.call_as("bob", "GET", &format!("/tasks/{}", id(&task)), None).await.refused(404, &absent(id(&task)));
}

/// An agent works on the spans of its tasks, found by itself, and on no others.
///
/// authz §7: 149
#[tokio::test]
async fn an_agent_reaches_the_spans_of_its_own_tasks() {
    let world = World::with_authorization().await;
    let mut keys = Vec::new();
    let mut tasks = Vec::new();
    for name in ["one", "two"] {
        let registration = crate::support::registration(name, "sync", "http://agent.test:1");
        let agent = world.call_as("alice", "POST", "/agents/register", Some(registration)).await.ok();
        keys.push(agent["agent_api_key"].as_str().unwrap().to_owned());
        let call = json!({"method": "task/create", "params": {}});
        let answer = world.call_as("alice", "POST", &format!("/agents/name/{name}/rpc"), Some(call)).await.ok();
        tasks.push(answer["result"].clone());
    }
    let call = async |agent: usize, method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        world.call(method, path, &[("x-agent-api-key", &keys[agent])], body.as_deref()).await
    };
    let (own, foreign) = (id(&tasks[0]), id(&tasks[1]));

    let stored = call(0, "POST", "/spans", Some(span("t", Some(own)))).await.ok();
    let path = format!("/spans/{}", id(&stored));
    let ended = call(0, "PATCH", &path, Some(json!({"end_time": NOW, "task_id": own}))).await.ok();
    call(0, "POST", "/spans", Some(span("t", Some(foreign)))).await.refused(404, &absent(foreign));
    call(0, "PATCH", &path, Some(json!({"task_id": foreign}))).await.refused(404, &absent(foreign));
    call(1, "GET", &path, None).await.refused(404, &absent(id(&stored)));
    call(1, "PATCH", &path, Some(json!({}))).await.refused(404, &absent(id(&stored)));
    assert_eq!(call(0, "GET", "/spans", None).await.ok(), json!([ended]));
    assert_eq!(call(1, "GET", "/spans", None).await.ok(), json!([]));
    call(1, "GET", &format!("/spans?task_id={own}"), None).await.refused(404, &absent(own));

    world.call_as("mallory", "GET", &path, None).await.refused(404, &absent(id(&stored)));
    assert_eq!(world.call_as("mallory", "GET", "/spans", None).await.ok(), json!([]));
    assert_eq!(world.call_as("alice", "GET", "/spans", None).await.ok(), json!([ended]));
    world.share("bob", Read, ResourceRef::task(own)).await;
    assert_eq!(world.call_as("bob", "GET", &path, None).await.ok(), ended);
    world.call_as("bob", "PATCH", &path, Some(json!({}))).await.refused(403, FORBIDDEN);

    world.call_as("alice", "DELETE", &format!("/tasks/{own}"), None).await.ok();
    world.call_as("alice", "GET", &path, None).await.refused(404, &absent(id(&stored)));
    world.call_as("alice", "POST", "/spans", Some(span("t", Some(own)))).await.refused(404, &absent(own));
    call(0, "POST", "/spans", Some(span("t", Some(own)))).await.refused(404, &absent(own));
}
