//! Rows in states that no port method makes: written by operators, other tools or later releases.

use agentex_authz::{ResourceRef, Scope};
use agentex_domain::ports::{AgentFilter, AgentOrder, Departure, DeploymentUpsert, Settlement, StoreError, Stores};
use agentex_domain::{
    Agent, AgentId, ApiKeyKind, DeploymentId, DeploymentRegistration, DeploymentStatus, Direction, IntentStep,
    PageRequest,
};
use agentex_testkit::build::{agent, api_key, at, intent, internal_key, message, new_task, registration, text, user};

use crate::{Fixture, connect};

fn pod(url: &str) -> DeploymentRegistration {
    DeploymentRegistration {
        id: DeploymentId::from("d1"),
        acp_url: url.to_owned(),
        docker_image: "image".to_owned(),
        metadata: None,
    }
}

/// An agent whose production deployment is `d1`, as a promotion leaves it.
async fn promoted(fixture: &Fixture) -> Agent {
    let owner = Agent { id: AgentId::from("a1"), ..agent("owner") };
    fixture.stores().agents.insert(&owner, None).await.unwrap();
    fixture.stores().deployments.register(&owner.id, &pod("http://pod:1"), at(1)).await.unwrap();
    fixture.behind_its_back("UPDATE deployments SET is_production = 1 WHERE id = 'd1'").await;
    fixture
        .behind_its_back("UPDATE agents SET production_deployment_id = 'd1', acp_url = 'http://pod:1' WHERE id = 'a1'")
        .await;
    owner
}

async fn production_flags(fixture: &Fixture) -> Vec<bool> {
    sqlx::query_scalar("SELECT is_production FROM deployments")
        .fetch_all(&mut connect(&fixture.path()).await)
        .await
        .unwrap()
}

/// rpc §7: 12
#[tokio::test]
async fn calls_go_to_the_production_deployment_unless_its_url_is_empty() {
    let fixture = Fixture::new().await;
    let owner = promoted(&fixture).await;
    fixture.behind_its_back("UPDATE agents SET acp_url = 'http://own:1' WHERE id = 'a1'").await;

    let target = fixture.stores().agents.dial_target(&owner.id).await.unwrap().unwrap();
    assert_eq!((target.production_url.as_deref(), target.url()), (Some("http://pod:1"), Some("http://pod:1")));

    fixture.behind_its_back("UPDATE deployments SET acp_url = '' WHERE id = 'd1'").await;
    let target = fixture.stores().agents.dial_target_by_name("owner").await.unwrap().unwrap();
    assert_eq!((target.production_url.as_deref(), target.url()), (None, Some("http://own:1")));
}

#[tokio::test]
async fn the_agent_follows_its_production_deployment_once() {
    let fixture = Fixture::new().await;
    let owner = promoted(&fixture).await;
    let stores = fixture.stores();

    stores.deployments.register(&owner.id, &pod("http://pod:2"), at(5)).await.unwrap();
    let moved = stores.agents.find(&owner.id).await.unwrap().unwrap();
    assert_eq!((moved.acp_url.as_deref(), moved.updated_at), (Some("http://pod:2"), at(5)));

    stores.deployments.register(&owner.id, &pod("http://pod:2"), at(6)).await.unwrap();
    assert_eq!(stores.agents.find(&owner.id).await.unwrap(), Some(moved));
}

#[tokio::test]
async fn a_pending_deployment_becomes_ready_when_its_pod_registers() {
    let fixture = Fixture::new().await;
    let owner = promoted(&fixture).await;
    fixture.behind_its_back("UPDATE deployments SET status = 'Pending', acp_url = NULL WHERE id = 'd1'").await;

    let stored = fixture.stores().deployments.register(&owner.id, &pod("http://pod:3"), at(5)).await.unwrap();

    let DeploymentUpsert::Stored(stored) = stored else { panic!("{stored:?}") };
    assert_eq!((stored.status, stored.acp_url.as_deref()), (DeploymentStatus::Ready, Some("http://pod:3")));
}

#[tokio::test]
async fn a_removed_deployment_does_not_come_back() {
    let fixture = Fixture::new().await;
    let owner = promoted(&fixture).await;
    fixture.behind_its_back("UPDATE deployments SET is_production = 0, expires_at = 1 WHERE id = 'd1'").await;
    let before = fixture.stores().agents.find(&owner.id).await.unwrap();

    let outcome = fixture.stores().deployments.register(&owner.id, &pod("http://pod:4"), at(5)).await.unwrap();

    assert_eq!(outcome, DeploymentUpsert::Expired);
    assert_eq!(fixture.stores().agents.find(&owner.id).await.unwrap(), before);
}

