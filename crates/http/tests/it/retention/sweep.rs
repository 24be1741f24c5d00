use std::time::Duration;

use agentex_app::{Caller, SweepReport, SweepSettings, TaskSelector};
use serde_json::{Value, json};

use super::{Log, Scene};
use crate::support::{World, id};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn settings(agents: &[&str]) -> SweepSettings {
    let agents = agents.iter().map(|name| (*name).to_owned()).collect();
    SweepSettings { enabled: true, agents, dry_run: false, page_size: 1, ..SweepSettings::default() }
}

async fn sweep(world: &World, settings: &SweepSettings) -> SweepReport {
    world.app.retention.sweep(settings).await.unwrap()
}

#[tokio::test]
async fn a_sweep_cleans_what_is_idle_and_leaves_the_rest() {
    let scene = Scene::new().await.with_contents().await;
    let running = scene.world.task_with("a", json!({})).await;
    scene.world.task("b").await;
    scene.world.clock.advance(8 * DAY);
    let recent = scene.world.task_with("a", json!({})).await;
    scene.end(id(&recent)).await;

    let report = sweep(&scene.world, &settings(&["a", "unknown"])).await;

    assert_eq!(report, SweepReport { cleaned: 1, skipped: 1, ..SweepReport::default() });
    assert!(scene.row().await["cleaned_at"].is_string());
    for task in [&running, &recent] {
        assert_eq!(scene.world.get(&format!("/tasks/{}", id(task))).await.ok()["cleaned_at"], Value::Null);
    }
    assert_eq!(sweep(&scene.world, &settings(&[])).await, SweepReport::default());
    let off = SweepSettings { enabled: false, ..settings(&["a"]) };
    assert_eq!(sweep(&scene.world, &off).await, SweepReport::default());
}

/// retention §8: 7, 8
#[tokio::test]
async fn an_abandoned_task_is_cleaned_with_warnings_and_looked_at_without() {
    let scene = Scene::new().await;
    let task = scene.world.task_with("a", json!({})).await;
    let scene = Scene { task: id(&task).to_owned(), ..scene };
    scene.event().await;
    scene.world.clock.advance(10 * DAY);
    let stale = SweepSettings { stale_running_days: 30, ..settings(&["a"]) };
    // The other task of the scene is idle, too.
    let other = SweepReport { cleaned: 1, skipped: 1, ..SweepReport::default() };
    assert_eq!(sweep(&scene.world, &stale).await, other);
    scene.world.clock.advance(80 * DAY);
    let log = Log::default();
    let logging = log.begin();

    let dry = SweepSettings { dry_run: true, ..stale.clone() };
    assert_eq!(sweep(&scene.world, &dry).await, SweepReport { would_clean: 1, ..SweepReport::default() });
    assert_eq!(scene.row().await["cleaned_at"], Value::Null);
    let overrides = ["task_cleanup_stale_running_override", "task_cleanup_unprocessed_events_override"];
    assert_eq!(overrides.map(|message| log.fields(message).len()), [0, 0]);
    assert_eq!(log.fields("task_cleanup_dry_run_completed").len(), 1);

    assert_eq!(sweep(&scene.world, &stale).await, SweepReport { cleaned: 1, ..SweepReport::default() });
    drop(logging);
    assert_eq!(overrides.map(|message| log.fields(message).len()), [1, 1]);
    assert_eq!(log.fields("task_cleanup_completed")[0]["events_deleted"], 1);
    assert!(scene.row().await["cleaned_at"].is_string());
}

/// Deleting a task hides its contents; only a clean takes them away.
#[tokio::test]
async fn deleted_tasks_are_cleaned_too() {
    let scene = Scene::new().await.with_contents().await;
    scene.world.delete(&format!("/tasks/{}", scene.task)).await.ok();
    scene.world.clock.advance(8 * DAY);
    scene.clean(json!({})).await.refused(404, &super::absent(&scene.task));

    let report = sweep(&scene.world, &settings(&["a"])).await;

    assert_eq!(report, SweepReport { cleaned: 1, ..SweepReport::default() });
    let task = TaskSelector::Id(scene.task.as_str().into());
    assert!(scene.world.app.tasks.get(&Caller::Anonymous, &task, false).await.is_err());
}
