//! Deployments over the wire. Numbers in comments name the list they are of.

mod preview;
mod promotion;
mod registration;

use std::time::Duration;

use agentex_authz::Operation::{Delete, Execute, Read, Update};
use agentex_authz::ResourceRef;
use agentex_testkit::fake_agent::FakeAgent;
use serde_json::{Value, json};

use crate::endpoints::shown;
use crate::support::{self, Authorization, Setup, World, id, ids};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

fn absent(deployment: &str, agent: &str) -> String {
    format!("Deployment {deployment} not found for agent {agent}")
}

fn deployments(agent: &Value) -> String {
    format!("/agents/{}/deployments", id(agent))
}

fn path(deployment: &Value) -> String {
    format!("/agents/{}/deployments/{}", deployment["agent_id"].as_str().unwrap(), id(deployment))
}

/// A server that allows everything, and an agent called `a`.
async fn with_agent() -> (World, Value) {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://agent.test:1").await;
    (world, agent)
}

async fn pending(world: &World, agent: &Value) -> Value {
    world.post(&deployments(agent), json!({"docker_image": "image:1"})).await.ok()
}

/// A registration of the pod of one deployment of the agent `a`.
fn pod_of(deployment: &str, url: &str) -> Value {
    let mut body = support::registration("a", "sync", url);
    body["registration_metadata"] = json!({"deployment_id": deployment});
    body
}

/// A deployment of the agent `a` whose pod listens at `url`.
async fn ready(world: &World, agent: &Value, url: &str) -> Value {
    let made = pending(world, agent).await;
    world.post("/agents/register", pod_of(id(&made), url)).await.ok();
    world.get(&path(&made)).await.ok()
}

async fn promote(world: &World, deployment: &Value) -> Value {
    world.post(&format!("{}/promote", path(deployment)), json!({})).await.ok()
}

async fn agent_now(world: &World) -> Value {
    world.get("/agents/name/a").await.ok()
}

/// agents §13: 47
#[tokio::test]
async fn a_new_deployment_is_pending_and_reads_back_the_same() {
    let (world, agent) = with_agent().await;
    let body = json!({
        "docker_image": "registry/image:1", "registration_metadata": {"commit_hash": "c", "n": [1, null]},
        "sgp_deploy_id": "sgp", "helm_release_name": "release", "status": "Ready", "is_production": true, "id": "mine",
    });

    let answer = world.post(&deployments(&agent), body.clone()).await;
    let made = answer.ok();

    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for member in ["docker_image", "registration_metadata", "sgp_deploy_id", "helm_release_name"] {
        assert_eq!(made[member], body[member]);
    }
    assert_eq!(
        (&made["status"], &made["is_production"], &made["agent_id"]),
        (&json!("Pending"), &json!(false), &agent["id"])
    );
    for member in ["acp_url", "promoted_at", "expires_at"] {
        assert_eq!(made[member], Value::Null, "{member}");
    }
    assert_ne!(id(&made), "mine");
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(world.get(&path(&made)).await.ok(), made);
    let bare = pending(&world, &agent).await;
    for member in ["registration_metadata", "sgp_deploy_id", "helm_release_name"] {
        assert_eq!(bare[member], Value::Null, "{member}");
    }
}

#[tokio::test]
async fn wrong_deployments_are_refused_and_nothing_is_made() {
    let (world, agent) = with_agent().await;
    for (body, text) in [
        (json!({}), "body.docker_image: Field required"),
        (json!({"docker_image": 5}), "body.docker_image: Input should be a valid string"),
        (json!({"docker_image": "a\u{0}"}), "body.docker_image"),
        (json!({"docker_image": "i", "registration_metadata": []}), "body.registration_metadata"),
        (json!({"docker_image": "i", "registration_metadata": {"k": "\u{0}"}}), "body.registration_metadata"),
        (json!({"docker_image": "i", "sgp_deploy_id": 1, "helm_release_name": {}}), "2 validation error(s)"),
    ] {
        let told = world.post(&deployments(&agent), body.clone()).await.invalid();
        assert!(told.contains(text), "{body}: {told}");
    }
    for wrong in ["limit=0", "limit=x", "page_number=0"] {
        world.get(&format!("{}?{wrong}", deployments(&agent))).await.invalid();
    }
    assert_eq!(world.get(&deployments(&agent)).await.ok(), json!([]));
    let gone = "Item with id 'nope' does not exist.";
    world.post("/agents/nope/deployments", json!({"docker_image": "i"})).await.refused(404, gone);
    // What is not there is told before what is wrong.
    world.post("/agents/nope/deployments", json!({})).await.refused(404, gone);
    world.get("/agents/nope/deployments?limit=0").await.refused(404, gone);
    world.delete(&format!("/agents/{}", id(&agent))).await.ok();
    let gone = format!("Item with id '{}' does not exist.", id(&agent));
    world.post(&deployments(&agent), json!({"docker_image": "i"})).await.refused(404, &gone);
}

