//! Numbers without a name are those of the contract of states, events and trackers.

use std::time::Duration;

use agentex_authz::Operation::{Execute, Read, Update};
use agentex_authz::ResourceRef;
use agentex_domain::{AgentId, Event, TaskId};
use serde_json::{Value, json};

use crate::endpoints::shown;
use crate::support::{Authorization, Setup, World, id, ids, registration};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

fn absent(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

async fn appended(world: &World, agent: &Value, task: &Value, count: usize) -> Vec<Event> {
    let (task_id, agent_id) = (TaskId::from(id(task)), AgentId::from(id(agent)));
    let mut events = Vec::new();
    for _ in 0..count {
        let at = agentex_domain::ports::Clock::now(&world.clock);
        events.push(world.store.stores().events.append(&task_id, &agent_id, None, at).await.unwrap());
    }
    events
}

/// A server that allows everything, an agent, a task of it and the tracker that came with the task.
async fn with_tracker() -> (World, Value, Value, Value) {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://agent.test:1").await;
    let task = world.task_with("a", json!({})).await;
    let tracker = tracker_of(&world, &task).await;
    (world, agent, task, tracker)
}

async fn tracker_of(world: &World, task: &Value) -> Value {
    let listed = world.get(&format!("/tracker?task_id={}", id(task))).await.ok();
    assert_eq!(ids(&listed).len(), 1, "one comes with the task");
    listed[0].clone()
}

/// states §6: 18, 19, 21
#[tokio::test]
async fn a_cursor_goes_forwards_and_words_are_replaced() {
    let (world, agent, task, tracker) = with_tracker().await;
    let events = appended(&world, &agent, &task, 3).await;
    let path = format!("/tracker/{}", id(&tracker));
    let to = |event: &str| json!({"last_processed_event_id": event, "status": "busy", "status_reason": "why"});
    for empty in ["status", "status_reason", "last_processed_event_id"] {
        assert_eq!(tracker[empty], Value::Null);
    }
    assert_eq!((&tracker["task_id"], &tracker["agent_id"]), (&task["id"], &agent["id"]));
    assert_eq!(world.get(&path).await.ok(), tracker);
    world.clock.advance(Duration::from_secs(1));

    let moved = world.put(&path, to(events[2].id.as_str())).await.ok();
    assert_eq!(moved["last_processed_event_id"], events[2].id.as_str());
    assert_eq!((&moved["status"], &moved["status_reason"]), (&json!("busy"), &json!("why")));
    assert_eq!(moved["created_at"], tracker["created_at"]);
    assert!(moved["updated_at"].as_str() > tracker["updated_at"].as_str());

    let (last, first) = (events[2].sequence_id, events[0].sequence_id);
    let text = format!("Cannot move cursor backwards: new sequence ID {first} < current sequence ID {last}");
    world.put(&path, to(events[0].id.as_str())).await.refused(400, &text);
    assert_eq!(world.get(&path).await.ok(), moved);
    world.put(&path, to(events[2].id.as_str())).await.ok();

    let other_task = world.task_with("a", json!({})).await;
    let foreign = appended(&world, &agent, &other_task, 1).await.remove(0).id.into_string();
    let other_agent = world.agent("b", "sync", "http://agent.test:1").await;
    let of_other_agent = appended(&world, &other_agent, &task, 1).await.remove(0).id.into_string();
    for unknown in ["nope", &foreign, &of_other_agent] {
        world.put(&path, to(unknown)).await.refused(400, &format!("Event with ID {unknown} not found"));
    }
    assert_eq!(world.get(&path).await.ok(), moved);

    for nothing in [json!({}), json!({"last_processed_event_id": null, "status": null})] {
        let silent = world.put(&path, nothing).await.ok();
        assert_eq!((&silent["status"], &silent["status_reason"]), (&Value::Null, &Value::Null));
        assert_eq!(silent["last_processed_event_id"], events[2].id.as_str());
    }
    for wrong in [json!({"status": 5}), json!({"last_processed_event_id": ""}), json!({"status": "a\u{0}"}), json!([])]
    {
        world.put(&path, wrong).await.invalid();
    }
}

/// states §6: 20
#[tokio::test]
async fn of_concurrent_moves_the_furthest_stays() {
    let (world, agent, task, tracker) = with_tracker().await;
    let events = appended(&world, &agent, &task, 6).await;
    let path = format!("/tracker/{}", id(&tracker));

    let moves = events.iter().map(|event| world.put(&path, json!({"last_processed_event_id": event.id})));
    for answer in futures::future::join_all(moves).await {
        assert!([200, 400].contains(&answer.status.as_u16()), "{}", answer.text());
    }

    assert_eq!(world.get(&path).await.ok()["last_processed_event_id"], events[5].id.as_str());
}

/// Progress is the agent's and the owner's to report, not an editor's.
/// states §6: 23
///
/// authz §7: 145
#[tokio::test]
async fn noting_progress_takes_execute_on_the_task() {
    let world = World::with_authorization().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    let agent = by_alice("POST", "/agents/register", registration("a", "sync", "http://agent.test:1")).await;
    let call = json!({"method": "task/create", "params": {}});
    let task = by_alice("POST", "/agents/name/a/rpc", call).await["result"].clone();
    let listed = world.call_as("alice", "GET", "/tracker", None).await.ok();
    let tracker = listed[0].clone();
    let path = format!("/tracker/{}", id(&tracker));
    world.share("bob", Update, ResourceRef::task(id(&task))).await;
    world.share("vic", Read, ResourceRef::task(id(&task))).await;
    let put = async |user: &str, path: &str| world.call_as(user, "PUT", path, Some(json!({"status": "x"}))).await;

    world.calls.take();
    put("alice", &path).await.ok();
    assert_eq!(world.calls.questions(), [format!("check execute task:{}", id(&task))]);
    for user in ["bob", "vic"] {
        world.call_as(user, "GET", &path, None).await.ok();
        world.calls.take();
        put(user, &path).await.refused(403, FORBIDDEN);
        let asked = ["execute", "read"].map(|operation| format!("check {operation} task:{}", id(&task)));
        assert_eq!(world.calls.questions(), asked);
    }
    for user in ["mallory", "alice@elsewhere"] {
        world.calls.take();
        put(user, &path).await.refused(404, &absent(id(&tracker)));
        let asked = world.calls.take().len();
        put(user, "/tracker/nope").await.refused(404, &absent("nope"));
        assert_eq!(world.calls.take().len(), asked);
        world.call_as(user, "GET", &path, None).await.refused(404, &absent(id(&tracker)));
    }
    let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];
    world.call("PUT", &path, &key, Some(r#"{"status": "mine"}"#)).await.ok();

    let hidden = put("mallory", &path).await;
    world.call_as("alice", "DELETE", &format!("/tasks/{}", id(&task)), None).await.ok();
    for user in ["alice", "mallory"] {
        assert_eq!(shown(&put(user, &path).await), shown(&hidden));
    }
}

/// The refusals when only one operation is missing, by rule.
///
/// authz §7: 145
#[tokio::test]
async fn only_execute_counts() {
    let (world, _, task, tracker) = with_tracker().await;
    let path = format!("/tracker/{}", id(&tracker));

    world.rules.deny(id(&task), &[Update]);
    world.put(&path, json!({})).await.ok();
    world.rules.deny(id(&task), &[Execute]);
    world.put(&path, json!({})).await.refused(403, FORBIDDEN);
    world.rules.deny(id(&task), &[Read]);
    world.put(&path, json!({})).await.refused(404, &absent(id(&tracker)));
}

/// states §6: 22
///
/// authz §7: 143
#[tokio::test]
async fn trackers_of_an_unreadable_task_are_no_trackers() {
    let (world, agent, task, tracker) = with_tracker().await;
    let other = world.task_with("a", json!({})).await;
    world.rules.hide(id(&other));
    world.rules.show_only(&[id(&task)]);
    world.calls.take();

    for named in [id(&other), "nope"] {
        assert_eq!(world.get(&format!("/tracker?task_id={named}")).await.ok(), json!([]));
    }
    assert_eq!(world.calls.questions(), ["list read task"; 2], "no check");
    assert_eq!(world.get("/tracker").await.ok(), json!([tracker]));
    assert_eq!(world.get(&format!("/tracker?task_id={}", id(&task))).await.ok(), json!([tracker]));
    assert_eq!(world.get(&format!("/tracker?agent_id={}", id(&agent))).await.ok(), json!([tracker]));
    assert_eq!(world.get("/tracker?agent_id=nobody").await.ok(), json!([]));
    world.rules.show_only(&[]);
    world.store.close().await;
    assert_eq!(world.get("/tracker").await.ok(), json!([]));
}

/// authz §7: 144
#[tokio::test]
async fn without_authorization_all_trackers_are_listed() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let task = world.task("a").await;
        made.push(id(&tracker_of(&world, &task).await).to_owned());
        world.clock.advance(Duration::from_secs(1));
    }

    let listed = world.get("/tracker").await.ok();
    assert_eq!(ids(&listed), [&made[2], &made[1], &made[0]], "the last changed first");
    let list = async |query: &str| {
        let listed = world.get(&format!("/tracker?{query}")).await.ok();
        ids(&listed).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list("order_direction=asc").await, made);
    assert_eq!(list("order_by=created_at&order_direction=asc&limit=5000").await, made);
    assert_eq!(list("order_by=evil&limit=1&page_number=2").await, [made[1].clone()]);
    world.put(&format!("/tracker/{}", made[0]), json!({"status": "x"})).await.ok();
    assert_eq!(list("limit=1").await, [made[0].clone()]);
    for wrong in ["limit=0", "page_number=0", "task_id=", "agent_id=*"] {
        world.get(&format!("/tracker?{wrong}")).await.invalid();
    }
}

