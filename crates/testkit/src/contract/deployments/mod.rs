//! What every `DeploymentRepository` must do, by subject, and what the cases share.

pub mod promotions;
pub mod registrations;
pub mod rows;

use agentex_domain::ports::{DeploymentOrder, DeploymentUpsert, Promotion, Removal, Stores};
use agentex_domain::{
    Agent, AgentId, Deployment, DeploymentId, DeploymentRegistration, DeploymentStatus, Direction, PageRequest,
    Timestamp,
};
use serde_json::json;

use crate::build::{at, object};

const NEWEST_FIRST: (DeploymentOrder, Direction) = (DeploymentOrder::CreatedAt, Direction::Descending);

fn pod(id: &DeploymentId, url: &str) -> DeploymentRegistration {
    DeploymentRegistration {
        id: id.clone(),
        acp_url: url.into(),
        docker_image: "registry/image:1".into(),
        metadata: Some(object(json!({"deployment_id": id.as_str(), "n": [1, {"a": null}]}))),
    }
}

fn stored(outcome: DeploymentUpsert) -> Deployment {
    match outcome {
        DeploymentUpsert::Stored(deployment) => deployment,
        other => panic!("not stored: {other:?}"),
    }
}

/// A pending deployment of the agent that names nothing optional.
fn pending(agent_id: &AgentId, created_at: Timestamp) -> Deployment {
    Deployment {
        id: DeploymentId::generate(),
        agent_id: agent_id.clone(),
        docker_image: "image".into(),
        registration_metadata: None,
        status: DeploymentStatus::Pending,
        acp_url: None,
        is_production: false,
        sgp_deploy_id: None,
        helm_release_name: None,
        created_at,
        promoted_at: None,
        expires_at: None,
    }
}

async fn insert(stores: &Stores, deployment: &Deployment) {
    assert!(stores.deployments.insert(deployment).await.unwrap());
}

/// A stored deployment of the agent whose pod listens at `url`.
async fn ready(stores: &Stores, agent_id: &AgentId, url: &str) -> Deployment {
    let deployment =
        Deployment { status: DeploymentStatus::Ready, acp_url: Some(url.into()), ..pending(agent_id, at(1)) };
    insert(stores, &deployment).await;
    deployment
}

async fn find(stores: &Stores, deployment: &Deployment) -> Deployment {
    stores.deployments.find(&deployment.agent_id, &deployment.id).await.unwrap().unwrap()
}

async fn agent_of(stores: &Stores, deployment: &Deployment) -> Agent {
    stores.agents.find(&deployment.agent_id).await.unwrap().unwrap()
}

async fn promote(stores: &Stores, deployment: &Deployment, seconds: i64) -> Promotion {
    stores.deployments.promote(&deployment.agent_id, &deployment.id, at(seconds)).await.unwrap()
}

async fn promoted(stores: &Stores, deployment: &Deployment, seconds: i64) -> Deployment {
    match promote(stores, deployment, seconds).await {
        Promotion::Promoted(deployment) => deployment,
        other => panic!("not promoted: {other:?}"),
    }
}

async fn remove(stores: &Stores, deployment: &Deployment, seconds: i64) -> Removal {
    stores.deployments.remove(&deployment.agent_id, &deployment.id, at(seconds)).await.unwrap()
}

async fn list(
    stores: &Stores,
    agent_id: &AgentId,
    (order, direction): (DeploymentOrder, Direction),
) -> Vec<Deployment> {
    stores.deployments.list(agent_id, order, direction, PageRequest::default()).await.unwrap()
}

/// What must hold whatever happens at the same time: the agent points to its one production deployment and has its URL, or
/// to none and there is none.
async fn assert_consistent(stores: &Stores, agent_id: &AgentId) {
    let agent = stores.agents.find(agent_id).await.unwrap().unwrap();
    let all = list(stores, agent_id, NEWEST_FIRST).await;
    let production: Vec<&Deployment> = all.iter().filter(|deployment| deployment.is_production).collect();
    match &agent.production_deployment_id {
        Some(id) => {
            assert_eq!(production.len(), 1, "{all:?}");
            assert_eq!((id, &agent.acp_url), (&production[0].id, &production[0].acp_url));
        }
        None => assert!(production.is_empty(), "{all:?}"),
    }
}
