//! What becomes of something said: who is asked, as whom, and what is said back.

use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{NoAuthentication, Operation};
use agentex_domain::ports::{MockTaskRepository, StoreError};
use agentex_testkit::fake_agent::Reply;
use agentex_testkit::tripwire::{Trip, Tripwire};
use serde_json::{Value, json};

use super::{BOT_KEY, BYPASS, POST, Stage, changed, mention, said};
use crate::support::{Authorization, id};

const FAILED: &str = "Something went wrong handling that. Please retry.";

async fn idle() -> Stage {
    Stage::with(|plan, _| plan.works = false).await
}

fn with_directory(plan: &mut super::Plan, url: &str) {
    plan.works = false;
    plan.slack.chat.directory = Some(url.to_owned());
}

fn prompt(call: &Value) -> String {
    let content = call["content"]["content"].as_str().or(call["event"]["content"]["content"].as_str()).unwrap();
    content.split_once("\n\n").unwrap().1.to_owned()
}

/// gateways §9: 16
#[tokio::test]
async fn a_configuration_of_the_directory_is_one_of_the_default_agent() {
    let stage = Stage::with(|plan, chat| with_directory(plan, chat.url())).await;
    stage.chat.teach("foo", "config-7");

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.event(&mention("E2", "100.2", "<@U1> foo again")).await;
    stage.run_due().await;

    assert_eq!(stage.agent.methods().iter().filter(|method| *method == "task/create").count(), 2);
    let created = stage.agent.call(0).await.params();
    assert_eq!(created["agent"]["name"], "golden-agent");
    assert_eq!(created["params"], json!({"config_id": "config-7", "mcps": ["search"]}));
    assert_eq!(created["task"]["task_metadata"]["config_id"], "config-7");
    let events: Vec<Value> =
        stage.agent.calls().iter().filter(|call| call.rpc_method() == "event/send").map(|call| call.params()).collect();
    let mut prompts: Vec<String> = events.iter().map(prompt).collect();
    prompts.sort_unstable();
    assert_eq!(prompts, ["again", "hello"]);
}

/// gateways §9: 16
#[tokio::test]
async fn the_directory_is_asked_once_in_five_minutes() {
    let stage = Stage::with(|plan, chat| with_directory(plan, chat.url())).await;
    stage.chat.teach("deep", "config-7");
    let lookups = || stage.chat.to("/v5/agent_configs").len();

    for (number, expected) in [(1, 1), (2, 1)] {
        stage.event(&mention(&format!("E{number}"), &format!("100.{number}"), "<@U1> deep hello")).await;
        stage.run_due().await;
        assert_eq!(lookups(), expected);
    }
    let asked = stage.chat.request("/v5/agent_configs", 0).await;
    assert_eq!(asked.target, "/v5/agent_configs?name=deep");
    assert_eq!((asked.header("x-api-key"), asked.header("x-selected-account-id")), (Some(BOT_KEY), Some("acme")));
    stage.world.clock.advance(Duration::from_secs(301));
    stage.event(&mention("E3", "100.3", "<@U1> deep hello")).await;
    stage.run_due().await;
    assert_eq!(lookups(), 2);
}

/// gateways §9: 17
#[tokio::test]
async fn without_a_directory_or_a_key_nobody_is_asked() {
    for with_key in [true, false] {
        let stage = Stage::with(|plan, chat| {
            with_directory(plan, chat.url());
            if with_key {
                plan.slack.chat.directory = None;
            } else {
                plan.slack.chat.api_key = None;
                plan.setup.authorization = Authorization::Off;
                plan.setup.authenticator = Some(Arc::new(NoAuthentication));
            }
        })
        .await;

        stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
        stage.run_due().await;

        assert_eq!(stage.agent.methods(), ["message/send"], "the agent foo");
        assert!(stage.chat.to("/v5/agent_configs").is_empty());
    }
}

/// gateways §9: 18, 19
#[tokio::test]
async fn a_directory_that_fails_leaves_it_to_the_agents() {
    let stage = Stage::with(|plan, chat| with_directory(plan, chat.url())).await;
    stage.chat.once("/v5/agent_configs", 500, json!({}));

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;

    let call = stage.agent.call(0).await.params();
    assert_eq!((call["agent"]["name"].as_str(), prompt(&call).as_str()), (Some("foo"), "hello"));
}

