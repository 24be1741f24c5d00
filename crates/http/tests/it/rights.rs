//! Who may do what with agents, tasks and messages, under the permission model.

use agentex_app::Settings;
use agentex_authz::{Operation, ResourceRef};
use agentex_testkit::fake_agent::FakeAgent;
use serde_json::{Value, json};

use crate::endpoints::{Stage, Thing, table};
use crate::support::{Answer, Authorization, Setup, World, id, ids, registration, text_content};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";
const AGENT: &str = "http://agent.test:1";

async fn strict_rules() -> World {
    World::with(Setup { authorization: Authorization::StrictRules, ..Setup::default() }).await
}

/// A server with the permission model, and things of alice. Bob may edit and vic may see her task; ann may edit and una may
/// see her agent.
async fn shared() -> (World, Stage) {
    let world = World::with_authorization().await;
    let stage = Stage::set(&world, "s", AGENT).await;
    world.share("bob", Operation::Update, ResourceRef::task(stage.id(Thing::Task))).await;
    world.share("vic", Operation::Read, ResourceRef::task(stage.id(Thing::Task))).await;
    world.share("ann", Operation::Update, ResourceRef::agent(stage.id(Thing::Agent))).await;
    world.share("una", Operation::Read, ResourceRef::agent(stage.id(Thing::Agent))).await;
    (world, stage)
}

async fn post_as(world: &World, user: &str, path: &str, body: Value) -> Answer {
    world.call_as(user, "POST", path, Some(body)).await
}

/// A call of the agent of the stage.
async fn rpc(world: &World, stage: &Stage, user: &str, method: &str, params: Value) -> Answer {
    let path = format!("/agents/{}/rpc", stage.id(Thing::Agent));
    post_as(world, user, &path, json!({"method": method, "params": params})).await
}

fn task_path(stage: &Stage) -> String {
    format!("/tasks/{}", stage.id(Thing::Task))
}

