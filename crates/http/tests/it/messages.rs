use std::collections::HashSet;
use std::time::Duration;

use agentex_authz::Operation::{Read, Update};
use agentex_http::HttpOptions;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Setup, World, encoded, id, ids, text_content};

const PNG: &str = "image/png";

fn absent(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

/// messages §7: 1, 9
#[tokio::test]
async fn a_message_is_stored_with_defaults_and_reads_the_same() {
    let world = World::new().await;
    let task = world.task("a").await;

    let created = world.message(id(&task), "hi").await;

    let content = json!({"type": "text", "author": "user", "style": "static", "format": "plain", "content": "hi", "attachments": null});
    assert_eq!((&created["content"], &created["streaming_status"]), (&content, &Value::Null));
    assert!(created["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(world.get(&format!("/messages/{}", id(&created))).await.ok(), created);
    assert_eq!(world.get(&format!("/messages?task_id={}", id(&task))).await.ok(), json!([created]));
}

/// messages §7: 2, 5, 6
/// agent-protocol §9: 40
#[tokio::test]
async fn every_content_comes_back_as_it_was_sent() {
    let world = World::new().await;
    let task = world.task("a").await;
    let file = |id: &str| json!({"file_id": id, "name": "n", "size": 5, "type": PNG});
    let tool = |content: Value| {
        json!({"type": "tool_response", "author": "agent", "style": "static", "tool_call_id": "t", "name": "n",
               "content": content, "is_error": null})
    };
    let mut contents = vec![
        json!({"type": "text", "author": "agent", "style": "active", "format": "markdown", "content": "ü\u{1F600}",
               "attachments": [file("f"), file("g")]}),
        json!({"type": "reasoning", "author": "agent", "style": "static", "summary": ["s"], "content": null}),
        json!({"type": "data", "author": "user", "style": "static", "data": {"a": [1, 2.5, null, {"b": true}]}}),
        json!({"type": "tool_request", "author": "agent", "style": "static", "tool_call_id": "t", "name": "n",
               "arguments": {"x": 1}}),
    ];
    contents.extend([json!("s"), json!([1]), json!({"k": 1}), Value::Null].map(tool));
    for content in contents {
        let body = json!({"task_id": id(&task), "content": content});
        let created = world.post("/messages", body).await.ok();
        assert_eq!(created["content"], content);
        assert_eq!(world.get(&format!("/messages/{}", id(&created))).await.ok()["content"], content);
    }
    for (sent, member, stored) in [
        (json!({"type": "text", "author": "user", "content": "x", "attachments": []}), "attachments", Value::Null),
        (json!({"type": null, "style": null, "author": "agent", "summary": []}), "style", json!("static")),
    ] {
        let created = world.post("/messages", json!({"task_id": id(&task), "content": sent})).await.ok();
        assert_eq!(created["content"][member], stored);
    }
}

/// messages §7: 3, 4, 12, 34
#[tokio::test]
async fn wrong_messages_are_refused() {
    let world = World::new().await;
    let task = world.task("a").await;
    for status in ["IN_PROGRESS", "DONE"] {
        let body = json!({"task_id": id(&task), "content": text_content("x"), "streaming_status": status});
        assert_eq!(world.post("/messages", body).await.ok()["streaming_status"], status);
    }
    let wrong = |content: Value| json!({"task_id": id(&task), "content": content});
    let told = |member: &str| format!("body.content.{member}");
    for (body, text) in [
        (
            json!({"task_id": id(&task), "content": text_content("x"), "streaming_status": "X"}),
            "body.streaming_status".to_owned(),
        ),
        (wrong(json!({"type": "image", "author": "user"})), told("type")),
        (wrong(json!({"author": "user", "content": "x"})), told("type")),
        (wrong(json!({"type": "text", "content": "x"})), told("author")),
        (wrong(json!({"type": "text", "author": "system", "content": "x"})), told("author")),
        (wrong(json!({"type": "text", "author": "user", "style": null, "content": "x"})), told("style")),
        (wrong(Value::Null), "body.content".to_owned()),
        (json!({"content": text_content("x")}), "body.task_id: Field required".to_owned()),
        (json!({"task_id": "", "content": text_content("x")}), "body.task_id".to_owned()),
        (
            json!({"task_id": id(&task), "content": text_content("x"), "created_at": "soon"}),
            "body.created_at".to_owned(),
        ),
        (json!([]), "body: ".to_owned()),
    ] {
        let told = world.post("/messages", body.clone()).await.invalid();
        assert!(told.contains(&text), "{body}: {told}");
    }
    for path in ["/messages", "/messages/paginated"] {
        assert!(world.get(path).await.invalid().contains("query.task_id: Field required"));
    }
}

/// messages §7: 7, 8, 10
#[tokio::test]
async fn a_writers_own_clock_counts() {
    let world = World::new().await;
    let task = world.task("a").await;
    let mut stored = Vec::new();
    for moment in ["2025-01-02T05:04:05.002+02:00", "2025-01-02T03:04:05.001"] {
        let body = json!({"task_id": id(&task), "content": text_content("x"), "created_at": moment});
        let created = world.post("/messages", body).await.ok();
        assert_eq!(created["created_at"], created["updated_at"]);
        stored.push(created);
    }

    assert_eq!(stored[0]["created_at"], "2025-01-02T03:04:05.002000Z");
    let oldest = world.get(&format!("/messages?task_id={}&order_direction=asc", id(&task))).await.ok();
    assert_eq!(oldest, json!([stored[1], stored[0]]));
}

/// messages §7: 11, 13
#[tokio::test]
async fn messages_belong_to_tasks_the_caller_may_change() {
    let world = World::new().await;
    let (ended, deleted, hidden) = (world.task("a").await, world.task("a").await, world.task("a").await);
    let readable = world.task("a").await;
    world.post(&format!("/tasks/{}/complete", id(&ended)), json!({})).await.ok();
    world.delete(&format!("/tasks/{}", id(&deleted))).await.ok();
    world.rules.hide(id(&hidden));
    world.rules.deny(id(&readable), &[Update]);
    let post = async |task: &str| world.post("/messages", json!({"task_id": task, "content": text_content("x")})).await;

    post(id(&ended)).await.ok();
    for task in ["nope", id(&deleted), id(&hidden)] {
        post(task).await.refused(404, &absent(task));
    }
    post(id(&readable)).await.refused(403, "Forbidden – principal lacks permission");
    assert_eq!(world.get(&format!("/messages?task_id={}", id(&readable))).await.ok(), json!([]));
}

/// messages §7: 14, 15, 16, 54
#[tokio::test]
async fn a_batch_is_stored_in_order_or_not_at_all() {
    let world = World::new().await;
    let task = world.task("a").await;
    let batch = async |contents: Value| {
        let body = json!({"task_id": id(&task), "contents": contents, "created_at": "2025-01-02T03:04:05.999Z"});
        world.post("/messages/batch", body).await
    };

    let stored = batch(json!([text_content("1"), text_content("2"), text_content("3")])).await.ok();

    let times: Vec<&str> = stored.as_array().unwrap().iter().map(|m| m["created_at"].as_str().unwrap()).collect();
    assert_eq!(times, ["2025-01-02T03:04:05.999000Z", "2025-01-02T03:04:06Z", "2025-01-02T03:04:06.001000Z"]);
    assert_eq!(stored[1]["content"]["content"], "2");
    assert_eq!(ids(&stored).into_iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(batch(json!([])).await.ok(), json!([]));
    let told = batch(json!([text_content("x"), {"type": "text", "author": "user"}])).await.invalid();
    assert!(told.contains("body.contents.1.content: Field required"), "{told}");
    let many: Vec<Value> = (0..1001).map(|_| text_content("x")).collect();
    batch(json!(many)).await.expect(413);
    batch(json!([text_content(&"x".repeat(1024 * 1024))])).await.expect(413);
    assert_eq!(ids(&world.get(&format!("/messages?task_id={}", id(&task))).await.ok()).len(), 3);
}

/// messages §7: 18, 19, 20, 21, 22
/// authz §7: 137
#[tokio::test]
async fn an_update_replaces_the_content() {
    let world = World::new().await;
    let (task, other) = (world.task("a").await, world.task("a").await);
    let body = json!({"task_id": id(&task), "content": text_content("x"), "streaming_status": "IN_PROGRESS"});
    let message = world.post("/messages", body).await.ok();
    let path = format!("/messages/{}", id(&message));
    let data = json!({"type": "data", "author": "agent", "style": "static", "data": {}});
    world.clock.advance(Duration::from_secs(1));

    let replaced = world.put(&path, json!({"task_id": id(&task), "content": data})).await.ok();
    let done = world.put(&path, json!({"task_id": id(&task), "content": data, "streaming_status": "DONE"})).await.ok();

    assert_eq!((&replaced["content"], &replaced["streaming_status"]), (&data, &json!("IN_PROGRESS")));
    assert_eq!(replaced["created_at"], message["created_at"]);
    assert_ne!(replaced["updated_at"], message["updated_at"]);
    assert_eq!(done["streaming_status"], "DONE");
    let foreign = world.put(&path, json!({"task_id": id(&other), "content": text_content("y")})).await;
    foreign.refused(404, &absent(id(&message)));
    assert_eq!(world.get(&path).await.ok(), done);
    let unknown = world.put("/messages/nope", json!({"task_id": id(&task), "content": data})).await;
    unknown.refused(404, &absent("nope"));
}

/// messages §7: 23, 24, 25, 26
/// authz §7: 138
#[tokio::test]
async fn a_batch_update_keeps_the_order_of_the_request() {
    let world = World::new().await;
    let (task, other) = (world.task("a").await, world.task("a").await);
    let first = world.message(id(&task), "1").await;
    let second = world.message(id(&task), "2").await;
    let foreign = world.message(id(&other), "3").await;
    // Written by hand: a parsed object would sort its keys.
    let update = async |ids: &[&str]| {
        let content = text_content("new").to_string();
        let updates: Vec<String> = ids.iter().map(|id| format!(r#""{id}":{content}"#)).collect();
        let body = format!(r#"{{"task_id":"{}","updates":{{{}}}}}"#, id(&task), updates.join(","));
        world.call("PUT", "/messages/batch", &[], Some(&body)).await
    };

    update(&[id(&first), "nope"]).await.refused(404, &absent("nope"));
    update(&[id(&first), id(&foreign)]).await.refused(404, &absent(id(&foreign)));
    let untouched = world.get(&format!("/messages/{}", id(&first))).await.ok();
    assert_eq!(untouched, first);

    for order in [[id(&first), id(&second)], [id(&second), id(&first)]] {
        let updated = update(&order).await.ok();
        assert_eq!(ids(&updated), order);
        assert_eq!(updated[0]["content"]["content"], "new");
    }
    assert_eq!(update(&[]).await.ok(), json!([]));
    let wrong = json!({"task_id": id(&task), "updates": {id(&first): {"type": "text", "author": "user"}}});
    assert!(world.put("/messages/batch", wrong).await.invalid().contains("body.updates.0.content"));
    assert!(
        world.put("/messages/batch", json!({"updates": []})).await.invalid().contains("body.updates: Input should")
    );
}

/// messages §7: 27
/// authz §7: 136
#[tokio::test]
async fn a_message_of_a_hidden_task_reads_like_an_absent_one() {
    let world = World::new().await;
    let task = world.task("a").await;
    let message = world.message(id(&task), "x").await;
    world.rules.deny(id(&task), &[Read]);

    let path = format!("/messages/{}", id(&message));
    world.get(&path).await.refused(404, &absent(id(&message)));
    world.get("/messages/nope").await.refused(404, &absent("nope"));
}

/// The clock stands still, so order is that of insertion.
/// messages §7: 28-33
#[tokio::test]
async fn lists_are_newest_first_and_paged_without_gaps() {
    let world = World::new().await;
    let task = world.task("a").await;
    let mut written = Vec::new();
    for index in 0..55 {
        written.push(id(&world.message(id(&task), &index.to_string()).await).to_owned());
    }
    let list = async |query: &str| world.get(&format!("/messages?task_id={}{query}", id(&task))).await;

    let newest_first: Vec<String> = written.iter().rev().cloned().collect();
    assert_eq!(ids(&list("").await.ok()), newest_first[..50]);
    let mut paged = Vec::new();
    for page in 1..=4 {
        let page = list(&format!("&limit=20&page_number={page}")).await.ok();
        paged.extend(ids(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(paged, newest_first);
    assert_eq!(ids(&list("&order_direction=ASC&limit=55").await.ok()), written);
    assert_eq!(ids(&list("&order_direction=xyz&limit=55").await.ok()), newest_first);
    assert_eq!(ids(&list("&order_by=evil&limit=55").await.ok()), newest_first);
    for column in ["updated_at", "id", "streaming_status"] {
        list(&format!("&order_by={column}")).await.ok();
    }
    for limit in ["0", "-1", "5000"] {
        assert!(list(&format!("&limit={limit}")).await.invalid().contains("query.limit"));
    }
    list("&page_number=0").await.refused(400, "Page number must be greater than 0");
    assert_eq!(world.get("/messages?task_id=nope").await.ok(), json!([]));
}

async fn page(world: &World, task: &Value, query: &str) -> Value {
    world.get(&format!("/messages/paginated?task_id={}{query}", id(task))).await.ok()
}

/// messages §7: 35, 36, 37
#[tokio::test]
async fn a_cursor_goes_on_where_the_page_ended() {
    let world = World::new().await;
    let task = world.task("a").await;
    let mut written = Vec::new();
    for index in 0..25 {
        written.push(id(&world.message(id(&task), &index.to_string()).await).to_owned());
    }
    written.reverse();

    let (mut seen, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = page(&world, &task, &format!("&limit=10{cursor}")).await;
        sizes.push((ids(&page["data"]).len(), page["has_more"].as_bool().unwrap()));
        seen.extend(ids(&page["data"]).into_iter().map(str::to_owned));
        world.message(id(&task), "written meanwhile").await;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encoded(next)),
            None => break,
        }
    }

    assert_eq!(sizes, [(10, true), (10, true), (5, false)]);
    assert_eq!(seen, written);
    let exactly = world.task("a").await;
    world.message(id(&exactly), "x").await;
    let last = page(&world, &exactly, "&limit=1").await;
    assert_eq!((&last["has_more"], &last["next_cursor"]), (&json!(false), &Value::Null));
}

/// messages §7: 41, 42
#[tokio::test]
async fn newer_messages_are_reached_one_page_after_the_other() {
    let world = World::new().await;
    let task = world.task("a").await;
    let mut written = Vec::new();
    for index in 0..31 {
        written.push(id(&world.message(id(&task), &index.to_string()).await).to_owned());
    }
    let oldest_two = page(&world, &task, "&direction=newer&limit=1").await;
    assert_eq!(ids(&oldest_two["data"]), [&written[0]]);

    let mut seen = Vec::new();
    let mut next = oldest_two["next_cursor"].clone();
    while let Some(cursor) = next.as_str() {
        let page = page(&world, &task, &format!("&direction=newer&limit=10&cursor={}", encoded(cursor))).await;
        let mut ids: Vec<String> = ids(&page["data"]).into_iter().map(str::to_owned).collect();
        ids.reverse();
        seen.extend(ids);
        next = page["next_cursor"].clone();
    }

    assert_eq!(seen, written[1..]);
    let sideways = world.get(&format!("/messages/paginated?task_id={}&direction=sideways", id(&task))).await;
    assert!(sideways.invalid().contains("query.direction: Input should be 'older' or 'newer'"));
}

/// messages §7: 38, 39, 40
#[tokio::test]
async fn cursors_stand_for_themselves() {
    let world = World::new().await;
    let (task, other) = (world.task("a").await, world.task("a").await);
    for index in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        world.message(id(&task), &index.to_string()).await;
    }
    let newest = page(&world, &task, "&limit=1").await;
    let encode = |cursor: &Value| encoded(&base64::engine::general_purpose::URL_SAFE.encode(cursor.to_string()));
    let decoded: Value = serde_json::from_slice(
        &base64::engine::general_purpose::URL_SAFE.decode(newest["next_cursor"].as_str().unwrap()).unwrap(),
    )
    .unwrap();
    assert_eq!((&decoded["v"], &decoded["id"]), (&json!(2), &newest["data"][0]["id"]));

    let mut vanished = decoded.clone();
    vanished["id"] = json!("gone");
    let reference = json!({"v": 1, "id": decoded["id"], "created_at": decoded["created_at"]});
    for cursor in [&decoded, &vanished, &reference] {
        let rest = page(&world, &task, &format!("&cursor={}", encode(cursor))).await;
        assert_eq!(ids(&rest["data"]).len(), 2, "{cursor}");
    }
    let of_other = |cursor: &str| format!("/messages/paginated?task_id={}&cursor={cursor}", id(&other));
    for foreign in [&decoded, &reference] {
        let told = world.get(&of_other(&encode(foreign))).await.expect(400);
        assert!(told["message"].as_str().unwrap().starts_with("Invalid cursor format"));
    }
    world.get(&of_other("garbage")).await.refused(400, "Invalid cursor format");
    assert_eq!(world.get(&of_other("")).await.ok()["data"], json!([]));

    let http = HttpOptions { invalid_cursor_tolerated: true, ..HttpOptions::default() };
    let tolerant = World::with(Setup { http, ..Setup::default() }).await;
    let task = tolerant.task("a").await;
    tolerant.message(id(&task), "x").await;
    assert_eq!(ids(&page(&tolerant, &task, "&cursor=garbage").await["data"]).len(), 1);
}

/// messages §7: 43-51
#[tokio::test]
async fn filters_choose_messages_on_every_page() {
    let world = World::new().await;
    let task = world.task("a").await;
    for index in 0..3 {
        world.message(id(&task), &index.to_string()).await;
        let data = json!({"type": "data", "author": "agent", "data": {"n": {"k": index, "z": "' OR 1=1 --"}}});
        world.post("/messages", json!({"task_id": id(&task), "content": data, "streaming_status": "DONE"})).await.ok();
    }
    let count = async |filter: &str| {
        let list = world.get(&format!("/messages?task_id={}&filters={}", id(&task), encoded(filter))).await.ok();
        list.as_array().unwrap().len()
    };

    for (filter, found) in [
        ("", 6),
        ("{}", 6),
        (r#"{"content":{}}"#, 6),
        (r#"{"content":{"type":"text"}}"#, 3),
        (r#"[{"content":{"type":"text"}},{"content":{"data":{"n":{"k":1}}}}]"#, 4),
        (r#"{"content":{"type":"text"},"exclude":true}"#, 3),
        (r#"[{"content":{"type":"data"}},{"content":{"data":{"n":{"k":2}}},"exclude":true}]"#, 2),
        (r#"{"content":{"author":"agent"},"streaming_status":"DONE"}"#, 3),
        (r#"{"content":{"author":"user"},"streaming_status":"DONE"}"#, 0),
        (r#"{"content":{"data":{"n":{"k":9}}}}"#, 0),
        (r#"{"content":{"data":{"n":{"$gt":""}}}}"#, 0),
        (r#"{"content":{"data":{"n":{"z":"' OR 1=1 --"}}}}"#, 3),
        (r#"{"content":{"data":{"x' OR '1'='1":1}}}"#, 0),
    ] {
        assert_eq!(count(filter).await, found, "{filter}");
    }

    let filter = encoded(r#"{"content":{"type":"text"}}"#);
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = page(&world, &task, &format!("&limit=1&filters={filter}{cursor}")).await;
        for message in page["data"].as_array().unwrap() {
            assert_eq!(message["content"]["type"], "text");
            seen += 1;
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={}", encoded(next));
    }
    assert_eq!(seen, 3);

    for (filter, text) in [
        ("{", "Invalid JSON in filters parameter: "),
        ("5", "Invalid filters parameter: "),
        ("null", "Invalid filters parameter: "),
        (r#""x""#, "Invalid filters parameter: "),
        (r#"{"bogus":1}"#, "Invalid filters parameter: "),
        (r#"{"content":{"type":"image"}}"#, "Invalid filters parameter: "),
        (r#"{"content":{"type":"text","data":{}}}"#, "Invalid filters parameter: "),
    ] {
        for path in ["/messages", "/messages/paginated"] {
            let told =
                world.get(&format!("{path}?task_id={}&filters={}", id(&task), encoded(filter))).await.expect(400);
            assert!(told["message"].as_str().unwrap().starts_with(text), "{filter}: {told}");
        }
    }
}
