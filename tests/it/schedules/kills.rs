//! SIGKILL in the middle of an occurrence.

use std::collections::{BTreeMap, BTreeSet};

use agentex_testkit::fake_agent::{FakeAgent, Gate, Reply};
use agentex_testkit::services::temporal::{TemporalServer, temporal};
use serde_json::{Value, json};

use super::site::{Engine, Site, calls, is_delivered, until};

fn every_second(name: &str) -> Value {
    json!({"name": name, "interval_seconds": 1, "initial_input": {"content": "go"}})
}

/// The task that the agent is asked about by a call of that method.
async fn asked(agent: &FakeAgent, method: &str) -> Value {
    until("the agent's call", async || {
        let call = agent.calls().into_iter().find(|call| call.rpc_method() == method)?;
        Some(call.params()["task"].clone())
    })
    .await
}

/// Waits until a task was told its input.
async fn delivered(site: &Site, id: &Value) -> Value {
    until("the delivery", async || site.tasks().await.into_iter().find(|task| task["id"] == *id && is_delivered(task)))
        .await
}

/// Kills all of the product while the agent holds its answer to the first call of `method`, and makes sure that this
/// occurrence and all others are delivered once.
async fn killed_while_the_agent_holds(mut site: Site, method: &str, acp_type: &str, engine: Option<&Engine>) {
    let (agent, agent_id) = site.agent(acp_type).await;
    let text = json!({"type": "text", "author": "agent", "content": "done", "format": "markdown", "style": "active"});
    let answer = if acp_type == "sync" {
        Reply::updates([json!({"type": "full", "index": 0, "content": text})])
    } else {
        Reply::accepted()
    };
    let gate = Gate::closed();
    agent.on(method, answer.clone()).once(method, answer.after(&gate));
    let all = format!("/agents/{agent_id}/schedules");
    let schedule = site.post(&all, &every_second("killed")).await;
    let one = format!("{all}/{}", schedule["id"].as_str().unwrap());
    let held = asked(&agent, method).await;

    site.kill_and_restart().await;
    gate.open();

    let recovered = delivered(&site, &held["id"]).await;
    // One after it, to see that the clock goes on.
    until("the next occurrence", async || {
        let tasks = site.tasks().await;
        tasks
            .iter()
            .any(|task| is_delivered(task) && task["created_at"].as_str() > recovered["created_at"].as_str())
            .then_some(())
    })
    .await;
    site.post(&format!("{one}/pause"), &json!({})).await;
    let tasks = until("the end of what is under way", async || {
        let tasks = site.tasks().await;
        tasks.iter().all(is_delivered).then_some(tasks)
    })
    .await;

    let told = if acp_type == "sync" { "message/send" } else { "event/send" };
    each_delivered_once(&site, &agent, &agent_id, &tasks, told).await;
    for task in &tasks {
        let again = calls(&agent, told, task).len();
        assert_eq!(again, if task["id"] == held["id"] && method == told { 2 } else { 1 }, "{task:#}");
        if acp_type == "async" {
            // What the agent has answered is not asked again.
            let created = calls(&agent, "task/create", task).len();
            assert_eq!(created, if task["id"] == held["id"] && method == "task/create" { 2 } else { 1 }, "{task:#}");
        }
    }
    site.delete(&one).await;
    assert_eq!(site.schedule_edges().await, []);
    if let Some(engine) = engine {
        assert!(!engine.has_clock(&format!("agent-run-schedule:{}", schedule["id"].as_str().unwrap())).await);
    }
    site.rows_and_edges_agree().await;
}

