use std::collections::HashSet;
use std::time::Duration;

use agentex_authz::Operation::{Cancel, Read};
use serde_json::{Value, json};

use crate::support::{World, encoded, id, ids};

fn path(task: &Value) -> String {
    format!("/tasks/{}", id(task))
}

fn absent(task: &Value) -> String {
    format!("Item with id '{}' does not exist.", id(task))
}

/// tasks §10: 1, 2
#[tokio::test]
async fn a_new_task_runs() {
    let world = World::new().await;
    let created = world.task("a").await;

    let task = world.get(&path(&created)).await.ok();

    assert_eq!((&task["status"], &task["name"], &task["params"]), (&json!("RUNNING"), &Value::Null, &Value::Null));
    assert_eq!(task["status_reason"], "Task created, forwarding to ACP server");
    assert_eq!(task["created_at"], task["updated_at"]);
    assert_eq!(task["agents"], Value::Null);
    assert!(created.get("agents").is_none(), "calls answer tasks without agents");
}

/// tasks §10: 3, 34, 35, 36, 38, 41
#[tokio::test]
async fn metadata_is_replaced_and_parameters_are_merged() {
    let world = World::new().await;
    let task = world.task("a").await;
    world.clock.advance(Duration::from_secs(1));

    let unchanged = world.put(&path(&task), json!({"status": "FAILED", "name": "x", "id": "y"})).await.ok();
    assert_eq!((&unchanged["updated_at"], &unchanged["status"]), (&task["updated_at"], &json!("RUNNING")));
    assert!(unchanged.get("agents").is_none());

    let both = json!({"task_metadata": {"k": "v"}, "merge_params": {"a": 1, "b": {"x": 1}}});
    let changed = world.put(&path(&task), both).await.ok();
    assert_eq!((&changed["task_metadata"], &changed["params"]), (&json!({"k": "v"}), &json!({"a": 1, "b": {"x": 1}})));
    assert_ne!(changed["updated_at"], task["updated_at"]);

    world.post(&format!("{}/complete", path(&task)), json!({})).await.ok();
    let last = world.put(&path(&task), json!({"task_metadata": {}, "merge_params": {"b": null}})).await.ok();
    assert_eq!((&last["task_metadata"], &last["params"]), (&json!({}), &json!({"a": 1, "b": null})));
    assert_eq!(world.get(&path(&task)).await.ok()["params"], last["params"]);
    assert!(world.put(&path(&task), json!({"task_metadata": 5})).await.invalid().contains("body.task_metadata"));
}

