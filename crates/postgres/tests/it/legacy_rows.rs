use agentex_domain::ports::{DeploymentUpsert, StoreError, TaskChange, Transitioned};
use agentex_domain::{AgentInputType, AgentStatus, DeploymentRegistration, DeploymentStatus, TaskStatus, Transition};
use agentex_testkit::build::{agent, at, data, internal_key, message, new_task, object, text};
use serde_json::{Value, json};

use crate::database::{Database, migrated};

async fn text_of(database: &Database, query: &'static str) -> Option<String> {
    sqlx::query_scalar(query).fetch_one(&database.sql).await.unwrap()
}

#[tokio::test]
async fn values_that_are_absent_are_stored_as_sql_null() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task, None).await.unwrap();
    database.stores.events.append(&task.id, &agent.id, None, at(1)).await.unwrap();

    for query in [
        "SELECT registration_metadata::text FROM agents",
        "SELECT params::text FROM tasks",
        "SELECT task_metadata::text FROM tasks",
        "SELECT content::text FROM events",
    ] {
        assert_eq!(text_of(&database, query).await, None, "{query}");
    }
}

/// tasks §10: 5
#[tokio::test]
async fn a_new_task_has_one_link_and_one_empty_tracker() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    database.stores.tasks.insert(&new_task(&agent), None).await.unwrap();

    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM task_agents),
                (SELECT count(*) FROM agent_task_tracker),
                (SELECT count(*)
                   FROM agent_task_tracker
                  WHERE status IS NULL AND status_reason IS NULL AND last_processed_event_id IS NULL)",
    )
    .fetch_one(&database.sql)
    .await
    .unwrap();

    assert_eq!(counts, (1, 1, 1));
}