#[tokio::test]
async fn registering_the_agent_itself_leaves_no_production_deployment() {
    let fixture = Fixture::new().await;
    let owner = promoted(&fixture).await;

    let again = fixture
        .stores()
        .agents
        .register_again(&owner.id, &registration("owner"), false, at(5), None)
        .await
        .unwrap()
        .unwrap();

    assert!(again.changed);
    assert_eq!(again.agent.production_deployment_id, None);
    assert_eq!(production_flags(&fixture).await, [false]);
}

/// The pointer and the flag change together or not at all.
#[tokio::test]
async fn renaming_onto_a_taken_name_keeps_the_production_deployment() {
    let fixture = Fixture::new().await;
    let owner = promoted(&fixture).await;
    fixture.stores().agents.insert(&agent("taken"), None).await.unwrap();
    let before = fixture.stores().agents.find(&owner.id).await.unwrap();

    let refused = fixture.stores().agents.register_again(&owner.id, &registration("taken"), true, at(5), None).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { what: "agent" })), "{refused:?}");
    assert_eq!(fixture.stores().agents.find(&owner.id).await.unwrap(), before);
    assert_eq!(production_flags(&fixture).await, [true]);
}

#[tokio::test]
async fn an_agent_revived_as_a_build_leaves_no_production_deployment() {
    let fixture = Fixture::new().await;
    let owner = promoted(&fixture).await;
    fixture.stores().agents.delete(&owner.id, "gone", at(4), None).await.unwrap();

    let revived = fixture.stores().agents.revive_as_build(&owner.id, "again".into(), None, at(5), None).await.unwrap();

    assert_eq!(revived.unwrap().production_deployment_id, None);
    assert_eq!(production_flags(&fixture).await, [false]);
}

#[tokio::test]
async fn keys_of_other_kinds_open_nothing_and_are_dropped_with_their_agent() {
    let fixture = Fixture::new().await;
    let owner = Agent { id: AgentId::from("a1"), ..agent("owner") };
    let stores = fixture.stores();
    stores.agents.insert(&owner, None).await.unwrap();
    fixture
        .behind_its_back(
            "INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key, api_key_digest, created_at) \
             VALUES ('k1', 'a1', 'hook', 'github', 'clear', NULL, 9000000000000000)",
        )
        .await;

    assert_eq!(stores.api_keys.find_internal_owner("digest", "clear").await.unwrap(), None);
    assert_eq!(stores.agents.dial_target(&owner.id).await.unwrap().unwrap().internal_key, None);
    assert!(stores.api_keys.internal_key_or_insert(&internal_key(&owner.id), None).await.unwrap().stored);
    let departure = Departure { by: user("bob"), due_at: at(2) };
    let departed = stores.agents.delete(&owner.id, "gone", at(1), Some(departure)).await.unwrap().unwrap();
    assert_eq!(departed.len(), 3, "both keys and the agent");
}

/// rpc §7: 57
#[tokio::test]
async fn of_several_internal_keys_the_newest_is_used() {
    let fixture = Fixture::new().await;
    let owner = Agent { id: AgentId::from("a1"), ..agent("owner") };
    let stores = fixture.stores();
    stores.agents.insert(&owner, None).await.unwrap();
    stores.api_keys.internal_key_or_insert(&internal_key(&owner.id), None).await.unwrap();
    fixture
        .behind_its_back(
            "INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key, api_key_digest, created_at) \
             VALUES ('k2', 'a1', 'rotated', 'internal', 'sealed', 'digest', 9000000000000000)",
        )
        .await;

    let used = stores.api_keys.internal_key_or_insert(&internal_key(&owner.id), None).await.unwrap().key;

    assert_eq!(used.id.as_str(), "k2");
    assert_eq!(stores.agents.dial_target(&owner.id).await.unwrap().unwrap().internal_key, Some(used));
}

async fn only_agents(stores: &Stores) -> Result<Vec<Agent>, StoreError> {
    let everything = AgentFilter { scope: Scope::All, task_id: None, card_metadata: None };
    stores.agents.list(&everything, AgentOrder::default(), Direction::Ascending, PageRequest::default()).await
}

