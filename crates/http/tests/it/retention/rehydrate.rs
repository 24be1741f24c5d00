use agentex_app::{RetentionSettings, Settings};
use serde_json::{Value, json};

use super::{Bucket, Scene};
use crate::support::Setup;

/// retention §8: 9
#[tokio::test]
async fn what_was_exported_and_cleaned_comes_back_the_same() {
    let scene = Scene::new().await.with_contents().await;
    let first = scene.world.get(&scene.path("export")).await;
    scene.force().await;

    let answer = scene.rehydrate(first.json()).await;

    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert_eq!(scene.world.get(&scene.path("export")).await.body, first.body);
    let row = scene.row().await;
    assert_eq!((&row["cleaned_at"], &row["status"]), (&Value::Null, &json!("FAILED")));
    scene.rehydrate(first.json()).await.refused(400, &not_cleaned(&scene));
}

fn not_cleaned(scene: &Scene) -> String {
    format!("Cannot rehydrate task {}: task is not in cleaned state (cleaned_at is NULL)", scene.task)
}

/// retention §8: 10
#[tokio::test]
async fn wrong_snapshots_are_refused_in_the_words_of_the_contract() {
    let scene = Scene::new().await;
    let task = scene.task.as_str();
    let message = scene.message("m");
    let state = json!({"id": "s", "task_id": task, "agent_id": "a", "state": {}});

    scene.rehydrate(json!({"task_id": task, "messages": [message]})).await.refused(400, &not_cleaned(&scene));
    scene.force().await;
    let both = scene.rehydrate(json!({"task_id": task, "messages": [message], "snapshot_url": "https://x.example"}));
    assert!(both.await.invalid().contains("Provide inline content (messages/task_states) OR snapshot_url, not both."));
    for empty in [json!({"task_id": task}), json!({"task_id": task, "messages": [], "snapshot_url": null})] {
        let said = scene.rehydrate(empty).await.invalid();
        let expected = "Provide exactly one of: inline content (messages/task_states) or snapshot_url.";
        assert!(said.contains(expected), "{said}");
    }
    let other = |mut item: Value| {
        item["task_id"] = json!("other");
        item
    };
    for (body, what) in [
        (json!({"task_id": "other", "messages": [message]}), ""),
        (json!({"task_id": task, "messages": [other(message.clone())]}), "message[0] "),
        (json!({"task_id": task, "messages": [message], "task_states": [other(state.clone())]}), "task_states[0] "),
    ] {
        let text = format!("Snapshot {what}task_id (other) does not match path task_id ({task})");
        scene.rehydrate(body).await.refused(400, &text);
    }
    for body in [
        json!({"messages": [message]}),
        json!({"task_id": task, "messages": {}}),
        json!({"task_id": task, "messages": [{"task_id": task}]}),
        json!({"task_id": task, "messages": [scene.message("a/../b")]}),
        json!({"task_id": task, "messages": [scene.message(&"x".repeat(65))]}),
        json!({"task_id": task, "task_states": [{"task_id": task, "agent_id": "a", "state": 1}]}),
    ] {
        scene.rehydrate(body).await.invalid();
    }
    assert!(scene.row().await["cleaned_at"].is_string());
    scene
        .world
        .post(
            "/tasks/gone/rehydrate",
            json!({"task_id": "gone", "messages": [{"task_id": "gone", "content": message["content"]}]}),
        )
        .await
        .refused(404, &super::absent("gone"));
}

/// retention §8: 11
#[tokio::test]
async fn one_taken_id_keeps_everything_out() {
    let scene = Scene::new().await;
    let other = scene.world.task_with("a", json!({})).await;
    let taken = scene.world.message(crate::support::id(&other), "there first").await;
    scene.force().await;
    let messages = [scene.message("m1"), scene.message(crate::support::id(&taken)), scene.message("m3")];
    let twice = [scene.message("m4"), scene.message("m4")];

    for messages in [&messages[..], &twice] {
        let answer = scene.rehydrate(json!({"task_id": scene.task, "messages": messages})).await;
        answer.refused(400, "One or more items have duplicate id values. IDs must be unique.");
    }

    assert_eq!(scene.export().await["messages"], json!([]));
    assert!(scene.row().await["cleaned_at"].is_string());
    let untouched = scene.world.get(&format!("/messages/{}", crate::support::id(&taken))).await.ok();
    assert_eq!(untouched, taken);
}

#[tokio::test]
async fn contents_come_back_from_where_they_were_put() {
    let (bucket, transfer) = Bucket::open().await;
    let scene = Scene::with(Setup { transfer, ..Setup::default() }).await.with_contents().await;
    let url = json!("https://bucket.example/x?sig=1");
    scene.world.post(&scene.path("export"), json!({"upload_url": url})).await.ok();
    let before = scene.export().await;
    scene.force().await;

    // Of the body's own id nothing depends, when the contents are elsewhere.
    let answer = scene.rehydrate(json!({"task_id": "ignored", "snapshot_url": url})).await;

    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(scene.export().await, before);
    assert_eq!(bucket.requests().last().unwrap().0, "GET /x?sig=1");
}

#[tokio::test]
async fn a_download_that_fails_or_holds_no_snapshot_changes_nothing() {
    let (bucket, transfer) = Bucket::open().await;
    let scene = Scene::with(Setup { transfer, ..Setup::default() }).await;
    scene.force().await;
    bucket.put("/text", "s3cret");
    bucket.put("/other", json!({"task_id": "x"}).to_string());
    bucket.put("/empty", json!({"task_id": scene.task}).to_string());
    let from = async |path: &str| {
        let url = format!("https://bucket.example/{path}");
        scene.rehydrate(json!({"task_id": scene.task, "snapshot_url": url})).await
    };

    for path in ["missing", "moved", "closed"] {
        let text = format!("Failed to download snapshot from URL for task {}", scene.task);
        from(path).await.refused(500, &text);
    }
    from("text").await.refused(400, "Downloaded snapshot is not a valid TaskSnapshotEntity: it is not JSON");
    let text = format!("Snapshot task_id (x) does not match path task_id ({})", scene.task);
    from("other").await.refused(400, &text);
    // Nothing was put back, so the task is as clean as before.
    assert_eq!(from("empty").await.status, 204);
    assert!(scene.row().await["cleaned_at"].is_string());
}

/// retention §8: 15
#[tokio::test]
async fn a_download_above_the_limit_is_refused_and_nothing_is_written() {
    let (bucket, transfer) = Bucket::open().await;
    let retention = RetentionSettings { max_snapshot_bytes: 400, ..RetentionSettings::default() };
    let settings = Settings { retention, ..Settings::default() };
    let scene = Scene::with(Setup { transfer, settings, ..Setup::default() }).await;
    scene.force().await;
    let fits = json!({"task_id": scene.task, "messages": [scene.message("m1")]}).to_string();
    assert!(fits.len() <= 400, "{}", fits.len());
    let long = json!({"task_id": scene.task, "messages": [scene.message("m1"), scene.message("m2")]}).to_string();
    bucket.put("/long", long.clone() + &" ".repeat(400));
    bucket.put("/fits", fits);
    let from = async |path: &str| {
        let url = format!("https://bucket.example/{path}");
        scene.rehydrate(json!({"task_id": scene.task, "snapshot_url": url})).await
    };

    from("long").await.refused(400, "Downloaded snapshot is larger than 400 bytes");

    assert_eq!(scene.export().await["messages"], json!([]));
    assert_eq!(from("fits").await.status, 204);
    assert_eq!(scene.export().await["messages"].as_array().unwrap().len(), 1);
}