/// gateways §9: 9, 10, 20
#[tokio::test]
async fn whoever_names_nobody_talks_to_the_default_agent() {
    let stage = idle().await;

    stage.event(&mention("E1", "100.1", "<@U1> what is  up?")).await;
    stage.run_due().await;
    stage.event(&mention("E2", "100.2", "<@U1>")).await;
    stage.run_due().await;

    let told: Vec<Value> =
        stage.agent.calls().iter().filter(|call| call.rpc_method() == "event/send").map(|call| call.params()).collect();
    assert_eq!(told[0]["agent"]["name"], "golden-agent");
    assert_eq!((prompt(&told[0]).as_str(), prompt(&told[1]).as_str()), ("what is  up?", ""));
    let created = stage.agent.call(0).await.params();
    assert_eq!(created["params"]["config_id"], "config-default");
}

#[tokio::test]
async fn an_agent_that_is_not_ready_is_nobody() {
    let stage = idle().await;
    let foo = stage.get("/agents/name/foo").await;
    let agents = stage.world.store.stores().agents;
    agents.set_health(&id(&foo).into(), false, "silent", agentex_testkit::build::at(5)).await.unwrap();

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;

    let told = stage.agent.call(1).await.params();
    assert_eq!((told["agent"]["name"].as_str(), prompt(&told).as_str()), (Some("golden-agent"), "foo hello"));
}

/// gateways §9: 21, 22
#[tokio::test]
async fn an_agent_that_answers_later_is_told_of_its_task_once() {
    let stage = Stage::open().await;

    stage.event(&mention("E1", "100.1", "<@U1> later hello")).await;
    let task = stage.task_of_call(1).await;
    let created = stage.agent.call(0).await;
    assert_eq!(created.rpc_method(), "task/create");
    let task_row = &created.params()["task"];
    assert_eq!(
        (&task_row["name"], &created.params()["params"]),
        (&json!("slack:T1:C1:100.1"), &json!({"mcps": ["search"]}))
    );
    let metadata = json!({"channel": "slack", "sender_id": "later", "thread_ts": "100.1", "channel_id": "C1"});
    assert_eq!(task_row["task_metadata"], metadata);
    let event = stage.agent.call(1).await.params();
    let text = "[Slack context] channel_id=C1 thread_ts=100.1\n\nhello";
    assert_eq!(event["event"]["content"]["content"], text);
    assert_eq!(
        (&event["event"]["content"]["author"], &event["event"]["content"]["format"]),
        (&json!("user"), &json!("markdown"))
    );
    stage.say(&task, "first").await;
    stage.chat.request(POST, 0).await;

    stage.event(&changed(&mention("E2", "100.2", "<@U1> and now?"), "thread_ts", json!("100.1"))).await;
    assert_eq!(stage.task_of_call(2).await, task);
    stage.say(&task, "second").await;
    stage.chat.request(POST, 1).await;

    assert_eq!(stage.agent.methods(), ["task/create", "event/send", "event/send"]);
    assert_eq!(stage.posted(), ["first\n\n_via later_", "second\n\n_via later_"]);
}

