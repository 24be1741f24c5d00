//! What becomes of an agent's reply, whole and streamed. The numbers are those of the calls page of the contract unless a
//! test says otherwise.

use agentex_app::Settings;
use agentex_testkit::fake_agent::{FakeAgent, Gate, Reply, Step};
use serde_json::{Value, json};

use crate::support::{Setup, World, id, text_content};

fn update(index: i64, kind: &str, rest: Value) -> Value {
    let mut update = json!({"type": kind, "index": index});
    update.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    update
}

fn agent_text(text: &str) -> Value {
    json!({"content": {"type": "text", "author": "agent", "content": text, "format": "markdown", "style": "active"}})
}

fn start(index: i64, text: &str) -> Value {
    update(index, "start", agent_text(text))
}

fn full(index: i64, text: &str) -> Value {
    update(index, "full", agent_text(text))
}

fn done(index: i64) -> Value {
    update(index, "done", json!({}))
}

fn delta(index: i64, text: &str) -> Value {
    update(index, "delta", json!({"delta": {"type": "text", "text_delta": text}}))
}

fn data_delta(index: i64, text: &str) -> Value {
    update(index, "delta", json!({"delta": {"type": "data", "data_delta": text}}))
}

/// A server with a synchronous agent that replies with these steps, and a task of it.
async fn world_with(reply: Reply) -> (World, FakeAgent, Value) {
    let (world, agent) = (World::new().await, FakeAgent::start().await);
    world.agent("a", "sync", agent.url()).await;
    agent.on("message/send", reply);
    let task = world.task_with("a", json!({"name": "t"})).await;
    (world, agent, task)
}

fn send(stream: bool) -> Value {
    json!({"method": "message/send", "id": 1,
        "params": {"task_name": "t", "stream": stream, "content": text_content("go")}})
}

/// The lines of a streamed turn, or the one answer of a whole one as a list.
async fn turn(world: &World, stream: bool) -> Vec<Value> {
    let answer = world.post("/agents/name/a/rpc", send(stream)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Text and streaming status of every stored message after the caller's own, oldest first.
async fn stored(world: &World, task: &Value) -> Vec<(String, String)> {
    let list = world.get(&format!("/messages?task_id={}&order_direction=asc", id(task))).await.ok();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let all = list.as_array().unwrap().iter();
    all.skip(1).map(|one| (text(&one["content"]["content"]), text(&one["streaming_status"]))).collect()
}

async fn status(world: &World, task: &Value) -> Value {
    world.get(&format!("/tasks/{}", id(task))).await.ok()["status"].clone()
}

fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["result"]["type"].as_str().unwrap_or("error")).collect()
}

fn kept(text: &str) -> Vec<(String, String)> {
    vec![(text.to_owned(), "DONE".to_owned())]
}

/// Nothing says that the message ended, and its text is kept all the same; in a stream the end is told.
/// rpc §7: 34, 44
#[tokio::test]
async fn a_message_that_never_ends_is_kept_when_the_reply_does() {
    let (world, _agent, task) = world_with(Reply::updates([delta(0, "a"), delta(0, "b")])).await;
    let whole = turn(&world, false).await;
    assert_eq!(whole[0]["result"][0]["content"]["content"], "ab");
    assert_eq!(stored(&world, &task).await, kept("ab"));

    let (world, _agent, task) = world_with(Reply::updates([start(0, ""), delta(0, "a"), delta(0, "b")])).await;
    let lines = turn(&world, true).await;
    assert_eq!(types(&lines), ["start", "delta", "delta", "done"]);
    assert_eq!(stored(&world, &task).await, kept("ab"));
    let last = &lines[3]["result"]["parent_task_message"]["content"];
    assert_eq!((&last["format"], &last["style"]), (&json!("markdown"), &json!("active")), "what the start said");
}

/// rpc §7: 35
#[tokio::test]
async fn a_message_that_ends_without_fragments_keeps_what_it_began_with() {
    for stream in [false, true] {
        let (world, _agent, task) = world_with(Reply::updates([start(0, "all"), done(0)])).await;

        turn(&world, stream).await;

        assert_eq!(stored(&world, &task).await, kept("all"), "streamed: {stream}");
        assert_eq!(status(&world, &task).await, "RUNNING");
    }
}

/// rpc §7: 36, 37
#[tokio::test]
async fn a_whole_reply_is_ordered_by_index_and_may_be_empty() {
    let (world, _agent, task) = world_with(Reply::updates([full(1, "second"), full(0, "first")])).await;
    let answer = turn(&world, false).await;
    let result = answer[0]["result"].as_array().unwrap();
    assert_eq!(
        (&result[0]["content"]["content"], &result[1]["content"]["content"]),
        (&json!("first"), &json!("second"))
    );
    assert!(result[0]["created_at"].as_str() < result[1]["created_at"].as_str());
    assert_eq!(stored(&world, &task).await.len(), 2);

    let (world, _agent, task) = world_with(Reply::updates([])).await;
    assert_eq!(turn(&world, false).await[0]["result"], json!([]));
    assert!(stored(&world, &task).await.is_empty());
}

