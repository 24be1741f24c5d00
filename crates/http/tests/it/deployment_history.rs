//! Which commits were deployed, over the wire.

use std::collections::BTreeSet;
use std::time::Duration;

use agentex_authz::Operation::Read;
use agentex_authz::ResourceRef;
use serde_json::{Value, json};

use crate::endpoints::shown;
use crate::support::{Authorization, Setup, World, id, ids, registration};

fn of_commit(name: &str, metadata: Value) -> Value {
    let mut body = registration(name, "sync", "http://agent.test:1");
    body["registration_metadata"] = metadata;
    body
}

async fn register(world: &World, metadata: Value) -> Value {
    world.clock.advance(Duration::from_secs(1));
    world.post("/agents/register", of_commit("a", metadata)).await.ok()
}

async fn history(world: &World) -> Value {
    world.get("/deployment-history?agent_name=a").await.ok()
}

fn commits(history: &Value) -> Vec<&str> {
    history.as_array().unwrap().iter().map(|entry| entry["commit_hash"].as_str().unwrap()).collect()
}

fn no_entry(id: &str) -> String {
    format!("Deployment not found: Item with id '{id}' does not exist.")
}

/// agents §13: 62
#[tokio::test]
async fn an_entry_takes_a_commit_and_a_branch_and_a_new_commit_another() {
    let world = World::new().await;
    for metadata in [Value::Null, json!({"branch_name": "main"})] {
        register(&world, metadata).await;
        assert_eq!(history(&world).await, json!([]));
    }

    let agent = register(&world, json!({"agent_commit": "c1"})).await;
    let first = history(&world).await;
    let again = register(&world, json!({"agent_commit": "c1", "author_name": "Ada", "more": 1})).await;
    let same = history(&world).await;
    let built = json!({"agent_commit": "c2", "author_email": "a@x", "build_timestamp": "2024-01-02T03:04:05+01:00"});
    register(&world, built).await;
    let both = history(&world).await;

    let entry = &first[0];
    assert_eq!(
        entry,
        &json!({
            "id": id(entry), "agent_id": id(&agent), "author_name": "N/A", "author_email": "N/A", "branch_name": "main",
            "build_timestamp": agent["registered_at"], "deployment_timestamp": agent["registered_at"], "commit_hash": "c1",
        })
    );
    assert_ne!(again["registered_at"], agent["registered_at"]);
    assert_eq!(same, first);
    assert_eq!(commits(&both), ["c2", "c1"]);
    assert_eq!((&both[0]["author_name"], &both[0]["author_email"]), (&json!("Ada"), &json!("a@x")));
    assert_eq!(both[0]["build_timestamp"], "2024-01-02T02:04:05Z");
    assert_eq!(world.get(&format!("/deployment-history/{}", id(entry))).await.ok(), *entry);
}

/// agents §13: 63
#[tokio::test]
async fn a_commit_that_comes_back_is_deployed_again() {
    let world = World::new().await;

    for commit in ["A", "B", "A"] {
        register(&world, json!({"agent_commit": commit, "branch_name": "main"})).await;
    }

    let history = history(&world).await;
    assert_eq!(commits(&history), ["A", "B", "A"]);
    assert_eq!(ids(&history).into_iter().collect::<BTreeSet<_>>().len(), 3);
}

/// A build, a deployment's pod, a promotion and a time that cannot be read leave nothing behind, and none fails for it.
#[tokio::test]
async fn only_registrations_of_the_agent_as_a_whole_are_deployments() {
    let world = World::new().await;
    let commit = json!({"agent_commit": "c1", "branch_name": "main"});
    let build = json!({"name": "a", "description": "d", "registration_metadata": commit});
    let agent = world.post("/agents/register-build", build).await.ok();
    let mut with_deployment = commit.clone();
    with_deployment["deployment_id"] = json!("d");
    register(&world, with_deployment).await;
    world.post(&format!("/agents/{}/deployments/d/promote", id(&agent)), json!({})).await.ok();
    assert_eq!(history(&world).await, json!([]));

    for built in [json!("yesterday"), json!(5), json!("-20000-01-01T00:00:00Z")] {
        let mut odd = commit.clone();
        odd["build_timestamp"] = built;
        register(&world, odd).await;
        assert_eq!(history(&world).await, json!([]));
    }
    assert_eq!(world.get("/agents/name/a").await.ok()["status"], "Ready");
}

