//! What every `DeploymentRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{DeploymentOrder, DeploymentUpsert, Promotion, Removal, StoreError, Stores};
use agentex_domain::{
    Agent, AgentId, AgentName, AgentStatus, Deployment, DeploymentId, DeploymentRegistration, DeploymentStatus,
    Direction, NotPromotable, PageRequest, Timestamp,
};
use serde_json::json;

use super::stored::stored_agent;
use crate::build::{at, object, registration};

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

pub async fn a_promotion_points_the_agent_at_the_deployment(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let made = ready(stores, &owner.id, "http://pod:1").await;

    let done = promoted(stores, &made, 5).await;

    assert_eq!(done, Deployment { is_production: true, promoted_at: Some(at(5)), ..made.clone() });
    assert_eq!(find(stores, &made).await, done);
    let expected = Agent {
        production_deployment_id: Some(made.id),
        acp_url: Some("http://pod:1".into()),
        updated_at: at(5),
        ..owner.clone()
    };
    assert_eq!(stores.agents.find(&owner.id).await.unwrap(), Some(expected));
    let target = stores.agents.dial_target(&owner.id).await.unwrap().unwrap();
    assert_eq!((target.production_url.as_deref(), target.url()), (Some("http://pod:1"), Some("http://pod:1")));
}

pub async fn a_promotion_takes_production_from_the_other(stores: &Stores) {
    let (owner, bystander) = (stored_agent(stores, "owner").await, stored_agent(stores, "bystander").await);
    let (first, second) =
        (ready(stores, &owner.id, "http://pod:1").await, ready(stores, &owner.id, "http://pod:2").await);
    let untouched = promoted(stores, &ready(stores, &bystander.id, "http://pod:3").await, 2).await;
    promoted(stores, &first, 3).await;

    promoted(stores, &second, 4).await;

    let (first, second) = (find(stores, &first).await, find(stores, &second).await);
    assert_eq!((first.is_production, first.promoted_at), (false, Some(at(3))));
    assert_eq!((second.is_production, second.promoted_at), (true, Some(at(4))));
    let agent = agent_of(stores, &second).await;
    assert_eq!((agent.production_deployment_id, agent.acp_url), (Some(second.id), Some("http://pod:2".into())));
    assert_eq!(find(stores, &untouched).await, untouched);
}

pub async fn a_build_becomes_ready_by_its_first_promotion_and_other_statuses_stay(stores: &Stores) {
    let name = AgentName::parse("built".into()).unwrap();
    let built = Agent::build_only(name, "d".into(), None, None, at(0));
    let sick =
        Agent { status: AgentStatus::Unhealthy, status_reason: Some("silent".into()), ..crate::build::agent("sick") };
    for agent in [&built, &sick] {
        stores.agents.insert(agent, None).await.unwrap();
        promoted(stores, &ready(stores, &agent.id, "http://pod:1").await, 7).await;
    }

    let built = stores.agents.find(&built.id).await.unwrap().unwrap();
    assert_eq!((built.status, built.registered_at), (AgentStatus::Ready, Some(at(7))));
    assert_eq!(built.status_reason.as_deref(), Some("Agent registered successfully."));
    let now = stores.agents.find(&sick.id).await.unwrap().unwrap();
    assert_eq!(
        (now.status, now.status_reason, now.registered_at),
        (sick.status, sick.status_reason, sick.registered_at)
    );
}

pub async fn promoting_production_again_moves_its_time(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let made = ready(stores, &owner.id, "http://pod:1").await;
    let first = promoted(stores, &made, 5).await;

    let second = promoted(stores, &made, 6).await;

    assert_eq!(second, Deployment { promoted_at: Some(at(6)), ..first });
    assert_consistent(stores, &owner.id).await;
}

pub async fn a_deployment_without_a_pod_is_not_promoted(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let with =
        |status, url: Option<&str>| Deployment { status, acp_url: url.map(str::to_owned), ..pending(&owner.id, at(1)) };
    for (deployment, lacking) in [
        (with(DeploymentStatus::Pending, None), NotPromotable::NotReady(DeploymentStatus::Pending)),
        (with(DeploymentStatus::Failed, Some("http://x:1")), NotPromotable::NotReady(DeploymentStatus::Failed)),
        (with(DeploymentStatus::Ready, None), NotPromotable::NoUrl),
        (with(DeploymentStatus::Ready, Some("")), NotPromotable::NoUrl),
    ] {
        insert(stores, &deployment).await;

        assert_eq!(promote(stores, &deployment, 2).await, Promotion::Refused(lacking));

        assert_eq!(find(stores, &deployment).await, deployment);
    }
    assert_eq!(stores.agents.find(&owner.id).await.unwrap(), Some(owner));
}