/// tasks §10: 8, 9, 10, 11, 12, 21
#[tokio::test]
async fn every_change_of_status_has_its_reason() {
    let world = World::new().await;
    for (route, body, status, reason) in [
        ("complete", None, "COMPLETED", "Task completed"),
        ("complete", Some("null"), "COMPLETED", "Task completed"),
        ("fail", Some(r#"{"reason": "boom"}"#), "FAILED", "boom"),
        ("cancel", Some(r#"{"reason": ""}"#), "CANCELED", "Task canceled"),
        ("terminate", Some(r#"{"reason": null}"#), "TERMINATED", "Task terminated"),
        ("timeout", Some("{}"), "TIMED_OUT", "Task timed_out"),
        ("interrupt", None, "INTERRUPTED", "Task interrupted"),
    ] {
        let task = world.task("a").await;

        let moved = world.call("POST", &format!("{}/{route}", path(&task)), &[], body).await.ok();

        assert_eq!((&moved["status"], &moved["status_reason"]), (&json!(status), &json!(reason)), "{route}");
        assert_eq!(world.get(&path(&task)).await.ok()["status"], status);
    }
}

/// tasks §10: 13, 14
#[tokio::test]
async fn an_interrupted_task_can_end_but_not_be_interrupted() {
    let world = World::new().await;
    for route in ["complete", "fail", "cancel", "terminate", "timeout"] {
        let task = world.task("a").await;
        world.post(&format!("{}/interrupt", path(&task)), json!({})).await.ok();

        let again = world.post(&format!("{}/interrupt", path(&task)), json!({})).await;

        let text = format!(
            "Task {} is not running (current status: INTERRUPTED). Only running tasks can be interrupted.",
            id(&task)
        );
        again.refused(400, &text);
        world.post(&format!("{}/{route}", path(&task)), json!({})).await.ok();
    }
}

/// tasks §10: 15, 16, 17
#[tokio::test]
async fn a_task_that_has_ended_stays_as_it_is() {
    let world = World::new().await;
    let routes = ["complete", "fail", "cancel", "terminate", "timeout", "interrupt"];
    for (ending, status) in [
        ("complete", "COMPLETED"),
        ("fail", "FAILED"),
        ("cancel", "CANCELED"),
        ("terminate", "TERMINATED"),
        ("timeout", "TIMED_OUT"),
    ] {
        let task = world.task("a").await;
        let ended = world.post(&format!("{}/{ending}", path(&task)), json!({})).await.ok();
        for route in routes {
            let told = world.post(&format!("{}/{route}", path(&task)), json!({})).await.expect(400);
            let told = told["message"].as_str().unwrap();
            assert!(told.starts_with(&format!("Task {}", id(&task))) && told.contains(status), "{told}");
        }
        let now = world.get(&path(&task)).await.ok();
        assert_eq!((&now["status"], &now["updated_at"]), (&json!(status), &ended["updated_at"]));
        world.delete(&path(&task)).await.ok();
        for route in routes {
            world.post(&format!("{}/{route}", path(&task)), json!({})).await.refused(404, &absent(&task));
        }
    }
}

/// tasks §10: 18
#[tokio::test]
async fn an_absent_task_is_absent_on_every_route() {
    let world = World::new().await;
    let text = "Item with id 'nope' does not exist.";

    world.get("/tasks/nope").await.refused(404, text);
    world.put("/tasks/nope", json!({})).await.refused(404, text);
    world.delete("/tasks/nope").await.refused(404, text);
    world.get("/tasks/nope/stream").await.refused(404, text);
    world.get("/tasks/nope/query/state").await.refused(404, text);
    for route in ["complete", "fail", "cancel", "terminate", "timeout", "interrupt"] {
        world.post(&format!("/tasks/nope/{route}"), json!({})).await.refused(404, text);
    }
}

/// What the caller may not see is absent before it is invalid; broken JSON comes before both.
#[tokio::test]
async fn an_invalid_request_about_a_hidden_task_is_not_found() {
    let world = World::new().await;
    let task = world.task("a").await;
    let wrong = || json!({"task_metadata": 5, "reason": 5});
    world.put(&path(&task), wrong()).await.invalid();
    world.rules.hide(id(&task));

    world.put(&path(&task), wrong()).await.refused(404, &absent(&task));
    world.post(&format!("{}/fail", path(&task)), wrong()).await.refused(404, &absent(&task));
    world.get(&format!("{}?relationships=foo", path(&task))).await.refused(404, &absent(&task));
    world.get(&format!("{}/stream?last_event_id=x", path(&task))).await.refused(404, &absent(&task));
    world.call("PUT", &path(&task), &[], Some("{bad")).await.invalid();
}

/// tasks §10: 19
#[tokio::test]
async fn of_two_endings_at_once_one_wins() {
    let world = World::new().await;
    let task = world.task("a").await;

    let complete = format!("{}/complete", path(&task));
    let cancel = format!("{}/cancel", path(&task));
    let (completed, canceled) = tokio::join!(world.post(&complete, json!({})), world.post(&cancel, json!({})));

    let mut statuses = [completed.status.as_u16(), canceled.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    let winner = if completed.status == 200 { "COMPLETED" } else { "CANCELED" };
    assert_eq!(world.get(&path(&task)).await.ok()["status"], winner);
}

/// tasks §10: 22
/// authz §7: 103, 104
#[tokio::test]
async fn cancelling_has_a_permission_of_its_own() {
    let world = World::new().await;
    let task = world.task("a").await;
    let cancel = format!("{}/cancel", path(&task));

    world.rules.deny(id(&task), &[Cancel]);
    world.post(&cancel, json!({})).await.refused(403, "Forbidden – principal lacks permission");
    world.rules.deny(id(&task), &[Read]);
    world.post(&cancel, json!({})).await.refused(404, &absent(&task));
}

/// tasks §10: 23, 24, 42, 44
#[tokio::test]
async fn a_deleted_task_is_gone_and_frees_its_name() {
    let world = World::new().await;
    world.agent("a", "sync", "http://a:1").await;
    let task = world.task_with("a", json!({"name": "job"})).await;
    assert_eq!(id(&world.get("/tasks/name/job").await.ok()), id(&task));

    let deleted = world.delete("/tasks/name/job").await.ok();

    assert_eq!(deleted, json!({"id": id(&task), "message": "Task 'job' deleted successfully"}));
    world.get("/tasks/name/job").await.refused(404, "Item with name 'job' does not exist.");
    world.get(&path(&task)).await.refused(404, &absent(&task));
    world.delete("/tasks/name/job").await.refused(404, "Item with name 'job' does not exist.");
    world.put("/tasks/name/job", json!({})).await.refused(404, "Item with name 'job' does not exist.");
    let next = world.task_with("a", json!({"name": "job"})).await;
    assert_ne!(id(&next), id(&task));
    let by_id = world.delete(&path(&next)).await.ok();
    assert_eq!(by_id["message"], format!("Task {} deleted successfully", id(&next)));
}

/// tasks §10: 25
/// agent-protocol §9: 39
#[tokio::test]
async fn agents_come_along_when_asked_for() {
    let world = World::new().await;
    let task = world.task("a").await;

    for query in ["relationships=agents", "relationships=agents,agents", "relationships=agents&relationships=agents"] {
        let read = world.get(&format!("{}?{query}", path(&task))).await.ok();
        assert_eq!(read["agents"].as_array().unwrap().len(), 1, "{query}");
        assert_eq!(read["agents"][0]["name"], "a");
        assert!(read["agents"][0].get("acp_url").is_none());
        assert_eq!(world.get(&format!("/tasks?{query}")).await.ok()[0]["agents"], read["agents"]);
    }
    for route in [path(&task), "/tasks".to_owned()] {
        let told = world.get(&format!("{route}?relationships=foo")).await.invalid();
        assert!(told.contains("query.relationships: Input should be 'agents'"), "{told}");
    }
}

/// tasks §10: 26, 27, 28, 29
#[tokio::test]
async fn lists_are_filtered_and_keep_parameters_to_themselves() {
    let world = World::new().await;
    let first = world.task("a").await;
    world
        .put(&path(&first), json!({"task_metadata": {"k": "v", "n": {"x": 1}}, "merge_params": {"s3cret": 1}}))
        .await
        .ok();
    let second = world.task("b").await;
    world.post(&format!("{}/complete", path(&second)), json!({})).await.ok();
    let agent = world.get("/agents/name/a").await.ok();
    let list = async |query: &str| world.get(&format!("/tasks?{query}")).await;
    let found = async |query: &str| {
        let tasks = list(query).await.ok();
        ids(&tasks).into_iter().map(str::to_owned).collect::<HashSet<_>>()
    };
    let only = |task: &Value| HashSet::from([id(task).to_owned()]);

    let all = list("").await;
    assert_eq!(all.ok().as_array().unwrap().len(), 2);
    assert!(!all.text().contains("params") && !all.text().contains("s3cret"));
    assert_eq!(found(&format!("agent_id={}", id(&agent))).await, only(&first));
    assert_eq!(found("agent_name=b").await, only(&second));
    assert_eq!(found(&format!("agent_id={}&agent_name=a", id(&agent))).await, only(&first));
    assert_eq!(found(&format!("agent_id={}&agent_name=b", id(&agent))).await, HashSet::new());
    assert_eq!(found("status=COMPLETED").await, only(&second));
    assert_eq!(found(&format!("task_metadata={}", encoded(r#"{"n":{"x":1}}"#))).await, only(&first));
    assert_eq!(found(&format!("task_metadata={}", encoded(r#"{"k":"w"}"#))).await, HashSet::new());
    assert!(list("status=BAD").await.invalid().contains("query.status: Input should be 'CANCELED'"));
    list("status=DELETED")
        .await
        .refused(400, "Cannot filter by DELETED status; deleted tasks are not returned by list_tasks.");
    list("task_metadata=[]").await.refused(400, "task_metadata must decode to a JSON object.");
    list("task_metadata=%7B%7D")
        .await
        .refused(400, "task_metadata cannot be empty; omit the parameter to skip filtering.");
    let told = list("task_metadata=%7B").await.expect(400);
    assert!(told["message"].as_str().unwrap().starts_with("Invalid JSON in task_metadata query parameter: "));
}

/// tasks §10: 30, 31, 32, 33
#[tokio::test]
async fn tasks_are_paged_without_gaps() {
    let world = World::new().await;
    world.agent("a", "sync", "http://a:1").await;
    for index in 0..20 {
        world.task_with("a", json!({"name": format!("t-{index:02}")})).await;
    }
    let mut seen = Vec::new();
    for page in 1..=3 {
        let page = world.get(&format!("/tasks?limit=7&page_number={page}")).await.ok();
        seen.extend(ids(&page).into_iter().map(str::to_owned));
    }

    assert_eq!((seen.len(), seen.iter().collect::<HashSet<_>>().len()), (20, 20));
    for query in ["limit=0", "limit=-1", "limit=100000"] {
        world.get(&format!("/tasks?{query}")).await.invalid();
    }
    for page in ["0", "-1"] {
        let path = format!("/tasks?page_number={page}");
        world.get(&path).await.refused(400, "Page number must be greater than 0");
    }
    let by_name = world.get("/tasks?order_by=name&order_direction=asc&limit=2").await.ok();
    assert_eq!((&by_name[0]["name"], &by_name[1]["name"]), (&json!("t-00"), &json!("t-01")));
    for column in ["nope", "metadata", "agents", "id", "status", "cleaned_at"] {
        world.get(&format!("/tasks?order_by={column}")).await.ok();
    }
    world.rules.show_only(&[&seen[0], &seen[3]]);
    assert_eq!(ids(&world.get("/tasks").await.ok()).len(), 2);
    world.rules.show_only(&[]);
    assert_eq!(world.get("/tasks").await.ok(), json!([]));
}

/// tasks §10: 46
#[tokio::test]
async fn two_creators_of_one_name_get_one_task() {
    let world = World::new().await;
    world.agent("a", "sync", "http://a:1").await;

    let (one, other) =
        tokio::join!(world.task_with("a", json!({"name": "job"})), world.task_with("a", json!({"name": "job"})));

    assert_eq!(id(&one), id(&other));
    assert_eq!(ids(&world.get("/tasks").await.ok()).len(), 1);
}

/// As far as there is no workflow engine.
/// tasks §10: 52
#[tokio::test]
async fn a_workflow_cannot_be_asked_without_an_engine() {
    let world = World::new().await;
    let task = world.task("a").await;

    let answer = world.get(&format!("{}/query/state", path(&task))).await;

    answer.refused(503, "Temporal client is not connected");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// tasks §10: 54
#[tokio::test]
async fn a_broken_body_is_refused() {
    let world = World::new().await;
    let task = world.task("a").await;

    for (method, route) in [("PUT", ""), ("POST", "/complete")] {
        let told = world.call(method, &format!("{}{route}", path(&task)), &[], Some("{bad")).await.invalid();
        assert!(told.contains("JSON decode error"));
    }
    assert!(world.post(&format!("{}/fail", path(&task)), json!({"reason": 5})).await.invalid().contains("body.reason"));
    assert_eq!(world.get(&path(&task)).await.ok()["status"], "RUNNING");
}
