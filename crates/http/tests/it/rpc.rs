use agentex_authz::Operation::Update;
use agentex_testkit::fake_agent::{FakeAgent, Gate, Reply, Step};
use serde_json::{Value, json};

use crate::support::{Authorization, Setup, World, id, ids, text_content};

fn call(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 7})
}

fn full(index: i64, text: &str) -> Value {
    json!({"type": "full", "index": index, "content": {"type": "text", "author": "agent", "content": text}})
}

/// A server with one agent behind it.
async fn with_agent(acp_type: &str) -> (World, FakeAgent) {
    let (world, agent) = (World::new().await, FakeAgent::start().await);
    world.agent("a", acp_type, agent.url()).await;
    (world, agent)
}

/// The bytes, since clients of the reference read the members in this order.
/// rpc §7: 1, 2
#[tokio::test]
async fn the_id_comes_back_and_both_members_are_there() {
    let (world, _agent) = with_agent("async").await;
    for (sent, echoed) in [
        (r#""id":7,"#, "7"),
        (r#""id":"abc","#, r#""abc""#),
        (r#""id":18446744073709551615,"#, "18446744073709551615"),
        (r#""id":null,"#, "null"),
        ("", "null"),
    ] {
        let body = format!(r#"{{{sent}"method":"task/create","params":{{}}}}"#);
        let text = world.call("POST", "/agents/name/a/rpc", &[], Some(&body)).await;
        text.ok();
        let text = text.text();
        assert!(text.starts_with(r#"{"jsonrpc":"2.0","result":{"id":""#), "{text}");
        assert!(text.ends_with(&format!(r#","error":null,"id":{echoed}}}"#)), "{text}");
    }
    let body = call("message/send", json!({"content": text_content("x")}));
    let failed = world.post("/agents/name/a/rpc", body).await;
    failed.ok();
    assert_eq!(
        failed.text(),
        r#"{"jsonrpc":"2.0","result":null,"error":{"code":-32603,"message":"Unsupported method: message/send for ACP type: async","data":null},"id":7}"#
    );
}

/// rpc §7: 3, 5, 6
/// authz §7: 127, 129
#[tokio::test]
async fn a_malformed_call_is_refused_before_anything_happens() {
    let (world, agent) = with_agent("async").await;
    for (body, text) in [
        (json!([call("task/create", json!({}))]), "body: Input should be a valid dictionary"),
        (json!({"jsonrpc": "1.0", "method": "task/create", "params": {}}), "body.jsonrpc: Input should be '2.0'"),
        (
            json!({"id": 1.5, "method": "task/create", "params": {}}),
            "body.id: Input should be a valid integer or string",
        ),
        (json!({"id": true, "method": "task/create", "params": {}}), "body.id"),
        (json!({"id": {}, "method": "task/create", "params": {}}), "body.id"),
        (call("task/destroy", json!({})), "body.method: Input should be 'event/send'"),
        (json!({"params": {}}), "body.method: Field required"),
        (json!({"method": "task/create"}), "body.params: Field required"),
        (call("task/create", Value::Null), "body.params: Input should be a valid dictionary"),
        (call("task/create", json!([])), "body.params: Input should be a valid dictionary"),
        (call("task/create", json!({"name": "*"})), "body.params.name"),
        (call("task/create", json!({"params": 5, "task_metadata": []})), "2 validation error(s)"),
        (call("message/send", json!({})), "body.params.content: Field required"),
        (call("message/send", json!({"content": {"author": "user", "content": "x"}})), "body.params.content.type"),
        (call("message/send", json!({"content": text_content("x"), "stream": "yes"})), "body.params.stream"),
        (call("event/send", json!({"task_id": "t", "content": {"type": "image"}})), "body.params.content.type"),
        (call("event/send", json!({})), "Either task_id or task_name must be provided for event/send"),
        (call("event/send", json!({"task_id": null})), "must be provided for event/send"),
        (call("task/cancel", json!({})), "Either task_id or task_name must be provided for task/cancel"),
        (call("task/interrupt", json!({})), "Either task_id or task_name must be provided for task/interrupt"),
        (call("task/cancel", json!({"task_id": ""})), "body.params.task_id: String should have at least 1 character"),
        (call("message/send", json!({"task_name": "*", "content": text_content("x")})), "body.params.task_name"),
    ] {
        let told = world.post("/agents/name/a/rpc", body.clone()).await.invalid();
        assert!(told.contains(text), "{body}: {told}");
    }
    assert!(agent.calls().is_empty());
    assert_eq!(world.get("/tasks").await.ok(), json!([]));
}

/// rpc §7: 4
/// authz §7: 126
#[tokio::test]
async fn a_task_is_named_once() {
    let (world, _agent) = with_agent("async").await;

    for method in ["event/send", "task/cancel", "task/interrupt", "message/send"] {
        let params = json!({"task_id": "t", "task_name": "n", "content": text_content("x")});
        let told = world.post("/agents/name/a/rpc", call(method, params)).await.invalid();
        assert!(told.contains("body.params: Cannot provide both task_id and task_name"), "{told}");
    }
}

/// rpc §7: 5, 15, 16
#[tokio::test]
async fn a_task_is_created_with_nothing_but_the_method() {
    let (world, agent) = with_agent("async").await;

    let created = world.post("/agents/name/a/rpc", call("task/create", json!({"name": ""}))).await.ok();

    let call = agent.call(0).await;
    assert_eq!((call.rpc_method().as_str(), &call.params()["task"]["id"]), ("task/create", &created["result"]["id"]));
    let task = world.get(&format!("/tasks/{}", id(&created["result"]))).await.ok();
    assert_eq!((&task["status"], &task["name"]), (&json!("RUNNING"), &Value::Null));
}

/// What is wrong before the agent is asked is an HTTP error.
#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let (world, agent) = with_agent("async").await;
    let task_cancel = |params: Value| call("task/cancel", params);

    for (path, text) in [
        ("/agents/nope/rpc", "Item with id 'nope' does not exist."),
        ("/agents/name/nope/rpc", "Item with name 'nope' does not exist."),
    ] {
        world.post(path, call("task/create", json!({}))).await.refused(404, text);
        // An invalid call of an agent that does not exist is not found either.
        world.post(path, call("task/create", json!([]))).await.refused(404, text);
    }
    world
        .post("/agents/name/a/rpc", task_cancel(json!({"task_id": "t"})))
        .await
        .refused(404, "Item with id 't' does not exist.");
    world
        .post("/agents/name/a/rpc", task_cancel(json!({"task_name": "t"})))
        .await
        .refused(404, "Item with name 't' does not exist.");
    assert!(agent.calls().is_empty());
}

/// rpc §7: 7, 8, 9
#[tokio::test]
async fn each_kind_of_agent_has_its_methods() {
    let (world, sync) = (World::new().await, FakeAgent::start().await);
    let task = {
        world.agent("s", "sync", sync.url()).await;
        world.task_with("s", json!({})).await
    };
    for method in ["event/send", "task/cancel"] {
        let answer = world.post("/agents/name/s/rpc", call(method, json!({"task_id": id(&task)}))).await.ok();
        assert_eq!(answer["error"]["code"], -32603);
        assert_eq!(answer["error"]["message"], format!("Unsupported method: {method} for ACP type: sync"));
    }
    world.agent("g", "agentic", sync.url()).await;
    let body = call("message/send", json!({"content": text_content("x"), "stream": true}));
    let streamed = world.post("/agents/name/g/rpc", body).await;
    assert_eq!((streamed.status.as_u16(), streamed.header("content-type")), (200, Some("application/x-ndjson")));
    let line: Value = serde_json::from_str(&streamed.text()).unwrap();
    assert_eq!(line["error"]["message"], "Unsupported method: message/send for ACP type: agentic");
    assert_eq!((&line["id"], &line["result"]), (&json!(7), &Value::Null));
    assert!(sync.calls().is_empty());
}

/// rpc §7: 17, 19
#[tokio::test]
async fn a_failing_agent_is_an_error_inside_a_success() {
    let (world, agent) = with_agent("async").await;
    agent.on("task/create", Reply::error(-32000, "no room"));

    let answer = world.post("/agents/name/a/rpc", call("task/create", json!({"name": "n"}))).await.ok();

    assert_eq!(answer["error"], json!({"code": -32603, "message": "RPC error: no room", "data": null}));
    assert_eq!(world.get("/tasks/name/n").await.ok()["status"], "FAILED");
}

/// The shape of an event.
/// rpc §7: 22, 23, 24
#[tokio::test]
async fn an_event_is_answered_as_it_was_stored() {
    let (world, agent) = with_agent("async").await;
    let task = world.task_with("a", json!({"name": "n"})).await;

    let said = call("event/send", json!({"task_id": id(&task), "content": text_content("x")}));
    let event = world.post("/agents/name/a/rpc", said).await.ok()["result"].clone();
    let nudge = call("event/send", json!({"task_name": "n", "content": null}));
    let bare = world.post("/agents/name/a/rpc", nudge).await.ok()["result"].clone();

    let mut members: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["agent_id", "content", "created_at", "id", "sequence_id", "task_id"]);
    assert_eq!(event["content"]["format"], "plain");
    assert_eq!(bare["content"], Value::Null);
    assert!(bare["sequence_id"].as_i64() > event["sequence_id"].as_i64());
    assert_eq!(agent.methods(), ["task/create", "event/send", "event/send"]);
}

/// rpc §7: 28, 31
#[tokio::test]
async fn cancel_and_interrupt_answer_the_task() {
    let (world, _agent) = with_agent("async").await;
    let task = world.task_with("a", json!({})).await;
    let params = json!({"task_id": id(&task)});

    let interrupted = world.post("/agents/name/a/rpc", call("task/interrupt", params.clone())).await.ok();
    let canceled = world.post("/agents/name/a/rpc", call("task/cancel", params)).await.ok();

    assert_eq!(interrupted["result"]["status"], "RUNNING");
    assert_eq!(canceled["result"]["status"], "CANCELED");
    assert!(canceled["result"].get("agents").is_none());
}

/// rpc §7: 33, 65
#[tokio::test]
async fn a_message_is_answered_with_the_agents_messages() {
    let (world, agent) = with_agent("sync").await;
    agent.on("message/send", Reply::updates([full(0, "hello")]));
    let task = world.task_with("a", json!({})).await;

    let body = call(
        "message/send",
        json!({"task_id": id(&task), "content": {"type": "text", "author": "agent", "content": "hi"}}),
    );
    let answer = world.post("/agents/name/a/rpc", body).await.ok();

    let result = answer["result"].as_array().unwrap();
    assert_eq!((result.len(), &result[0]["content"]["content"]), (1, &json!("hello")));
    assert_eq!(result[0]["streaming_status"], "DONE");
    let stored = world.get(&format!("/messages?task_id={}&order_direction=asc", id(&task))).await.ok();
    assert_eq!(ids(&stored).len(), 2);
    assert_eq!((&stored[0]["content"]["author"], &stored[1]), (&json!("agent"), &result[0]));
}

/// One line at a time, as the agent speaks.
/// rpc §7: 42, 44, 1
#[tokio::test]
async fn a_streamed_reply_comes_line_by_line() {
    let (world, agent) = with_agent("sync").await;
    let gate = Gate::closed();
    agent.on(
        "message/send",
        Reply::stream([
            Step::Update(
                json!({"type": "start", "index": 0, "content": {"type": "text", "author": "agent", "content": ""}}),
            ),
            Step::Update(json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "he"}})),
            Step::Wait(gate.clone()),
            Step::Update(json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "y"}})),
            Step::Update(json!({"type": "done", "index": 0})),
        ]),
    );
    let client = world.serve().await;

    let body = json!({"method": "message/send", "params": {"content": text_content("x"), "stream": true}, "id": "s"});
    let mut lines = client.post_for_lines("/agents/name/a/rpc", &body).await;

    assert_eq!((lines.body.status, lines.body.header("content-type")), (200, Some("application/x-ndjson")));
    assert_eq!(lines.body.header("cache-control"), Some("no-cache"));
    assert_eq!(lines.body.header("x-accel-buffering"), Some("no"));
    let mut kinds = Vec::new();
    let mut parent = Value::Null;
    while let Some(line) = lines.next().await.unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["jsonrpc"], &line["error"], &line["id"]), (&json!("2.0"), &Value::Null, &json!("s")));
        kinds.push(line["result"]["type"].as_str().unwrap().to_owned());
        parent = line["result"]["parent_task_message"].clone();
        // The second delta is not even sent before the first has been read here.
        if kinds.len() == 2 {
            gate.open();
        }
    }
    assert_eq!(kinds, ["start", "delta", "delta", "done"]);
    let stored = world.get(&format!("/messages/{}", id(&parent))).await.ok();
    assert_eq!((&stored["content"]["content"], &stored["streaming_status"]), (&json!("hey"), &json!("DONE")));
}