/// agents §13: 48
#[tokio::test]
async fn a_list_is_newest_first_and_leaves_out_what_was_deleted() {
    let (world, agent) = with_agent().await;
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(pending(&world, &agent).await);
        world.clock.advance(Duration::from_secs(1));
    }
    let gone = made.remove(1);
    world.delete(&path(&gone)).await.ok();
    let list = async |query: &str| {
        let listed = world.get(&format!("{}{query}", deployments(&agent))).await.ok();
        ids(&listed).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let oldest_first: Vec<&str> = made.iter().map(id).collect();
    let newest_first: Vec<&str> = oldest_first.iter().copied().rev().collect();

    assert_eq!(list("").await, newest_first);
    assert_eq!(list("?order_direction=ASC").await, oldest_first);
    assert_eq!(list("?order_by=evil&limit=5000").await, newest_first);
    assert_eq!(list("?limit=2&page_number=2").await, newest_first[2..]);
    for column in ["id", "docker_image", "status", "created_at", "promoted_at"] {
        let mut ascending = list(&format!("?order_by={column}&order_direction=asc")).await;
        ascending.reverse();
        assert_eq!(list(&format!("?order_by={column}")).await, ascending, "{column}");
    }
    let expired = world.get(&path(&gone)).await.ok();
    assert!(expired["expires_at"].is_string());
    assert_eq!(expired["docker_image"], gone["docker_image"]);
}

/// One text for whatever is missing or does not belong together.
///
/// agents §13: 49
#[tokio::test]
async fn a_deployment_of_another_agent_is_absent_under_this_one() {
    let (world, agent) = with_agent().await;
    let other = world.agent("b", "sync", "http://agent.test:1").await;
    let (mine, foreign) = (pending(&world, &agent).await, pending(&world, &other).await);
    let call = json!({"method": "task/create", "params": {}});
    for deployment in [id(&foreign), "nope", "a%2Fb", "%2A"] {
        let (here, told) =
            (format!("{}/{deployment}", deployments(&agent)), deployment.replace("%2F", "/").replace("%2A", "*"));
        let absent = absent(&told, id(&agent));
        world.get(&here).await.refused(404, &absent);
        world.delete(&here).await.refused(404, &absent);
        world.post(&format!("{here}/promote"), json!({})).await.refused(404, &absent);
        world.post(&format!("{here}/rpc"), call.clone()).await.refused(404, &absent);
        world.post(&format!("{here}/rpc"), json!({})).await.refused(404, &absent);
    }
    for agent in ["nope", "%2A"] {
        let here = format!("/agents/{agent}/deployments/{}", id(&mine));
        world.get(&here).await.refused(404, &absent(id(&mine), &agent.replace("%2A", "*")));
    }
    assert_eq!(world.get(&path(&foreign)).await.ok(), foreign);
}

/// agents §13: 53
#[tokio::test]
async fn production_cannot_be_deleted_until_another_takes_its_place() {
    let (world, agent) = with_agent().await;
    let first = ready(&world, &agent, "http://agent.test:2").await;
    let second = ready(&world, &agent, "http://agent.test:3").await;
    promote(&world, &first).await;
    let refusal = "Cannot delete the current production deployment. Promote a different deployment first.";

    world.delete(&path(&first)).await.refused(400, refusal);
    assert_eq!(agent_now(&world).await["production_deployment_id"], first["id"]);
    promote(&world, &second).await;
    let deleted = world.delete(&path(&first)).await.ok();

    let message = format!("Deployment '{}' deleted successfully", id(&first));
    assert_eq!(deleted, json!({"id": id(&first), "message": message}));
    // Deleting moves no time twice.
    let expired = world.get(&path(&first)).await.ok();
    world.clock.advance(Duration::from_secs(1));
    world.delete(&path(&first)).await.refused(404, &absent(id(&first), id(&agent)));
    assert_eq!(world.get(&path(&first)).await.ok(), expired);
}

