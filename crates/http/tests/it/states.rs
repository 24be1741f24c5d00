//! Numbers without a name are those of the contract of states, events and trackers.

use std::collections::BTreeSet;
use std::time::Duration;

use agentex_app::{AuthorizationSettings, LinkRule, Settings};
use agentex_authz::Operation::{self, Delete, Read, Update};
use agentex_authz::ResourceRef;
use serde_json::{Value, json};

use crate::endpoints::shown;
use crate::support::{Authorization, Setup, World, id, ids, registration};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

fn absent(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

fn new_state(task: &str, agent: &str) -> Value {
    json!({"task_id": task, "agent_id": agent, "state": {"step": 1}})
}

/// A server that allows everything, and an agent and a task of it.
async fn with_task() -> (World, Value, Value) {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://agent.test:1").await;
    let task = world.task_with("a", json!({})).await;
    (world, agent, task)
}

async fn stored(world: &World, agent: &Value, task: &Value) -> Value {
    world.post("/states", new_state(id(task), id(agent))).await.ok()
}

/// A server with the permission model; alice owns an agent, a task and a state.
async fn owned() -> (World, Value, Value, Value) {
    let world = World::with_authorization().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    let agent = by_alice("POST", "/agents/register", registration("a", "sync", "http://agent.test:1")).await;
    let call = json!({"method": "task/create", "params": {}});
    let task = by_alice("POST", "/agents/name/a/rpc", call).await["result"].clone();
    let state = by_alice("POST", "/states", new_state(id(&task), id(&agent))).await;
    (world, agent, task, state)
}

/// states §6: 5, 6, 7
#[tokio::test]
async fn a_state_is_stored_replaced_as_a_whole_and_deleted_once() {
    let (world, agent, task) = with_task().await;
    let made = stored(&world, &agent, &task).await;
    let path = format!("/states/{}", id(&made));
    assert_eq!((&made["task_id"], &made["agent_id"], &made["state"]), (&task["id"], &agent["id"], &json!({"step": 1})));
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(world.get(&path).await.ok(), made);

    world.clock.advance(Duration::from_secs(1));
    let other = json!({"state": {}, "task_id": "other", "agent_id": "other", "id": "other"});
    let replaced = world.put(&path, other).await.ok();

    for member in ["id", "task_id", "agent_id", "created_at"] {
        assert_eq!(replaced[member], made[member]);
    }
    assert_eq!(replaced["state"], json!({}));
    assert!(replaced["updated_at"].as_str() > made["updated_at"].as_str());
    assert_eq!(world.get(&path).await.ok(), replaced);
    assert_eq!(world.delete(&path).await.ok(), replaced);
    world.delete(&path).await.refused(404, &absent(id(&made)));
    world.get(&path).await.refused(404, &absent(id(&made)));
    world.put(&path, json!({"state": {}})).await.refused(404, &absent(id(&made)));
}

#[tokio::test]
async fn of_two_who_replace_what_both_have_read_the_second_is_told_so() {
    let (world, agent, task) = with_task().await;
    let made = world.post("/states", new_state(id(&task), id(&agent))).await;
    let version = made.header("etag").unwrap().to_owned();
    let path = format!("/states/{}", id(&made.ok()));
    assert_eq!(world.get(&path).await.header("etag"), Some(version.as_str()));
    let put = async |tags: &str, step: u64| {
        let body = json!({"state": {"step": step}}).to_string();
        world.call("PUT", &path, &[("if-match", tags)], Some(&body)).await
    };

    let first = put(&version, 2).await;
    let next = first.header("etag").unwrap().to_owned();
    assert_eq!(first.ok()["state"], json!({"step": 2}));
    assert_ne!(next, version);

    for outdated in [version.as_str(), "\"\"", "\"x\"", "W/", &format!("W/{next}"), next.trim_matches('"'), ""] {
        put(outdated, 3).await.refused(412, "The state has been changed since; read it again");
    }
    assert_eq!(world.get(&path).await.ok()["state"], json!({"step": 2}));

    assert_eq!(put(&format!("{version} , {next}"), 4).await.ok()["state"], json!({"step": 4}));
    assert_eq!(put("*", 5).await.ok()["state"], json!({"step": 5}));
    assert_eq!(world.put(&path, json!({"state": {"step": 6}})).await.ok()["state"], json!({"step": 6}));
    world.delete(&path).await.ok();
    put("*", 7).await.refused(404, &absent(path.trim_start_matches("/states/")));
    put(&version, 7).await.refused(404, &absent(path.trim_start_matches("/states/")));
}

/// states §6: 10
///
/// authz §7: 139
#[tokio::test]
async fn wrong_states_are_refused_before_anything_is_asked() {
    let (world, agent, task) = with_task().await;
    let made = stored(&world, &agent, &task).await;
    let with = |member: &str, value: Value| {
        let mut body = new_state(id(&task), id(&agent));
        body[member] = value;
        body
    };
    world.calls.take();

    for (body, text) in [
        (json!({"agent_id": id(&agent), "state": {}}), "body.task_id: Field required"),
        (json!({"task_id": id(&task), "state": {}}), "body.agent_id: Field required"),
        (json!({"task_id": id(&task), "agent_id": id(&agent)}), "body.state: Field required"),
        (with("task_id", json!(5)), "body.task_id"),
        (with("task_id", json!("")), "body.task_id"),
        (with("task_id", json!("*")), "body.task_id"),
        (with("state", json!([])), "body.state: Input should be a valid dictionary"),
        (with("state", json!("s")), "body.state: Input should be a valid dictionary"),
        (with("state", Value::Null), "body.state: Input should be a valid dictionary"),
        (with("state", json!({"a": ["x\u{0}y"]})), "state contains a NUL character"),
    ] {
        let told = world.post("/states", body.clone()).await.invalid();
        assert!(told.contains(text), "{body}: {told}");
    }
    for body in [json!({}), json!({"state": []})] {
        world.put(&format!("/states/{}", id(&made)), body).await.invalid();
    }
    assert_eq!(world.calls.questions(), [""; 0]);
}

/// states §6: 1
///
/// authz §7: 140
#[tokio::test]
async fn who_may_only_see_a_task_stores_no_state() {
    let (world, agent, task, state) = owned().await;
    world.share("vic", Read, ResourceRef::task(id(&task))).await;
    world.calls.take();

    let refused = world.call_as("vic", "POST", "/states", Some(new_state(id(&task), id(&agent)))).await;

    refused.refused(403, FORBIDDEN);
    let task_ref = format!("task:{}", id(&task));
    assert_eq!(world.calls.questions(), [format!("check update {task_ref}"), format!("check read {task_ref}")]);
    let listed = world.call_as("alice", "GET", "/states", None).await.ok();
    assert_eq!(ids(&listed), [id(&state)]);
}

/// states §6: 2, 11
///
/// authz §7: 140
#[tokio::test]
async fn a_state_of_a_hidden_task_is_like_an_absent_one() {
    let (world, agent, task, state) = owned().await;
    let path = format!("/states/{}", id(&state));
    let body = |method| (method == "PUT").then(|| json!({"state": {}}));
    for method in ["GET", "PUT", "DELETE"] {
        for user in ["mallory", "alice@elsewhere"] {
            world.calls.take();
            let hidden = world.call_as(user, method, &path, body(method)).await;
            let asked = world.calls.take().len();
            let nothing = world.call_as(user, method, "/states/nope", body(method)).await;
            assert_eq!(world.calls.take().len(), asked, "{method}");
            hidden.refused(404, &absent(id(&state)));
            nothing.refused(404, &absent("nope"));
            assert!(!hidden.text().contains(id(&task)));
        }
        world.call_as("alice", method, "/states/nope", body(method)).await.refused(404, &absent("nope"));
    }
    for (method, path, body) in [
        ("POST", "/states".to_owned(), Some(new_state(id(&task), id(&agent)))),
        ("GET", format!("/states?task_id={}", id(&task)), None),
    ] {
        world.call_as("mallory", method, &path, body).await.refused(404, &absent(id(&task)));
    }

    let before = world.call_as("mallory", "GET", &path, None).await;
    world.call_as("alice", "DELETE", &format!("/tasks/{}", id(&task)), None).await.ok();
    for user in ["mallory", "alice"] {
        assert_eq!(shown(&world.call_as(user, "GET", &path, None).await), shown(&before));
    }
}

/// Without authorization nothing is hidden, and still nothing is left of a deleted task.
#[tokio::test]
async fn states_go_with_their_task_even_without_authorization() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let task = world.task("a").await;
    let agent = world.get("/agents/name/a").await.ok();
    let state = stored(&world, &agent, &task).await;
    let path = format!("/states/{}", id(&state));
    world.delete(&format!("/tasks/{}", id(&task))).await.ok();

    world.get(&path).await.refused(404, &absent(id(&state)));
    world.put(&path, json!({"state": {}})).await.refused(404, &absent(id(&state)));
    world.delete(&path).await.refused(404, &absent(id(&state)));
    for gone in [id(&task), "nope"] {
        world.post("/states", new_state(gone, id(&agent))).await.refused(404, &absent(gone));
        assert_eq!(world.get(&format!("/states?task_id={gone}")).await.ok(), json!([]));
    }
    assert_eq!(world.get("/states").await.ok(), json!([]));
}

