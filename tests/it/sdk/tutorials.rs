//! The SDK's public tutorials as they were published, without a key for a model.

use std::time::Duration;

use serde_json::{Value, json};

use super::texts;
use crate::support::{Deployment, Sdk, SdkAgent, User, tools};

/// What every tutorial with a model answers where there is no key for one.
const NO_KEY: &str = "without an OpenAI API key";

/// An agent of the tutorial in `folder`.
async fn tutorial(folder: &str, acp_type: &str, name: &'static str, deployment: &Deployment) -> SdkAgent {
    let file = tools().join("sdk-tutorials").join(folder).join("project/acp.py");
    assert!(file.exists(), "{} is missing: run `scripts/setup-sdk`", file.display());
    // A key that the machine may have is hidden.
    let environment = [("TUTORIAL", file.to_str().unwrap()), ("ACP_TYPE", acp_type), ("OPENAI_API_KEY", "")];
    SdkAgent::start_with(Sdk::Oldest, "tutorial.py", name, deployment, &environment).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sync_tutorials_answer_as_published() {
    let deployment = Deployment::embedded().await;
    let (hello, streaming) = tokio::join!(
        tutorial("00_sync/000_hello_acp", "sync", "hello", &deployment),
        tutorial("00_sync/020_streaming", "sync", "streaming", &deployment),
    );
    let user = User::nobody(Sdk::Oldest, &deployment);

    let turn = user.sdk("sync-turn", &["--agent", hello.name, "--text", "good day"]).await;
    let said = texts(&turn["messages"]);
    assert_eq!(said[0], ("user", "good day"));
    assert!(said[1].1.ends_with("This is what I heard you say: good day"), "{said:?}");

    let turn = user.sdk("sync-turn", &["--agent", streaming.name, "--text", "good day", "--stream"]).await;
    let said = texts(&turn["messages"]);
    assert_eq!((said.len(), said[0]), (2, ("user", "good day")));
    assert!(said[1].1.contains(NO_KEY), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_async_tutorials_write_messages_state_spans_and_trackers_as_published() {
    let deployment = Deployment::embedded().await;
    let (hello, tracing, batches) = tokio::join!(
        tutorial("10_async/00_base/000_hello_acp", "async", "hello", &deployment),
        tutorial("10_async/00_base/030_tracing", "async", "tracing", &deployment),
        tutorial("10_async/00_base/080_batch_events", "async", "batches", &deployment),
    );

    tokio::join!(
        async {
            let task = created(&deployment, &hello).await;
            eventually(&deployment, &format!("/messages?task_id={task}"), |found| count(found) == 1).await;
            tell(&deployment, &hello, &task, &["good day"]).await;
            let messages =
                eventually(&deployment, &format!("/messages?task_id={task}"), |found| count(found) == 3).await;
            let said = texts(&messages);
            assert!(said[0].1.contains("I've received your task"), "{said:?}");
            assert_eq!(said[1], ("user", "good day"));
            assert!(said[2].1.contains("I've received your message"), "{said:?}");
        },
        async {
            let task = created(&deployment, &tracing).await;
            let states = eventually(&deployment, &format!("/states?task_id={task}"), |found| count(found) == 1).await;
            tell(&deployment, &tracing, &task, &["good day"]).await;
            assert_eq!(states[0]["state"]["messages"][0]["role"], "system", "{states:#}");
            let messages =
                eventually(&deployment, &format!("/messages?task_id={task}"), |found| count(found) >= 2).await;
            let said = texts(&messages);
            assert_eq!(said[0], ("user", "good day"));
            assert!(said[1].1.contains(NO_KEY), "{said:?}");
            // The turn is a span; what was done in it are its children.
            let traced = |spans: &Value| {
                let spans = spans.as_array().unwrap();
                let turn = spans.iter().find(|span| span["name"] == "Turn 1" && span["end_time"].is_string());
                turn.is_some_and(|turn| spans.iter().filter(|span| span["parent_id"] == turn["id"]).count() >= 2)
            };
            eventually(&deployment, &format!("/spans?trace_id={task}"), traced).await;
        },
        async {
            let task = created(&deployment, &batches).await;
            tell(&deployment, &batches, &task, &["one", "two"]).await;
            let agent = deployment_agent(&deployment, batches.name).await;
            let events = format!("/events?task_id={task}&agent_id={agent}");
            let events = eventually(&deployment, &events, |found| count(found) == 2).await;
            let read = |found: &Value| found[0]["status"] == "ready";
            let trackers = eventually(&deployment, &format!("/tracker?task_id={task}"), read).await;
            assert_eq!(trackers[0]["last_processed_event_id"], events[1]["id"], "{trackers:#}");
        },
    );
}

async fn deployment_agent(deployment: &Deployment, name: &str) -> String {
    let client = User::nobody(Sdk::Oldest, deployment).http();
    client.get(&format!("/agents/name/{name}")).await.expect(200)["id"].as_str().unwrap().to_owned()
}

/// A new task of the agent, by id. The agent hears of it when this is answered, and goes on with it afterwards.
async fn created(deployment: &Deployment, agent: &SdkAgent) -> String {
    let client = User::nobody(Sdk::Oldest, deployment).http();
    let rpc = format!("/agents/name/{}/rpc", agent.name);
    let created = client.post(&rpc, &json!({"method": "task/create", "params": {}, "id": 1})).await.expect(200);
    created["result"]["id"].as_str().unwrap_or_else(|| panic!("{created:#}")).to_owned()
}

/// Sends the agent events of the task.
async fn tell(deployment: &Deployment, agent: &SdkAgent, task: &str, texts: &[&str]) {
    let client = User::nobody(Sdk::Oldest, deployment).http();
    let rpc = format!("/agents/name/{}/rpc", agent.name);
    for text in texts {
        let content = json!({"type": "text", "author": "user", "content": text});
        let call = json!({"method": "event/send", "params": {"task_id": task, "content": content}, "id": 2});
        let answer = client.post(&rpc, &call).await.expect(200);
        assert_eq!(answer["error"], Value::Null, "{answer:#}");
    }
}

fn count(list: &Value) -> usize {
    list.as_array().unwrap().len()
}

/// What a path answers once it is as wanted: agents work after they have answered.
async fn eventually(deployment: &Deployment, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let client = User::nobody(Sdk::Oldest, deployment).http();
    let looked = async {
        loop {
            let found = client.get(path).await.expect(200);
            if wanted(&found) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked).await.unwrap_or_else(|_| panic!("{path} stays as it is"))
}