/// gateways §9: 23
#[tokio::test]
async fn a_task_that_somebody_else_makes_meanwhile_is_the_task_of_the_thread() {
    let wire = Tripwire::new(Trip::Hang);
    let before_writes = wire.clone();
    let stage = Stage::with(|plan, _| {
        plan.works = false;
        plan.setup.ports = Some(Box::new(move |ports| {
            ports.authorizer = ports.authorizer.take().map(|authorizer| before_writes.authorizer(authorizer));
        }));
    })
    .await;
    stage.event(&mention("E1", "100.1", "<@U1> later hello")).await;
    // The turn has looked for the task of its thread and found none.
    wire.arm_on("before register task");
    let app = Arc::clone(&stage.world.app);
    let turn = tokio::spawn(async move { app.gateways.run_due().await });
    wire.tripped().await;
    let create = json!({"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {"name": "slack:T1:C1:100.1"}});
    let made = stage.world.call("POST", "/agents/name/later/rpc", &BYPASS, Some(&create.to_string())).await.ok();
    wire.release();

    let mut calls = 0;
    while stage.agent.call(calls).await.rpc_method() != "event/send" {
        calls += 1;
    }
    let task = stage.task_of_call(calls).await;
    stage.say(&task, "the answer").await;
    turn.await.unwrap().unwrap();

    assert_eq!(task, id(&made["result"]));
    assert_eq!(stage.get("/tasks").await.as_array().unwrap().len(), 1);
    assert_eq!(stage.posted(), ["the answer\n\n_via later_"]);
}

/// gateways §9: 25
#[tokio::test]
async fn a_task_that_can_neither_be_made_nor_found_is_given_up_once_for_all() {
    let stage = Stage::with(|plan, _| {
        plan.works = false;
        plan.slack.chat.create_attempts = 4;
        plan.setup.ports = Some(Box::new(|ports| {
            let mut tasks = MockTaskRepository::new();
            tasks.expect_find_by_name().returning(|_| Ok(None));
            tasks.expect_insert().times(4).returning(|_, _| Err(StoreError::Duplicate { what: "task" }));
            ports.stores.tasks = Arc::new(tasks);
        }));
    })
    .await;

    stage.event(&mention("E1", "100.1", "<@U1> later hello")).await;
    assert_eq!(stage.run_due().await, 1);
    assert_eq!(stage.run_due().await, 0);

    assert_eq!(stage.posted(), [FAILED]);
    assert!(stage.agent.calls().is_empty());
}

/// gateways §9: 28, 29, 30
#[tokio::test]
async fn only_what_the_agent_says_after_the_event_is_its_answer() {
    let stage = Stage::open().await;
    stage.event(&mention("E1", "100.1", "<@U1> later hello")).await;
    let task = stage.task_of_call(1).await;
    stage.say(&task, "before").await;
    stage.chat.request(POST, 0).await;
    let many: Vec<Value> =
        (0..250).map(|number| json!({"type": "text", "author": "user", "content": format!("{number}")})).collect();
    let batch = json!({"task_id": task, "contents": many}).to_string();
    stage.world.call("POST", "/messages/batch", &super::BYPASS, Some(&batch)).await.ok();

    stage.world.clock.advance(Duration::from_secs(1));
    stage.event(&changed(&mention("E2", "100.2", "<@U1> and now?"), "thread_ts", json!("100.1"))).await;
    stage.agent.call(2).await;
    let batch = json!({"task_id": task, "contents": many}).to_string();
    stage.world.call("POST", "/messages/batch", &super::BYPASS, Some(&batch)).await.ok();
    stage.world.clock.advance(Duration::from_secs(1));
    stage.say(&task, "one").await;
    stage.say(&task, "two").await;

    stage.chat.request(POST, 1).await;
    assert_eq!(stage.posted()[1], "one\n\ntwo\n\n_via later_");
}

/// An agent that says that it is done is not waited for any longer.
#[tokio::test]
async fn the_answer_is_whole_when_the_agent_has_processed_the_event() {
    let stage = Stage::with(|plan, _| plan.works = false).await;
    stage.event(&mention("E1", "100.1", "<@U1> later hello")).await;
    let app = Arc::clone(&stage.world.app);
    let turn = tokio::spawn(async move { app.gateways.run_due().await });
    let event = stage.agent.call(1).await.params();
    let (task, event) = (id(&event["task"]).to_owned(), id(&event["event"]).to_owned());

    let tracker = stage.get(&format!("/tracker?task_id={task}")).await[0].clone();
    let done = json!({"last_processed_event_id": event}).to_string();
    stage.world.call("PUT", &format!("/tracker/{}", id(&tracker)), &super::BYPASS, Some(&done)).await.ok();
    turn.await.unwrap().unwrap();

    assert_eq!(stage.posted(), ["_(no reply from later)_"]);
}

/// gateways §9: 24, 27, 30
#[tokio::test]
async fn an_agent_that_answers_at_once_is_asked_once() {
    let stage = idle().await;
    stage.agent.once("message/send", said(&["one", "two"]));
    stage.agent.once("message/send", said(&[" "]));

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;
    stage.event(&mention("E2", "100.2", "<@U1> foo hello")).await;
    stage.run_due().await;

    assert_eq!(stage.agent.methods(), ["message/send", "message/send"]);
    assert_eq!(stage.agent.call(0).await.params()["task"]["params"], json!({"mcps": ["search"]}));
    assert_eq!(stage.posted(), ["one\n\ntwo\n\n_via foo_", "_(no reply from foo)_"]);
    let status = stage.chat.request("/api/assistant.threads.setStatus", 0).await.json();
    assert_eq!(status, json!({"channel_id": "C1", "thread_ts": "100.1", "status": "is thinking…"}));
}

/// gateways §9: 26
#[tokio::test]
async fn the_default_agent_posts_by_itself() {
    let stage = idle().await;

    stage.event(&mention("E1", "100.1", "<@U1> hello")).await;
    assert_eq!(stage.run_due().await, 1);

    let told = stage.agent.call(1).await.params();
    assert!(told["event"]["content"]["content"].as_str().unwrap().contains("Post your own replies"), "{told}");
    assert!(stage.posted().is_empty());
}

/// gateways §9: 31
#[tokio::test]
async fn without_a_token_slack_is_not_called() {
    let stage = Stage::with(|plan, _| {
        plan.works = false;
        plan.chat.slack_bot_token = String::new();
    })
    .await;

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;

    assert_eq!(stage.run_due().await, 1);
    assert_eq!(stage.agent.methods(), ["message/send"]);
    assert!(stage.chat.requests().is_empty());
}

/// gateways §9: 32
#[tokio::test]
async fn without_the_bots_key_nothing_is_done_where_callers_authenticate() {
    let stage = Stage::with(|plan, _| {
        plan.works = false;
        plan.slack.chat.api_key = None;
    })
    .await;

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;

    assert!(stage.agent.calls().is_empty());
    assert_eq!(stage.posted(), [FAILED]);
}

/// gateways §9: 33
#[tokio::test]
async fn the_bots_key_goes_to_the_provider_and_on_to_the_agent() {
    let stage = idle().await;

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;

    let shown = stage.door.shown.lock().unwrap().clone();
    let bot = shown.iter().find(|headers| headers.get("x-api-key").is_some()).unwrap();
    assert_eq!((bot.get("x-api-key"), bot.get("x-selected-account-id")), (Some(BOT_KEY), Some("acme")));
    let call = stage.agent.call(0).await;
    assert_eq!(call.header("x-acting-user-api-key"), Some(BOT_KEY));
    assert_eq!((call.header("x-selected-account-id"), call.header("x-api-key")), (Some("acme"), None));
}

/// gateways §9: 34
#[tokio::test]
async fn what_the_bot_may_not_run_is_not_run() {
    let stage = idle().await;
    for agent in ["foo", "later"] {
        let row = stage.get(&format!("/agents/name/{agent}")).await;
        stage.world.rules.deny(id(&row), &[Operation::Execute]);
    }

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;
    stage.event(&mention("E2", "100.2", "<@U1> later hello")).await;
    stage.run_due().await;

    assert_eq!(stage.posted(), ["You're not authorized to run foo.", "You're not authorized to run later."]);
    assert!(stage.agent.calls().is_empty());
    assert_eq!(stage.get("/tasks").await, json!([]));
}

#[tokio::test]
async fn a_turn_takes_create_on_tasks_or_update_on_its_own() {
    let stage = idle().await;
    stage.world.rules.deny("*", &[Operation::Create]);
    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;
    stage.world.rules.reset();
    stage.event(&changed(&mention("E2", "100.2", "<@U1> foo hello"), "thread_ts", json!("100.1"))).await;
    stage.run_due().await;
    let tasks = stage.get("/tasks").await;
    stage.world.rules.deny(id(&tasks[0]), &[Operation::Update]);
    stage.event(&changed(&mention("E3", "100.3", "<@U1> foo hello"), "thread_ts", json!("100.1"))).await;
    stage.run_due().await;

    let denied = "You're not authorized to run foo.";
    assert_eq!(stage.posted(), [denied, "the answer\n\n_via foo_", denied]);
    assert_eq!(stage.agent.calls().len(), 1);
}

#[tokio::test]
async fn an_agent_that_fails_can_be_asked_again_in_the_same_thread() {
    let stage = idle().await;
    for (agent, method) in [("foo", "message/send"), ("later", "task/create")] {
        stage.agent.once(method, Reply::error(-32000, "broken"));
        let (first, second) = (format!("{agent}.1"), format!("{agent}.2"));
        stage.event(&mention(&first, &first, &format!("<@U1> {agent} hello"))).await;
        stage.run_due().await;
        assert_eq!(stage.posted().last().map(String::as_str), Some(FAILED), "{agent}");

        stage.event(&changed(&mention(&second, &second, "<@U1> again"), "thread_ts", json!(first))).await;
        let app = Arc::clone(&stage.world.app);
        let turn = tokio::spawn(async move { app.gateways.run_due().await });
        if agent == "later" {
            let calls = stage.agent.calls().len();
            stage.agent.call(calls.max(4)).await;
            let task = stage.task_of_call(4).await;
            stage.say(&task, "the answer").await;
        }
        turn.await.unwrap().unwrap();
        assert_eq!(stage.posted().last().unwrap(), &format!("the answer\n\n_via {agent}_"));
    }
}

#[tokio::test]
async fn long_answers_are_cut_and_slack_is_given_the_time_it_asks_for() {
    let stage = idle().await;
    let long = "word ".repeat(1000);
    stage.agent.once("message/send", said(&[&long]));
    stage.chat.once_with(POST, 429, &[("retry-after", "0")], json!({"ok": false}));

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;

    let posted = stage.posted();
    assert_eq!(posted.len(), 3, "the first is sent twice");
    assert_eq!(posted[0], posted[1]);
    assert!(posted.iter().all(|text| text.chars().count() <= 3500));
    assert!(posted[2].ends_with("_via foo_"));
}
