//! Pods that register for one deployment.

use std::time::Duration;

use serde_json::{Value, json};

use super::{absent, agent_now, deployments, path, pending, pod_of, with_agent};
use crate::support::{World, id, registration};

/// agents §13: 17
#[tokio::test]
async fn a_pod_may_bring_a_deployment_nobody_made_before() {
    let (world, agent) = with_agent().await;
    let before = agent_now(&world).await;
    world.clock.advance(Duration::from_secs(1));

    let answer = world.post("/agents/register", pod_of("d-1", "http://agent.test:2")).await.ok();

    assert_eq!((id(&answer), &answer["agent_api_key"]), (id(&agent), &agent["agent_api_key"]));
    assert_eq!(agent_now(&world).await, before);
    let made = world.get(&format!("{}/d-1", deployments(&agent))).await.ok();
    assert_eq!((&made["status"], &made["is_production"]), (&json!("Ready"), &json!(false)));
    assert_eq!((&made["docker_image"], &made["acp_url"]), (&json!("unknown"), &json!("http://agent.test:2")));
    assert_eq!(made["registration_metadata"], json!({"deployment_id": "d-1"}));
    let mut with_image = pod_of("d-2", "http://agent.test:3");
    with_image["registration_metadata"]["docker_image"] = json!("image:2");
    world.post("/agents/register", with_image).await.ok();
    assert_eq!(world.get(&format!("{}/d-2", deployments(&agent))).await.ok()["docker_image"], "image:2");
}

/// agents §13: 18
#[tokio::test]
async fn the_pod_of_a_pending_deployment_makes_it_ready_and_changes_nothing_else() {
    let (world, agent) = with_agent().await;
    let body = json!({"docker_image": "image:1", "registration_metadata": {"commit_hash": "c"}});
    let made = world.post(&deployments(&agent), body).await.ok();

    let mut pod = pod_of(id(&made), "http://agent.test:2");
    pod["registration_metadata"]["docker_image"] = json!("other");
    pod["agent_id"] = agent["id"].clone();
    world.post("/agents/register", pod).await.ok();

    let mut expected = made.clone();
    (expected["status"], expected["acp_url"]) = (json!("Ready"), json!("http://agent.test:2"));
    assert_eq!(world.get(&path(&made)).await.ok(), expected);
}

/// agents §13: 19
#[tokio::test]
async fn a_pod_may_bring_the_agent_and_its_first_deployment_at_once() {
    let world = World::new().await;

    let agent = world.post("/agents/register", pod_of("d-1", "http://agent.test:2")).await.ok();

    assert_eq!((&agent["status"], &agent["production_deployment_id"]), (&json!("Ready"), &Value::Null));
    let made = world.get(&format!("{}/d-1", deployments(&agent))).await.ok();
    assert_eq!((&made["status"], &made["is_production"]), (&json!("Ready"), &json!(false)));
}

/// agents §13: 20
#[tokio::test]
async fn a_pod_cannot_take_another_agents_deployment() {
    let (world, agent) = with_agent().await;
    let other = world.agent("b", "sync", "http://agent.test:1").await;
    let foreign = pending(&world, &other).await;
    let before = agent_now(&world).await;

    let refused = world.post("/agents/register", pod_of(id(&foreign), "http://agent.test:2")).await;

    refused.refused(404, &absent(id(&foreign), id(&agent)));
    assert_eq!(world.get(&path(&foreign)).await.ok(), foreign);
    assert_eq!(agent_now(&world).await, before);
    assert_eq!(world.get(&deployments(&agent)).await.ok(), json!([]));
}

/// agents §13: 22
#[tokio::test]
async fn a_deployment_id_is_text() {
    let (world, agent) = with_agent().await;
    for wrong in [json!(5), json!(true), json!({}), json!(["d"])] {
        let mut body = registration("a", "sync", "http://agent.test:2");
        body["registration_metadata"] = json!({"deployment_id": wrong});
        let told = world.post("/agents/register", body).await.invalid();
        assert!(told.contains("body.registration_metadata.deployment_id: Input should be a valid string"), "{told}");
    }
    assert_eq!(world.get(&deployments(&agent)).await.ok(), json!([]));
}
