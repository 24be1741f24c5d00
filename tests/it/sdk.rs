//! The main job with unmodified agents and clients of the public SDK, the same on every preset.

mod authorization;
mod checkpointer;
mod resources;
mod tutorials;

use std::time::Duration;

use agentex_testkit::http_client::HttpClient;
use serde_json::{Value, json};

use crate::support::{Deployment, Sdk, SdkAgent, User};

#[tokio::test(flavor = "multi_thread")]
async fn sdk_programs_do_the_main_job_on_the_embedded_preset() {
    let deployment = Deployment::embedded().await;
    main_job(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_programs_do_the_main_job_on_postgres() {
    let deployment = Deployment::postgres().await;
    main_job(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_programs_do_the_main_job_on_postgres_and_redis_with_two_replicas() {
    let deployment = Deployment::replicas().await;
    main_job(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_programs_of_the_oldest_release_do_the_main_job() {
    let deployment = Deployment::embedded().await;
    let agent = SdkAgent::start(Sdk::Oldest, "sync_agent.py", "oldest-sync", &deployment).await;

    let user = User::nobody(Sdk::Oldest, &deployment);
    streamed_turn(&user, &agent).await;
    every_method(&user, &agent).await;
}

async fn main_job(deployment: &Deployment) {
    let (sync, answering_later) = tokio::join!(
        SdkAgent::start(Sdk::Newest, "sync_agent.py", "sdk-sync", deployment),
        SdkAgent::start(Sdk::Newest, "async_agent.py", "sdk-async", deployment),
    );

    let user = User::nobody(Sdk::Newest, deployment);
    streamed_turn(&user, &sync).await;
    whole_turns(&user, &sync).await;
    failing_turn(&user, &sync).await;
    answered_event(&user, &answering_later).await;
    if deployment.redis.is_some() {
        watched_event(deployment, &answering_later).await;
    }
    every_method(&user, &sync).await;
    every_method(&user, &answering_later).await;
}

fn types(updates: &Value) -> Vec<&str> {
    updates.as_array().unwrap().iter().map(|update| update["type"].as_str().unwrap()).collect()
}

/// Author and text of each message, oldest first (the SDK lists the newest first).
fn texts(messages: &Value) -> Vec<(&str, &str)> {
    let listed = messages.as_array().unwrap().iter().rev();
    listed
        .map(|message| {
            (message["content"]["author"].as_str().unwrap(), message["content"]["content"].as_str().unwrap())
        })
        .collect()
}

/// A caller creates a task, sends a message, watches the reply come piece by piece, and reads it back. Gives the task's id.
async fn streamed_turn(user: &User, agent: &SdkAgent) -> String {
    let answer = user.sdk("sync-turn", &["--agent", agent.name, "--text", "stream 5", "--stream"]).await;

    let updates: Vec<Value> =
        answer["updates"].as_array().unwrap().iter().map(|update| update["result"].clone()).collect();
    assert_eq!(types(&json!(updates)), ["start", "delta", "delta", "delta", "delta", "delta", "done"]);
    let parents: Vec<&Value> = updates.iter().map(|update| &update["parent_task_message"]["id"]).collect();
    assert!(parents.iter().all(|id| id.is_string() && *id == parents[0]), "{parents:?}");
    assert_eq!(
        texts(&answer["messages"]),
        [("user", "stream 5"), ("agent", "word0 word1 word2 word3 word4 ")],
        "{answer:#}"
    );
    assert_eq!(answer["messages"][0]["streaming_status"], "DONE");
    answer["task"]["id"].as_str().unwrap().to_owned()
}

async fn whole_turns(user: &User, agent: &SdkAgent) {
    let turn = async |text| user.sdk("sync-turn", &["--agent", agent.name, "--text", text]).await;

    let (echo, list, reasoning, nothing) =
        tokio::join!(turn("hello"), turn("list"), turn("reasoning"), turn("nothing"));

    assert_eq!(texts(&echo["messages"]), [("user", "hello"), ("agent", "You said: hello")]);
    assert_eq!(texts(&list["messages"]), [("user", "list"), ("agent", "first"), ("agent", "second")]);
    assert_eq!(reasoning["messages"][0]["content"]["type"], "reasoning");
    assert_eq!(reasoning["messages"][0]["content"]["style"], "static");
    assert_eq!(nothing["messages"].as_array().unwrap().len(), 1);
}

/// What came before the agent failed is kept, and the task says that it failed.
async fn failing_turn(user: &User, agent: &SdkAgent) {
    let answer = user.sdk("sync-turn", &["--agent", agent.name, "--text", "fail after 2", "--stream"]).await;

    let last = answer["updates"].as_array().unwrap().last().unwrap();
    assert_eq!(last["error"]["code"], -32603, "{answer:#}");
    assert_eq!(texts(&answer["messages"]), [("user", "fail after 2"), ("agent", "word0 word1 ")]);
    let id = answer["task"]["id"].as_str().unwrap();
    let task = user.http().get(&format!("/tasks/{id}")).await;
    assert_eq!(task.json()["status"], "FAILED");
}

/// An agent that answers later does so over REST, whatever the streams are made of. Gives the task's id.
async fn answered_event(user: &User, agent: &SdkAgent) -> String {
    let client = user.http();
    let rpc = format!("/agents/name/{}/rpc", agent.name);
    let created = client.post(&rpc, &json!({"method": "task/create", "params": {}, "id": 1})).await.json();
    let id = created["result"]["id"].as_str().unwrap().to_owned();

    let content = json!({"type": "text", "author": "user", "content": "hello"});
    let params = json!({"task_id": id, "content": content});
    let sent = client.post(&rpc, &json!({"method": "event/send", "params": params, "id": "e"})).await.json();

    assert_eq!((&sent["id"], &sent["error"]), (&json!("e"), &Value::Null), "{sent}");
    let answered = async {
        loop {
            let messages = client.get(&format!("/messages?task_id={id}")).await.json();
            if texts(&messages).contains(&("agent", "You said: hello")) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), answered).await.expect("the agent answers");
    id
}

/// A message sent through one replica is seen live through the other, as the agent writes it.
async fn watched_event(deployment: &Deployment, agent: &SdkAgent) {
    let user = User::nobody(Sdk::Newest, deployment);
    let answer = user.sdk("async-turn", &["--agent", agent.name, "--text", "stream 3"]).await;

    assert_eq!(types(&answer["events"]), ["connected", "full", "start", "delta", "delta", "delta", "done"]);
    let id = answer["task"]["id"].as_str().unwrap();

    // The typed reader on the other replica, while this one changes the task.
    let arguments = ["--task", id, "--count", "2"];
    let other = deployment.servers.last().unwrap().url();
    let elsewhere = user.at(other);
    let watch = elsewhere.sdk("watch", &arguments);
    let change = async {
        let metrics = HttpClient::new(other);
        while !metrics.get("/metrics").await.text().contains("agentex_task_stream_active 1") {
            tokio::task::yield_now().await;
        }
        user.http().put(&format!("/tasks/{id}"), &json!({"task_metadata": {"seen": true}})).await;
    };
    let (watched, ()) = tokio::join!(watch, change);
    assert_eq!(types(&watched["events"]), ["connected", "task_updated"]);
    assert_eq!(watched["events"][1]["task"]["task_metadata"], json!({"seen": true}));
}

/// Every method the SDK has for agents, tasks and messages.
async fn every_method(user: &User, agent: &SdkAgent) {
    let answer = user.sdk("resources", &["--agent", agent.name]).await;

    assert_eq!(answer["failed"], json!([]), "{answer:#}");
    assert!(answer["calls"].as_array().unwrap().len() > 40, "{answer:#}");
}