/// agents §13: 64
#[tokio::test]
async fn exactly_one_agent_is_named_and_it_must_be_there() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let agent = register(&world, json!({"agent_commit": "c", "branch_name": "main"})).await;
    let neither = "Either 'agent_id' or 'agent_name' must be provided to list deployment history.";
    let both = "Only one of 'agent_id' or 'agent_name' should be provided to list deployment history.";
    let list = async |query: &str| world.get(&format!("/deployment-history{query}")).await;

    for query in ["", "?agent_id=", "?limit=5"] {
        list(query).await.refused(400, neither);
    }
    list("?agent_id=x&agent_name=a").await.refused(400, both);
    list("?agent_id=nope").await.refused(404, "Item with id 'nope' does not exist.");
    list("?agent_name=nope").await.refused(404, "Item with name 'nope' does not exist.");
    for wrong in ["limit=0", "limit=-1", "limit=x", "limit=99999999999999999999", "page_number=0"] {
        list(&format!("?agent_name=a&{wrong}")).await.invalid();
    }
    let entry = history(&world).await[0].clone();
    assert_eq!(list(&format!("?agent_id={}", id(&agent))).await.ok(), json!([entry]));
    world.get("/deployment-history/nope").await.refused(404, &no_entry("nope"));
    world.delete("/agents/name/a").await.ok();
    list("?agent_name=a").await.refused(404, "Item with name 'a' does not exist.");
    world.get(&format!("/deployment-history/{}", id(&entry))).await.refused(404, &no_entry(id(&entry)));
}

/// agents §13: 65
#[tokio::test]
async fn pages_show_every_entry_once_newest_first() {
    let world = World::new().await;
    let mut newest_first = Vec::new();
    for number in 0..60 {
        let commit = format!("{number:02}");
        // Every other one in the same moment as the one before.
        if number % 2 == 0 {
            world.clock.advance(Duration::from_secs(1));
        }
        let body = of_commit("a", json!({"agent_commit": commit, "branch_name": "main"}));
        world.post("/agents/register", body).await.ok();
        newest_first.insert(0, commit);
    }
    let mut seen = Vec::new();

    for page in 1..=9 {
        let listed = world.get(&format!("/deployment-history?agent_name=a&limit=7&page_number={page}")).await.ok();
        seen.extend(commits(&listed).into_iter().map(str::to_owned));
    }

    assert_eq!(seen, newest_first);
    assert_eq!(commits(&history(&world).await), newest_first[..50]);
    let oldest = world.get("/deployment-history?agent_name=a&order_direction=asc&limit=1").await.ok();
    assert_eq!(commits(&oldest), ["00"]);
    for column in ["id", "author_name", "author_email", "branch_name", "build_timestamp", "commit_hash", "evil"] {
        let listed = world.get(&format!("/deployment-history?agent_name=a&order_by={column}&limit=1")).await.ok();
        assert_eq!(commits(&listed), ["59"], "{column}");
    }
}

/// agents §13: 66
/// authz §7: 150
#[tokio::test]
async fn the_history_of_a_hidden_agent_is_like_that_of_an_absent_one() {
    let world = World::with_authorization().await;
    let body = of_commit("a", json!({"agent_commit": "c", "branch_name": "main"}));
    let agent = world.call_as("alice", "POST", "/agents/register", Some(body)).await.ok();
    world.share("una", Read, ResourceRef::agent(id(&agent))).await;
    let by_id = format!("/deployment-history?agent_id={}", id(&agent));
    let entry = world.call_as("una", "GET", &by_id, None).await.ok()[0].clone();
    let one = format!("/deployment-history/{}", id(&entry));
    world.call_as("una", "GET", &one, None).await.ok();

    for user in ["mallory", "alice@elsewhere"] {
        for (path, hidden, other, absent) in [
            (one.as_str(), no_entry(id(&entry)), "/deployment-history/nope", no_entry("nope")),
            (
                &by_id,
                format!("Item with id '{}' does not exist.", id(&agent)),
                "/deployment-history?agent_id=nope",
                "Item with id 'nope' does not exist.".to_owned(),
            ),
            (
                "/deployment-history?agent_name=a",
                "Item with name 'a' does not exist.".to_owned(),
                "/deployment-history?agent_name=nope",
                "Item with name 'nope' does not exist.".to_owned(),
            ),
        ] {
            world.calls.take();
            world.call_as(user, "GET", path, None).await.refused(404, &hidden);
            assert_eq!(world.calls.take().len(), 1);
            world.call_as(user, "GET", other, None).await.refused(404, &absent);
            assert_eq!(world.calls.take().len(), 1);
        }
    }
    let hidden = world.call_as("mallory", "GET", &one, None).await;
    world.call_as("alice", "DELETE", "/agents/name/a", None).await.ok();
    for user in ["alice", "una", "mallory"] {
        assert_eq!(shown(&world.call_as(user, "GET", &one, None).await), shown(&hidden));
    }
}
