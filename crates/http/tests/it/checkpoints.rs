//! Checkpoints.

use agentex_authz::Operation::{self, Delete, Read, Update};
use agentex_http::HttpOptions;
use serde_json::{Value, json};

use crate::support::{Setup, World, id};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

fn absent(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

/// A checkpoint of the thread with one blob, of the bytes 0xfb 0xff.
fn checkpoint(thread: &str, id: &str) -> Value {
    json!({
        "thread_id": thread, "checkpoint_id": id, "checkpoint": {"v": 4, "channel_versions": {"messages": 1}},
        "metadata": {"step": 1, "source": "loop"},
        "blobs": [{"channel": "messages", "version": "1", "type": "msgpack", "blob": "+/8="}],
    })
}

fn writes(thread: &str, id: &str, blobs: &[&str]) -> Value {
    let writes: Vec<Value> = (0..).zip(blobs).map(|(idx, blob)| write("step", idx, blob)).collect();
    json!({"thread_id": thread, "checkpoint_id": id, "writes": writes})
}

fn write(step: &str, idx: i64, blob: &str) -> Value {
    json!({"task_id": step, "idx": idx, "channel": "messages", "type": "msgpack", "blob": blob, "task_path": "~"})
}

async fn put(world: &World, body: Value) -> Value {
    world.post("/checkpoints/put", body).await.ok()
}

async fn tuple(world: &World, thread: &str) -> Value {
    world.post("/checkpoints/get-tuple", json!({"thread_id": thread})).await.ok()
}

async fn nothing(world: &World, path: &str, body: Value) {
    let answer = world.post(path, body).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (204, String::new()));
}

/// checkpoints §5: 1, 2, 3, 4, 6, 16
#[tokio::test]
async fn a_checkpoint_reads_back_as_it_was_put() {
    let world = World::new().await;
    let task = world.task("a").await;
    let thread = id(&task);
    assert_eq!(tuple(&world, thread).await, Value::Null);

    let mut first = checkpoint(thread, "cp-1");
    first["parent_checkpoint_id"] = json!("cp-0");
    let empty = json!({"channel": "none", "version": "1", "type": "empty", "blob": null});
    first["blobs"].as_array_mut().unwrap().push(empty);
    first["checkpoint"]["channel_versions"]["none"] = json!("1");
    let stored = put(&world, first.clone()).await;
    assert_eq!(stored, json!({"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": "cp-1"}));
    let expected = json!({
        "thread_id": thread, "checkpoint_ns": "", "checkpoint_id": "cp-1", "parent_checkpoint_id": "cp-0",
        "checkpoint": first["checkpoint"], "metadata": first["metadata"], "blobs": first["blobs"], "pending_writes": [],
    });
    assert_eq!(tuple(&world, thread).await, expected);

    first["parent_checkpoint_id"] = json!("other");
    first["metadata"] = json!({"step": 2});
    put(&world, first).await;
    let again = tuple(&world, thread).await;
    assert_eq!((&again["parent_checkpoint_id"], &again["metadata"]), (&json!("cp-0"), &json!({"step": 2})));
    put(&world, checkpoint(thread, "cp-3")).await;
    put(&world, checkpoint(thread, "cp-2")).await;
    assert_eq!(tuple(&world, thread).await["checkpoint_id"], "cp-3");
    let by_id = json!({"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": "cp-2"});
    assert_eq!(world.post("/checkpoints/get-tuple", by_id).await.ok()["checkpoint_id"], "cp-2");
    let newest = json!({"thread_id": thread, "checkpoint_id": ""});
    assert_eq!(world.post("/checkpoints/get-tuple", newest).await.ok()["checkpoint_id"], "cp-3");
    let other = json!({"thread_id": thread, "checkpoint_id": "cp-9"});
    assert_eq!(world.post("/checkpoints/get-tuple", other).await.ok(), Value::Null);
}

