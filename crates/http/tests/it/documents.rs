use std::path::Path;

use agentex_http::HttpOptions;
use serde_json::Value;

use crate::support::{Setup, World};

/// The document is committed so that changes of the API are seen in review. `UPDATE_OPENAPI=1` writes it anew.
#[test]
fn the_committed_document_is_the_one_the_handlers_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let mut made = serde_json::to_string_pretty(&agentex_http::openapi()).unwrap();
    made.push('\n');

    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &made).unwrap();
    }

    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "docs/openapi.json is stale: run this test with UPDATE_OPENAPI=1 and commit it");
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = serde_json::to_value(agentex_http::openapi()).unwrap();
    let mut targets = Vec::new();
    collect(&document, &mut targets);

    assert!(targets.len() > 50);
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

fn collect<'a>(value: &'a Value, targets: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            targets.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| collect(value, targets));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, targets)),
        _ => {}
    }
}

#[test]
fn generated_clients_find_what_they_know() {
    let document = serde_json::to_value(agentex_http::openapi()).unwrap();

    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], "0.1.0");
    let register = &document["paths"]["/agents/register"]["post"];
    assert_eq!(register["operationId"], "register_agent_agents_register_post");
    assert_eq!(register["tags"], serde_json::json!(["Agents"]));
    let schemas = &document["components"]["schemas"];
    let required = |name: &str| schemas[name]["required"].clone();
    assert_eq!(required("RegisterAgentRequest"), serde_json::json!(["name", "description", "acp_url", "acp_type"]));
    assert_eq!(
        required("Agent"),
        serde_json::json!(["id", "name", "description", "acp_type", "created_at", "updated_at"])
    );
    assert_eq!(required("TaskMessage"), serde_json::json!(["task_id", "content"]));
    assert_eq!(required("UpdateTaskRequest"), Value::Null);
    assert_eq!(schemas["AgentRPCMethod"]["enum"].as_array().unwrap().len(), 5);
    assert_eq!(
        register["responses"]["422"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/ValidationError"
    );
}

/// A page that loads something from elsewhere fails where there is no internet, and tells others who reads it.
#[tokio::test]
async fn the_page_stands_alone_and_names_every_operation() {
    let world = World::new().await;
    let document = world.get("/openapi.json").await.ok();

    let page = world.get("/api").await;

    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let page = page.text();
    for foreign in ["<script", "http://", "https://", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
}

#[tokio::test]
async fn the_pages_can_be_switched_off_but_the_document_stays() {
    let world =
        World::with(Setup { http: HttpOptions { docs: false, ..HttpOptions::default() }, ..Setup::default() }).await;

    assert_eq!(world.get("/api").await.status, 404);
    assert_eq!(world.get("/swagger").await.status, 404);
    world.get("/openapi.json").await.ok();
}
