use agentex_testkit::fake_agent::{FakeAgent, Gate, Reply, Step};
use agentex_testkit::http_client::{Broken, HttpClient};
use serde_json::{Value, json};

fn call(method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": "c1", "method": method, "params": {"task": {"id": "t"}}})
}

#[tokio::test]
async fn an_untouched_agent_is_healthy_accepts_asynchronous_calls_and_records_them() {
    let agent = FakeAgent::start().await;
    let client = HttpClient::new(agent.url()).with_header("x-acting-user-id", "alice");

    assert_eq!(client.get("/healthz").await.expect(200), json!({"status": "healthy"}));
    let accepted = client.post("/api", &call("task/create")).await.expect(200);
    let unknown = client.post("/api", &call("message/send")).await.expect(200);
    assert_eq!(client.get("/elsewhere?x=1").await.status, 404);

    assert_eq!(accepted["result"], json!({"status": "processing"}));
    assert_eq!(accepted["id"], "c1");
    assert_eq!(unknown["error"]["code"], -32601);
    assert_eq!(agent.methods(), ["task/create", "message/send"]);
    let first = agent.call(0).await;
    assert_eq!((first.header("x-acting-user-id"), first.params()), (Some("alice"), json!({"task": {"id": "t"}})));
    assert_eq!(agent.requests().last().unwrap().target, "/elsewhere?x=1");
    assert_eq!(agent.abandoned(), 0);
}

#[tokio::test]
async fn replies_follow_the_script() {
    let agent = FakeAgent::start().await;
    agent
        .once("event/send", Reply::error(-32603, "boom"))
        .once("event/send", Reply::http(503, "not now"))
        .once("event/send", Reply::redirect("http://127.0.0.1:1/api"))
        .on("event/send", Reply::result(Value::Null).with_id(json!("other")))
        .otherwise(Reply::result(json!(1)));
    let client = HttpClient::new(agent.url());

    assert_eq!(client.post("/api", &call("event/send")).await.expect(200)["error"]["message"], "boom");
    assert_eq!(client.post("/api", &call("event/send")).await.status, 503);
    let redirect = client.post("/api", &call("event/send")).await;
    assert_eq!((redirect.status, redirect.header("location")), (307, Some("http://127.0.0.1:1/api")));
    for _ in 0..2 {
        let answer = client.post("/api", &call("event/send")).await.expect(200);
        assert_eq!((&answer["result"], &answer["id"]), (&Value::Null, &json!("other")));
    }
    assert_eq!(client.post("/api", &call("whatever")).await.expect(200)["result"], 1);
}

#[tokio::test]
async fn a_required_key_is_checked_as_agents_do() {
    let agent = FakeAgent::start().await;
    agent.require_key("secret");
    let client = HttpClient::new(agent.url());

    let refused = client.post("/api", &call("task/create")).await.expect(200);
    assert_eq!(refused["error"], json!({"code": -32601, "message": "Unauthorized", "data": null}));

    let client = client.with_header("x-agent-api-key", "secret");
    assert_eq!(client.post("/api", &call("task/create")).await.expect(200)["error"], Value::Null);
}

#[tokio::test]
async fn a_gate_holds_an_answer_until_it_is_opened() {
    let agent = FakeAgent::start().await;
    let gate = Gate::closed();
    agent.on("task/create", Reply::accepted().after(&gate));
    let client = HttpClient::new(agent.url());

    let answer = tokio::spawn(async move { client.post("/api", &call("task/create")).await });
    gate.reached().await;
    assert!(!answer.is_finished());
    gate.open();

    assert_eq!(answer.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stream_comes_line_by_line_as_the_gates_open() {
    let agent = FakeAgent::start().await;
    let gate = Gate::closed();
    agent.on(
        "message/send",
        Reply::stream([
            Step::Update(json!({"type": "start"})),
            Step::Wait(gate.clone()),
            Step::Line("not json".into()),
            Step::Bytes("{\"cut\":".into()),
            Step::Bytes("1}\n".into()),
            Step::Error { code: -32603, message: "late".into() },
        ]),
    );
    let mut lines = HttpClient::new(agent.url()).post_for_lines("/api", &call("message/send")).await;

    assert_eq!(lines.body.header("content-type"), Some("application/x-ndjson"));
    let first = lines.next_json().await;
    assert_eq!((&first["result"], &first["id"]), (&json!({"type": "start"}), &json!("c1")));
    gate.open();
    assert_eq!(lines.next().await.unwrap().as_deref(), Some("not json"));
    assert_eq!(lines.next_json().await, json!({"cut": 1}));
    assert_eq!(lines.next_json().await["error"]["message"], "late");
    assert_eq!(lines.next().await, Ok(None));
    assert_eq!(agent.abandoned(), 0);
}

#[tokio::test]
async fn a_dying_agent_breaks_the_connection() {
    let agent = FakeAgent::start().await;
    agent.on("message/send", Reply::stream([Step::Update(json!(1)), Step::Die]));
    let mut lines = HttpClient::new(agent.url()).post_for_lines("/api", &call("message/send")).await;

    assert_eq!(lines.next_json().await["result"], 1);
    assert_eq!(lines.next().await, Err(Broken));

    agent.on("message/send", Reply::disconnect());
    let lost = HttpClient::new(agent.url());
    let outcome = tokio::spawn(async move { lost.post("/api", &call("message/send")).await }).await;
    assert!(outcome.is_err(), "no answer can come");
    agent.call(1).await;
}

#[tokio::test]
async fn the_agent_notices_a_caller_that_goes_away() {
    let agent = FakeAgent::start().await;
    agent.on("message/send", Reply::stream([Step::Update(json!(1)), Step::Hang])).on("task/create", Reply::hang());
    let client = HttpClient::new(agent.url());

    let mut lines = client.post_for_lines("/api", &call("message/send")).await;
    lines.next_json().await;
    assert_eq!(agent.abandoned(), 0);
    drop(lines);
    agent.wait_abandoned(1).await;

    let waiting = tokio::spawn(async move { client.post("/api", &call("task/create")).await });
    agent.call(1).await;
    waiting.abort();
    agent.wait_abandoned(2).await;
}
