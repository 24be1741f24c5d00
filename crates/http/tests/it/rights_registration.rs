//! Who may register agents, and what that gives them.

use std::time::Duration;

use agentex_app::{AuthorizationSettings, Settings};
use agentex_authz::{Operation, ResourceRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Answer, Authorization, Setup, World, id, registration};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";
const UNAUTHORIZED: &str = r#"{"detail":"Unauthorized"}"#;
const REGISTER: &str = "/agents/register";
const BUILD: &str = "/agents/register-build";

fn pod(name: &str) -> Value {
    registration(name, "sync", "http://agent.test:1")
}

/// A registration that brings a token as the identity it states, which is what unmodified pods can do.
fn with_token(name: &str, token: &str) -> Value {
    let mut body = pod(name);
    body["principal_context"] = json!({ "registration_token": token });
    body
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn anonymous(world: &World, body: &Value) -> Answer {
    world.call("POST", REGISTER, &[], Some(&body.to_string())).await
}

async fn register_as(world: &World, user: &str, body: Value) -> Answer {
    world.call_as(user, "POST", REGISTER, Some(body)).await
}

async fn build_as(world: &World, user: &str, name: &str) -> Answer {
    let body = json!({"name": name, "description": "built"});
    world.call_as(user, "POST", BUILD, Some(body)).await
}

fn unauthorized(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, UNAUTHORIZED));
}

async fn compat() -> World {
    let settings = Settings { authorization: AuthorizationSettings::compat(), ..Settings::default() };
    World::with(Setup { authorization: Authorization::Graph, settings, ..Setup::default() }).await
}

/// authz §7: 41, 101
#[tokio::test]
async fn without_a_credential_nothing_is_registered_and_no_key_is_shown() {
    let world = World::with_authorization().await;
    let agent = register_as(&world, "alice", pod("taken")).await.ok();
    let mut stated = pod("taken");
    stated["principal_context"] = json!({"user_id": "alice", "account_id": "acme"});
    let mut by_id = pod("taken");
    by_id["agent_id"] = json!(id(&agent));
    world.calls.take();

    for body in [pod("taken"), pod("free"), stated, by_id] {
        unauthorized(&anonymous(&world, &body).await);
        for refused in ["nonsense", &basic("alice", "alice")] {
            unauthorized(&world.call("POST", REGISTER, &[("authorization", refused)], Some(&body.to_string())).await);
        }
    }

    assert!(world.calls.take().is_empty());
    world.call_as("alice", "GET", "/agents/name/free", None).await.expect(404);
    // It is the route that lets everybody in, so what is wrong with the body is told first.
    anonymous(&world, &json!({})).await.invalid();
}

#[tokio::test]
async fn a_provider_that_is_down_is_not_a_missing_credential() {
    let world = World::with_authorization().await;

    let answer = register_as(&world, "down", pod("a")).await;

    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")));
}

/// authz §7: 86, 102
/// agents §13: 34
#[tokio::test]
async fn a_token_brings_the_built_agent_to_life_and_leaves_it_to_its_owner() {
    let world = World::with_authorization().await;

    let built = build_as(&world, "alice", "helper").await.ok();

    assert_eq!((&built["status"], built.get("agent_api_key"), built.get("acp_url")), (&json!("BuildOnly"), None, None));
    let agent = format!("agent:{}", id(&built));
    assert_eq!(world.calls.writes(), [format!("register {agent}"), format!("grant create {agent}")]);
    let token = built["registration_token"].as_str().unwrap();

    let mut by_id = with_token("helper", token);
    by_id["agent_id"] = built["id"].clone();
    let ready = anonymous(&world, &by_id).await;
    assert_eq!(ready.header("cache-control"), Some("no-store"));
    let ready = ready.ok();

    assert_eq!((id(&ready), &ready["status"]), (id(&built), &json!("Ready")));
    // Only the internal key is new to the graph, and it belongs to the owner.
    let writes = world.calls.writes();
    assert!(writes.iter().all(|write| write.contains("api_key:")), "{writes:?}");
    let keys = world.call_as("alice", "GET", "/agent_api_keys?agent_name=helper", None).await.ok();
    assert_eq!(keys[0]["api_key_type"], "internal");
    world.call_as("mallory", "GET", "/agents/name/helper", None).await.expect(404);
    world.call_as("alice", "DELETE", "/agents/name/helper", None).await.ok();
}

