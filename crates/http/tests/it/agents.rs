use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentex_app::{ScheduleSettings, Settings};
use agentex_authz::Operation::Read;
use agentex_domain::ports::{MockWorkflowGateway, WorkflowError};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Setup, World, encoded, id, ids, registration};

/// agents §13: 1
#[tokio::test]
async fn a_new_agent_is_ready_and_gets_its_key() {
    let world = World::new().await;

    let answer = world.post("/agents/register", registration("a", "sync", "http://a:1")).await;

    let agent = answer.ok();
    assert_eq!((&agent["status"], &agent["acp_type"]), (&json!("Ready"), &json!("sync")));
    assert_eq!(agent["status_reason"], "Agent registered successfully.");
    assert!(agent["registered_at"].is_string());
    let key = agent["agent_api_key"].as_str().unwrap();
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut members: Vec<&str> = agent.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(
        members,
        [
            "acp_type",
            "agent_api_key",
            "agent_input_type",
            "created_at",
            "description",
            "id",
            "name",
            "production_deployment_id",
            "registered_at",
            "registration_metadata",
            "status",
            "status_reason",
            "updated_at"
        ]
    );
}

/// Neither shows the key or the address.
/// agents §13: 2
#[tokio::test]
async fn an_agent_reads_the_same_by_id_and_by_name() {
    let world = World::new().await;
    let registered = world.agent("a", "sync", "http://secret-host:1").await;

    let by_id = world.get(&format!("/agents/{}", id(&registered))).await;
    let by_name = world.get("/agents/name/a").await;

    assert_eq!(by_id.text(), by_name.text());
    assert_eq!(by_id.header("cache-control"), None);
    for secret in [registered["agent_api_key"].as_str().unwrap(), "secret-host", "docker_image", "agent_api_key"] {
        assert!(!by_id.text().contains(secret), "{secret}");
    }
}

/// agents §13: 3, 4
#[tokio::test]
async fn the_old_spelling_of_a_type_is_kept() {
    let world = World::new().await;

    for acp_type in ["agentic", "async", "agentic"] {
        world.agent("a", acp_type, "http://a:1").await;
        assert_eq!(world.get("/agents/name/a").await.ok()["acp_type"], acp_type);
        assert_eq!(world.get("/agents").await.ok()[0]["acp_type"], acp_type);
    }
}

/// agents §13: 5, 6, 7, 22
#[tokio::test]
async fn wrong_registrations_are_refused_by_member() {
    let world = World::new().await;
    let with = |member: &str, value: Value| {
        let mut body = registration("a", "sync", "http://a:1");
        body[member] = value;
        body
    };
    for (body, text) in [
        (with("acp_type", json!("bogus")), "body.acp_type: Input should be 'sync', 'async' or 'agentic'"),
        (with("name", json!("Bad_Name")), "body.name: String should match pattern '^[a-z0-9-]+$'"),
        (with("name", json!("")), "body.name: String should match pattern"),
        (with("name", json!("a\n")), "body.name: String should match pattern"),
        (with("acp_url", Value::Null), "body.acp_url: Input should be a valid string"),
        (with("acp_url", json!("ftp://a")), "body.acp_url"),
        (with("registration_metadata", json!({"deployment_id": 5})), "body.registration_metadata.deployment_id"),
        (with("registration_metadata", json!([])), "body.registration_metadata: Input should be a valid dictionary"),
        (with("agent_input_type", json!("xml")), "body.agent_input_type: Input should be 'text' or 'json'"),
        (with("agent_id", json!("")), "body.agent_id: String should have at least 1 character"),
        (with("agent_id", json!("*")), "body.agent_id: String should be an id or name"),
    ] {
        let told = world.post("/agents/register", body.clone()).await.invalid();
        assert!(told.contains(text), "{body}: {told}");
    }
    let mut without = registration("a", "sync", "http://a:1");
    without.as_object_mut().unwrap().remove("acp_url");
    assert!(world.post("/agents/register", without).await.invalid().contains("body.acp_url: Field required"));
    assert_eq!(world.get("/agents").await.ok(), json!([]));
}

/// agents §13: 8, 9, 10
#[tokio::test]
async fn registering_again_keeps_id_and_key() {
    let world = World::new().await;
    let mut body = registration("a", "sync", "http://a:1");
    body["registration_metadata"] = json!({"x": 1, "y": 1});
    let first = world.post("/agents/register", body.clone()).await.ok();

    world.clock.advance(Duration::from_secs(1));
    let same = world.post("/agents/register", body.clone()).await.ok();
    body["registration_metadata"] = json!({"y": 2, "z": 3});
    body["description"] = json!("new");
    let changed = world.post("/agents/register", body.clone()).await.ok();
    body["registration_metadata"] = Value::Null;
    let last = world.post("/agents/register", body).await.ok();

    assert_eq!(same, first);
    assert_eq!((id(&changed), &changed["agent_api_key"]), (id(&first), &first["agent_api_key"]));
    assert_eq!(changed["description"], "new");
    assert_ne!(changed["registered_at"], first["registered_at"]);
    assert_eq!(last["registration_metadata"], json!({"x": 1, "y": 2, "z": 3}));
    assert_eq!(ids(&world.get("/agents").await.ok()).len(), 1);
}

