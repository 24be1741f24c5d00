//! Numbers without a name are those of the contract of states, events and trackers.

use agentex_authz::Operation::Read;
use agentex_authz::ResourceRef;
use agentex_domain::{AgentId, Event, MessageContent, TaskId};
use serde_json::{Value, json};

use crate::endpoints::shown;
use crate::support::{Authorization, Setup, World, id, ids, registration};

fn absent(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

/// Events as calls of agents make them.
async fn appended(world: &World, agent: &Value, task: &Value, count: usize) -> Vec<Event> {
    let (task_id, agent_id) = (TaskId::from(id(task)), AgentId::from(id(agent)));
    let mut events = Vec::new();
    for number in 0..count {
        let content = (number > 0).then(|| MessageContent::text(agentex_domain::Author::User, "hi"));
        let at = agentex_domain::ports::Clock::now(&world.clock);
        events.push(world.store.stores().events.append(&task_id, &agent_id, content, at).await.unwrap());
    }
    events
}

/// A server that allows everything, an agent and a task of it, and its events.
async fn with_events(count: usize) -> (World, Value, Value, Vec<Event>) {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://agent.test:1").await;
    let task = world.task_with("a", json!({})).await;
    let events = appended(&world, &agent, &task, count).await;
    (world, agent, task, events)
}

fn list_of(agent: &Value, task: &Value) -> String {
    format!("/events?task_id={}&agent_id={}", id(task), id(agent))
}

/// states §6: 12, 13
#[tokio::test]
async fn events_are_read_in_order_and_from_where_one_left_off() {
    let (world, agent, task, events) = with_events(3).await;
    let known: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    let list = async |query: &str| world.get(&format!("{}{query}", list_of(&agent, &task))).await.ok();

    let all = list("").await;
    assert_eq!(ids(&all), known);
    let sequence: Vec<i64> = events.iter().map(|event| event.sequence_id).collect();
    let shown: Vec<i64> = all.as_array().unwrap().iter().map(|event| event["sequence_id"].as_i64().unwrap()).collect();
    assert_eq!(shown, sequence);
    assert_eq!((&all[0]["content"], &all[1]["content"]["content"]), (&Value::Null, &json!("hi")));
    assert_eq!(world.get(&format!("/events/{}", known[1])).await.ok(), all[1]);
    assert_eq!(ids(&list(&format!("&last_processed_event_id={}&limit=1", known[0])).await), [known[1]]);
    assert_eq!(ids(&list(&format!("&last_processed_event_id={}", known[2])).await), [""; 0]);
    assert_eq!(ids(&list("&last_processed_event_id=nope").await), known);
    assert_eq!(ids(&list("&last_processed_event_id=").await), known);

    let other = world.task_with("a", json!({})).await;
    let foreign = appended(&world, &agent, &other, 1).await.remove(0).id;
    assert_eq!(ids(&list(&format!("&last_processed_event_id={foreign}")).await), known);
}

/// states §6: 14
#[tokio::test]
async fn wrong_questions_about_events_are_refused() {
    let (world, agent, task, _) = with_events(0).await;
    let listed = list_of(&agent, &task);
    world.calls.take();

    for limit in ["0", "1001", "x", ""] {
        assert!(world.get(&format!("{listed}&limit={limit}")).await.invalid().contains("query.limit"));
    }
    assert!(world.get("/events").await.invalid().contains("2 validation error(s)"));
    for missing in ["task_id", "agent_id"] {
        let given = if missing == "task_id" { "agent_id" } else { "task_id" };
        let told = world.get(&format!("/events?{given}=x")).await.invalid();
        assert!(told.contains(&format!("query.{missing}: Field required")), "{told}");
    }
    assert_eq!(world.calls.questions(), [""; 0]);
    world.get(&format!("{listed}&limit=1000")).await.ok();
}

/// states §6: 15
///
/// authz §7: 148
#[tokio::test]
async fn a_list_of_events_asks_about_the_task_then_the_agent() {
    let (world, agent, task, _) = with_events(1).await;
    let path = list_of(&agent, &task);
    world.calls.take();

    world.get(&path).await.ok();
    let asked = format!("check read task:{}, read agent:{}", id(&task), id(&agent));
    assert_eq!(world.calls.questions(), [asked]);
    world.rules.hide(id(&agent));
    world.get(&path).await.refused(404, &absent(id(&agent)));
    world.rules.hide(id(&task));
    world.get(&path).await.refused(404, &absent(id(&task)));
    world.rules.reset();
    world.rules.hide(id(&task));
    world.get(&path).await.refused(404, &absent(id(&task)));
}

/// An absent event is asked about like a hidden one, where the contract's page would ask nothing.
/// states §6: 16, 17
///
/// authz §7: 147
#[tokio::test]
async fn an_event_takes_both_its_task_and_its_agent() {
    let world = World::with_authorization().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    let agent = by_alice("POST", "/agents/register", registration("a", "sync", "http://agent.test:1")).await;
    let call = json!({"method": "task/create", "params": {}});
    let task = by_alice("POST", "/agents/name/a/rpc", call).await["result"].clone();
    let event = appended(&world, &agent, &task, 1).await.remove(0);
    let path = format!("/events/{}", event.id);
    // One sees the agent, one the task, one both.
    for user in ["una", "bea"] {
        world.share(user, Read, ResourceRef::agent(id(&agent))).await;
    }
    for user in ["vic", "bea"] {
        world.share(user, Read, ResourceRef::task(id(&task))).await;
    }

    for user in ["alice", "bea"] {
        assert_eq!(id(&world.call_as(user, "GET", &path, None).await.ok()), event.id.as_str());
        assert_eq!(ids(&world.call_as(user, "GET", &list_of(&agent, &task), None).await.ok()), [event.id.as_str()]);
    }
    for user in ["una", "vic", "mallory"] {
        world.calls.take();
        let hidden = world.call_as(user, "GET", &path, None).await;
        let asked = world.calls.take();
        hidden.refused(404, &absent(event.id.as_str()));
        world.call_as(user, "GET", "/events/nope", None).await.refused(404, &absent("nope"));
        assert_eq!((asked.len(), world.calls.take().len()), (1, 1));
        assert!(asked[0].starts_with(&format!("check read task:{}", id(&task))), "{asked:?}");
    }
    let before = world.call_as("mallory", "GET", &path, None).await;
    world.call_as("alice", "DELETE", &format!("/tasks/{}", id(&task)), None).await.ok();
    assert_eq!(shown(&world.call_as("alice", "GET", &path, None).await), shown(&before));
}

/// An agent by itself reads what it was told, and nothing that others were.
#[tokio::test]
async fn agents_read_their_own_events() {
    let world = World::with_authorization().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    let call = json!({"method": "task/create", "params": {}});
    let mut known = Vec::new();
    for name in ["a", "b"] {
        let agent = by_alice("POST", "/agents/register", registration(name, "sync", "http://agent.test:1")).await;
        let task = by_alice("POST", &format!("/agents/name/{name}/rpc"), call.clone()).await["result"].clone();
        let event = appended(&world, &agent, &task, 1).await.remove(0).id.into_string();
        known.push((agent, task, event));
    }
    let [(agent, task, event), (other, other_task, foreign)] = known.try_into().unwrap();
    let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];

    world.get_with(&format!("/events/{event}"), &key).await.ok();
    assert_eq!(ids(&world.get_with(&list_of(&agent, &task), &key).await.ok()), [event.as_str()]);
    world.get_with(&format!("/events/{foreign}"), &key).await.refused(404, &absent(&foreign));
    world.get_with(&list_of(&other, &other_task), &key).await.refused(404, &absent(id(&other_task)));
    world.get_with(&list_of(&other, &task), &key).await.refused(404, &absent(id(&other)));
}

/// Without authorization an unknown task or agent has no events.
#[tokio::test]
async fn without_authorization_nothing_is_hidden() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let task = world.task("a").await;
    let agent = world.get("/agents/name/a").await.ok();
    let event = appended(&world, &agent, &task, 1).await.remove(0);

    world.get(&format!("/events/{}", event.id)).await.ok();
    assert_eq!(world.get("/events?task_id=nope&agent_id=nope").await.ok(), json!([]));
    world.get("/events/nope").await.refused(404, &absent("nope"));
}