/// tasks §10: 4
#[tokio::test]
async fn json_null_parameters_read_as_none_and_merge_to_an_object() {
    let database = migrated().await;
    database.run("INSERT INTO tasks (id, status, params, task_metadata) VALUES ('t', 'RUNNING', 'null', 'null')").await;
    let tasks = &database.stores.tasks;

    let read = tasks.find(&"t".into()).await.unwrap().unwrap();
    assert_eq!((read.params, read.task_metadata), (None, None));

    let change = TaskChange { merge_params: Some(object(json!({"a": 1}))), ..TaskChange::default() };
    tasks.update(&"t".into(), &change, at(1)).await.unwrap().unwrap();

    let stored = text_of(&database, "SELECT params::text FROM tasks").await;
    assert_eq!(stored.as_deref(), Some(r#"{"a": 1}"#));
    assert_eq!(tasks.find(&"t".into()).await.unwrap().unwrap().params, Some(object(json!({"a": 1}))));
}

#[tokio::test]
async fn every_agent_status_and_input_type_is_read_back_and_dead_ones_are_unknown() {
    let database = migrated().await;
    let agents = &database.stores.agents;
    for (place, (_, status)) in AgentStatus::ALL.into_iter().enumerate() {
        let input_type = AgentInputType::ALL[place % 2].1;
        let mut agent = agent(&format!("a{place}"));
        agent.status = status;
        agent.agent_input_type = Some(input_type);
        agents.insert(&agent, None).await.unwrap();

        let read = agents.find(&agent.id).await.unwrap().unwrap();

        assert_eq!((read.status, read.agent_input_type), (status, Some(input_type)));
    }
    let label = text_of(&database, "SELECT status::text FROM agents WHERE name = 'a5'").await;
    assert_eq!(label.as_deref(), Some("BUILD_ONLY"));

    database.run("UPDATE agents SET status = 'PENDING' WHERE name = 'a0'").await;
    assert_eq!(agents.find_by_name("a0").await.unwrap().unwrap().status, AgentStatus::Unknown);
}

#[tokio::test]
async fn every_task_status_is_read_back() {
    let database = migrated().await;
    for (label, status) in TaskStatus::ALL {
        sqlx::query("INSERT INTO tasks (id, status) VALUES ($1, $1::taskstatus)")
            .bind(label)
            .execute(&database.sql)
            .await
            .unwrap();
        assert_eq!(database.stores.tasks.find(&label.into()).await.unwrap().unwrap().status, status);
    }
}

#[tokio::test]
async fn a_pending_deployment_becomes_ready_and_an_expired_or_foreign_one_is_left_alone() {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO agents (id, name, description, status) VALUES ('a', 'a', '', 'READY'), ('b', 'b', '', 'READY');
             INSERT INTO deployments (id, agent_id, docker_image, registration_metadata, expires_at)
             VALUES ('pending', 'a', 'image', '{\"k\": 1}', NULL), ('gone', 'a', 'image', NULL, now()),
                    ('theirs', 'b', 'image', NULL, now());",
        )
        .await;
    let register = async |id: &str| {
        let registration = DeploymentRegistration {
            id: id.into(),
            acp_url: "http://pod:1".into(),
            docker_image: "other".into(),
            metadata: None,
        };
        database.stores.deployments.register(&"a".into(), &registration, at(1)).await
    };

    let DeploymentUpsert::Stored(stored) = register("pending").await.unwrap() else { panic!("not stored") };
    assert_eq!((stored.status, stored.acp_url.as_deref()), (DeploymentStatus::Ready, Some("http://pod:1")));
    assert_eq!((stored.docker_image.as_str(), stored.registration_metadata.is_some()), ("image", true));
    assert_eq!(register("gone").await.unwrap(), DeploymentUpsert::Expired);
    assert_eq!(register("theirs").await.unwrap(), DeploymentUpsert::OtherAgent);
}

#[tokio::test]
async fn a_production_pod_that_moves_takes_the_agents_url_along() {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO agents (id, name, description, status, acp_url) VALUES ('a', 'a', '', 'READY', 'http://old:1');
             INSERT INTO deployments (id, agent_id, docker_image, is_production, acp_url)
             VALUES ('d', 'a', 'image', true, 'http://old:1');
             UPDATE agents SET production_deployment_id = 'd', updated_at = '2020-01-01T00:00:00Z';",
        )
        .await;
    let (agents, deployments) = (&database.stores.agents, &database.stores.deployments);
    let registration = DeploymentRegistration {
        id: "d".into(),
        acp_url: "http://new:1".into(),
        docker_image: "i".into(),
        metadata: None,
    };

    deployments.register(&"a".into(), &registration, at(1)).await.unwrap();
    deployments.register(&"a".into(), &registration, at(2)).await.unwrap();

    let target = agents.dial_target(&"a".into()).await.unwrap().unwrap();
    assert_eq!(target.production_url.as_deref(), Some("http://new:1"));
    assert_eq!(target.agent.acp_url.as_deref(), Some("http://new:1"));
    assert_eq!(target.agent.updated_at, at(1), "repeating it changes nothing more");

    let legacy = agentex_testkit::build::registration("a");
    let again = agents.register_again(&"a".into(), &legacy, false, at(3), None).await.unwrap().unwrap();
    assert_eq!(again.agent.production_deployment_id, None);
    let production = text_of(&database, "SELECT is_production::text FROM deployments").await;
    assert_eq!(production.as_deref(), Some("false"));
}

#[tokio::test]
async fn a_key_without_digest_is_found_by_its_text_and_one_with_a_digest_is_not() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let keys = &database.stores.api_keys;
    let key = keys.internal_key_or_insert(&internal_key(&agent.id), None).await.unwrap().key;
    let digest = key.digest.clone().unwrap();

    assert!(keys.find_internal_owner("other", &key.sealed).await.unwrap().is_none());
    assert!(keys.find_internal_owner(&digest, "other").await.unwrap().is_some());

    database.run("UPDATE agent_api_keys SET api_key_digest = NULL").await;
    assert_eq!(keys.find_internal_owner(&digest, &key.sealed).await.unwrap().unwrap().agent_id, agent.id);
    assert!(keys.find_internal_owner(&digest, "other").await.unwrap().is_none());
}

#[tokio::test]
async fn integers_beyond_the_precision_of_floats_are_unchanged() {
    let database = migrated().await;
    let numbers = json!({"u": u64::MAX, "i": i64::MIN, "odd": 9_007_199_254_740_993_i64, "f": 0.1});
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let mut task = new_task(&agent);
    task.params = Some(object(numbers.clone()));
    database.stores.tasks.insert(&task, None).await.unwrap();
    let sent = message(&task.id, data(numbers.clone()), at(1));
    database.stores.messages.insert(&task.id, std::slice::from_ref(&sent)).await.unwrap();

    let stored = database.stores.tasks.find(&task.id).await.unwrap().unwrap();

    assert_eq!(stored.params.map(Value::from), Some(numbers));
    assert_eq!(database.stores.messages.find(&sent.id).await.unwrap(), Some(sent));
}