/// The error is the last line, and the status is 200.
/// rpc §7: 45, 8
#[tokio::test]
async fn a_reply_that_breaks_off_ends_with_the_error() {
    let (world, agent) = with_agent("sync").await;
    agent.on("message/send", Reply::stream([Step::Update(full(0, "one")), Step::Die]));

    let body = call("message/send", json!({"task_name": "n", "content": text_content("x"), "stream": true}));
    let answer = world.post("/agents/name/a/rpc", body).await;

    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((answer.status.as_u16(), lines.len()), (200, 2));
    assert!(answer.text().ends_with('\n'));
    assert_eq!((&lines[1]["result"], &lines[1]["error"]["code"]), (&Value::Null, &json!(-32603)));
    assert_eq!(world.get("/tasks/name/n").await.ok()["status"], "FAILED");
}

/// rpc §7: 46
#[tokio::test]
async fn a_caller_that_goes_away_ends_the_call_of_the_agent() {
    let (world, agent) = with_agent("sync").await;
    agent.on(
        "message/send",
        Reply::stream([
            Step::Update(json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "part"}})),
            Step::Hang,
        ]),
    );
    let client = world.serve().await;
    let body =
        json!({"method": "message/send", "params": {"task_name": "n", "content": text_content("x"), "stream": true}});
    let mut lines = client.post_for_lines("/agents/name/a/rpc", &body).await;
    let first: Value = serde_json::from_str(&lines.next().await.unwrap().unwrap()).unwrap();
    lines.next().await.unwrap();

    drop(lines);

    agent.wait_abandoned(1).await;
    world.app.drain().await;
    let message = world.get(&format!("/messages/{}", id(&first["result"]["parent_task_message"]))).await.ok();
    assert_eq!((&message["content"]["content"], &message["streaming_status"]), (&json!("part"), &json!("DONE")));
    assert_eq!(world.get("/tasks/name/n").await.ok()["status"], "RUNNING");
}