#[tokio::test]
async fn numbers_keep_every_digit() {
    let world = World::new().await;
    let task = world.task("a").await;
    let body = format!(
        r#"{{"thread_id":"{}","checkpoint_id":"1","checkpoint":{{"n":123456789012345678901234567890,"f":0.1000}},
            "metadata":{{"m":98765432109876543210}}}}"#,
        id(&task)
    );

    world.call("POST", "/checkpoints/put", &[], Some(&body)).await.ok();

    for path in ["/checkpoints/get-tuple", "/checkpoints/list"] {
        let text = world.post(path, json!({"thread_id": id(&task)})).await.text();
        for number in ["123456789012345678901234567890", "0.1000", "98765432109876543210"] {
            assert!(text.contains(number), "{text}");
        }
    }
}

/// checkpoints §5: 8, 9, 10, 20
#[tokio::test]
async fn writes_are_stored_all_or_none_and_replaced_when_asked() {
    let world = World::new().await;
    let task = world.task("a").await;
    let thread = id(&task);
    put(&world, checkpoint(thread, "cp-1")).await;
    let pending = async || tuple(&world, thread).await["pending_writes"].clone();
    let with = |writes: Value, upsert: bool| json!({"thread_id": thread, "checkpoint_id": "cp-1", "writes": writes, "upsert": upsert});
    let path = "/checkpoints/put-writes";

    nothing(&world, path, with(json!([write("s", 1, "AQ=="), write("s", -3, "/Q"), write("s", 0, "AA==")]), false))
        .await;
    let shown = pending().await;
    let indexes: Vec<i64> = shown.as_array().unwrap().iter().map(|write| write["idx"].as_i64().unwrap()).collect();
    assert_eq!(indexes, [-3, 0, 1]);
    let first = json!({"task_id": "s", "idx": -3, "channel": "messages", "type": "msgpack", "blob": "/Q=="});
    assert_eq!(shown[0], first);

    nothing(&world, path, with(json!([write("s", 0, "BQ==")]), false)).await;
    assert_eq!(pending().await[1]["blob"], "AA==");
    nothing(&world, path, with(json!([write("s", 0, "BQ==")]), true)).await;
    assert_eq!(pending().await[1]["blob"], "BQ==");
    nothing(&world, path, with(json!([]), true)).await;
    nothing(&world, path, writes(thread, "not there yet", &["AA=="])).await;

    let broken = with(json!([write("t", 0, "AA=="), write("t", 1, "A")]), false);
    let told = world.post(path, broken).await.invalid();
    assert!(told.contains("body.writes.1.blob: Invalid base64 in writes[1].blob"), "{told}");
    assert_eq!(pending().await.as_array().unwrap().len(), 3);
}

