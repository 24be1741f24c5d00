//! Keys of agents.

mod basics;
mod permissions;
mod webhooks;

use agentex_app::Settings;
use serde_json::{Value, json};

use crate::support::{Answer, Authorization, Setup, World, id, registration};

const NO_KEY: &str = "Agent api_key not found.";
const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

/// A server without authorization, with one agent called `helper`.
async fn off() -> (World, Value) {
    off_with(Settings::default()).await
}

async fn off_with(settings: Settings) -> (World, Value) {
    let world = World::with(Setup { settings, authorization: Authorization::Off, ..Setup::default() }).await;
    let agent = world.agent("helper", "sync", "http://agent.test:1").await;
    (world, agent)
}

/// A server with the permission model on which alice owns an agent called `helper`.
async fn owned() -> (World, Value) {
    let world = World::with_authorization().await;
    let agent = register(&world, "helper").await;
    (world, agent)
}

async fn register(world: &World, name: &str) -> Value {
    let body = registration(name, "sync", "http://agent.test:1");
    world.call_as("alice", "POST", "/agents/register", Some(body)).await.ok()
}

async fn create(world: &World, body: Value) -> Answer {
    world.post("/agent_api_keys", body).await
}

/// Makes an external key of `helper`.
async fn key(world: &World, name: &str) -> Value {
    create(world, json!({"agent_name": "helper", "name": name})).await.ok()
}

/// Makes an external key of `helper` as somebody.
async fn key_of(world: &World, user: &str, name: &str) -> Value {
    let body = json!({"agent_name": "helper", "name": name});
    world.call_as(user, "POST", "/agent_api_keys", Some(body)).await.ok()
}

async fn list(world: &World, query: &str) -> Vec<String> {
    let keys = world.get(&format!("/agent_api_keys?{query}")).await.ok();
    keys.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

fn by_id(key: &Value) -> String {
    format!("/agent_api_keys/{}", id(key))
}

/// Everything a caller can tell two refusals by.
fn shown(answer: &Answer) -> (u16, String, Vec<(String, String)>) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "x-request-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (answer.status.as_u16(), answer.text(), headers)
}
