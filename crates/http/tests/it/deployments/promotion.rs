//! Which deployment is called.

use std::time::Duration;

use agentex_testkit::fake_agent::FakeAgent;
use serde_json::{Value, json};

use super::{absent, agent_now, deployments, path, pending, pod_of, promote, ready, with_agent};
use crate::support::{World, id, registration};

async fn call(world: &World) {
    world.task_with("a", json!({})).await;
}

/// agents §13: 50
#[tokio::test]
async fn a_deployment_without_a_pod_is_not_promoted() {
    let (world, agent) = with_agent().await;
    let made = pending(&world, &agent).await;
    let before = agent_now(&world).await;

    let refused = world.post(&format!("{}/promote", path(&made)), json!({})).await;

    refused.refused(400, "Cannot promote deployment with status Pending. Deployment must be in Ready status.");
    assert_eq!((world.get(&path(&made)).await.ok(), agent_now(&world).await), (made, before));
}

/// agents §13: 51
#[tokio::test]
async fn a_promotion_moves_production_and_calls_follow() {
    let (world, agent) = with_agent().await;
    let (one, two) = (FakeAgent::start().await, FakeAgent::start().await);
    let (first, second) = (ready(&world, &agent, one.url()).await, ready(&world, &agent, two.url()).await);
    world.post("/agents/register", registration("a", "async", "http://agent.test:1")).await.ok();

    let first = promote(&world, &first).await;
    call(&world).await;
    world.clock.advance(Duration::from_secs(1));
    let second = promote(&world, &second).await;
    call(&world).await;

    assert_eq!((one.calls().len(), two.calls().len()), (1, 1));
    assert_eq!((&first["is_production"], &second["is_production"]), (&json!(true), &json!(true)));
    assert!(second["promoted_at"].as_str() > first["promoted_at"].as_str());
    let demoted = world.get(&path(&first)).await.ok();
    assert_eq!((&demoted["is_production"], &demoted["promoted_at"]), (&json!(false), &first["promoted_at"]));
    assert_eq!(agent_now(&world).await["production_deployment_id"], second["id"]);
    // Again is harmless and moves the time.
    world.clock.advance(Duration::from_secs(1));
    let again = promote(&world, &second).await;
    assert!(again["promoted_at"].as_str() > second["promoted_at"].as_str());
    assert_eq!(again["is_production"], true);
}

/// agents §13: 35
#[tokio::test]
async fn a_build_becomes_ready_by_a_promotion_not_by_its_deployments_pod() {
    let world = World::new().await;
    let built = world.post("/agents/register-build", json!({"name": "a", "description": "d"})).await.ok();
    let made = ready(&world, &built, "http://agent.test:2").await;
    assert_eq!(made["status"], "Ready");
    let before = agent_now(&world).await;
    assert_eq!((&before["status"], &before["registered_at"]), (&json!("BuildOnly"), &Value::Null));

    promote(&world, &made).await;

    let after = agent_now(&world).await;
    assert_eq!((&after["status"], &after["production_deployment_id"]), (&json!("Ready"), &made["id"]));
    assert_eq!(after["status_reason"], "Agent registered successfully.");
    assert!(after["registered_at"].is_string());
}

/// agents §13: 52
#[tokio::test]
async fn of_parallel_promotions_all_succeed_and_one_deployment_is_production() {
    let (world, agent) = with_agent().await;
    let mut made = Vec::new();
    for number in 0..4 {
        made.push(ready(&world, &agent, &format!("http://agent.test:{}", 10 + number)).await);
    }

    for _ in 0..3 {
        futures::future::join_all(made.iter().map(|deployment| promote(&world, deployment))).await;

        let listed = world.get(&deployments(&agent)).await.ok();
        let production: Vec<&Value> =
            listed.as_array().unwrap().iter().filter(|deployment| deployment["is_production"] == true).collect();
        assert_eq!(production.len(), 1, "{listed}");
        assert_eq!(agent_now(&world).await["production_deployment_id"], production[0]["id"]);
    }
}

/// agents §13: 54
#[tokio::test]
async fn a_deleted_deployment_is_neither_promoted_nor_called() {
    let (world, agent) = with_agent().await;
    let pod = FakeAgent::start().await;
    let made = ready(&world, &agent, pod.url()).await;
    world.delete(&path(&made)).await.ok();
    let absent = absent(id(&made), id(&agent));

    world.post(&format!("{}/promote", path(&made)), json!({})).await.refused(404, &absent);
    let task = json!({"method": "task/create", "params": {}});
    world.post(&format!("{}/rpc", path(&made)), task).await.refused(404, &absent);

    assert!(pod.requests().is_empty());
    assert_eq!(agent_now(&world).await["production_deployment_id"], Value::Null);
    let refused = world.post("/agents/register", pod_of(id(&made), pod.url())).await;
    refused.refused(400, &format!("Deployment {} has been deleted and cannot register", id(&made)));
}

/// agents §13: 16
#[tokio::test]
async fn registering_for_the_agent_as_a_whole_takes_production_off() {
    for by_id in [false, true] {
        let (world, agent) = with_agent().await;
        let (old, new) = (FakeAgent::start().await, FakeAgent::start().await);
        let made = ready(&world, &agent, old.url()).await;
        promote(&world, &made).await;
        let mut body = registration("a", "async", new.url());
        if by_id {
            body["agent_id"] = agent["id"].clone();
        }

        world.post("/agents/register", body).await.ok();
        call(&world).await;

        assert_eq!((old.calls().len(), new.calls().len()), (0, 1));
        assert_eq!(agent_now(&world).await["production_deployment_id"], Value::Null);
        assert_eq!(world.get(&path(&made)).await.ok()["is_production"], false);
    }
}

/// Both ways in: calls, which read the deployment's URL, and forwarding, which may read the agent's.
///
/// agents §13: 21
#[tokio::test]
async fn a_production_pod_that_moves_is_found_by_calls_and_by_forwarding() {
    let (world, agent) = with_agent().await;
    let (old, new) = (FakeAgent::start().await, FakeAgent::start().await);
    world.post("/agents/register", registration("a", "async", "http://agent.test:1")).await.ok();
    let made = ready(&world, &agent, old.url()).await;
    promote(&world, &made).await;

    world.post("/agents/register", pod_of(id(&made), new.url())).await.ok();
    call(&world).await;
    world.get("/agents/forward/name/a/hook").await;

    assert!(old.requests().is_empty());
    let seen: Vec<String> = new.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/api", "/hook"]);
    assert_eq!(agent_now(&world).await["production_deployment_id"], made["id"]);
}