/// Without authorization nothing is hidden: of an agent that is not there the list is empty.
#[tokio::test]
async fn without_authorization_an_agent_that_is_not_there_has_no_deployments() {
    let world = World::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await;
    let agent = world.agent("a", "sync", "http://agent.test:1").await;
    let made = pending(&world, &agent).await;
    assert_eq!(made.get("registration_token"), None, "pods need none");
    assert_eq!(world.get("/agents/nope/deployments").await.ok(), json!([]));
    world.delete(&format!("/agents/{}", id(&agent))).await.ok();

    assert_eq!(world.get(&deployments(&agent)).await.ok(), json!([]));
    world.get(&path(&made)).await.refused(404, &absent(id(&made), id(&agent)));
    world.post(&format!("{}/promote", path(&made)), json!({})).await.refused(404, &absent(id(&made), id(&agent)));
}

/// Who may see an agent sees its deployments, who may call it deploys, who may delete it deletes them; all others learn
/// nothing, whether agent and deployment exist or not.
#[tokio::test]
async fn the_permissions_of_the_agent_decide() {
    let world = World::with_authorization().await;
    let by =
        async |user: &str, method: &str, path: &str, body: Value| world.call_as(user, method, path, Some(body)).await;
    let agent =
        by("alice", "POST", "/agents/register", support::registration("a", "sync", "http://agent.test:1")).await.ok();
    let made = by("alice", "POST", &deployments(&agent), json!({"docker_image": "i"})).await.ok();
    by("alice", "POST", "/agents/register", pod_of(id(&made), "http://agent.test:2")).await.ok();
    world.share("ann", Update, ResourceRef::agent(id(&agent))).await;
    world.share("una", Read, ResourceRef::agent(id(&agent))).await;
    let promotion = format!("{}/promote", path(&made));

    for user in ["una", "ann"] {
        assert_eq!(ids(&world.call_as(user, "GET", &deployments(&agent), None).await.ok()), [id(&made)]);
        world.call_as(user, "GET", &path(&made), None).await.ok();
        world.call_as(user, "DELETE", &path(&made), None).await.refused(403, FORBIDDEN);
    }
    by("una", "POST", &deployments(&agent), json!({"docker_image": "i"})).await.refused(403, FORBIDDEN);
    by("una", "POST", &promotion, json!({})).await.refused(403, FORBIDDEN);
    by("ann", "POST", &promotion, json!({})).await.ok();
    let second = by("ann", "POST", &deployments(&agent), json!({"docker_image": "i"})).await.ok();
    world.call_as("alice", "DELETE", &path(&second), None).await.ok();
    for user in ["mallory", "alice@elsewhere"] {
        world
            .call_as(user, "GET", &deployments(&agent), None)
            .await
            .refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
        by(user, "POST", &deployments(&agent), json!({}))
            .await
            .refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
        for (method, path) in [("GET", path(&made)), ("DELETE", path(&made)), ("POST", promotion.clone())] {
            world.call_as(user, method, &path, None).await.refused(404, &absent(id(&made), id(&agent)));
        }
    }
    let deleted = world.call_as("mallory", "GET", &path(&made), None).await;
    by("alice", "DELETE", &format!("/agents/{}", id(&agent)), json!({})).await.ok();
    for user in ["alice", "mallory"] {
        assert_eq!(shown(&world.call_as(user, "GET", &path(&made), None).await), shown(&deleted));
    }
}