/// Each route takes its own operation on the task, and is refused when only that is missing.
#[tokio::test]
async fn changing_takes_update_and_deleting_takes_delete() {
    let (world, agent, task) = with_task().await;
    let made = stored(&world, &agent, &task).await;
    let path = format!("/states/{}", id(&made));
    world.rules.deny(id(&task), &[Update, Delete]);

    world.get(&path).await.ok();
    for (method, body, operation) in [("PUT", Some(r#"{"state": {}}"#), "update"), ("DELETE", None, "delete")] {
        world.calls.take();
        world.call(method, &path, &[], body).await.refused(403, FORBIDDEN);
        assert_eq!(
            world.calls.questions(),
            [operation, "read"].map(|asked| format!("check {asked} task:{}", id(&task)))
        );
    }
    assert_eq!(world.get(&path).await.ok(), made);
}

/// states §6: 3
///
/// authz §7: 141
#[tokio::test]
async fn a_list_asks_about_one_task_or_which_tasks_there_are() {
    let (world, agent, task) = with_task().await;
    let other = world.task("a").await;
    let (one, two) = (stored(&world, &agent, &task).await, stored(&world, &agent, &other).await);
    world.calls.take();

    let of_task = world.get(&format!("/states?task_id={}", id(&task))).await.ok();
    assert_eq!(world.calls.questions(), [format!("check read task:{}", id(&task))]);
    assert_eq!(of_task, json!([one]));
    let all = world.get("/states?agent_id=").await.ok();
    assert_eq!(world.calls.questions(), ["list read task"]);
    assert_eq!(all, json!([one, two]));

    world.rules.show_only(&[id(&other)]);
    assert_eq!(world.get("/states").await.ok(), json!([two]));
    // What is listed does not decide about a task that is named.
    assert_eq!(world.get(&format!("/states?task_id={}", id(&task))).await.ok(), json!([one]));
    world.get("/states?task_id=").await.invalid();
}

/// states §6: 4
///
/// authz §7: 142
#[tokio::test]
async fn who_sees_no_task_sees_no_state_and_the_store_is_not_asked() {
    let (world, agent, task) = with_task().await;
    stored(&world, &agent, &task).await;
    world.rules.show_only(&[]);
    world.store.close().await;

    assert_eq!(world.get("/states").await.ok(), json!([]));
    assert_eq!(world.get(&format!("/states?agent_id={}", id(&agent))).await.ok(), json!([]));
}

/// states §6: 8, 9
#[tokio::test]
async fn lists_are_oldest_first_paged_without_gaps_and_reversible() {
    let (world, agent, task) = with_task().await;
    let mut written = Vec::new();
    for _ in 0..60 {
        written.push(id(&stored(&world, &agent, &task).await).to_owned());
    }
    let list = async |query: &str| {
        let listed = world.get(&format!("/states?task_id={}{query}", id(&task))).await.ok();
        ids(&listed).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };

    assert_eq!(list("").await, written[..50]);
    assert_eq!(list("&order_direction=asc").await, written[..50]);
    assert_eq!(list("&order_by=evil&limit=5000").await, written);
    let mut paged = Vec::new();
    for page in 1..=4 {
        paged.extend(list(&format!("&limit=20&page_number={page}")).await);
    }
    assert_eq!(paged, written);
    for column in ["created_at", "updated_at", "id", "agent_id", "task_id"] {
        let mut ascending = list(&format!("&order_by={column}&order_direction=asc&limit=60")).await;
        ascending.reverse();
        assert_eq!(list(&format!("&order_by={column}&limit=60")).await, ascending, "{column}");
    }
    assert_eq!(list("&agent_id=nobody").await, [""; 0]);
    for wrong in ["limit=0", "limit=x", "page_number=0", "task_id=*"] {
        world.get(&format!("/states?{wrong}")).await.invalid();
    }
}

/// A state is for one of the task's agents; where the link is only watched, for anybody.
#[tokio::test]
async fn a_state_is_for_an_agent_of_the_task() {
    let (world, _, task) = with_task().await;
    let stranger = world.agent("stranger", "sync", "http://agent.test:1").await;
    for agent in [id(&stranger), "nope"] {
        world.post("/states", new_state(id(&task), agent)).await.refused(404, &absent(agent));
        world.post("/states", new_state("gone", agent)).await.refused(404, &absent("gone"));
    }
    assert_eq!(world.get("/states").await.ok(), json!([]));

    let authorization = AuthorizationSettings { task_agent_link: LinkRule::Warn, ..AuthorizationSettings::default() };
    let settings = Settings { authorization, ..Settings::default() };
    let world = World::with(Setup { settings, authorization: Authorization::Off, ..Setup::default() }).await;
    let task = world.task("a").await;
    world.post("/states", new_state(id(&task), "anybody")).await.ok();
    world.post("/states", new_state("gone", "anybody")).await.refused(404, &absent("gone"));
}

/// An agent by itself works on the states of its own tasks only.
#[tokio::test]
async fn agents_see_and_change_the_states_of_their_own_tasks() {
    let (world, agent, task, state) = owned().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    let other = by_alice("POST", "/agents/register", registration("b", "sync", "http://agent.test:1")).await;
    let foreign = by_alice("POST", "/agents/name/b/rpc", json!({"method": "task/create", "params": {}})).await;
    let foreign = foreign["result"].clone();
    let hidden = by_alice("POST", "/states", new_state(id(&foreign), id(&other))).await;
    let key = agent["agent_api_key"].as_str().unwrap();
    let by_agent = async |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        world.call(method, path, &[("x-agent-api-key", key)], body.as_deref()).await
    };

    let own = by_agent("POST", "/states", Some(new_state(id(&task), id(&agent)))).await.ok();
    by_agent("PUT", &format!("/states/{}", id(&own)), Some(json!({"state": {}}))).await.ok();
    let listed = by_agent("GET", "/states", None).await.ok();
    assert_eq!(ids(&listed).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([id(&own), id(&state)]));
    by_agent("DELETE", &format!("/states/{}", id(&own)), None).await.refused(403, FORBIDDEN);
    for (method, path, body, told) in [
        ("GET", format!("/states/{}", id(&hidden)), None, id(&hidden)),
        ("PUT", format!("/states/{}", id(&hidden)), Some(json!({"state": {}})), id(&hidden)),
        ("GET", format!("/states?task_id={}", id(&foreign)), None, id(&foreign)),
        ("POST", "/states".to_owned(), Some(new_state(id(&foreign), id(&other))), id(&foreign)),
    ] {
        by_agent(method, &path, body).await.refused(404, &absent(told));
    }
    let operations: [Operation; 2] = [Read, Update];
    for operation in operations {
        world.share("bob", operation, ResourceRef::task(id(&foreign))).await;
    }
    let listed = world.call_as("bob", "GET", "/states", None).await.ok();
    assert_eq!(ids(&listed), [id(&hidden)]);
}
