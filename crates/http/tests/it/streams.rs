use std::time::Duration;

use agentex_app::Settings;
use agentex_domain::ports::{Clock as _, EventStream as _};
use agentex_domain::{TaskId, Transition};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Setup, World, id, request};

fn stream_of(task: &Value) -> String {
    format!("/tasks/{}/stream", id(task))
}

async fn publish(world: &World, task: &Value, entry: Value) {
    world.streams.publish(&TaskId::from(id(task)), Bytes::from(entry.to_string())).await.unwrap();
}

fn delta(text: &str) -> Value {
    json!({"type": "delta", "index": null, "parent_task_message": null, "delta": {"type": "text", "text_delta": text}})
}

/// 1 and 2.
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

/// 6 and 7, to the byte: after a keepalive comes no blank line.
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

/// 13 and 14: the row decides even when nobody published its end; what was published before is still delivered.
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

/// 47.
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

/// 8, 10 and 33.
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

/// 11 and 12.
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

/// 16 and 17.
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

/// 43: by header and by query, which wins.
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

/// 49.
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

/// 50.
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