/// An agent by itself sees the trackers of its own tasks.
#[tokio::test]
async fn agents_list_the_trackers_of_their_own_tasks() {
    let world = World::with_authorization().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    let mut keys = Vec::new();
    let mut tasks = Vec::new();
    for name in ["a", "b"] {
        let agent = by_alice("POST", "/agents/register", registration(name, "sync", "http://agent.test:1")).await;
        let call = json!({"method": "task/create", "params": {}});
        tasks.push(by_alice("POST", &format!("/agents/name/{name}/rpc"), call).await["result"].clone());
        keys.push(agent["agent_api_key"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids(&world.call_as("alice", "GET", "/tracker", None).await.ok()).len(), 2);
    assert_eq!(world.call_as("mallory", "GET", "/tracker", None).await.ok(), json!([]));

    for (key, task) in keys.iter().zip(&tasks) {
        let listed = world.get_with("/tracker", &[("x-agent-api-key", key)]).await.ok();
        assert_eq!(listed.as_array().unwrap().len(), 1);
        assert_eq!(listed[0]["task_id"], task["id"]);
    }
    let foreign = format!("/tracker?task_id={}", id(&tasks[1]));
    assert_eq!(world.get_with(&foreign, &[("x-agent-api-key", &keys[0])]).await.ok(), json!([]));
}