/// What the agent sees of the caller.
/// rpc §7: 49, 51
#[tokio::test]
async fn the_agent_gets_the_request_id_and_no_credentials() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let agent = FakeAgent::start().await;
    world.agent("a", "async", agent.url()).await;
    let headers = [
        ("x-custom", "kept"),
        ("authorization", "Bearer s3cret"),
        ("cookie", "a=s3cret"),
        ("x-request-id", "abc-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];

    let body = call("task/create", json!({})).to_string();
    world.call("POST", "/agents/name/a/rpc", &headers, Some(&body)).await.ok();

    let seen = agent.call(0).await;
    assert_eq!(seen.header("x-custom"), Some("kept"));
    assert_eq!(seen.header("x-request-id"), Some("abc-1"));
    assert!(seen.header("traceparent").is_some());
    assert!(!format!("{:?}", seen.headers).contains("s3cret"));
}

/// rpc §7: 58
#[tokio::test]
async fn a_refused_task_is_an_http_error() {
    let (world, agent) = with_agent("sync").await;
    let task = world.task_with("a", json!({"name": "n"})).await;
    let send = |params: Value| call("message/send", params);
    world.rules.deny(id(&task), &[Update]);

    let by_id = json!({"task_id": id(&task), "content": text_content("x")});
    world.post("/agents/name/a/rpc", send(by_id.clone())).await.refused(403, "Forbidden – principal lacks permission");
    world.rules.hide(id(&task));
    let text = format!("Item with id '{}' does not exist.", id(&task));
    world.post("/agents/name/a/rpc", send(by_id)).await.refused(404, &text);
    let by_name = json!({"task_name": "n", "content": text_content("x"), "stream": true});
    world.post("/agents/name/a/rpc", send(by_name)).await.refused(404, "Item with name 'n' does not exist.");
    assert!(agent.calls().is_empty());
}

/// rpc §7: 63
#[tokio::test]
async fn an_internal_failure_is_not_described() {
    let (world, _agent) = with_agent("async").await;
    let task = world.task_with("a", json!({})).await;
    world.store.close().await;

    let answer = world.post("/agents/name/a/rpc", call("task/cancel", json!({"task_id": id(&task)}))).await;

    assert!(!answer.text().to_lowercase().contains("sql") && !answer.text().contains("pool"), "{}", answer.text());
}