#[tokio::test]
async fn a_row_that_is_no_entity_is_named() {
    let fixture = Fixture::new().await;
    let owner = Agent { id: AgentId::from("a1"), ..agent("owner") };
    let task = new_task(&owner);
    let said = message(&task.id, text("hello"), at(1));
    let stores = fixture.stores();
    stores.agents.insert(&owner, None).await.unwrap();
    stores.tasks.insert(&task, None).await.unwrap();
    stores.messages.insert(&task.id, std::slice::from_ref(&said)).await.unwrap();
    fixture.behind_its_back("UPDATE agents SET status = 'Dreaming'").await;
    fixture.behind_its_back("UPDATE tasks SET created_at = 9223372036854775807").await;
    fixture.behind_its_back(r#"UPDATE task_messages SET content = '{"type": "image"}'"#).await;

    let corrupt = |error: StoreError| match error {
        StoreError::Corrupt { table, id, .. } => (table, id),
        other => panic!("{other:?}"),
    };

    let agents = ("agents", "a1".to_owned());
    assert_eq!(corrupt(stores.agents.find(&owner.id).await.unwrap_err()), agents);
    assert_eq!(corrupt(only_agents(&stores).await.unwrap_err()), agents);
    assert_eq!(corrupt(stores.tasks.find(&task.id).await.unwrap_err()), ("tasks", task.id.to_string()));
    assert_eq!(corrupt(stores.messages.find(&said.id).await.unwrap_err()), ("task_messages", said.id.to_string()));
}

/// Keys without a digest are compared in clear, which is what their writers stored.
#[tokio::test]
async fn an_external_key_of_another_writer_opens_its_agent() {
    let fixture = Fixture::new().await;
    let owner = Agent { id: AgentId::from("a1"), ..agent("owner") };
    let stores = fixture.stores();
    stores.agents.insert(&owner, None).await.unwrap();
    fixture
        .behind_its_back(
            "INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key, created_at) \
             VALUES ('k1', 'a1', 'theirs', 'external', 'clear', 1)",
        )
        .await;

    assert!(stores.api_keys.has_external(&owner.id, "digest", "clear").await.unwrap());
    assert!(!stores.api_keys.has_external(&owner.id, "clear", "digest").await.unwrap());
}

#[tokio::test]
async fn what_is_not_an_intent_an_owner_or_a_key_is_named() {
    let fixture = Fixture::new().await;
    let owner = Agent { id: AgentId::from("a1"), ..agent("owner") };
    let stores = fixture.stores();
    let registering = intent(ResourceRef::agent("a1"));
    stores.intents.open(&registering).await.unwrap();
    let settles = Settlement { intent: registering.id.clone(), then: IntentStep::Granting, due_at: at(1) };
    stores.agents.insert(&owner, Some(settles)).await.unwrap();
    let key = api_key(&owner.id, ApiKeyKind::Slack, "key");
    stores.api_keys.insert(&key, None).await.unwrap();
    fixture.behind_its_back("UPDATE authz_intents SET step = 'dreaming'").await;
    fixture.behind_its_back("UPDATE authz_owners SET created_at = 9223372036854775807").await;
    fixture.behind_its_back("UPDATE agent_api_keys SET api_key_type = 'linear'").await;

    let corrupt = |error: StoreError| match error {
        StoreError::Corrupt { table, id, .. } => (table, id),
        other => panic!("{other:?}"),
    };

    let intents = ("authz_intents", registering.id.to_string());
    assert_eq!(corrupt(stores.intents.list(1).await.unwrap_err()), intents);
    assert_eq!(corrupt(stores.intents.claim(at(9), at(10), 1).await.unwrap_err()), intents);
    assert_eq!(
        corrupt(stores.owners.find(&registering.resource).await.unwrap_err()),
        ("authz_owners", "a1".to_owned())
    );
    assert_eq!(corrupt(stores.api_keys.find(&key.id).await.unwrap_err()), ("agent_api_keys", key.id.to_string()));
}

/// A task that is refused keeps nothing behind, so that the same id can be tried again.
/// tasks §10: 5
#[tokio::test]
async fn each_task_has_exactly_one_link_and_one_tracker_row() {
    let fixture = Fixture::new().await;
    let owner = agent("owner");
    let task = new_task(&owner);
    let stores = fixture.stores();

    let dangling = stores.tasks.insert(&task, None).await;
    assert!(matches!(dangling, Err(StoreError::Dangling { .. })), "{dangling:?}");
    stores.agents.insert(&owner, None).await.unwrap();
    stores.tasks.insert(&task, None).await.unwrap();

    let counts: (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM task_agents), (SELECT count(*) FROM agent_task_tracker)")
            .fetch_one(&mut connect(&fixture.path()).await)
            .await
            .unwrap();
    assert_eq!(counts, (1, 1));
}