pub async fn an_absent_foreign_or_removed_deployment_is_not_promoted(stores: &Stores) {
    let (owner, other) = (stored_agent(stores, "owner").await, stored_agent(stores, "other").await);
    let production = promoted(stores, &ready(stores, &owner.id, "http://pod:1").await, 1).await;
    let foreign = ready(stores, &other.id, "http://pod:2").await;
    let removed = ready(stores, &owner.id, "http://pod:3").await;
    assert!(matches!(remove(stores, &removed, 2).await, Removal::Removed(_)));
    let before = agent_of(stores, &production).await;

    for id in [&foreign.id, &removed.id, &DeploymentId::generate()] {
        assert_eq!(stores.deployments.promote(&owner.id, id, at(9)).await.unwrap(), Promotion::Absent);
        assert_eq!(stores.deployments.remove(&owner.id, id, at(9)).await.unwrap(), Removal::Absent);
    }

    assert_eq!(find(stores, &production).await, production);
    assert_eq!(find(stores, &foreign).await, foreign);
    assert_eq!(agent_of(stores, &production).await, before);
}

pub async fn a_deleted_agents_deployment_is_not_promoted(stores: &Stores) {
    let dead = stored_agent(stores, "dead").await;
    let made = ready(stores, &dead.id, "http://pod:1").await;
    stores.agents.delete(&dead.id, Agent::REASON_DELETED, at(2), None).await.unwrap().unwrap();
    let buried = agent_of(stores, &made).await;

    assert_eq!(promote(stores, &made, 3).await, Promotion::Absent);

    assert_eq!((find(stores, &made).await, agent_of(stores, &made).await), (made.clone(), buried));
}

pub async fn of_parallel_promotions_each_happens_and_one_deployment_is_production(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let mut deployments = Vec::new();
    for number in 0..4 {
        deployments.push(ready(stores, &owner.id, &format!("http://pod:{number}")).await);
    }

    for round in 0..5 {
        let promotions = deployments.iter().cycle().take(8).map(|deployment| {
            let (stores, deployment) = (stores.clone(), deployment.clone());
            tokio::spawn(async move { promote(&stores, &deployment, round).await })
        });
        for promotion in futures::future::join_all(promotions).await {
            assert!(matches!(promotion.unwrap(), Promotion::Promoted(_)));
        }

        assert_consistent(stores, &owner.id).await;
        assert!(stores.agents.find(&owner.id).await.unwrap().unwrap().production_deployment_id.is_some());
    }
}

/// Whichever comes first, nothing that was removed is called, and nothing that is called was removed.
pub async fn a_promotion_racing_with_a_removal_leaves_one_of_them_undone(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    for round in 0..8 {
        let made = ready(stores, &owner.id, &format!("http://pod:{round}")).await;
        let promoting = {
            let (stores, made) = (stores.clone(), made.clone());
            tokio::spawn(async move { promote(&stores, &made, round).await })
        };
        let removing = {
            let (stores, made) = (stores.clone(), made.clone());
            tokio::spawn(async move { remove(&stores, &made, round).await })
        };

        match (promoting.await.unwrap(), removing.await.unwrap()) {
            (Promotion::Promoted(_), Removal::IsProduction) => assert!(find(stores, &made).await.is_production),
            (Promotion::Absent, Removal::Removed(_)) => assert!(find(stores, &made).await.is_expired()),
            other => panic!("{other:?}"),
        }
        assert_consistent(stores, &owner.id).await;
    }
}

/// A pod that registers for the agent as a whole takes production off; a promotion puts it on.
pub async fn a_promotion_racing_with_a_registration_leaves_the_result_of_one_of_them(stores: &Stores) {
    let owner = stored_agent(stores, "owner").await;
    let made = ready(stores, &owner.id, "http://pod:1").await;
    for round in 0..8 {
        let promoting = {
            let (stores, made) = (stores.clone(), made.clone());
            tokio::spawn(async move { promote(&stores, &made, round).await })
        };
        let registering = {
            let (stores, id) = (stores.clone(), owner.id.clone());
            tokio::spawn(async move { stores.agents.register_live(&id, &registration("owner"), true, at(round)).await })
        };

        assert!(matches!(promoting.await.unwrap(), Promotion::Promoted(_)));
        assert!(registering.await.unwrap().unwrap().is_some());
        assert_consistent(stores, &owner.id).await;
    }
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