/// agents §13: 23
#[tokio::test]
async fn of_ten_first_registrations_one_makes_the_agent_and_all_get_it() {
    let world = World::new().await;
    let mut body = registration("a", "sync", "http://a:1");
    body["principal_context"] = json!({"user_id": "carol", "account_id": "acme"});

    let answers = join_all((0..10).map(|_| world.post("/agents/register", body.clone()))).await;

    let agents: Vec<Value> = answers.iter().map(|answer| answer.ok()).collect();
    assert!(agents.iter().all(|agent| agent["id"] == agents[0]["id"]), "{agents:?}");
    assert!(agents.iter().all(|agent| agent["agent_api_key"] == agents[0]["agent_api_key"]), "{agents:?}");
    assert_eq!(ids(&world.get("/agents").await.ok()), [id(&agents[0])]);
    let writes = world.calls.writes();
    let named = |verb: &str| -> BTreeSet<&str> { writes.iter().filter_map(|write| write.strip_prefix(verb)).collect() };
    let (registered, taken_back) = (named("register agent:"), named("deregister agent:"));
    let owned: Vec<&&str> = registered.difference(&taken_back).collect();
    assert_eq!(owned, [&id(&agents[0])], "{writes:?}");
}

/// agents §13: 57
#[tokio::test]
async fn an_agent_registers_although_nobody_can_look_after_its_health() {
    let (tried, mut tries) = tokio::sync::mpsc::unbounded_channel();
    let mut workflows = MockWorkflowGateway::new();
    workflows.expect_start().returning(move |workflow| {
        tried.send(workflow.id.clone()).unwrap();
        Err(WorkflowError::Unavailable("nobody there".into()))
    });
    let schedules = ScheduleSettings { health_checks: true, ..ScheduleSettings::default() };
    let settings = Settings { schedules, ..Settings::default() };
    let world = World::with(Setup { settings, workflows: Some(Arc::new(workflows)), ..Setup::default() }).await;

    let agent = world.agent("a", "sync", "http://a:1").await;

    assert_eq!(agent["status"], "Ready");
    assert_eq!(tries.recv().await.unwrap(), format!("healthcheck_workflow_{}", id(&agent)));
}

/// agents §13: 11, 12, 13
#[tokio::test]
async fn an_agent_is_renamed_by_its_id() {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://a:1").await;
    world.agent("taken", "sync", "http://a:1").await;
    let by_id = |name: &str, agent_id: &str| {
        let mut body = registration(name, "sync", "http://a:1");
        body["agent_id"] = json!(agent_id);
        body
    };

    let renamed = world.post("/agents/register", by_id("b", id(&agent))).await.ok();

    assert_eq!((id(&renamed), &renamed["name"]), (id(&agent), &json!("b")));
    world.get("/agents/name/a").await.refused(404, "Item with name 'a' does not exist.");
    world
        .post("/agents/register", by_id("taken", id(&agent)))
        .await
        .refused(400, "Item already exists. Please check all unique constraints and try again.");
    assert_eq!(world.get(&format!("/agents/{}", id(&agent))).await.ok()["name"], "b");
    world.post("/agents/register", by_id("c", "nope")).await.refused(404, "Item with id 'nope' does not exist.");
    world.get("/agents/name/c").await.expect(404);
}

/// agents §13: 29, 30, 31
#[tokio::test]
async fn a_build_is_registered_once() {
    let world = World::new().await;
    let build = |description: &str| json!({"name": "a", "description": description, "principal_context": {"x": 1}});

    let first = world.post("/agents/register-build", build("one")).await.ok();
    let again = world.post("/agents/register-build", build("two")).await.ok();

    assert_eq!((&first["status"], &first["acp_type"]), (&json!("BuildOnly"), &json!("async")));
    assert_eq!(first["registered_at"], Value::Null);
    assert!(first.get("agent_api_key").is_none());
    assert_eq!(again, first);

    let registered = world.agent("a", "sync", "http://a:1").await;
    let built = world.post("/agents/register-build", build("three")).await.ok();
    assert_eq!((&built["status"], id(&built)), (&json!("Ready"), id(&registered)));
}

