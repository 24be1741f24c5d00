//! Chats over restarts.

use std::time::Duration;

use agentex::Agentex;
use agentex::acp::ChatOptions;
use agentex::app::{ChatSettings, GatewaySettings, ReplySettings, Settings, SlackSettings};
use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::fake_chat::FakeChat;
use agentex_testkit::http_client::HttpClient;
use serde_json::json;
use tempfile::TempDir;

use crate::{folder, serve};

const POST: &str = "/api/chat.postMessage";

async fn with_slack(folder: &TempDir, chat: &FakeChat) -> Agentex {
    let slack = SlackSettings {
        signing_secret: String::new(),
        skip_verification: true,
        mcps: Vec::new(),
        chat: ChatSettings::default(),
    };
    let replies = ReplySettings {
        poll: Duration::from_millis(50),
        quiet: Duration::from_millis(200),
        deadline: Duration::from_secs(60),
    };
    let gateways = GatewaySettings { slack: Some(slack), linear: None, replies };
    let options =
        ChatOptions { slack_bot_token: "xoxb".to_owned(), slack_api_base: chat.slack_base(), ..ChatOptions::default() };
    let builder = Agentex::builder().embedded(folder.path());
    builder.settings(Settings { gateways, ..Settings::default() }).chat(options).build().await.unwrap()
}

/// The process that told the agent stops while the agent works; the next one hears the answer and passes it on.
///
/// gateways §9: 51
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_waited_for_survives_its_process() {
    let (folder, chat, agent) = (folder(), FakeChat::start().await, FakeAgent::start().await);
    let first = with_slack(&folder, &chat).await;
    let client = HttpClient::new(serve(first.router()).await);
    let body = json!({"name": "later", "description": "d", "acp_url": agent.url(), "acp_type": "async"});
    client.post("/agents/register", &body).await.expect(200).as_object().unwrap();
    let said = json!({"type": "event_callback", "team_id": "T", "event_id": "E1",
        "event": {"type": "app_mention", "channel": "C", "ts": "1.1", "text": "<@U> later hello"}});
    client.post("/slack/events", &said).await.expect(200).as_object().unwrap();
    let task = agent.call(1).await.params()["task"]["id"].clone();

    first.worker().drained(Duration::from_secs(10)).await.unwrap();
    let second = with_slack(&folder, &chat).await;
    let client = HttpClient::new(serve(second.router()).await);
    let content = json!({"type": "text", "author": "agent", "content": "the answer"});
    client.post("/messages", &json!({"task_id": task, "content": content})).await.expect(200).as_object().unwrap();

    let posted = chat.request(POST, 0).await.json();
    assert_eq!(posted, json!({"channel": "C", "thread_ts": "1.1", "text": "the answer\n\n_via later_"}));
    assert_eq!(agent.methods(), ["task/create", "event/send"], "the agent is told once");
    second.worker().drained(Duration::from_secs(10)).await.unwrap();
    assert_eq!(chat.to(POST).len(), 1);
}
