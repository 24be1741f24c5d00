//! Which conversation something is said in, and with whom it is.

use std::time::Duration;

use serde_json::json;

use super::{Stage, changed, mention};

async fn idle() -> Stage {
    Stage::with(|plan, _| plan.works = false).await
}

/// The name of the task of an agent's call.
async fn task_name(stage: &Stage, call: usize) -> String {
    stage.agent.call(call).await.params()["task"]["name"].as_str().unwrap().to_owned()
}

/// gateways §9: 11
#[tokio::test]
async fn a_thread_is_a_task_and_a_message_begins_one() {
    let stage = idle().await;

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.event(&changed(&mention("E2", "100.2", "<@U1> foo again"), "thread_ts", json!("100.1"))).await;
    stage.event(&changed(&mention("E3", "100.3", "<@U1> foo there"), "thread_ts", json!("50.5"))).await;
    stage.run_due().await;

    let mut names = Vec::new();
    for call in 0..3 {
        names.push(task_name(&stage, call).await);
    }
    names.sort_unstable();
    assert_eq!(names, ["slack:T1:C1:100.1", "slack:T1:C1:100.1", "slack:T1:C1:50.5"]);
}

/// gateways §9: 52
#[tokio::test]
async fn equal_threads_of_two_workspaces_are_two_tasks() {
    let stage = idle().await;
    let mut elsewhere = mention("E2", "100.1", "<@U1> foo hello");
    elsewhere["team_id"] = json!("T2");

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.event(&elsewhere).await;
    stage.event(&changed(&mention("E3", "100.1", "<@U1> foo hello"), "channel", json!("C2"))).await;

    assert_eq!(stage.run_due().await, 3);
    assert_eq!(stage.get("/tasks").await.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn messages_in_channels_count_only_where_the_bot_is_talked_to() {
    let stage = idle().await;
    let message = |id: &str, ts: &str, text: &str| changed(&mention(id, ts, text), "type", json!("message"));

    stage.event(&message("E1", "100.1", "hello all")).await;
    stage.event(&changed(&message("E2", "100.2", "in a thread"), "thread_ts", json!("90.1"))).await;
    assert_eq!(stage.run_due().await, 0);

    stage.event(&changed(&message("E3", "100.3", "foo hello"), "channel_type", json!("im"))).await;
    assert_eq!(stage.run_due().await, 1, "a direct message");

    stage.event(&mention("E4", "100.4", "<@U1> foo hello")).await;
    stage.event(&changed(&message("E5", "100.5", "and now?"), "thread_ts", json!("100.4"))).await;
    assert_eq!(stage.run_due().await, 2, "the thread is known before its first turn is over");
    stage.event(&changed(&message("E6", "100.6", "and then?"), "thread_ts", json!("100.4"))).await;
    assert_eq!(stage.run_due().await, 1);
    let last = stage.agent.call(3).await.params();
    assert!(last["content"]["content"].as_str().unwrap().ends_with("\n\nand then?"), "foo goes on: {last}");
}

/// Two prompts of one conversation never run at the same time, so that neither gets the other's answer.
#[tokio::test]
async fn a_conversation_goes_on_one_turn_at_a_time() {
    let stage = Stage::open().await;
    let gate = agentex_testkit::fake_agent::Gate::closed();
    stage.agent.once("message/send", super::said(&["one"]).after(&gate));
    stage.agent.once("message/send", super::said(&["two"]));

    stage.event(&mention("E1", "100.1", "<@U1> foo first")).await;
    gate.reached().await;
    stage.event(&changed(&mention("E2", "100.2", "<@U1> foo second"), "thread_ts", json!("100.1"))).await;
    stage.event(&mention("E3", "100.3", "<@U1> foo elsewhere")).await;
    // The other conversation is not held up.
    stage.chat.request(super::POST, 0).await;
    assert_eq!(stage.agent.calls().len(), 2);
    gate.open();

    stage.chat.request(super::POST, 2).await;
    let threads: Vec<_> = stage.chat.to(super::POST).iter().map(|sent| sent.json()["thread_ts"].clone()).collect();
    assert_eq!(threads, [json!("100.3"), json!("100.1"), json!("100.1")]);
    let second = stage.agent.call(2).await.params();
    assert!(second["content"]["content"].as_str().unwrap().ends_with("\n\nsecond"));
}

#[tokio::test]
async fn another_agent_named_in_a_thread_gets_a_task_of_its_own() {
    let stage = idle().await;

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    stage.run_due().await;
    let bar = super::registration("bar", "sync", stage.agent.url());
    stage.world.call("POST", "/agents/register", &super::BYPASS, Some(&bar)).await.ok();
    stage.event(&changed(&mention("E2", "100.2", "<@U1> bar hello"), "thread_ts", json!("100.1"))).await;
    stage.event(&changed(&mention("E3", "100.3", "<@U1> and you?"), "thread_ts", json!("100.1"))).await;
    stage.run_due().await;

    assert_eq!(task_name(&stage, 1).await, "slack:T1:C1:100.1:bar");
    assert_eq!(task_name(&stage, 2).await, "slack:T1:C1:100.1");
    let posted: Vec<String> = stage.posted();
    assert!(posted[1].ends_with("_via bar_") && posted[2].ends_with("_via foo_"), "{posted:?}");
}

/// A process that ends while it waits lets go of the turn, and whoever comes next goes on with it.
///
/// gateways §9: 51
#[tokio::test]
async fn a_lease_that_ends_lets_another_process_go_on() {
    let stage = idle().await;
    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;
    let gateways = stage.world.store.stores().gateways;
    let now = agentex_domain::ports::Clock::now(&stage.world.clock);
    let claim = agentex_domain::ports::GatewayClaim {
        holder: "a process that is gone".to_owned(),
        providers: vec!["slack".to_owned()],
        now,
        lease_until: now.plus_millis(60_000),
        limit: 1,
    };
    assert_eq!(gateways.claim(&claim).await.unwrap().len(), 1);

    assert_eq!(stage.run_due().await, 0);
    stage.world.clock.advance(Duration::from_secs(60));

    assert_eq!(stage.run_due().await, 1);
    assert_eq!(stage.posted(), ["the answer\n\n_via foo_"]);
}
