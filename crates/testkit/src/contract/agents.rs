//! What every `AgentRepository` must do: storing, finding and deleting. Registrations and lists have suites of their own.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{StoreError, Stores};
use agentex_domain::{
    AcpType, Agent, AgentId, AgentInputType, AgentName, AgentStatus, DeploymentId, DeploymentRegistration, JsonObject,
};
use serde_json::json;

use super::stored::stored_internal_key;
use crate::build::{agent, at, object};

async fn insert(stores: &Stores, agents: &[Agent]) {
    for agent in agents {
        stores.agents.insert(agent, None).await.unwrap();
    }
}

async fn find(stores: &Stores, id: &AgentId) -> Agent {
    stores.agents.find(id).await.unwrap().unwrap()
}

/// Whatever an agent holds, a read returns what was written.
pub async fn an_inserted_agent_reads_back_equal_by_id_and_by_name(stores: &Stores) {
    let bare = Agent {
        acp_url: None,
        registered_at: None,
        status_reason: None,
        description: String::new(),
        status: AgentStatus::BuildOnly,
        ..agent("bare")
    };
    let full = Agent {
        docker_image: Some("registry/image:1".into()),
        description: "says 'hi' \"there\"\n\u{1F980}".into(),
        acp_type: AcpType::Sync,
        agent_input_type: Some(AgentInputType::Json),
        registration_metadata: Some(object(
            json!({"a": {"b": [1, 2.5, null, true, "x"]}, "big": 9007199254740993_i64}),
        )),
        created_at: at(1),
        updated_at: at(2),
        registered_at: Some(at(3)),
        ..agent("full")
    };
    let empty_metadata = Agent { registration_metadata: Some(JsonObject::new()), ..agent("empty") };

    insert(stores, &[bare.clone(), full.clone(), empty_metadata.clone()]).await;

    for agent in [bare, full, empty_metadata] {
        assert_eq!(stores.agents.find(&agent.id).await.unwrap().as_ref(), Some(&agent));
        assert_eq!(stores.agents.find_by_name(&agent.name).await.unwrap().as_ref(), Some(&agent));
    }
    assert_eq!(stores.agents.find(&AgentId::generate()).await.unwrap(), None);
    assert_eq!(stores.agents.find(&AgentId::from("not-a-uuid'")).await.unwrap(), None);
    assert_eq!(stores.agents.find_by_name("nobody").await.unwrap(), None);
}

pub async fn every_status_type_and_input_type_survives_the_store(stores: &Stores) {
    for (position, (_, status)) in AgentStatus::ALL.into_iter().enumerate() {
        let stored = Agent { status, ..agent(&format!("status-{position}")) };
        stores.agents.insert(&stored, None).await.unwrap();
        assert_eq!(find(stores, &stored.id).await, stored);
    }
    for (name, acp_type) in AcpType::ALL {
        let stored = Agent { acp_type, ..agent(&format!("type-{name}")) };
        stores.agents.insert(&stored, None).await.unwrap();
        assert_eq!(find(stores, &stored.id).await, stored);
    }
    for (name, input_type) in AgentInputType::ALL {
        let stored = Agent { agent_input_type: Some(input_type), ..agent(&format!("input-{name}")) };
        stores.agents.insert(&stored, None).await.unwrap();
        assert_eq!(find(stores, &stored.id).await, stored);
    }
}

pub async fn a_taken_name_is_refused_even_if_its_agent_is_deleted(stores: &Stores) {
    let live = agent("live");
    let dead = Agent { status: AgentStatus::Deleted, ..agent("dead") };
    insert(stores, &[live.clone(), dead.clone()]).await;

    for taken in ["live", "dead"] {
        let late = agent(taken);
        let refused = stores.agents.insert(&late, None).await;
        assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{taken}: {refused:?}");
        assert_eq!(stores.agents.find(&late.id).await.unwrap(), None);
    }
    assert_eq!(find(stores, &live.id).await, live);
    assert_eq!(find(stores, &dead.id).await, dead);
}

pub async fn a_taken_id_is_refused(stores: &Stores) {
    let first = agent("first");
    insert(stores, std::slice::from_ref(&first)).await;

    let refused = stores.agents.insert(&Agent { id: first.id.clone(), ..agent("second") }, None).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    assert_eq!(find(stores, &first.id).await, first);
    assert_eq!(stores.agents.find_by_name("second").await.unwrap(), None);
}

pub async fn of_many_concurrent_inserts_of_one_name_one_wins(stores: &Stores) {
    let inserts = (0..10).map(|_| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let candidate = agent("wanted");
            stores.agents.insert(&candidate, None).await.map(|()| candidate.id)
        })
    });

    let outcomes: Vec<_> = futures::future::join_all(inserts).await.into_iter().map(Result::unwrap).collect();

    let winners: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(&stores.agents.find_by_name("wanted").await.unwrap().unwrap().id, winners[0]);
    for outcome in &outcomes {
        assert!(matches!(outcome, Ok(_) | Err(StoreError::Duplicate { .. })), "{outcome:?}");
    }
}

