use agentex_authz::{Operation, ResourceRef};
use serde_json::json;

use super::absent;
use crate::support::{World, id, registration, text_content};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";

/// authz §7: 114
/// retention §8: 22
#[tokio::test]
async fn export_takes_read_rehydrate_update_and_clean_delete() {
    let world = World::with_authorization().await;
    let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
    by_alice("POST", "/agents/register", registration("a", "sync", "http://agent.test:1")).await;
    let call = json!({"method": "task/create", "params": {}});
    let task = by_alice("POST", "/agents/name/a/rpc", call).await["result"].clone();
    let task = id(&task);
    world.share("viewer", Operation::Read, ResourceRef::task(task)).await;
    world.share("editor", Operation::Update, ResourceRef::task(task)).await;
    let contents = json!({"task_id": task, "messages": [{"task_id": task, "content": text_content("hi")}]});
    let requests = [
        ("GET", "export", None),
        ("POST", "export", Some(json!({"upload_url": "https://127.0.0.1/x"}))),
        ("POST", "rehydrate", Some(contents)),
        ("POST", "clean", Some(json!({}))),
    ];

    // Everybody who may is told by 200 or 400, which is about the task and the request and no longer about permissions.
    for (user, expected) in [
        ("alice", [200, 400, 400, 400]),
        ("editor", [200, 400, 400, 403]),
        ("viewer", [200, 400, 403, 403]),
        ("stranger", [404, 404, 404, 404]),
    ] {
        for ((method, ending, body), expected) in requests.iter().zip(expected) {
            let answer = world.call_as(user, method, &format!("/tasks/{task}/{ending}"), body.clone()).await;
            assert_eq!(answer.status, expected, "{user} {method} {ending}: {}", answer.text());
            match expected {
                403 => answer.refused(403, FORBIDDEN),
                404 => answer.refused(404, &absent(task)),
                _ => {}
            }
        }
    }
    let cleaned = world.call_as("alice", "GET", &format!("/tasks/{task}"), None).await.ok();
    assert!(cleaned["cleaned_at"].is_null());
}
