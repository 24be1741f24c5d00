//! Which deployment is production, whatever happens at the same time.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{Promotion, Removal, Stores};
use agentex_domain::{Agent, AgentName, AgentStatus, Deployment, DeploymentId, DeploymentStatus, NotPromotable};

use super::{agent_of, assert_consistent, find, insert, pending, promote, promoted, ready, remove};
use crate::build::{at, registration};
use crate::contract::stored::stored_agent;

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