/// Whoever may call the agent but not change it can prepare a deployment, and gets nothing with which to register.
#[tokio::test]
async fn a_deployment_brings_the_token_its_pod_registers_with() {
    let world = World::with(Setup { authorization: Authorization::StrictRules, ..Setup::default() }).await;
    let by_alice = async |path: &str, body: Value| world.call_as("alice", "POST", path, Some(body)).await;
    let agent = by_alice("/agents/register", support::registration("a", "sync", "http://agent.test:1")).await.ok();
    let image = json!({"docker_image": "i"});
    let made = by_alice(&deployments(&agent), image.clone()).await.ok();
    let token = made["registration_token"].as_str().unwrap();
    let mut pod = pod_of(id(&made), "http://agent.test:2");
    world.call("POST", "/agents/register", &[], Some(&pod.to_string())).await.expect(401);

    pod["principal_context"] = json!({"registration_token": token});
    world.call("POST", "/agents/register", &[], Some(&pod.to_string())).await.ok();

    let now = world.call_as("alice", "GET", &path(&made), None).await;
    assert_eq!(now.ok()["status"], "Ready");
    assert!(!now.text().contains("agxr_"));
    world.rules.deny(id(&agent), &[Update]);
    assert_eq!(by_alice(&deployments(&agent), image).await.ok().get("registration_token"), None);
}

/// An agent may look at its own deployments and call them; deploying is for others, whoever it acts for.
#[tokio::test]
async fn agents_see_their_own_deployments_and_manage_none() {
    let world = World::with_authorization().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    let pod = FakeAgent::start().await;
    let agent = by_alice("POST", "/agents/register", support::registration("a", "async", pod.url())).await;
    let other = by_alice("POST", "/agents/register", support::registration("b", "async", pod.url())).await;
    let image = json!({"docker_image": "i"});
    let made = by_alice("POST", &deployments(&agent), image.clone()).await;
    by_alice("POST", "/agents/register", {
        let mut body = pod_of(id(&made), pod.url());
        body["acp_type"] = json!("async");
        body
    })
    .await;
    let foreign = by_alice("POST", &deployments(&other), image.clone()).await;
    let key = agent["agent_api_key"].as_str().unwrap();
    let act = async |method: &str, path: &str, body: Option<&Value>, acting: bool| {
        let mut headers = vec![("x-agent-api-key", key)];
        if acting {
            headers.push(("x-acting-user-authorization", "Bearer alice"));
        }
        world.call(method, path, &headers, body.map(Value::to_string).as_deref()).await
    };

    assert_eq!(ids(&act("GET", &deployments(&agent), None, false).await.ok()), [id(&made)]);
    act("GET", &path(&made), None, false).await.ok();
    let call = json!({"method": "task/create", "params": {}});
    act("POST", &format!("{}/rpc", path(&made)), Some(&call), false).await.ok();
    act("GET", &path(&foreign), None, false).await.refused(404, &absent(id(&foreign), id(&other)));
    let acting = act("GET", &path(&foreign), None, true).await;
    for acting in [false, true] {
        act("POST", &deployments(&agent), Some(&image), acting).await.refused(403, FORBIDDEN);
        act("POST", &format!("{}/promote", path(&made)), None, acting).await.refused(403, FORBIDDEN);
        act("DELETE", &path(&made), None, acting).await.refused(403, FORBIDDEN);
    }
    // Acting for somebody who may, it may look.
    acting.ok();
    assert_eq!(by_alice("GET", &path(&made), json!({})).await["is_production"], false);
}

/// Each route takes its own operation, and is refused when only that is missing.
#[tokio::test]
async fn deploying_takes_execute_and_deleting_takes_delete() {
    let (world, agent) = with_agent().await;
    let made = ready(&world, &agent, "http://agent.test:2").await;
    world.rules.deny(id(&agent), &[Execute, Delete]);
    world.calls.take();

    for (method, path, body, asked) in [
        ("POST", deployments(&agent), Some(r#"{"docker_image":"i"}"#), "execute"),
        ("POST", format!("{}/promote", path(&made)), None, "execute"),
        ("POST", format!("{}/rpc", path(&made)), Some(r#"{"method":"task/create","params":{}}"#), "execute"),
        ("DELETE", path(&made), None, "delete"),
    ] {
        world.call(method, &path, &[], body).await.refused(403, FORBIDDEN);
        let questions = world.calls.questions();
        assert!(questions[0].starts_with(&format!("check {asked} agent:{}", id(&agent))), "{questions:?}");
        assert_eq!(questions[1..], [format!("check read agent:{}", id(&agent))]);
    }
    world.get(&path(&made)).await.ok();
    assert_eq!(world.get(&path(&made)).await.ok(), made);
}
