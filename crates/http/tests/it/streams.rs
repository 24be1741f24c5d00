use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentex_app::{Ports, Settings};
use agentex_domain::ports::{
    Clock as _, Cursor, Entry, EventStream, MockTaskRepository, StartAt, StreamError, Subscription,
};
use agentex_domain::{TaskId, Transition};
use agentex_testkit::build::{agent, new_task};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Authorization, Setup, World, id, request};

fn stream_of(task: &Value) -> String {
    format!("/tasks/{}/stream", id(task))
}

async fn publish(world: &World, task: &Value, entry: Value) {
    world.streams.publish(&TaskId::from(id(task)), Bytes::from(entry.to_string())).await.unwrap();
}

fn delta(text: &str) -> Value {
    json!({"type": "delta", "index": null, "parent_task_message": null, "delta": {"type": "text", "text_delta": text}})
}

/// streaming §8: 1, 2
#[tokio::test]
async fn a_stream_begins_with_connected_and_goes_on_live() {
    let world = World::new().await;
    let task = world.task("a").await;
    publish(&world, &task, delta("before")).await;
    let client = world.serve().await;

    let mut events = client.events(&stream_of(&task)).await;

    assert_eq!(events.body.status, 200);
    assert_eq!(events.body.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(events.body.header("cache-control"), Some("no-cache"));
    assert_eq!(events.body.header("x-accel-buffering"), Some("no"));
    assert_eq!(events.next_json().await, json!({"type": "connected", "taskId": id(&task)}));
    publish(&world, &task, delta("after")).await;
    let next = events.next().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(next.data.as_deref().unwrap()).unwrap(), delta("after"));
    let text = format!("id: {}\ndata: {}\n\n", next.id.as_deref().unwrap(), next.data.as_deref().unwrap());
    assert_eq!(next.raw, text);
}

/// To the byte: after a keepalive comes no blank line.
/// streaming §8: 6, 7
#[tokio::test]
async fn a_keepalive_is_a_comment_and_nothing_else() {
    let settings = Settings { stream_keepalive: Duration::from_millis(20), ..Settings::default() };
    let world = World::with(Setup { settings, ..Setup::default() }).await;
    let task = world.task("a").await;
    let response = world.router().oneshot(request("GET", &stream_of(&task), &[], None)).await.unwrap();
    let mut blocks = response.into_body().into_data_stream();
    blocks.next().await.unwrap().unwrap();

    // Nothing is published before two keepalives have been seen.
    for _ in 0..2 {
        assert_eq!(blocks.next().await.unwrap().unwrap(), ":ping\n");
    }
    publish(&world, &task, delta("x")).await;

    let event = loop {
        let block = blocks.next().await.unwrap().unwrap();
        if block != ":ping\n" {
            break String::from_utf8(block.to_vec()).unwrap();
        }
    };
    assert!(event.starts_with("id: ") && event.ends_with("}\n\n"), "{event:?}");
}

/// The row decides even when nobody published its end; what was published before is still delivered.
/// streaming §8: 13, 14
#[tokio::test]
async fn an_end_that_only_the_row_knows_ends_the_stream() {
    let settings = Settings { stream_keepalive: Duration::from_millis(20), ..Settings::default() };
    let world = World::with(Setup { settings, ..Setup::default() }).await;
    let task = world.task("a").await;
    let client = world.serve().await;
    let mut events = client.events(&stream_of(&task)).await;
    assert_eq!(events.next_json().await["type"], "connected");

    publish(&world, &task, delta("last")).await;
    let stores = world.store.stores();
    let at = world.clock.now();
    stores.tasks.transition(&id(&task).into(), Transition::Complete, "unseen", at).await.unwrap();

    let mut frames = Vec::new();
    while let Some(frame) = events.next().await {
        frames.extend(frame.data);
    }
    assert_eq!(frames, [delta("last").to_string()]);
}

/// streaming §8: 47
/// authz §7: 113
#[tokio::test]
async fn a_reader_who_loses_the_permission_loses_the_stream() {
    let settings = Settings { stream_keepalive: Duration::from_millis(20), ..Settings::default() };
    let world = World::with(Setup { settings, ..Setup::default() }).await;
    let task = world.task("a").await;
    let client = world.serve().await;
    let mut events = client.events(&stream_of(&task)).await;
    assert_eq!(events.next_json().await["type"], "connected");

    world.rules.hide(id(&task));

    while let Some(frame) = events.next().await {
        assert_eq!(frame.data, None, "nothing but keepalives");
    }
}