pub async fn a_dial_target_holds_the_agent_whatever_its_status_and_its_key(stores: &Stores) {
    let keyed = agent("keyed");
    let dead = Agent { status: AgentStatus::Deleted, acp_url: None, ..agent("dead") };
    insert(stores, &[keyed.clone(), dead.clone()]).await;
    let key = stored_internal_key(stores, &keyed.id).await;

    let target = stores.agents.dial_target(&keyed.id).await.unwrap().unwrap();
    assert_eq!(target.url(), keyed.acp_url.as_deref());
    assert_eq!((&target.agent, &target.production_url, &target.internal_key), (&keyed, &None, &Some(key)));
    assert_eq!(stores.agents.dial_target_by_name("keyed").await.unwrap(), Some(target));

    let target = stores.agents.dial_target(&dead.id).await.unwrap().unwrap();
    assert_eq!((target.url(), &target.agent, &target.internal_key), (None, &dead, &None));
    assert_eq!(stores.agents.dial_target_by_name("dead").await.unwrap(), Some(target));

    assert_eq!(stores.agents.dial_target(&AgentId::generate()).await.unwrap(), None);
    assert_eq!(stores.agents.dial_target_by_name("nobody").await.unwrap(), None);
}

/// A deployment that is not production takes no calls.
/// rpc §7: 12
pub async fn a_dial_target_ignores_deployments_that_are_not_production(stores: &Stores) {
    let dialled = agent("dialled");
    insert(stores, std::slice::from_ref(&dialled)).await;
    let preview = DeploymentRegistration {
        id: DeploymentId::generate(),
        acp_url: "http://preview:1".into(),
        docker_image: "image".into(),
        metadata: None,
    };
    stores.deployments.register(&dialled.id, &preview, at(1)).await.unwrap();

    let target = stores.agents.dial_target(&dialled.id).await.unwrap().unwrap();

    assert_eq!(target.production_url, None);
    assert_eq!(target.url(), dialled.acp_url.as_deref());
}

pub async fn deleting_keeps_the_row_and_drops_the_agents_keys_only(stores: &Stores) {
    let (gone, other) = (agent("gone"), agent("other"));
    insert(stores, &[gone.clone(), other.clone()]).await;
    let key = stored_internal_key(stores, &gone.id).await;
    let kept = stored_internal_key(stores, &other.id).await;

    let departed = stores.agents.delete(&gone.id, "why not", at(7), None).await.unwrap();

    assert_eq!(departed, Some(Vec::new()));
    assert_eq!(stores.api_keys.find(&key.id).await.unwrap(), None);
    let expected = Agent {
        status: AgentStatus::Deleted,
        status_reason: Some("why not".into()),
        updated_at: at(7),
        ..gone.clone()
    };
    assert_eq!(find(stores, &gone.id).await, expected);
    assert_eq!(stores.agents.find_by_name("gone").await.unwrap(), Some(expected));
    assert_eq!(stores.agents.dial_target(&gone.id).await.unwrap().unwrap().internal_key, None);
    assert_eq!(stores.agents.dial_target(&other.id).await.unwrap().unwrap().internal_key, Some(kept));
}

pub async fn deleting_twice_or_an_absent_agent_is_none(stores: &Stores) {
    let gone = agent("gone");
    insert(stores, std::slice::from_ref(&gone)).await;

    assert_eq!(stores.agents.delete(&gone.id, "first", at(1), None).await.unwrap(), Some(Vec::new()));
    assert_eq!(stores.agents.delete(&gone.id, "second", at(2), None).await.unwrap(), None);
    assert_eq!(stores.agents.delete(&AgentId::generate(), "third", at(3), None).await.unwrap(), None);

    let row = find(stores, &gone.id).await;
    assert_eq!((row.status_reason.as_deref(), row.updated_at), (Some("first"), at(1)));
}

pub async fn names_are_data_in_queries(stores: &Stores) {
    insert(stores, &[agent("plain")]).await;

    for odd in ["' OR '1'='1", "%", "_____", "plain'--", "pl\\ain", "PLAIN", " plain", ""] {
        assert_eq!(stores.agents.find_by_name(odd).await.unwrap(), None, "{odd:?}");
    }
    let longest = AgentName::parse("n".repeat(AgentName::MAX_LENGTH)).unwrap().into_string();
    insert(stores, &[agent(&longest)]).await;
    assert_eq!(stores.agents.find_by_name(&longest).await.unwrap().unwrap().name, longest);
}

/// agents §13: 42
pub async fn health_changes_only_what_is_ready_or_unhealthy(stores: &Stores) {
    for (status, healthy, after) in [
        (AgentStatus::Ready, false, AgentStatus::Unhealthy),
        (AgentStatus::Unhealthy, true, AgentStatus::Ready),
        (AgentStatus::Ready, true, AgentStatus::Ready),
        (AgentStatus::Unhealthy, false, AgentStatus::Unhealthy),
        (AgentStatus::Deleted, false, AgentStatus::Deleted),
        (AgentStatus::Deleted, true, AgentStatus::Deleted),
        (AgentStatus::Failed, true, AgentStatus::Failed),
        (AgentStatus::BuildOnly, false, AgentStatus::BuildOnly),
    ] {
        let stored = Agent { status, ..agent(&format!("{}-{healthy}", status.as_str().to_lowercase())) };
        stores.agents.insert(&stored, None).await.unwrap();

        let changed = stores.agents.set_health(&stored.id, healthy, "why", at(99)).await.unwrap();

        assert_eq!(changed, status != after, "{status:?} {healthy}");
        let expected = if changed {
            Agent { status: after, status_reason: Some("why".to_owned()), updated_at: at(99), ..stored.clone() }
        } else {
            stored.clone()
        };
        assert_eq!(stores.agents.find(&stored.id).await.unwrap().unwrap(), expected);
    }
}