#[tokio::test]
async fn what_postgres_cannot_hold_is_not_found_instead_of_failing() {
    let database = migrated().await;
    let stores = &database.stores;

    assert_eq!(stores.agents.find(&"a\0".into()).await.unwrap(), None);
    assert_eq!(stores.agents.find_by_name("\0").await.unwrap(), None);
    assert_eq!(stores.agents.dial_target_by_name("\0").await.unwrap(), None);
    assert_eq!(stores.tasks.find_by_name("\0").await.unwrap(), None);
    assert_eq!(stores.messages.find(&"\0".into()).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_reported_by_name() {
    let database = migrated().await;
    database
        .run(
            "INSERT INTO tasks (id, status, params) VALUES ('t', 'RUNNING', '[null, {}]');
             INSERT INTO agents (id, name, description, status, acp_type) VALUES ('a', 'a', '', 'READY', 'pigeon');
             INSERT INTO task_messages (id, task_id, content, created_at, updated_at)
             VALUES ('m', 't', '{\"type\": \"song\"}', now(), now());",
        )
        .await;

    let task = database.stores.tasks.find(&"t".into()).await;
    let agent = database.stores.agents.find(&"a".into()).await;
    let message = database.stores.messages.find(&"m".into()).await;

    assert!(matches!(&task, Err(StoreError::Corrupt { table: "tasks", id, .. }) if id == "t"), "{task:?}");
    assert!(matches!(&agent, Err(StoreError::Corrupt { table: "agents", id, .. }) if id == "a"), "{agent:?}");
    assert!(
        matches!(&message, Err(StoreError::Corrupt { table: "task_messages", id, .. }) if id == "m"),
        "{message:?}"
    );
}

#[tokio::test]
async fn ids_of_any_shape_keep_the_order_of_insertion() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task, None).await.unwrap();
    let ids = ["zz", "6650f0f0f0f0f0f0f0f0f0f0", "0190c9a0-0000-7000-8000-000000000000", "Aa", "10", "9"];
    let messages: Vec<_> = ids
        .iter()
        .map(|id| {
            let mut message = message(&task.id, text(id), at(1));
            message.id = (*id).into();
            message
        })
        .collect();
    database.stores.messages.insert(&task.id, &messages).await.unwrap();

    let page =
        database.stores.messages.page(&task.id, &Default::default(), None, Default::default(), 10).await.unwrap();

    let newest_first: Vec<&str> = page.messages.iter().map(|message| message.id.as_str()).collect();
    assert_eq!(newest_first, ids.iter().rev().copied().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_number_as_key_is_a_member_and_never_a_place_in_an_array() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    database.stores.tasks.insert(&task, None).await.unwrap();
    let array = message(&task.id, data(json!({"l": [[1]]})), at(1));
    let object = message(&task.id, data(json!({"l": {"0": [1]}})), at(2));
    database.stores.messages.insert(&task.id, &[array, object.clone()]).await.unwrap();
    let filter = agentex_testkit::build::filter(&json!({"content": {"data": {"l": {"0": [1]}}}}));

    let found = database
        .stores
        .messages
        .list(&task.id, &filter, Default::default(), Default::default(), Default::default())
        .await
        .unwrap();

    assert_eq!(found, [object]);
}

#[tokio::test]
async fn a_deleted_tasks_name_is_taken_off_the_dead_row() {
    let database = migrated().await;
    let agent = agent("a");
    database.stores.agents.insert(&agent, None).await.unwrap();
    let dead = agentex_testkit::build::named_task(&agent, "chat");
    let tasks = &database.stores.tasks;
    tasks.insert(&dead, None).await.unwrap();
    let deleted = tasks.transition(&dead.id, Transition::Delete, "r", at(1)).await.unwrap();
    assert!(matches!(deleted, Transitioned::Done(_)));

    let living = agentex_testkit::build::named_task(&agent, "chat");
    tasks.insert(&living, None).await.unwrap();

    assert_eq!(tasks.find(&dead.id).await.unwrap().unwrap().name, None);
    assert_eq!(tasks.find_by_name("chat").await.unwrap().unwrap().id, living.id);
}
