//! Repeated registrations, as every `AgentRepository` must apply them.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{Reregistered, StoreError, Stores};
use agentex_domain::{AcpType, Agent, AgentId, AgentInputType, AgentStatus, DeploymentId, DeploymentRegistration};
use serde_json::json;

use crate::build::{agent, at, object, registration};

async fn insert(stores: &Stores, agents: &[Agent]) {
    for agent in agents {
        stores.agents.insert(agent, None).await.unwrap();
    }
}

async fn find(stores: &Stores, id: &AgentId) -> Agent {
    stores.agents.find(id).await.unwrap().unwrap()
}

pub async fn a_changed_registration_rewrites_the_row_and_moves_its_times(stores: &Stores) {
    let first = Agent { registration_metadata: Some(object(json!({"x": 1, "y": {"a": 1}}))), ..agent("echo") };
    insert(stores, std::slice::from_ref(&first)).await;
    let mut again = registration("echo");
    again.description = "changed".into();
    again.acp_type = AcpType::Sync;
    again.agent_input_type = Some(AgentInputType::Text);
    again.metadata = Some(object(json!({"y": {"b": 2}, "z": 3})));

    let done = stores.agents.register_again(&first.id, &again, false, at(9), None).await.unwrap().unwrap();

    let expected = Agent {
        description: "changed".into(),
        acp_type: AcpType::Sync,
        agent_input_type: Some(AgentInputType::Text),
        registration_metadata: Some(object(json!({"x": 1, "y": {"b": 2}, "z": 3}))),
        registered_at: Some(at(9)),
        updated_at: at(9),
        ..first
    };
    assert_eq!(done, Reregistered { agent: expected.clone(), changed: true, revived: false });
    assert_eq!(find(stores, &expected.id).await, expected);
}

pub async fn an_equal_registration_writes_nothing_unless_it_must_stamp(stores: &Stores) {
    let first = agent("echo");
    insert(stores, std::slice::from_ref(&first)).await;

    let equal = stores.agents.register_again(&first.id, &registration("echo"), false, at(5), None).await.unwrap();
    assert_eq!(equal, Some(Reregistered { agent: first.clone(), changed: false, revived: false }));
    assert_eq!(find(stores, &first.id).await, first);

    let stamped =
        stores.agents.register_again(&first.id, &registration("echo"), true, at(6), None).await.unwrap().unwrap();
    let expected = Agent { registered_at: Some(at(6)), updated_at: at(6), ..first };
    assert_eq!(stamped, Reregistered { agent: expected.clone(), changed: true, revived: false });
    assert_eq!(find(stores, &expected.id).await, expected);
}

/// agents §13: 14
pub async fn an_unhealthy_agent_becomes_ready_by_an_equal_registration(stores: &Stores) {
    let sick = Agent { status: AgentStatus::Unhealthy, status_reason: Some("silent".into()), ..agent("sick") };
    insert(stores, std::slice::from_ref(&sick)).await;

    let done =
        stores.agents.register_again(&sick.id, &registration("sick"), false, at(5), None).await.unwrap().unwrap();

    assert!(done.changed && !done.revived);
    assert_eq!(find(stores, &sick.id).await.status, AgentStatus::Ready);
}

pub async fn a_registration_by_id_renames_and_frees_the_old_name(stores: &Stores) {
    let old = agent("old");
    insert(stores, std::slice::from_ref(&old)).await;

    let done = stores.agents.register_again(&old.id, &registration("new"), true, at(5), None).await.unwrap().unwrap();

    assert_eq!(done.agent.id, old.id);
    assert_eq!(stores.agents.find_by_name("new").await.unwrap(), Some(done.agent));
    assert_eq!(stores.agents.find_by_name("old").await.unwrap(), None);
    stores.agents.insert(&agent("old"), None).await.unwrap();
}

pub async fn renaming_onto_a_taken_name_changes_nothing(stores: &Stores) {
    let (first, second) = (agent("first"), agent("second"));
    let dead = Agent { status: AgentStatus::Deleted, ..agent("dead") };
    insert(stores, &[first.clone(), second.clone(), dead.clone()]).await;

    for taken in ["second", "dead"] {
        let mut rename = registration(taken);
        rename.description = "stolen".into();
        let refused = stores.agents.register_again(&first.id, &rename, true, at(5), None).await;
        assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{taken}: {refused:?}");
    }

    for untouched in [first, second, dead] {
        assert_eq!(find(stores, &untouched.id).await, untouched);
    }
}

pub async fn registering_over_a_deleted_agent_revives_it_under_its_id(stores: &Stores) {
    let dead = agent("phoenix");
    insert(stores, std::slice::from_ref(&dead)).await;
    stores.agents.delete(&dead.id, Agent::REASON_DELETED, at(1), None).await.unwrap().unwrap();

    let done =
        stores.agents.register_again(&dead.id, &registration("phoenix"), false, at(2), None).await.unwrap().unwrap();

    assert!(done.changed && done.revived);
    assert_eq!((&done.agent.id, done.agent.status), (&dead.id, AgentStatus::Ready));
    assert_eq!((done.agent.registered_at, done.agent.created_at), (Some(at(2)), dead.created_at));
    assert_eq!(find(stores, &dead.id).await, done.agent);
    let again =
        stores.agents.register_again(&dead.id, &registration("phoenix"), false, at(3), None).await.unwrap().unwrap();
    assert!(!again.changed && !again.revived);
}

