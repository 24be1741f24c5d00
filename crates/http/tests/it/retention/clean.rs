use std::time::Duration;

use agentex_app::{RetentionSettings, Settings};
use agentex_domain::CleanExtent;
use agentex_domain::ports::{Cursor, EventStream as _};
use serde_json::{Value, json};

use super::{Scene, absent};
use crate::support::{Setup, id};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// retention §8: 2, 3
#[tokio::test]
async fn a_clean_empties_the_task_once() {
    let scene = Scene::new().await.with_contents().await;
    let before = scene.row().await;

    let cleaned = scene.force().await;

    let counts = ["messages_deleted", "task_states_deleted", "events_deleted"].map(|name| &cleaned[name]);
    assert_eq!(counts, [3, 1, 0]);
    assert_eq!(cleaned["task_id"], scene.task.as_str());
    assert_eq!(scene.export().await, json!({"task_id": scene.task, "messages": [], "task_states": []}));
    let row = scene.row().await;
    assert_eq!(row["cleaned_at"], cleaned["cleaned_at"]);
    assert_eq!((&row["status"], &row["updated_at"]), (&before["status"], &before["updated_at"]));
    scene.world.clock.advance(DAY);
    let again = scene.force().await;
    let nothing = json!({
        "task_id": scene.task, "cleaned_at": cleaned["cleaned_at"], "messages_deleted": 0, "task_states_deleted": 0,
        "events_deleted": 0, "checkpoints_deleted": 0, "spans_scrubbed": 0
    });
    assert_eq!(again, nothing);
    scene.world.post("/tasks/unknown/clean", json!({})).await.refused(404, &absent("unknown"));
}

/// retention §8: 4
#[tokio::test]
async fn a_running_task_is_not_cleaned_however_hard_it_is_asked() {
    let scene = Scene::new().await;
    let task = scene.world.task_with("a", json!({})).await;
    scene.world.message(id(&task), "hi").await;
    scene.world.clock.advance(90 * DAY);

    let refused = scene.world.post(&format!("/tasks/{}/clean", id(&task)), json!({"force": true})).await;

    refused.refused(400, &format!("Cannot clean task {}: status is RUNNING (active)", id(&task)));
    let messages = scene.world.get(&format!("/messages?task_id={}", id(&task))).await.ok();
    assert_eq!(messages.as_array().unwrap().len(), 1);
}

/// retention §8: 5
#[tokio::test]
async fn unprocessed_events_keep_a_task_from_being_cleaned() {
    let scene = Scene::new().await;
    let event = scene.event().await;
    scene.clean(json!({"force": true})).await.refused(400, &scene.refusal("unprocessed events remain"));

    let tracker = scene.tracker().await;
    let moved = json!({"last_processed_event_id": event.id});
    scene.world.put(&format!("/tracker/{}", id(&tracker)), moved).await.ok();
    let cleaned = scene.force().await;

    assert_eq!(cleaned["events_deleted"], 1);
    assert_eq!(scene.tracker().await["last_processed_event_id"], Value::Null);
}

/// retention §8: 6
#[tokio::test]
async fn a_task_must_have_been_idle_for_as_long_as_is_asked() {
    let scene = Scene::new().await;
    scene.world.clock.advance(8 * DAY);
    scene.world.message(&scene.task, "recent").await;
    let refusal = |days| scene.refusal(&format!("not idle for {days} days (use force=true to override)"));

    scene.clean(json!({})).await.refused(400, &refusal(7));
    scene.world.clock.advance(2 * DAY);
    scene.clean(json!({"idle_days": 2})).await.refused(400, &refusal(2));
    scene.clean(json!({"idle_days": 999_999})).await.refused(400, &refusal(999_999));
    scene.world.clock.advance(Duration::from_micros(1));
    assert_eq!(scene.clean(json!({"idle_days": 2})).await.ok()["messages_deleted"], 1);
}

#[tokio::test]
async fn a_wrong_clean_is_refused_and_changes_nothing() {
    let scene = Scene::new().await.with_contents().await;
    let before = scene.export().await;

    for body in [
        json!({"idle_days": 0}),
        json!({"idle_days": "x"}),
        json!({"force": "yes"}),
        json!([]),
        json!({"idle_days": 1.5}),
    ] {
        scene.clean(body).await.invalid();
    }
    scene.world.call("POST", &scene.path("clean"), &[], None).await.invalid();

    assert_eq!(scene.export().await, before);
}

/// What else holds content goes, too: saved states of graphs, payloads of spans, parameters, the stream.
#[tokio::test]
async fn a_full_clean_leaves_no_content_and_an_upstream_one_leaves_what_the_reference_leaves() {
    for (extent, rest) in [(CleanExtent::Everything, 0), (CleanExtent::Contents, 1)] {
        let retention = RetentionSettings { extent, ..RetentionSettings::default() };
        let settings = Settings { retention, ..Settings::default() };
        let scene = Scene::with(Setup { settings, ..Setup::default() }).await.with_contents().await;
        let checkpoint = json!({
            "thread_id": scene.task, "checkpoint_ns": "", "checkpoint_id": "1", "checkpoint": {}, "metadata": {}, "blobs": []
        });
        scene.world.post("/checkpoints/put", checkpoint).await.ok();
        let span = json!({
            "trace_id": scene.task, "name": "step", "start_time": "2025-01-02T03:04:05Z", "input": {"text": "hi"}
        });
        let span = scene.world.post("/spans", span).await.ok();

        let cleaned = scene.force().await;

        assert_eq!((&cleaned["checkpoints_deleted"], &cleaned["spans_scrubbed"]), (&json!(1 - rest), &json!(1 - rest)));
        let row = scene.row().await;
        assert_eq!(row["params"].is_null(), rest == 0, "{row}");
        let span = scene.world.get(&format!("/spans/{}", id(&span))).await.ok();
        assert_eq!((span["input"].is_null(), &span["name"]), (rest == 0, &json!("step")));
        let list = json!({"thread_id": scene.task});
        let listed = scene.world.post("/checkpoints/list", list).await.ok();
        assert_eq!(listed.as_array().unwrap().len(), rest);
        let entries = scene.world.streams.read(&scene.task.as_str().into(), Cursor::start(), 10).await.unwrap();
        assert_eq!(entries.is_empty(), rest == 0);
    }
}

/// Content that comes later is found by the next clean.
#[tokio::test]
async fn a_cleaned_task_that_is_written_to_is_not_clean_any_more() {
    let scene = Scene::new().await.with_contents().await;
    scene.force().await;

    scene.world.message(&scene.task, "late").await;

    assert_eq!(scene.row().await["cleaned_at"], Value::Null);
    assert_eq!(scene.force().await["messages_deleted"], 1);
    let state = json!({"task_id": scene.task, "agent_id": scene.agent, "state": {}});
    scene.world.post("/states", state).await.ok();
    assert_eq!(scene.force().await["task_states_deleted"], 1);
}