/// Whatever is wrong with a reply, the caller learns it, the task has failed and the text is kept.
/// rpc §7: 38, 40, 47, 64
#[tokio::test]
async fn a_wrong_reply_fails_the_task_and_keeps_the_text() {
    let tool = |text: &str| json!({"delta": {"type": "tool_request", "tool_call_id": "c", "name": "n", "arguments_delta": text}});
    let mixed = || [Step::Update(delta(0, "kept")), Step::Update(data_delta(0, "{}"))];
    let malformed = || [Step::Update(delta(0, "kept")), Step::Line("not json".into())];
    let invalid = || [Step::Update(delta(0, "kept")), Step::Update(json!({"type": "full", "index": 1}))];
    let unknown = || [Step::Update(delta(0, "kept")), Step::Update(json!({"type": "later", "index": 1}))];
    let failing = || [Step::Update(delta(0, "kept")), Step::Error { code: -32603, message: "boom".into() }];
    for stream in [false, true] {
        for (steps, text) in [
            (mixed(), "Delta type mismatch: text != data"),
            (malformed(), "agent sent malformed stream line"),
            (invalid(), "Agent returned an invalid update"),
            (unknown(), "Agent returned an invalid update"),
            (failing(), "RPC error: boom"),
        ] {
            let (world, _agent, task) = world_with(Reply::stream(steps)).await;

            let lines = turn(&world, stream).await;

            let error = &lines.last().unwrap()["error"];
            assert_eq!((&error["code"], &error["message"]), (&json!(-32603), &json!(text)), "streamed: {stream}");
            assert_eq!(stored(&world, &task).await, kept("kept"), "{text}, streamed: {stream}");
            assert_eq!(status(&world, &task).await, "FAILED", "{text}, streamed: {stream}");
        }
        let broken = [update(0, "delta", tool("{\"a\"")), done(0)];
        let (world, _agent, task) = world_with(Reply::updates(broken)).await;
        let text = turn(&world, stream).await.last().unwrap()["error"]["message"].clone();
        assert_eq!(text, "Accumulated tool request arguments is not valid JSON: {\"a\"");
        assert_eq!(status(&world, &task).await, "FAILED");
    }
}

/// rpc §7: 41, 43
#[tokio::test]
async fn a_streamed_message_always_begins_and_ends_once() {
    let reply = [delta(0, "a"), done(0), delta(0, "late"), full(1, "whole"), delta(1, "late"), done(1)];
    let (world, _agent, task) = world_with(Reply::updates(reply)).await;

    let lines = turn(&world, true).await;

    assert_eq!(types(&lines), ["start", "delta", "done", "full"]);
    let parents: Vec<&Value> = lines.iter().map(|line| &line["result"]["parent_task_message"]["id"]).collect();
    assert!(parents[0].is_string() && parents[0] == parents[1] && parents[1] == parents[2] && parents[2] != parents[3]);
    let both = [("a".to_owned(), "DONE".to_owned()), ("whole".to_owned(), "DONE".to_owned())];
    assert_eq!(stored(&world, &task).await, both);
}

/// An agent is read only as fast as its caller reads.
/// rpc §7: 48
#[tokio::test]
async fn a_slow_caller_slows_the_agent_down() {
    let many = (0..200_000).map(|_| delta(0, &"x".repeat(200)));
    let (world, agent, _task) = world_with(Reply::updates([start(0, "")].into_iter().chain(many))).await;
    let client = world.serve().await;

    let mut lines = client.post_for_lines("/agents/name/a/rpc", &send(true)).await;
    for _ in 0..10 {
        lines.next_json().await;
    }
    // 40 MB do not fit into the buffers between agent and caller, so the agent cannot have finished.
    assert_eq!(agent.abandoned(), 0);
    drop(lines);

    agent.wait_abandoned(1).await;
}

/// rpc §7: 25, 26, 61
/// tasks §10: 47, 48
#[tokio::test]
async fn turns_need_a_live_task_and_replace_its_parameters_when_they_differ() {
    let (world, agent, task) = world_with(Reply::updates([full(0, "hi")])).await;
    let path = format!("/tasks/{}", id(&task));
    world.post(&format!("{path}/interrupt"), json!({})).await.ok();
    turn(&world, false).await;
    assert_eq!(status(&world, &task).await, "RUNNING", "the turn resumed it");

    let with_params = |params: Value| {
        json!({"method": "message/send",
            "params": {"task_name": "t", "content": text_content("go"), "task_params": params}})
    };
    world.post("/agents/name/a/rpc", with_params(json!({"a": 1, "b": 2}))).await.ok();
    world.post("/agents/name/a/rpc", with_params(json!({"b": 3}))).await.ok();
    let changed = world.get(&path).await.ok();
    assert_eq!(changed["params"], json!({"b": 3}), "replaced, not merged");
    world.clock.advance(std::time::Duration::from_secs(60));
    world.post("/agents/name/a/rpc", with_params(json!({"b": 3}))).await.ok();
    assert_eq!(world.get(&path).await.ok()["updated_at"], changed["updated_at"], "equal parameters write nothing");

    world.post(&format!("{path}/complete"), json!({})).await.ok();
    let calls = agent.calls().len();
    let before = stored(&world, &task).await.len();
    for stream in [false, true] {
        let lines = turn(&world, stream).await;
        let text = format!("Task {} is COMPLETED and cannot accept new turns.", id(&task));
        assert_eq!(lines[0]["error"]["message"], text);
    }
    assert_eq!((agent.calls().len(), stored(&world, &task).await.len()), (calls, before));
}