#[tokio::test]
async fn a_token_is_taken_from_the_body_and_from_the_urls_user_info() {
    let world = World::with_authorization().await;
    let built = build_as(&world, "alice", "helper").await.ok();
    let token = built["registration_token"].as_str().unwrap();
    assert!(token.starts_with("agxr_"));
    let body = pod("helper").to_string();

    let keys = [
        anonymous(&world, &with_token("helper", token)).await,
        world.call("POST", REGISTER, &[("authorization", &basic("token", token))], Some(&body)).await,
        world.call("POST", REGISTER, &[("authorization", &basic(token, ""))], Some(&body)).await,
    ]
    .map(|answer| answer.ok()["agent_api_key"].clone());

    assert!(keys.iter().all(|key| *key == keys[0] && key.is_string()));
}

#[tokio::test]
async fn a_token_is_good_for_its_agent_and_for_a_while() {
    let world = World::with_authorization().await;
    let built = build_as(&world, "alice", "helper").await.ok();
    let token = built["registration_token"].as_str().unwrap();
    register_as(&world, "alice", pod("other")).await.ok();

    for name in ["other", "new"] {
        let refused = anonymous(&world, &with_token(name, token)).await;
        assert_eq!((refused.status.as_u16(), refused.text().contains("api_key")), (401, false), "{name}");
    }
    unauthorized(&anonymous(&world, &with_token("helper", "agxr_forged")).await);
    // A token that is not good is not made good by who else one is.
    unauthorized(&register_as(&world, "alice", with_token("helper", "agxr_forged")).await);
    world.clock.advance(Duration::from_secs(89 * 24 * 3600));
    anonymous(&world, &with_token("helper", token)).await.ok();
    world.clock.advance(Duration::from_secs(2 * 24 * 3600));
    unauthorized(&anonymous(&world, &with_token("helper", token)).await);
}