/// Whoever only means to register a live agent again must not bring back one that was deleted meanwhile.
pub async fn registering_a_live_agent_does_not_revive_a_deleted_one(stores: &Stores) {
    let (dead, alive) = (agent("dead"), agent("alive"));
    insert(stores, &[dead.clone(), alive.clone()]).await;
    stores.agents.delete(&dead.id, Agent::REASON_DELETED, at(1), None).await.unwrap().unwrap();
    let buried = find(stores, &dead.id).await;

    let refused = stores.agents.register_live(&dead.id, &registration("dead"), true, at(2)).await.unwrap();
    let unknown = stores.agents.register_live(&AgentId::generate(), &registration("new"), true, at(2)).await.unwrap();
    let done = stores.agents.register_live(&alive.id, &registration("alive"), true, at(2)).await.unwrap().unwrap();

    assert_eq!((refused, unknown), (None, None));
    assert_eq!(find(stores, &dead.id).await, buried);
    assert!(done.changed && !done.revived);
    assert_eq!((find(stores, &alive.id).await, done.agent.registered_at), (done.agent.clone(), Some(at(2))));
}

/// An equal registration of an agent that points to a production deployment counts as a change: the agent's own URL is
/// the one to call from now on.
pub async fn a_registration_takes_the_production_pointer_off(stores: &Stores) {
    let owner = agent("owner");
    insert(stores, std::slice::from_ref(&owner)).await;
    let deployment = DeploymentRegistration {
        id: DeploymentId::generate(),
        acp_url: "http://pod:1".into(),
        docker_image: "image".into(),
        metadata: None,
    };
    stores.deployments.register(&owner.id, &deployment, at(1)).await.unwrap();
    let pointing = Agent { production_deployment_id: Some(deployment.id), ..agent("pointing") };
    insert(stores, std::slice::from_ref(&pointing)).await;
    assert_eq!(find(stores, &pointing.id).await, pointing);

    let done = stores
        .agents
        .register_again(&pointing.id, &registration("pointing"), false, at(2), None)
        .await
        .unwrap()
        .unwrap();

    assert!(done.changed);
    assert_eq!(done.agent.production_deployment_id, None);
    assert_eq!(find(stores, &pointing.id).await, done.agent);
    assert_eq!(stores.agents.dial_target(&pointing.id).await.unwrap().unwrap().url(), pointing.acp_url.as_deref());
}

pub async fn registering_an_absent_agent_again_is_none(stores: &Stores) {
    let done =
        stores.agents.register_again(&AgentId::generate(), &registration("nobody"), true, at(1), None).await.unwrap();

    assert_eq!(done, None);
    assert_eq!(stores.agents.find_by_name("nobody").await.unwrap(), None);
}

/// The row is locked between reading and writing, so nobody's metadata is lost.
pub async fn concurrent_registrations_keep_each_others_metadata(stores: &Stores) {
    let shared = agent("shared");
    insert(stores, std::slice::from_ref(&shared)).await;

    let registrations = (0..10).map(|number| {
        let (stores, id) = (stores.clone(), shared.id.clone());
        tokio::spawn(async move {
            let mut one = registration("shared");
            one.metadata = Some(object(json!({format!("k{number}"): number})));
            stores.agents.register_again(&id, &one, false, at(number), None).await.unwrap().unwrap()
        })
    });
    for done in futures::future::join_all(registrations).await {
        assert!(done.unwrap().changed);
    }

    let metadata = find(stores, &shared.id).await.registration_metadata.unwrap();
    assert_eq!(metadata.len(), 10, "{metadata:?}");
}

pub async fn a_deleted_agent_comes_back_as_a_build(stores: &Stores) {
    let dead = Agent { registration_metadata: Some(object(json!({"old": 1}))), ..agent("built") };
    insert(stores, std::slice::from_ref(&dead)).await;
    stores.agents.delete(&dead.id, Agent::REASON_DELETED, at(1), None).await.unwrap().unwrap();

    let metadata = Some(object(json!({"new": 2})));
    let revived = stores.agents.revive_as_build(&dead.id, "fresh".into(), metadata.clone(), at(2), None).await.unwrap();

    let revived = revived.unwrap();
    assert_eq!((&revived.id, &revived.name, revived.status), (&dead.id, &dead.name, AgentStatus::BuildOnly));
    assert_eq!((revived.description.as_str(), &revived.registration_metadata), ("fresh", &metadata));
    assert_eq!((&revived.acp_url, revived.registered_at, revived.updated_at), (&None, None, at(2)));
    assert_eq!(find(stores, &dead.id).await, revived);
    assert_eq!(stores.agents.revive_as_build(&dead.id, "again".into(), None, at(3), None).await.unwrap(), None);
    assert_eq!(find(stores, &dead.id).await, revived);
}

pub async fn only_a_deleted_agent_can_be_revived_as_a_build(stores: &Stores) {
    let live = agent("live");
    insert(stores, std::slice::from_ref(&live)).await;

    assert_eq!(stores.agents.revive_as_build(&live.id, "x".into(), None, at(2), None).await.unwrap(), None);
    assert_eq!(stores.agents.revive_as_build(&AgentId::generate(), "x".into(), None, at(2), None).await.unwrap(), None);
    assert_eq!(find(stores, &live.id).await, live);
}
