//! What is left after the server is killed without warning.

use agentex_testkit::fake_agent::{FakeAgent, Gate, Reply, Step};
use agentex_testkit::http_client::HttpClient;
use serde_json::{Value, json};

use crate::support::Deployment;

/// Written against the fake agent so that the moment of the kill is exact: in the middle of a reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_streamed_reply_loses_no_acknowledged_write() {
    let mut deployment = Deployment::embedded().await;
    let agent = FakeAgent::start().await;
    let client = HttpClient::new(deployment.url());
    let registration = json!({"name": "echo", "description": "", "acp_url": agent.url(), "acp_type": "sync"});
    let registered = client.post("/agents/register", &registration).await.json();
    let rpc = "/agents/name/echo/rpc";
    let task = client.post(rpc, &json!({"method": "task/create", "params": {"name": "kept"}})).await.json();
    let id = task["result"]["id"].as_str().unwrap().to_owned();
    let note = json!({"task_id": id, "content": {"type": "text", "author": "user", "content": "before"}});
    let before = client.post("/messages", &note).await.json();

    let never = Gate::closed();
    let text = json!({"type": "text", "author": "agent", "content": ""});
    agent.on(
        "message/send",
        Reply::stream([
            Step::Update(json!({"type": "start", "index": 0, "content": text})),
            Step::Update(json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "half"}})),
            Step::Wait(never),
        ]),
    );
    let params = json!({"task_id": id, "stream": true, "content": {"type": "text", "author": "user", "content": "go"}});
    let mut lines = client.post_for_lines(rpc, &json!({"method": "message/send", "params": params, "id": 1})).await;
    let start = lines.next_json().await;
    let delta = lines.next_json().await;
    assert_eq!((&start["result"]["type"], &delta["result"]["type"]), (&json!("start"), &json!("delta")));

    deployment.kill_and_restart().await;

    let client = HttpClient::new(deployment.url());
    let task = client.get("/tasks/name/kept").await.json();
    assert_eq!((&task["id"], &task["status"]), (&json!(id), &json!("RUNNING")));
    let messages = client.get(&format!("/messages?task_id={id}&order_direction=asc")).await.json();
    let seen: Vec<&Value> = messages.as_array().unwrap().iter().map(|message| &message["content"]["content"]).collect();
    assert_eq!(seen[..2], [&json!("before"), &json!("go")]);
    assert_eq!(messages[0], before);
    assert_eq!(messages[2]["id"], start["result"]["parent_task_message"]["id"], "the begun reply is stored");
    let again = client.post("/agents/register", &registration).await.json();
    assert_eq!(again["agent_api_key"], registered["agent_api_key"], "keys survive");
}