/// With the header that keeps clients from trying again.
/// agents §13: 32
#[tokio::test]
async fn a_name_somebody_else_has_is_a_conflict() {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://a:1").await;
    world.rules.hide(id(&agent));

    let answer = world.post("/agents/register-build", json!({"name": "a", "description": "d"})).await;

    answer.refused(409, "Agent name 'a' is not available.");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

/// agents §13: 15, 37, 38
#[tokio::test]
async fn a_deleted_agent_is_gone_until_it_registers_again() {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://a:1").await;
    let path = format!("/agents/{}", id(&agent));

    let deleted = world.delete("/agents/name/a").await.ok();

    assert_eq!(deleted, json!({"id": id(&agent), "message": "Agent 'a' deleted successfully"}));
    assert_eq!(world.get("/agents").await.ok(), json!([]));
    world.get("/agents/name/a").await.refused(404, "Item with name 'a' does not exist.");
    world.get(&path).await.refused(404, &format!("Item with id '{}' does not exist.", id(&agent)));
    world.delete(&path).await.expect(404);
    let back = world.agent("a", "sync", "http://a:1").await;
    assert_eq!((id(&back), &back["status"]), (id(&agent), &json!("Ready")));
    let message = world.delete(&path).await.ok()["message"].clone();
    assert_eq!(message, format!("Agent '{}' deleted successfully", id(&agent)));
}

/// A new agent is on the first page.
/// agents §13: 36
/// agent-protocol §9: 41
#[tokio::test]
async fn the_first_page_holds_the_fifty_changed_last() {
    let world = World::new().await;
    for index in 0..55 {
        world.clock.advance(Duration::from_secs(1));
        world.agent(&format!("a-{index}"), "sync", "http://a:1").await;
    }

    let first = world.get("/agents").await.ok();

    assert_eq!(ids(&first).len(), 50);
    assert_eq!(first[0]["name"], "a-54");
    assert_eq!(ids(&world.get("/agents?page_number=2").await.ok()).len(), 5);
    let by_name = world.get("/agents?order_by=name&order_direction=asc&limit=2").await.ok();
    assert_eq!((&by_name[0]["name"], &by_name[1]["name"]), (&json!("a-0"), &json!("a-1")));
    for column in ["id", "name", "status", "created_at", "updated_at", "registered_at"] {
        world.get(&format!("/agents?order_by={column}")).await.ok();
    }
}

/// agents §13: 43
#[tokio::test]
async fn agents_can_be_found_by_their_task() {
    let world = World::new().await;
    let task = world.task("a").await;
    world.agent("b", "sync", "http://b:1").await;

    let of_task = world.get(&format!("/agents?task_id={}", id(&task))).await.ok();

    assert_eq!(of_task.as_array().unwrap().len(), 1);
    assert_eq!(of_task[0]["name"], "a");
    assert_eq!(world.get("/agents?task_id=nope").await.ok(), json!([]));
    assert!(world.get("/agents?task_id=").await.invalid().contains("query.task_id"));
}

/// agents §13: 46
/// authz §7: 72
#[tokio::test]
async fn a_hidden_agent_reads_like_an_absent_one() {
    let world = World::new().await;
    let agent = world.agent("a", "sync", "http://a:1").await;
    world.rules.deny(id(&agent), &[Read]);

    world.get("/agents/name/a").await.refused(404, "Item with name 'a' does not exist.");
}

/// agent-protocol §9: 36
#[tokio::test]
async fn agents_can_be_found_by_their_card() {
    let world = World::new().await;
    let mut body = registration("carded", "sync", "http://a:1");
    body["registration_metadata"] = json!({"agent_card": {"metadata": {"team": "x", "tags": ["a", "b"]}}});
    world.post("/agents/register", body).await.ok();
    world.agent("plain", "sync", "http://a:1").await;
    let by = async |filter: &str| world.get(&format!("/agents?agent_card_metadata={}", encoded(filter))).await;

    for filter in ["{}", r#"{"team": "x"}"#, r#"{"tags": ["b"]}"#] {
        let found = by(filter).await.ok();
        assert_eq!(found.as_array().unwrap().len(), 1, "{filter}");
        assert_eq!(found[0]["name"], "carded");
    }
    assert_eq!(by(r#"{"team": "y"}"#).await.ok(), json!([]));
    for broken in ["{", "", r#"{"a": NaN}"#, r#"{"a": Infinity}"#] {
        let told = by(broken).await.expect(400);
        assert!(told["message"].as_str().unwrap().starts_with("Invalid JSON in agent_card_metadata"), "{told}");
    }
    for other in ["[]", "null", "5", r#""x""#] {
        by(other).await.refused(400, "agent_card_metadata must decode to a JSON object.");
    }
    by(r#"{"a": "\u0000"}"#).await.invalid();
}
