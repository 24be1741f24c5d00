//! What becomes of the deployment that a pod registers with.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{DeploymentUpsert, Removal, Stores};
use agentex_domain::{Deployment, DeploymentId, DeploymentRegistration, DeploymentStatus};
use serde_json::json;

use super::{assert_consistent, find, insert, pending, pod, promoted, ready, remove, stored};
use crate::build::{at, object};
use crate::contract::stored::stored_agent;

pub async fn an_unknown_deployment_is_created_ready_but_not_production(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let id = DeploymentId::from("chosen-by-the-pod");

    let made = stored(stores.deployments.register(&owner.id, &pod(&id, "http://pod:1"), at(3)).await.unwrap());

    let expected = Deployment {
        id: id.clone(),
        agent_id: owner.id.clone(),
        docker_image: "registry/image:1".into(),
        registration_metadata: pod(&id, "").metadata,
        status: DeploymentStatus::Ready,
        acp_url: Some("http://pod:1".into()),
        is_production: false,
        sgp_deploy_id: None,
        helm_release_name: None,
        created_at: at(3),
        promoted_at: None,
        expires_at: None,
    };
    assert_eq!(made, expected);
    assert_eq!(stores.agents.find(&owner.id).await.unwrap(), Some(owner));
}

pub async fn a_known_deployment_gets_the_url_and_keeps_the_rest(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let id = DeploymentId::generate();
    let made = stored(stores.deployments.register(&owner.id, &pod(&id, "http://pod:1"), at(1)).await.unwrap());

    let later = DeploymentRegistration {
        id,
        acp_url: "http://pod:2".into(),
        docker_image: "other".into(),
        metadata: Some(object(json!({"other": true}))),
    };
    let moved = stored(stores.deployments.register(&owner.id, &later, at(9)).await.unwrap());

    assert_eq!(moved, Deployment { acp_url: Some("http://pod:2".into()), ..made });
    // Not production, so the agent's own URL stays.
    assert_eq!(stores.agents.find(&owner.id).await.unwrap(), Some(owner));
}

pub async fn repeating_a_registration_changes_nothing_more(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let id = DeploymentId::generate();
    let registration = pod(&id, "http://pod:1");

    let first = stores.deployments.register(&owner.id, &registration, at(1)).await.unwrap();
    let second = stores.deployments.register(&owner.id, &registration, at(2)).await.unwrap();

    assert_eq!(first, second);
}

pub async fn a_deployment_without_metadata_keeps_none(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let bare = DeploymentRegistration { metadata: None, ..pod(&DeploymentId::generate(), "http://pod:1") };

    let made = stored(stores.deployments.register(&owner.id, &bare, at(1)).await.unwrap());

    assert_eq!(made.registration_metadata, None);
}

pub async fn a_deployment_of_another_agent_is_refused_and_unchanged(stores: &Stores) {
    let (owner, thief) = (stored_agent(stores, "owner").await, stored_agent(stores, "thief").await);
    let id = DeploymentId::generate();
    let registration = pod(&id, "http://pod:1");
    let first = stores.deployments.register(&owner.id, &registration, at(1)).await.unwrap();

    let refused = stores.deployments.register(&thief.id, &pod(&id, "http://thief:1"), at(2)).await.unwrap();

    assert_eq!(refused, DeploymentUpsert::OtherAgent);
    assert_eq!(stores.deployments.register(&owner.id, &registration, at(3)).await.unwrap(), first);
    assert_eq!(stores.agents.find(&thief.id).await.unwrap(), Some(thief));
}

pub async fn concurrent_registrations_of_one_new_deployment_all_succeed(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let id = DeploymentId::generate();

    let pods = (0..10).map(|number| {
        let (stores, owner, id) = (stores.clone(), owner.id.clone(), id.clone());
        tokio::spawn(async move {
            let registration = pod(&id, &format!("http://pod:{number}"));
            stored(stores.deployments.register(&owner, &registration, at(number)).await.unwrap())
        })
    });
    let deployments: Vec<Deployment> = futures::future::join_all(pods).await.into_iter().map(Result::unwrap).collect();

    for deployment in &deployments {
        assert_eq!(deployment.created_at, deployments[0].created_at, "one row, made once");
    }
}

/// Two pods must not get hold of one id for two agents.
pub async fn of_two_agents_racing_for_a_deployment_id_one_gets_it(stores: &Stores) {
    let agents = [stored_agent(stores, "a").await, stored_agent(stores, "b").await];
    for round in 0..5 {
        let id = DeploymentId::generate();
        let pods = agents.iter().map(|agent| {
            let (stores, agent, id) = (stores.clone(), agent.id.clone(), id.clone());
            tokio::spawn(async move { stores.deployments.register(&agent, &pod(&id, "http://pod:1"), at(round)).await })
        });

        let outcomes: Vec<_> =
            futures::future::join_all(pods).await.into_iter().map(|outcome| outcome.unwrap().unwrap()).collect();

        let refused = outcomes.iter().filter(|outcome| **outcome == DeploymentUpsert::OtherAgent).count();
        assert_eq!(refused, 1, "{outcomes:?}");
    }
}

/// The pod of a deployment that was made before it: only its URL is news.
pub async fn a_pending_deployment_becomes_ready_when_its_pod_registers(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let made = Deployment { registration_metadata: Some(object(json!({"k": 1}))), ..pending(&owner.id, at(1)) };
    insert(stores, &made).await;

    let moved = stored(stores.deployments.register(&owner.id, &pod(&made.id, "http://pod:1"), at(2)).await.unwrap());

    let expected = Deployment { status: DeploymentStatus::Ready, acp_url: Some("http://pod:1".into()), ..made };
    assert_eq!(moved, expected);
    assert_eq!(find(stores, &expected).await, expected);
}

pub async fn a_removed_deployment_does_not_come_back_by_registering(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let made = ready(stores, &owner.id, "http://pod:1").await;
    assert!(matches!(remove(stores, &made, 2).await, Removal::Removed(_)));
    let removed = find(stores, &made).await;

    let refused = stores.deployments.register(&owner.id, &pod(&made.id, "http://pod:2"), at(3)).await.unwrap();

    assert_eq!(refused, DeploymentUpsert::Expired);
    assert_eq!(find(stores, &made).await, removed);
}

pub async fn a_production_pod_that_moves_takes_the_agents_url_along(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let made = promoted(stores, &ready(stores, &owner.id, "http://old:1").await, 2).await;

    let moved = stored(stores.deployments.register(&owner.id, &pod(&made.id, "http://new:1"), at(3)).await.unwrap());

    assert_eq!(moved, Deployment { acp_url: Some("http://new:1".into()), ..made });
    assert_consistent(stores, &owner.id).await;
    let target = stores.agents.dial_target(&owner.id).await.unwrap().unwrap();
    assert_eq!((target.production_url.as_deref(), target.agent.updated_at), (Some("http://new:1"), at(3)));
}