/// A task is reached through its own agents only, and looks absent through others.
/// rpc §7: 60
/// tasks §10: 45
#[tokio::test]
async fn a_task_of_another_agent_is_absent() {
    let (world, agent, task) = world_with(Reply::updates([full(0, "hi")])).await;
    world.agent("b", "sync", agent.url()).await;
    world.agent("c", "async", agent.url()).await;
    let absent = format!("Item with id '{}' does not exist.", id(&task));
    for (name, method, params) in [
        ("b", "message/send", json!({"task_id": id(&task), "content": text_content("x")})),
        ("b", "task/interrupt", json!({"task_id": id(&task)})),
        ("c", "event/send", json!({"task_id": id(&task)})),
        ("c", "task/cancel", json!({"task_id": id(&task)})),
    ] {
        let body = json!({"method": method, "params": params});
        let answer = world.post(&format!("/agents/name/{name}/rpc"), body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["message"].clone()), (404, json!(absent)), "{method}");
    }
    let taken = json!({"method": "task/create", "params": {"name": "t", "params": {"taken": true}}});
    let answer = world.post("/agents/name/b/rpc", taken).await;
    assert_eq!(answer.json()["message"], "Item with name 't' does not exist.");
    assert_eq!(world.get(&format!("/tasks/{}", id(&task))).await.ok()["params"], Value::Null);
    assert!(agent.calls().is_empty());
}

/// rpc §7: 62
#[tokio::test]
async fn with_the_lease_a_second_turn_is_refused_while_one_runs() {
    let settings = Settings { one_turn_per_task: true, ..Settings::default() };
    let world = World::with(Setup { settings, ..Setup::default() }).await;
    let agent = FakeAgent::start().await;
    world.agent("a", "sync", agent.url()).await;
    let gate = Gate::closed();
    agent.on("message/send", Reply::stream([Step::Update(start(0, "")), Step::Wait(gate.clone())]));
    let task = world.task_with("a", json!({"name": "t"})).await;
    let client = world.serve().await;
    let mut first = client.post_for_lines("/agents/name/a/rpc", &send(true)).await;
    first.next_json().await;

    let second = turn(&world, false).await;
    let text = second[0]["error"]["message"].as_str().unwrap();
    assert!(text.contains("already processing message send for task"), "{text}");
    assert_eq!(stored(&world, &task).await.len(), 1, "nothing of the second turn is stored");

    gate.open();
    first.rest().await;
    agent.on("message/send", Reply::updates([full(0, "hi")]));
    assert_eq!(turn(&world, false).await[0]["error"], Value::Null, "the lease was given back");
}

/// streaming §8: 14, 28, 29
/// tasks §10: 37
#[tokio::test]
async fn watchers_see_this_tasks_true_events_only() {
    let (world, _agent, task) = world_with(Reply::updates([])).await;
    let client = world.serve().await;
    let mut events = client.events(&format!("/tasks/{}/stream", id(&task))).await;
    assert_eq!(events.next_json().await["type"], "connected");
    let publish = async |entry: Value| {
        use agentex_domain::ports::EventStream as _;
        world.streams.publish(&id(&task).into(), entry.to_string().into()).await.unwrap();
    };

    publish(json!({"type": "delta", "index": null, "parent_task_message": {"task_id": "other"}, "delta": null})).await;
    publish(json!({"type": "task_updated", "task": {"id": id(&task), "status": "COMPLETED"}})).await;
    publish(json!({"type": "connected", "taskId": "forged"})).await;
    world.put(&format!("/tasks/{}", id(&task)), json!({"merge_params": {"a": 1}})).await.ok();
    let seen = events.next_json().await;
    assert_eq!((&seen["type"], &seen["task"]["params"]), (&json!("task_updated"), &json!({"a": 1})));

    publish(json!({"type": "delta", "index": null, "delta": {"type": "text", "text_delta": "last"}})).await;
    world.delete(&format!("/tasks/{}", id(&task))).await.ok();
    assert_eq!(events.next_json().await["delta"]["text_delta"], "last");
    assert_eq!(events.next_json().await["task"]["status"], "DELETED");
    assert!(events.next().await.is_none(), "the stream ends with the task");
}