/// One task for each occurrence, and one event or one input in each, whatever the agent was asked again.
async fn each_delivered_once(site: &Site, agent: &FakeAgent, agent_id: &str, tasks: &[Value], told: &str) {
    let fires: BTreeSet<&str> =
        tasks.iter().map(|task| task["task_metadata"]["scheduled_fire_id"].as_str().unwrap()).collect();
    assert_eq!(fires.len(), tasks.len(), "an occurrence has two tasks: {tasks:#?}");
    for task in tasks {
        let id = task["id"].as_str().unwrap();
        let calls = calls(agent, told, task);
        let keys: BTreeSet<Option<&str>> = calls.iter().map(|call| call.header("x-idempotency-key")).collect();
        assert_eq!(keys, [task["name"].as_str()].into(), "{task:#}");
        if told == "event/send" {
            let events = site.alice().get(&format!("/events?task_id={id}&agent_id={agent_id}")).await.expect(200);
            let stored: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["id"]).collect();
            assert_eq!(stored.len(), 1, "{events:#}");
            assert!(calls.iter().all(|call| call.params()["event"]["id"] == *stored[0]), "{calls:#?}");
        } else {
            let messages = site.alice().get(&format!("/messages?task_id={id}&order_direction=asc")).await.expect(200);
            let texts: Vec<&Value> =
                messages.as_array().unwrap().iter().map(|message| &message["content"]["content"]).collect();
            assert_eq!(texts, ["go", "done"], "{messages:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_server_killed_while_an_agent_takes_the_event_tells_it_the_same_event() {
    killed_while_the_agent_holds(Site::embedded().await, "event/send", "async", None).await;
}

/// The kill comes before the input is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_server_killed_while_an_agent_takes_the_task_goes_on_with_it() {
    killed_while_the_agent_holds(Site::embedded().await, "task/create", "async", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_server_killed_in_the_turn_of_a_synchronous_agent_stores_input_and_answer_once() {
    killed_while_the_agent_holds(Site::embedded().await, "message/send", "sync", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_all_killed_in_the_middle_of_an_occurrence_finish_it() {
    killed_while_the_agent_holds(Site::replicas(2).await, "event/send", "async", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_and_worker_on_temporal_killed_while_an_agent_takes_the_event_tell_it_the_same_event() {
    let server = temporal().await;
    let engine = Engine { address: server.address().to_owned(), queue: server.unique().to_owned() };
    killed_while_the_agent_holds(Site::on_temporal(&engine, 1).await, "event/send", "async", Some(&engine)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_server_on_temporal_killed_while_an_agent_takes_the_task_goes_on_with_it() {
    let server = temporal().await;
    let engine = Engine { address: server.address().to_owned(), queue: server.unique().to_owned() };
    killed_while_the_agent_holds(Site::on_temporal(&engine, 0).await, "task/create", "async", Some(&engine)).await;
}

/// What the killed replica had begun is finished by the other one; what the other one had begun is not touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lives_takes_over_from_one_that_was_killed() {
    const SCHEDULES: usize = 12;
    let mut site = Site::replicas(2).await;
    let (agent, agent_id) = site.agent("async").await;
    let gate = Gate::closed();
    agent.on("event/send", Reply::accepted().after(&gate));
    let all = format!("/agents/{agent_id}/schedules");
    // Due at the same moment, which both replicas wait for.
    let start = "2026-01-01T00:00:00Z";
    for number in 0..SCHEDULES {
        let new = json!({"name": format!("s{number}"), "interval_seconds": 3, "start_at": start,
            "initial_input": {"content": "go"}});
        site.post(&all, &new).await;
    }
    let held = until("all calls", async || {
        let told = agent.calls().into_iter().filter(|call| call.rpc_method() == "event/send");
        let tasks: BTreeMap<String, Value> = told
            .map(|call| call.params()["task"].clone())
            .map(|task| (task["task_metadata"]["schedule_id"].as_str().unwrap().to_owned(), task["id"].clone()))
            .collect();
        (tasks.len() == SCHEDULES).then_some(tasks)
    })
    .await;

    site.deployment.servers.remove(0).kill9();
    gate.open();

    for task in held.values() {
        delivered(&site, task).await;
    }
    let listed = site.alice().get(&format!("{all}?kind=agent_run")).await.expect(200);
    for schedule in listed["run_schedules"].as_array().unwrap() {
        let id = schedule["id"].as_str().unwrap();
        site.post(&format!("{all}/{id}/pause"), &json!({})).await;
    }
    let tasks = until("the end of what is under way", async || {
        let tasks = site.tasks().await;
        tasks.iter().all(is_delivered).then_some(tasks)
    })
    .await;
    let schedules: BTreeSet<&str> =
        tasks.iter().map(|task| task["task_metadata"]["schedule_id"].as_str().unwrap()).collect();
    assert_eq!(schedules.len(), SCHEDULES);
    each_delivered_once(&site, &agent, &agent_id, &tasks, "event/send").await;
}

/// Nobody is killed but Temporal: the worker finishes what it is at, and nothing of it is done again.
#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_outlives_a_cut_between_its_worker_and_temporal() {
    let mut server = TemporalServer::start().await;
    let engine = Engine { address: server.address(), queue: "cut".to_owned() };
    let site = Site::on_temporal(&engine, 1).await;
    let (agent, agent_id) = site.agent("async").await;
    let gate = Gate::closed();
    agent.once("event/send", Reply::accepted().after(&gate));
    let all = format!("/agents/{agent_id}/schedules");
    let schedule = site.post(&all, &every_second("cut")).await;
    let held = asked(&agent, "event/send").await;

    server.kill();
    gate.open();
    delivered(&site, &held["id"]).await;
    server.start_again().await;

    until("the next occurrence", async || {
        let tasks = site.tasks().await;
        (tasks.len() > 1 && tasks.iter().all(is_delivered)).then_some(())
    })
    .await;
    let one = format!("{all}/{}", schedule["id"].as_str().unwrap());
    site.delete(&one).await;
    let tasks = until("the end of what is under way", async || {
        let tasks = site.tasks().await;
        tasks.iter().all(is_delivered).then_some(tasks)
    })
    .await;
    each_delivered_once(&site, &agent, &agent_id, &tasks, "event/send").await;
    assert!(tasks.iter().all(|task| calls(&agent, "event/send", task).len() == 1), "{:?}", agent.methods());
    assert_eq!(site.schedule_edges().await, []);
    site.rows_and_edges_agree().await;
}