/// authz §7: 101
#[tokio::test]
async fn an_agents_own_key_registers_it_again_and_no_other() {
    let world = World::with_authorization().await;
    let agent = register_as(&world, "alice", pod("helper")).await.ok();
    register_as(&world, "alice", pod("other")).await.ok();
    let key = [("x-agent-api-key", agent["agent_api_key"].as_str().unwrap())];
    world.calls.take();

    let again = world.call("POST", REGISTER, &key, Some(&pod("helper").to_string())).await.ok();
    assert_eq!((id(&again), &again["agent_api_key"]), (id(&agent), &agent["agent_api_key"]));

    for name in ["other", "new"] {
        let refused = world.call("POST", REGISTER, &key, Some(&pod(name).to_string())).await;
        assert_eq!((refused.status.as_u16(), refused.text().as_str()), (401, r#"{"detail":"Agent Unauthorized"}"#));
    }
    assert!(world.calls.take().is_empty());
}

/// authz §7: 95, 96
#[tokio::test]
async fn an_agent_is_registered_again_by_those_who_may_change_it() {
    let world = World::with_authorization().await;
    let agent = register_as(&world, "alice", pod("helper")).await.ok();
    world.share("ann", Operation::Update, ResourceRef::agent(id(&agent))).await;
    world.share("una", Operation::Read, ResourceRef::agent(id(&agent))).await;
    let mut by_id = pod("helper");
    by_id["agent_id"] = json!(id(&agent));
    world.calls.take();

    for body in [pod("helper"), by_id.clone()] {
        for user in ["alice", "ann"] {
            assert_eq!(register_as(&world, user, body.clone()).await.ok()["agent_api_key"], agent["agent_api_key"]);
        }
        register_as(&world, "una", body).await.refused(403, FORBIDDEN);
    }
    for user in ["mallory", "alice@elsewhere"] {
        let absent = "Item with name 'helper' does not exist.";
        register_as(&world, user, pod("helper")).await.refused(404, absent);
        let absent = format!("Item with id '{}' does not exist.", id(&agent));
        register_as(&world, user, by_id.clone()).await.refused(404, &absent);
    }
    assert!(world.calls.writes().is_empty());
}

/// authz §7: 87
#[tokio::test]
async fn building_again_gives_nobody_anything() {
    let world = World::with_authorization().await;
    let built = build_as(&world, "alice", "helper").await.ok();
    world.share("una", Operation::Read, ResourceRef::agent(id(&built))).await;
    world.share("ann", Operation::Update, ResourceRef::agent(id(&built))).await;
    world.calls.take();

    let seen = build_as(&world, "una", "helper").await.ok();
    assert_eq!((id(&seen), &seen["registration_token"]), (id(&built), &Value::Null));
    let token = build_as(&world, "ann", "helper").await.ok()["registration_token"].clone();
    for user in ["mallory", "alice@elsewhere"] {
        build_as(&world, user, "helper").await.refused(409, "Agent name 'helper' is not available.");
    }

    assert!(world.calls.writes().is_empty());
    anonymous(&world, &with_token("helper", token.as_str().unwrap())).await.ok();
    world.call_as("una", "DELETE", "/agents/name/helper", None).await.refused(403, FORBIDDEN);
}

/// authz §7: 42, 88
#[tokio::test]
async fn who_may_not_create_agents_builds_none() {
    let world = World::with(Setup { authorization: Authorization::StrictRules, ..Setup::default() }).await;
    world.rules.deny("*", &[Operation::Create]);

    build_as(&world, "alice", "helper").await.refused(403, FORBIDDEN);
    register_as(&world, "alice", pod("helper")).await.refused(403, FORBIDDEN);
    unauthorized(&world.call("POST", BUILD, &[], Some("{}")).await);

    assert_eq!(world.calls.take(), ["check create agent:*", "check create agent:*"]);
    world.call_as("alice", "GET", "/agents/name/helper", None).await.expect(404);
}

/// authz §7: 100
#[tokio::test]
async fn a_deleted_agent_comes_back_as_somebody_elses() {
    let world = World::with_authorization().await;
    let first = register_as(&world, "alice", pod("helper")).await.ok();
    world.call_as("alice", "DELETE", "/agents/name/helper", None).await.ok();

    let second = register_as(&world, "bob", pod("helper")).await.ok();

    assert_eq!(id(&second), id(&first));
    assert_ne!(second["agent_api_key"], first["agent_api_key"]);
    world.call_as("alice", "GET", "/agents/name/helper", None).await.expect(404);
    world.call_as("bob", "DELETE", "/agents/name/helper", None).await.ok();
}

/// authz §7: 91, 92, 93
#[tokio::test]
async fn in_the_compatible_profile_pods_register_and_are_believed() {
    let world = compat().await;
    for (name, stated) in [("none", json!(null)), ("empty", json!({})), ("account", json!({"account_id": "acme"}))] {
        let mut body = pod(name);
        body["principal_context"] = stated;

        let agent = anonymous(&world, &body).await.ok();

        assert!(agent["agent_api_key"].is_string());
        assert!(world.calls.take().is_empty(), "{name}");
    }

    let mut body = pod("carols");
    body["principal_context"] = json!({"user_id": "carol", "account_id": "acme"});
    let agent = anonymous(&world, &body).await.ok();
    let resource = format!("agent:{}", id(&agent));
    let calls = world.calls.take();
    let expected =
        ["check create agent:*".to_owned(), format!("register {resource}"), format!("grant create {resource}")];
    assert_eq!(calls[..3], expected);

    body["principal_context"]["user_id"] = json!("mallory");
    anonymous(&world, &body).await.refused(404, "Item with name 'carols' does not exist.");
    assert!(world.calls.writes().is_empty());
    world.call_as("carol", "DELETE", "/agents/name/carols", None).await.ok();
}