/// checkpoints §5: 18, 19
#[tokio::test]
async fn wrong_bodies_are_refused_and_nothing_is_stored() {
    let world = World::new().await;
    let task = world.task("a").await;
    let thread = id(&task);
    let changed = |member: &str, value: Value| {
        let mut body = checkpoint(thread, "cp-1");
        *body.pointer_mut(member).unwrap() = value;
        body
    };
    for (body, told) in [
        (changed("/blobs/0/blob", json!("no base64!")), "body.blobs.0.blob: Invalid base64 in blobs[0].blob"),
        (changed("/blobs/0/blob", json!("-_8=")), "Invalid base64 in blobs[0].blob"),
        (changed("/blobs/0/version", json!(1)), "body.blobs.0.version"),
        (changed("/blobs", json!({})), "body.blobs: Input should be a valid list"),
        (changed("/checkpoint", json!([])), "body.checkpoint: Input should be a valid dictionary"),
        (changed("/checkpoint", Value::Null), "body.checkpoint: Input should be a valid dictionary"),
        (changed("/checkpoint", json!({"a": ["\u{0}"]})), "body.checkpoint: String should not contain NUL"),
        (changed("/metadata", json!({"\u{0}": 1})), "body.metadata: String should not contain NUL"),
        (changed("/checkpoint_id", Value::Null), "body.checkpoint_id"),
        (json!({"checkpoint": {}}), "body.thread_id: Field required"),
    ] {
        let text = world.post("/checkpoints/put", body.clone()).await.invalid();
        assert!(text.contains(told), "{body}: {text}");
    }
    // What is hidden behind a repeated member is not stored either.
    let repeated = format!(r#"{{"thread_id":"{thread}","checkpoint_id":"1","checkpoint":{{"a":"\u0000","a":1}}}}"#);
    let answer = world.call("POST", "/checkpoints/put", &[], Some(&repeated)).await;
    assert!(answer.invalid().contains("body.checkpoint: String should not contain NUL"));
    for (idx, told) in [(json!(null), "body.writes.0.idx"), (json!(2_147_483_648_i64), "Input should fit 32 bits")] {
        let mut body = writes(thread, "cp-1", &["AA=="]);
        body["writes"][0]["idx"] = idx;
        let text = world.post("/checkpoints/put-writes", body).await.invalid();
        assert!(text.contains(told), "{text}");
    }
    for path in ["get-tuple", "put", "put-writes", "list", "delete-thread"] {
        let text = world.post(&format!("/checkpoints/{path}"), json!({})).await.invalid();
        assert!(text.contains("body.thread_id: Field required"), "{path}: {text}");
    }
    assert_eq!(tuple(&world, thread).await, Value::Null);
}

/// checkpoints §5: 11, 12, 13, 14
#[tokio::test]
async fn a_list_is_newest_first_and_limited_as_asked() {
    let world = World::new().await;
    let task = world.task("a").await;
    let thread = id(&task);
    for (number, namespace) in [(1, ""), (2, ""), (3, ""), (3, "sub")] {
        let mut body = checkpoint(thread, &format!("cp-{number}"));
        body["metadata"] = json!({"step": number, "by": {"who": "me", "how": "loop"}});
        body["checkpoint_ns"] = json!(namespace);
        put(&world, body).await;
    }
    let list = async |more: Value| {
        let mut body = json!({"thread_id": thread});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.post("/checkpoints/list", body).await
    };
    let shown = async |more: Value| {
        let listed = list(more).await.ok();
        let of = |item: &Value| {
            format!("{}/{}", item["checkpoint_ns"].as_str().unwrap(), item["checkpoint_id"].as_str().unwrap())
        };
        listed.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };

    assert_eq!(shown(json!({})).await, ["/cp-3", "sub/cp-3", "/cp-2", "/cp-1"]);
    assert_eq!(shown(json!({"checkpoint_ns": "", "before_checkpoint_id": "cp-3"})).await, ["/cp-2", "/cp-1"]);
    assert_eq!(shown(json!({"checkpoint_ns": "sub"})).await, ["sub/cp-3"]);
    assert_eq!(shown(json!({"checkpoint_ns": "", "limit": 2})).await, ["/cp-3", "/cp-2"]);
    assert_eq!(shown(json!({"filter_metadata": {"step": 1, "by": {"who": "me"}}})).await, ["/cp-1"]);
    assert_eq!(shown(json!({"filter_metadata": {"step": 9}})).await, [""; 0]);
    assert_eq!(shown(json!({"filter_metadata": {}})).await.len(), 4);
    let item = list(json!({"limit": 1})).await.ok()[0].clone();
    assert!(item.get("blobs").is_none() && item.get("pending_writes").is_none(), "{item}");
    for limit in [0, 1001] {
        assert!(list(json!({"limit": limit})).await.invalid().contains("body.limit"));
    }
}

/// checkpoints §5: 15
#[tokio::test]
async fn a_deleted_thread_is_empty_and_others_are_intact() {
    let world = World::new().await;
    let (task, other) = (world.task("a").await, world.task("a").await);
    for task in [&task, &other] {
        put(&world, checkpoint(id(task), "cp-1")).await;
        nothing(&world, "/checkpoints/put-writes", writes(id(task), "cp-1", &["AA=="])).await;
    }
    let untouched = tuple(&world, id(&other)).await;

    for _ in 0..2 {
        nothing(&world, "/checkpoints/delete-thread", json!({"thread_id": id(&task)})).await;
    }

    assert_eq!(tuple(&world, id(&task)).await, Value::Null);
    assert_eq!(world.post("/checkpoints/list", json!({"thread_id": id(&task)})).await.ok(), json!([]));
    assert_eq!(tuple(&world, id(&other)).await, untouched);
}

/// checkpoints §5: 17
/// Every route asks once, for the task whose id is the thread's.
///
/// authz §7: 146
#[tokio::test]
async fn each_route_takes_its_permission_on_the_thread() {
    let world = World::new().await;
    let task = world.task("a").await;
    let thread = id(&task);
    let thread_only = json!({"thread_id": thread});
    let routes: [(&str, Operation, Value, u16); 5] = [
        ("get-tuple", Read, thread_only.clone(), 200),
        ("list", Read, thread_only.clone(), 200),
        ("put", Update, checkpoint(thread, "cp-1"), 200),
        ("put-writes", Update, writes(thread, "cp-1", &["AA=="]), 204),
        ("delete-thread", Delete, thread_only, 204),
    ];
    for (route, operation, body, allowed) in routes {
        let path = format!("/checkpoints/{route}");
        let asked = |operation| format!("check {operation} task:{thread}");
        world.calls.take();

        assert_eq!(world.post(&path, body.clone()).await.status, allowed, "{route}");
        assert_eq!(world.calls.questions(), [asked(operation)], "{route}");

        world.rules.hide(thread);
        world.post(&path, body.clone()).await.refused(404, &absent(thread));
        let follow_up = (operation != Read).then_some(asked(Read));
        assert_eq!(world.calls.questions(), [asked(operation)].into_iter().chain(follow_up).collect::<Vec<_>>());
        world.rules.reset();

        if operation != Read {
            world.rules.deny(thread, &[operation]);
            world.post(&path, body).await.refused(403, FORBIDDEN);
            world.rules.reset();
        }
    }
}

#[tokio::test]
async fn a_deleted_task_takes_no_checkpoints() {
    let world = World::new().await;
    let task = world.task("a").await;
    let thread = id(&task);
    world.delete(&format!("/tasks/{thread}")).await.ok();

    world.post("/checkpoints/put", checkpoint(thread, "cp-1")).await.refused(404, &absent(thread));
    let refused = world.post("/checkpoints/put-writes", writes(thread, "cp-1", &["AA=="])).await;
    refused.refused(404, &absent(thread));
    assert_eq!(tuple(&world, thread).await, Value::Null);
}

#[tokio::test]
async fn checkpoints_may_be_larger_than_other_bodies_but_not_endless() {
    let http = HttpOptions { max_body_bytes: 512, max_checkpoint_body_bytes: 2048, ..HttpOptions::default() };
    let world = World::with(Setup { http, ..Setup::default() }).await;
    let sized = |bytes: usize| {
        let mut body = checkpoint("thread", "cp-1");
        body["blobs"][0]["blob"] = json!("A".repeat(bytes));
        body
    };

    put(&world, sized(1024)).await;
    world.post("/checkpoints/put", sized(2048)).await.refused(413, "Request body is too large");
    let many = json!({"thread_id": "thread", "checkpoint_id": "x".repeat(1024)});
    world.post("/checkpoints/get-tuple", many).await.refused(413, "Request body is too large");
}

#[tokio::test]
async fn one_call_holds_so_many_blobs_and_no_more() {
    let world = World::new().await;
    let task = world.task("a").await;
    let mut body = checkpoint(id(&task), "cp-1");
    body["blobs"] = (0..10_001).map(|n| json!({"channel": n.to_string(), "version": "1", "type": "empty"})).collect();

    world.post("/checkpoints/put", body).await.refused(413, "A call holds at most 10000 blobs.");

    assert_eq!(tuple(&world, id(&task)).await, Value::Null);
}