/// streaming §8: 8, 10, 33
#[tokio::test]
async fn changes_of_the_task_are_shown_until_it_ends() {
    let world = World::new().await;
    let task = world.task("a").await;
    let client = world.serve().await;
    let mut events = client.events(&stream_of(&task)).await;
    events.next().await.unwrap();

    world.put(&format!("/tasks/{}", id(&task)), json!({"task_metadata": {"k": "v"}})).await.ok();
    world.post(&format!("/tasks/{}/interrupt", id(&task)), json!({})).await.ok();
    world.post(&format!("/tasks/{}/complete", id(&task)), json!({})).await.ok();

    let noted = events.next_json().await;
    assert_eq!((&noted["type"], &noted["task"]["task_metadata"]), (&json!("task_updated"), &json!({"k": "v"})));
    assert_eq!(events.next_json().await["task"]["status"], "INTERRUPTED");
    assert_eq!(events.next_json().await["task"]["status"], "COMPLETED");
    assert_eq!(events.next().await, None);
}

/// streaming §8: 9
#[tokio::test]
async fn however_a_task_ends_its_stream_says_so_and_ends() {
    let world = World::new().await;
    let client = world.serve().await;
    for (how, status) in [
        ("complete", "COMPLETED"),
        ("fail", "FAILED"),
        ("cancel", "CANCELED"),
        ("terminate", "TERMINATED"),
        ("timeout", "TIMED_OUT"),
        ("delete", "DELETED"),
    ] {
        let task = world.task("a").await;
        let mut events = client.events(&stream_of(&task)).await;
        events.next().await.unwrap();

        match how {
            "delete" => world.delete(&format!("/tasks/{}", id(&task))).await.ok(),
            _ => world.post(&format!("/tasks/{}/{how}", id(&task)), json!({})).await.ok(),
        };

        let last = events.next_json().await;
        assert_eq!((&last["type"], &last["task"]["status"]), (&json!("task_updated"), &json!(status)), "{how}");
        assert_eq!(events.next().await, None, "{how}");
    }
}

/// streaming §8: 15
#[tokio::test]
async fn the_stream_of_a_task_whose_row_is_gone_ends() {
    let (task, gone) = (new_task(&agent("a")).into_task(), Arc::new(AtomicBool::new(false)));
    let (row, is_gone) = (task.clone(), Arc::clone(&gone));
    let ports: Box<dyn FnOnce(&mut Ports)> = Box::new(move |ports| {
        let mut tasks = MockTaskRepository::new();
        tasks.expect_find().returning(move |_| Ok((!is_gone.load(Ordering::SeqCst)).then(|| row.clone())));
        ports.stores.tasks = Arc::new(tasks);
    });
    let settings = Settings { stream_keepalive: Duration::from_millis(20), ..Settings::default() };
    let authorization = Authorization::Off;
    let world = World::with(Setup { settings, authorization, ports: Some(ports), ..Setup::default() }).await;
    let client = world.serve().await;
    let mut events = client.events(&format!("/tasks/{}/stream", task.id)).await;
    assert_eq!(events.next_json().await["type"], "connected");

    gone.store(true, Ordering::SeqCst);

    while let Some(frame) = events.next().await {
        assert_eq!(frame.data, None, "nothing but keepalives");
    }
}

/// streaming §8: 34
#[tokio::test]
async fn a_new_task_has_nothing_to_show_and_merged_parameters_are_one_change() {
    let world = World::new().await;
    let task = world.task("a").await;
    let path = format!("/tasks/{}", id(&task));

    world.put(&path, json!({"merge_params": {"k": "v"}})).await.ok();
    world.post(&format!("{path}/complete"), json!({})).await.ok();

    let shown = world.get(&stream_of(&task)).await.text();
    let events: Vec<Value> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["connected", "task_updated", "task_updated"]);
    assert_eq!((&events[1]["task"]["status"], &events[2]["task"]["status"]), (&json!("RUNNING"), &json!("COMPLETED")));
}

/// A stream service that is down.
struct Down;

fn down<T>() -> Result<T, StreamError> {
    Err(StreamError::Unavailable("down".into()))
}

#[async_trait]
impl EventStream for Down {
    async fn publish(&self, _: &TaskId, _: Bytes) -> Result<Cursor, StreamError> {
        down()
    }

    async fn subscribe(&self, _: &TaskId, _: StartAt) -> Result<Subscription, StreamError> {
        down()
    }

    async fn read(&self, _: &TaskId, _: Cursor, _: usize) -> Result<Vec<Entry>, StreamError> {
        down()
    }

    async fn clear(&self, _: &TaskId) -> Result<(), StreamError> {
        down()
    }
}

