//! Deployments as they are stored, listed and removed.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{DeploymentOrder, Removal, StoreError, Stores};
use agentex_domain::{Agent, AgentId, Deployment, DeploymentId, DeploymentStatus, Direction, PageRequest};
use serde_json::json;

use super::{NEWEST_FIRST, find, insert, list, pending, promoted, ready, remove};
use crate::build::{at, object};
use crate::contract::stored::stored_agent;

pub async fn an_inserted_deployment_reads_back_equal_under_its_own_agent_only(stores: &Stores) {
    let (owner, other) = (stored_agent(stores, "owner").await, stored_agent(stores, "other").await);
    let bare = pending(&owner.id, at(1));
    let full = Deployment {
        registration_metadata: Some(object(json!({"n": 9_007_199_254_740_993_i64, "x": [null, {}]}))),
        status: DeploymentStatus::Failed,
        acp_url: Some("http://pod:1".into()),
        sgp_deploy_id: Some("sgp".into()),
        helm_release_name: Some("release".into()),
        promoted_at: Some(at(2)),
        expires_at: Some(at(3)),
        ..pending(&owner.id, at(1))
    };

    for deployment in [bare, full] {
        insert(stores, &deployment).await;

        assert_eq!(stores.deployments.find(&owner.id, &deployment.id).await.unwrap(), Some(deployment.clone()));
        assert_eq!(stores.deployments.find(&other.id, &deployment.id).await.unwrap(), None);
    }
    assert_eq!(stores.deployments.find(&owner.id, &DeploymentId::generate()).await.unwrap(), None);
}

pub async fn a_taken_deployment_id_is_refused(stores: &Stores) {
    let (owner, other) = (stored_agent(stores, "owner").await, stored_agent(stores, "other").await);
    let first = pending(&owner.id, at(1));
    insert(stores, &first).await;

    for agent_id in [owner.id, other.id] {
        let taken = Deployment { agent_id, docker_image: "other".into(), ..first.clone() };
        let refused = stores.deployments.insert(&taken).await;
        assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    }
    assert_eq!(find(stores, &first).await, first);
}

pub async fn an_absent_or_deleted_agent_takes_no_deployment(stores: &Stores) {
    let dead = stored_agent(stores, "dead").await;
    stores.agents.delete(&dead.id, Agent::REASON_DELETED, at(1), None).await.unwrap().unwrap();

    for agent_id in [dead.id, AgentId::generate()] {
        let deployment = pending(&agent_id, at(2));
        assert!(!stores.deployments.insert(&deployment).await.unwrap());
        assert_eq!(stores.deployments.find(&agent_id, &deployment.id).await.unwrap(), None);
    }
}

pub async fn a_removed_deployment_is_found_but_not_listed_and_removed_once(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let (kept, made) = (ready(stores, &owner.id, "http://pod:1").await, ready(stores, &owner.id, "http://pod:2").await);

    let removed = remove(stores, &made, 4).await;

    let expected = Deployment { expires_at: Some(at(4)), ..made.clone() };
    assert_eq!(removed, Removal::Removed(expected.clone()));
    assert_eq!(find(stores, &made).await, expected);
    assert_eq!(list(stores, &owner.id, NEWEST_FIRST).await, [kept]);
    assert_eq!(remove(stores, &made, 5).await, Removal::Absent);
    assert_eq!(find(stores, &made).await, expected);
}

pub async fn production_is_not_removed_until_another_is(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let (first, second) =
        (ready(stores, &owner.id, "http://pod:1").await, ready(stores, &owner.id, "http://pod:2").await);
    let production = promoted(stores, &first, 2).await;

    assert_eq!(remove(stores, &first, 3).await, Removal::IsProduction);
    assert_eq!(find(stores, &first).await, production);
    promoted(stores, &second, 4).await;
    assert!(matches!(remove(stores, &first, 5).await, Removal::Removed(_)));
}

pub async fn a_list_of_deployments_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let (owner, other) = (stored_agent(stores, "owner").await, stored_agent(stores, "other").await);
    insert(stores, &pending(&other.id, at(1))).await;
    let with = |id: &str, image: &str, status, created: i64, promoted: Option<i64>| Deployment {
        id: id.into(),
        docker_image: image.into(),
        status,
        promoted_at: promoted.map(at),
        ..pending(&owner.id, at(created))
    };
    for deployment in [
        with("a", "x", DeploymentStatus::Ready, 3, None),
        with("B", "Y", DeploymentStatus::Pending, 1, Some(9)),
        with("c", "x", DeploymentStatus::Failed, 2, Some(8)),
        with("d", "z", DeploymentStatus::Ready, 1, None),
    ] {
        insert(stores, &deployment).await;
    }

    for (order, ascending) in [
        (DeploymentOrder::CreatedAt, ["B", "d", "c", "a"]),
        // Upper case comes first where bytes are compared.
        (DeploymentOrder::Id, ["B", "a", "c", "d"]),
        (DeploymentOrder::DockerImage, ["B", "c", "a", "d"]),
        (DeploymentOrder::Status, ["c", "B", "d", "a"]),
        (DeploymentOrder::PromotedAt, ["d", "a", "c", "B"]),
    ] {
        let ids = async |direction| {
            let listed = list(stores, &owner.id, (order, direction)).await;
            listed.into_iter().map(|deployment| deployment.id.into_string()).collect::<Vec<_>>()
        };
        assert_eq!(ids(Direction::Ascending).await, ascending, "{order:?}");
        let descending: Vec<&str> = ascending.into_iter().rev().collect();
        assert_eq!(ids(Direction::Descending).await, descending, "{order:?}");
    }
}

pub async fn pages_of_equal_deployments_show_each_exactly_once(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let mut everything = BTreeSet::new();
    for _ in 0..7 {
        let deployment = pending(&owner.id, at(1));
        insert(stores, &deployment).await;
        everything.insert(deployment.id);
    }

    for direction in [Direction::Ascending, Direction::Descending] {
        let mut seen = Vec::new();
        for page_number in 1..=4 {
            let page = PageRequest { limit: 2, page_number };
            let listed = stores.deployments.list(&owner.id, DeploymentOrder::Status, direction, page).await.unwrap();
            seen.extend(listed.into_iter().map(|deployment| deployment.id));
        }
        assert_eq!(seen.len(), 7);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), everything);
    }
}