fn absent_id(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

fn absent_name(name: &str) -> String {
    format!("Item with name '{name}' does not exist.")
}

/// authz §7: 76, 77, 78
/// agents §13: 44
#[tokio::test]
async fn the_backend_says_which_agents_are_listed_and_for_none_the_store_is_not_asked() {
    let world = strict_rules().await;
    let (a, b) = (Stage::set(&world, "a", AGENT).await, Stage::set(&world, "b", AGENT).await);
    let list = async || world.call_as("alice", "GET", "/agents", None).await.ok();

    assert_eq!(ids(&list().await).len(), 2);
    world.rules.show_only(&[a.id(Thing::Agent)]);
    assert_eq!(ids(&list().await), [a.id(Thing::Agent)]);
    assert_ne!(a.id(Thing::Agent), b.id(Thing::Agent));
    world.rules.show_only(&[]);
    world.store.close().await;
    assert_eq!(list().await, json!([]));
}

/// authz §7: 79
/// agents §13: 44
#[tokio::test]
async fn pages_are_pages_of_what_may_be_read() {
    let world = World::with_authorization().await;
    let mut readable = Vec::new();
    for number in 0..30 {
        let body = registration(&format!("agent-{number:02}"), "sync", AGENT);
        let agent = post_as(&world, "alice", "/agents/register", body).await.ok();
        if number % 6 == 5 {
            world.share("una", Operation::Read, ResourceRef::agent(id(&agent))).await;
            readable.push(agent["name"].as_str().unwrap().to_owned());
        }
    }
    let page = async |number: u32| {
        let path = format!("/agents?limit=2&page_number={number}&order_by=name&order_direction=asc");
        let listed = world.call_as("una", "GET", &path, None).await.ok();
        let names = listed.as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };

    assert_eq!(page(1).await, readable[..2]);
    assert_eq!(page(2).await, readable[2..4]);
    assert_eq!(page(3).await, readable[4..]);
    assert!(page(4).await.is_empty());
}

/// authz §7: 80, 83
#[tokio::test]
async fn deleting_an_agent_asks_about_the_resolved_id_and_clears_the_graph_afterwards() {
    for by_name in [true, false] {
        let (world, stage) = shared().await;
        let agent = stage.id(Thing::Agent).to_owned();
        let name = stage.address.part("agent_name");
        let path = if by_name { format!("/agents/name/{name}") } else { format!("/agents/{agent}") };
        world.calls.take();

        world.call_as("alice", "DELETE", &path, None).await.ok();

        let calls = world.calls.take();
        assert_eq!(calls[0], format!("check delete agent:{agent}"));
        let place = |wanted: String| calls.iter().position(|call| *call == wanted).unwrap();
        assert!(
            place(format!("deregister agent:{agent}")) < place(format!("revoke delete agent:{agent}")),
            "{calls:?}"
        );
        let absent = if by_name { absent_name(name) } else { absent_id(&agent) };
        world.call_as("alice", "DELETE", &path, None).await.refused(404, &absent);
        let held = world.store.relationships().load().await.unwrap().relationships;
        assert!(held.iter().all(|edge| *edge.resource.id != *agent), "{held:?}");
    }
}

/// authz §7: 84, 85
#[tokio::test]
async fn calling_an_agent_takes_more_than_seeing_it() {
    let (world, stage) = shared().await;
    let (agent, name) = (stage.id(Thing::Agent), stage.address.part("agent_name"));
    let call = json!({"method": "task/create", "params": {}});

    for path in [format!("/agents/{agent}/rpc"), format!("/agents/name/{name}/rpc")] {
        post_as(&world, "una", &path, call.clone()).await.refused(403, FORBIDDEN);
        post_as(&world, "ann", &path, call.clone()).await.ok();
    }
    let stranger = post_as(&world, "mallory", &format!("/agents/{agent}/rpc"), call.clone()).await;
    stranger.refused(404, &absent_id(agent));
    let stranger = post_as(&world, "mallory", &format!("/agents/name/{name}/rpc"), call).await;
    stranger.refused(404, &absent_name(name));
}

/// authz §7: 104, 105, 106, 205, 206
#[tokio::test]
async fn editors_work_on_tasks_owners_end_them_and_viewers_look_on() {
    let (world, stage) = shared().await;
    let path = task_path(&stage);
    let (change, cancel) = (json!({"task_metadata": {"k": "v"}}), format!("{path}/cancel"));
    let put = async |user: &str| world.call_as(user, "PUT", &path, Some(change.clone())).await;

    world.call_as("vic", "GET", &path, None).await.ok();
    put("vic").await.refused(403, FORBIDDEN);
    put("mallory").await.refused(404, &absent_id(stage.id(Thing::Task)));
    put("bob").await.ok();
    post_as(&world, "bob", &cancel, json!({})).await.refused(403, FORBIDDEN);
    world.call_as("bob", "DELETE", &path, None).await.refused(403, FORBIDDEN);
    // Owning the agent of a task is no right to the task.
    put("ann").await.refused(404, &absent_id(stage.id(Thing::Task)));

    assert_eq!(post_as(&world, "alice", &cancel, json!({})).await.ok()["status"], "CANCELED");
    let (world, stage) = shared().await;
    let completed = post_as(&world, "bob", &format!("{}/complete", task_path(&stage)), json!({})).await.ok();
    assert_eq!(completed["status"], "COMPLETED");
}

/// authz §7: 108, 109
#[tokio::test]
async fn a_task_that_took_an_old_ones_name_is_left_alone() {
    let world = World::with_authorization().await;
    let stage = Stage::set(&world, "s", AGENT).await;
    let name = stage.address.part("task_name");
    let by_name = "/tasks/name/task%20s";
    world.calls.take();

    world.call_as("alice", "DELETE", by_name, None).await.ok();

    let of_first = world.calls.writes();
    assert_eq!(of_first[0], format!("deregister task:{}", stage.id(Thing::Task)));
    let second = rpc(&world, &stage, "alice", "task/create", json!({"name": name})).await.ok()["result"].clone();
    world.calls.take();
    world.call_as("alice", "DELETE", &task_path(&stage), None).await.refused(404, &absent_id(stage.id(Thing::Task)));
    world.call_as("alice", "DELETE", "/tasks/name/none", None).await.refused(404, &absent_name("none"));
    assert!(world.calls.writes().is_empty());
    assert_eq!(id(&world.call_as("alice", "GET", by_name, None).await.ok()), id(&second));
    assert_ne!(id(&second), stage.id(Thing::Task));
}

/// authz §7: 111
#[tokio::test]
async fn a_filter_narrows_what_may_be_read_and_never_widens_it() {
    let world = World::with_authorization().await;
    let (one, two) = (Stage::set(&world, "1", AGENT).await, Stage::set(&world, "2", AGENT).await);
    let unseen = rpc(&world, &one, "alice", "task/create", json!({})).await.ok()["result"].clone();
    for stage in [&one, &two] {
        world.share("vic", Operation::Read, ResourceRef::task(stage.id(Thing::Task))).await;
    }
    let list = async |query: &str| {
        let listed = world.call_as("vic", "GET", &format!("/tasks?{query}"), None).await.ok();
        ids(&listed).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };

    assert_eq!(list("").await.len(), 2);
    assert_eq!(list("agent_name=agent-1").await, [one.id(Thing::Task)]);
    assert_eq!(list(&format!("agent_id={}&status=RUNNING", two.id(Thing::Agent))).await, [two.id(Thing::Task)]);
    assert!(list("agent_name=agent-1&status=COMPLETED").await.is_empty());
    assert_ne!(id(&unseen), one.id(Thing::Task));
    // The agents of readable tasks are not readable for that.
    let listed = world.call_as("vic", "GET", "/tasks?relationships=agents", None).await.ok();
    assert!(listed.as_array().unwrap().iter().all(|task| task["agents"] == json!([])), "{listed}");
    let agents = world.call_as("vic", "GET", &format!("/agents?task_id={}", one.id(Thing::Task)), None).await.ok();
    assert_eq!(agents, json!([]));
}

/// authz §7: 116, 117, 118
#[tokio::test]
async fn a_name_of_somebody_elses_task_is_neither_taken_over_nor_changed() {
    let (world, stage) = shared().await;
    let create = async |user: &str, params: Value| {
        rpc(&world, &stage, user, "task/create", json!({"name": "mine", "params": params})).await
    };
    world.calls.take();
    let mine = create("alice", json!({"a": 1})).await.ok()["result"].clone();
    assert_eq!(world.calls.take()[0], format!("check execute agent:{}, create task:*", stage.id(Thing::Agent)));
    let path = format!("/tasks/{}", id(&mine));
    post_as(&world, "alice", &format!("{path}/interrupt"), json!({})).await.ok();

    create("ann", json!({"a": 2})).await.refused(404, &absent_name("mine"));

    let kept = world.call_as("alice", "GET", &path, None).await.ok();
    assert_eq!((&kept["status"], &kept["params"]), (&json!("INTERRUPTED"), &json!({"a": 1})));
    world.calls.take();
    let again = create("alice", json!({"a": 3})).await.ok()["result"].clone();
    let (agent, task) = (stage.id(Thing::Agent), id(&mine));
    assert_eq!(id(&again), task);
    assert_eq!(world.calls.take()[0], format!("check execute agent:{agent}, update task:{task}"));
}

/// authz §7: 120, 121
#[tokio::test]
async fn a_task_that_may_not_be_sent_to_never_leads_to_a_new_one() {
    let (world, stage) = shared().await;
    world.share("vic", Operation::Update, ResourceRef::agent(stage.id(Thing::Agent))).await;
    let params = json!({"task_name": stage.address.part("task_name"), "content": text_content("hi")});
    let send = async |user: &str| rpc(&world, &stage, user, "message/send", params.clone()).await;
    world.calls.take();

    send("vic").await.refused(403, FORBIDDEN);
    send("ann").await.refused(404, &absent_name(stage.address.part("task_name")));

    let calls = world.calls.take();
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(calls.iter().all(|call| !call.contains("create")), "{calls:?}");
}

/// authz §7: 123
#[tokio::test]
async fn a_task_that_cannot_be_looked_up_is_an_outage_and_not_absent() {
    let (world, stage) = shared().await;
    world.calls.take();
    world.store.close().await;

    let params = json!({"task_name": stage.address.part("task_name"), "content": text_content("hi")});
    let answer = rpc(&world, &stage, "alice", "message/send", params).await;

    assert!(answer.status.is_server_error(), "{}", answer.status);
    assert!(world.calls.take().is_empty());
}

/// authz §7: 125, 126, 127, 129, 139
#[tokio::test]
async fn what_names_no_task_or_no_method_is_invalid_and_goes_nowhere() {
    let world = World::with_authorization().await;
    let agent = FakeAgent::start().await;
    let stage = Stage::set(&world, "s", agent.url()).await;
    let (task, content) = (stage.id(Thing::Task), text_content("hi"));
    let both = json!({"task_id": task, "task_name": "task s", "content": content});
    world.calls.take();

    for (method, params) in [
        ("message/send", json!({"task_id": "", "content": content})),
        ("message/send", both.clone()),
        ("event/send", both),
        ("event/send", json!({"content": content})),
        ("task/cancel", json!({})),
        ("task/interrupt", json!({"task_id": task, "task_name": "task s"})),
        ("task/destroy", json!({"task_id": task})),
    ] {
        rpc(&world, &stage, "alice", method, params.clone()).await.invalid();
        // Only whether the caller may know that the agent is there.
        assert_eq!(world.calls.take(), [format!("check read agent:{}", stage.id(Thing::Agent))], "{method} {params}");
    }
    post_as(&world, "alice", "/messages", json!({"content": content})).await.invalid();
    post_as(&world, "alice", "/messages/batch", json!({"contents": [content]})).await.invalid();
    assert!(world.calls.take().is_empty());
    assert!(agent.calls().is_empty());
}

/// Which check a method takes is decided by a match without a default arm, so a method without one does not compile; and one
/// that is not in the table of endpoints fails here.
///
/// authz §7: 130
#[test]
fn every_method_of_calls_is_in_the_table_of_endpoints() {
    let document = serde_json::to_value(agentex_http::openapi()).unwrap();
    let methods = document["components"]["schemas"]["AgentRPCMethod"]["enum"].as_array().unwrap();
    for path in ["/agents/{agent_id}/rpc", "/agents/name/{agent_name}/rpc"] {
        let rows: Vec<_> = table().into_iter().filter(|row| row.path == path).collect();
        for method in methods {
            assert!(rows.iter().any(|row| row.case.starts_with(method.as_str().unwrap())), "{path} {method}");
        }
        assert!(rows.iter().all(|row| methods.iter().any(|method| row.case.starts_with(method.as_str().unwrap()))));
    }
}

/// authz §7: 134
#[tokio::test]
async fn a_refused_stream_is_an_answer_and_not_a_line() {
    let (world, stage) = shared().await;
    world.share("vic", Operation::Update, ResourceRef::agent(stage.id(Thing::Agent))).await;
    let send = async |user: &str| {
        let params = json!({"task_id": stage.id(Thing::Task), "stream": true, "content": text_content("hi")});
        rpc(&world, &stage, user, "message/send", params).await
    };

    for (user, status) in [("vic", 403), ("ann", 404), ("una", 403), ("mallory", 404)] {
        assert_eq!(send(user).await.expect(status)["code"], status, "{user}");
    }
}

/// authz §7: 136, 137, 138
#[tokio::test]
async fn a_message_is_reached_through_its_own_task_only() {
    let world = World::with_authorization().await;
    let (mine, other) = (Stage::set(&world, "1", AGENT).await, Stage::set(&world, "2", AGENT).await);
    world.share("bob", Operation::Update, ResourceRef::task(mine.id(Thing::Task))).await;
    let (own, foreign) = (mine.address.part("message_id"), other.address.part("message_id"));
    let content = text_content("forged");

    let hidden = world.call_as("bob", "GET", &format!("/messages/{foreign}"), None).await;
    hidden.refused(404, &absent_id(foreign));
    for user in ["bob", "alice"] {
        let change = json!({"task_id": mine.id(Thing::Task), "content": content});
        let moved = world.call_as(user, "PUT", &format!("/messages/{foreign}"), Some(change)).await;
        moved.refused(404, &absent_id(foreign));
        let batch = json!({"task_id": mine.id(Thing::Task), "updates": {own: content, foreign: content}});
        world.call_as(user, "PUT", "/messages/batch", Some(batch)).await.refused(404, &absent_id(foreign));
    }

    for message in [own, foreign] {
        let kept = world.call_as("alice", "GET", &format!("/messages/{message}"), None).await.ok();
        assert_eq!(kept["content"]["content"], "first");
    }
}

/// authz §7: 43, 44, 45, 50
#[tokio::test]
async fn only_the_open_routes_are_open() {
    let (world, stage) = shared().await;
    let anonymous = async |method: &str, path: &str| {
        let answer = world.call(method, path, &[], Some("{}")).await;
        (answer.status.as_u16(), answer.text())
    };
    let unauthorized = (401, r#"{"detail":"Unauthorized"}"#.to_owned());

    for path in ["/agents/registerX", "/agents/register/x", "/agents/register-builds", "/healthzz", "/unknown"] {
        assert_eq!(anonymous("POST", path).await, unauthorized, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.get_with(path, &[("authorization", "Bearer down")]).await.status, 200, "{path}");
    }
    let claimed = [("x-agent-identity", stage.id(Thing::Agent))];
    assert_eq!(world.get_with("/tasks", &claimed).await.status, 401);
    let beside = [("x-agent-identity", stage.id(Thing::Agent)), ("authorization", "Bearer mallory")];
    world.get_with(&task_path(&stage), &beside).await.refused(404, &absent_id(stage.id(Thing::Task)));
}

/// authz §7: 48
#[tokio::test]
async fn only_an_internal_key_makes_a_caller_an_agent() {
    let (world, stage) = shared().await;
    for kind in ["external", "github", "slack"] {
        let body = json!({"agent_id": stage.id(Thing::Agent), "name": "k", "api_key_type": kind});
        let key = post_as(&world, "alice", "/agent_api_keys", body).await.ok()["api_key"].clone();

        for path in ["/tasks", "/agents", "/agent_api_keys?agent_name=agent-s"] {
            let presented = [("x-agent-api-key", key.as_str().unwrap()), ("authorization", "Bearer alice")];
            let answer = world.get_with(path, &presented).await;
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, r#"{"detail":"Agent Unauthorized"}"#));
        }
    }
}

/// authz §7: 33
#[tokio::test]
async fn where_authorization_is_off_nobody_is_refused_anything() {
    let off = Setup { authorization: Authorization::Off, settings: Settings::default(), ..Setup::default() };
    let world = World::with(off).await;
    let task = world.task("a").await;
    let path = format!("/tasks/{}", id(&task));

    assert_eq!(ids(&world.get("/tasks").await.ok()), [id(&task)]);
    world.post(&format!("{path}/cancel"), json!({})).await.ok();
    world.delete(&path).await.ok();
    world.delete("/agents/name/a").await.ok();
    assert!(world.calls.take().is_empty());
}