/// streaming §8: 39
/// tasks §10: 53
#[tokio::test]
async fn a_task_changes_although_nobody_can_be_told() {
    let ports: Box<dyn FnOnce(&mut Ports)> = Box::new(|ports| ports.streams = Arc::new(Down));
    let world = World::with(Setup { ports: Some(ports), ..Setup::default() }).await;
    let task = world.task("a").await;
    let path = format!("/tasks/{}", id(&task));

    world.put(&path, json!({"task_metadata": {"k": "v"}})).await.ok();
    world.post(&format!("{path}/complete"), json!({})).await.ok();

    let changed = world.get(&path).await.ok();
    assert_eq!((&changed["status"], &changed["task_metadata"]), (&json!("COMPLETED"), &json!({"k": "v"})));
}

/// streaming §8: 11, 12
#[tokio::test]
async fn an_ended_task_is_replayed_and_the_stream_ends() {
    let world = World::new().await;
    let (task, silent) = (world.task("a").await, world.task("a").await);
    for index in 0..25 {
        publish(&world, &task, delta(&index.to_string())).await;
    }
    for task in [&task, &silent] {
        world.post(&format!("/tasks/{}/complete", id(task)), json!({})).await.ok();
    }

    // The whole answer can be read at once because it ends by itself.
    let answer = world.get(&stream_of(&task)).await;
    let short = world.get(&stream_of(&silent)).await;

    assert_eq!(answer.text().matches("data: ").count(), 1 + 25 + 1);
    assert_eq!(short.text().matches("data: ").count(), 1 + 1);
}

/// streaming §8: 16, 17
/// authz §7: 112
#[tokio::test]
async fn a_task_that_is_absent_or_hidden_has_no_stream() {
    let world = World::new().await;
    let task = world.task("a").await;
    world.rules.hide(id(&task));

    world.get("/tasks/nope/stream").await.refused(404, "Item with id 'nope' does not exist.");
    world.get("/tasks/name/nope/stream").await.refused(404, "Item with name 'nope' does not exist.");
    let text = format!("Item with id '{}' does not exist.", id(&task));
    world.get(&stream_of(&task)).await.refused(404, &text);
}

/// By header and by query, which wins.
/// streaming §8: 43
#[tokio::test]
async fn a_reader_comes_back_where_it_left() {
    let world = World::new().await;
    let task = world.task("a").await;
    let client = world.serve().await;
    let mut events = client.events(&stream_of(&task)).await;
    events.next().await.unwrap();
    let mut seen = Vec::new();
    for text in ["1", "2", "3"] {
        publish(&world, &task, delta(text)).await;
        seen.push(events.next().await.unwrap().id.unwrap());
    }
    drop(events);

    let mut by_header = client.clone().with_header("last-event-id", &seen[0]).events(&stream_of(&task)).await;
    let path = format!("{}?last_event_id={}", stream_of(&task), seen[1]);
    let mut by_query = client.clone().with_header("last-event-id", "garbage").events(&path).await;

    assert_eq!(by_header.next_json().await["type"], "connected");
    assert_eq!(by_header.next_json().await, delta("2"));
    assert_eq!(by_header.next_json().await, delta("3"));
    by_query.next_json().await;
    assert_eq!(by_query.next_json().await, delta("3"));
}

#[tokio::test]
async fn an_id_that_is_none_is_refused() {
    let world = World::new().await;
    let task = world.task("a").await;

    for bad in ["x", "1", "$", "1-2-3"] {
        world.get(&format!("{}?last_event_id={bad}", stream_of(&task))).await.refused(400, "Invalid cursor format");
        let by_header = world.get_with(&stream_of(&task), &[("last-event-id", bad)]).await;
        by_header.refused(400, "Invalid cursor format");
    }
}

/// streaming §8: 49
#[tokio::test]
async fn a_stream_by_name_tells_the_id() {
    let world = World::new().await;
    world.agent("a", "sync", "http://a:1").await;
    let task = world.task_with("a", json!({"name": "job"})).await;
    let client = world.serve().await;

    let mut events = client.events("/tasks/name/job/stream").await;

    assert_eq!(events.next_json().await["taskId"], task["id"]);
    // `stream` is a name like any other.
    let named = world.task_with("a", json!({"name": "stream"})).await;
    assert_eq!(id(&world.get("/tasks/name/stream").await.ok()), id(&named));
}

/// streaming §8: 50
#[tokio::test]
async fn a_stopping_server_ends_its_streams() {
    let world = World::new().await;
    let task = world.task("a").await;
    let client = world.serve().await;
    let mut events = client.events(&stream_of(&task)).await;
    events.next().await.unwrap();

    world.app.shutdown_token().cancel();

    assert_eq!(events.next().await, None);
}
