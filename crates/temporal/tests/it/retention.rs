use agentex_domain::TaskId;
use agentex_domain::ports::SweepConfig;
use agentex_temporal::WorkerOptions;
use serde_json::{Value, json};

use crate::support::{Call, FakeJobs, Stage, quick};

fn config() -> SweepConfig {
    SweepConfig {
        enabled: true,
        agent_names: vec!["a".to_owned(), "b".to_owned()],
        idle_days: 7,
        page_size: 3,
        max_in_flight: 2,
        dry_run: false,
        stale_running_days: 30,
    }
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

impl Stage {
    async fn sweep(&self, arguments: Vec<Value>) -> Value {
        let id = format!("sweep-{}", self.queue());
        self.start("RetentionCleanupSweepWorkflow", &id, arguments).await;
        self.result(&id).await.unwrap()
    }

    fn found_after(&self) -> Vec<Option<String>> {
        let calls = self.jobs.calls().into_iter();
        calls
            .filter_map(
                |call| if let Call::Find { after, .. } = call { Some(after.map(TaskId::into_string)) } else { None },
            )
            .collect()
    }

    fn cleaned(&self) -> Vec<String> {
        let calls = self.jobs.calls().into_iter();
        calls
            .filter_map(|call| if let Call::Clean { task, .. } = call { Some(task.into_string()) } else { None })
            .collect()
    }
}

/// temporal §7: 14
#[tokio::test]
async fn a_disabled_sweep_looks_for_nothing() {
    let config = SweepConfig { enabled: false, ..config() };
    let stage = Stage::new(FakeJobs { config: Some(config), tasks: texts(["t-1"]), ..FakeJobs::default() }).await;

    let totals = stage.sweep(vec![]).await;

    assert_eq!(totals, json!({"cleaned": 0, "skipped": 0, "failed": 0}));
    assert_eq!(stage.jobs.calls(), [Call::LoadConfig]);
}

// Sweeps that begin within a minute or so of each other name the children of a task alike (the first characters of their run
// ids are the time), so each test has tasks of its own.

/// temporal §7: 15, 18
#[tokio::test]
async fn without_input_the_settings_are_loaded_once_and_reach_every_page_and_task() {
    let tasks = texts(["u-1", "u-2", "u-3", "u-4"]);
    let stage = Stage::new(FakeJobs { config: Some(config()), tasks: tasks.clone(), ..FakeJobs::default() }).await;

    let totals = stage.sweep(vec![]).await;

    assert_eq!(totals, json!({"cleaned": 4, "skipped": 0, "failed": 0}));
    assert_eq!(stage.jobs.count(|call| *call == Call::LoadConfig), 1);
    assert_eq!(stage.found_after(), [None, Some("u-3".to_owned()), Some("u-4".to_owned())]);
    for call in stage.jobs.calls() {
        match call {
            Call::Find { limit, idle_days, agent_names, .. } => {
                assert_eq!((limit, idle_days, agent_names), (3, 7, texts(["a", "b"])));
            }
            Call::Clean { idle_days, dry_run, stale_running_days, .. } => {
                assert_eq!((idle_days, dry_run, stale_running_days), (7, false, 30));
            }
            _ => {}
        }
    }
    let mut cleaned = stage.cleaned();
    cleaned.sort_unstable();
    assert_eq!(cleaned, tasks);
}

/// temporal §7: 16
#[tokio::test]
async fn a_task_of_several_agents_is_passed_over() {
    let jobs = FakeJobs {
        config: Some(config()),
        tasks: texts(["v-1", "v-2", "v-3"]),
        shared_tasks: texts(["v-2"]),
        ..FakeJobs::default()
    };
    let stage = Stage::new(jobs).await;

    let totals = stage.sweep(vec![Value::Null]).await;

    assert_eq!(totals, json!({"cleaned": 2, "skipped": 1, "failed": 0, "skipped_multi_agent": 1}));
    assert_eq!(stage.cleaned().len(), 2);
}

/// The failure is tried three times before it counts.
///
/// temporal §7: 17, 19
#[tokio::test]
async fn every_outcome_is_counted_and_a_failure_does_not_end_the_sweep() {
    let jobs = FakeJobs {
        config: Some(config()),
        tasks: texts(["t-1", "t-2", "t-3"]),
        cleaned: vec![("t-2".to_owned(), Some("skipped")), ("t-3".to_owned(), None)],
        ..FakeJobs::default()
    };
    let stage = Stage::new(jobs).await;

    let totals = stage.sweep(vec![json!({})]).await;

    assert_eq!(totals, json!({"cleaned": 1, "skipped": 1, "failed": 1}));
    let attempts = stage.jobs.count(|call| matches!(call, Call::Clean { task, .. } if task.as_str() == "t-3"));
    assert_eq!(attempts, 3);
    stage.record(&format!("sweep-{}", stage.queue()), "retention-sweep").await;
}

/// temporal §7: 18
#[tokio::test]
async fn the_next_page_begins_after_the_last_id_even_of_a_task_that_was_passed_over() {
    let tasks: Vec<String> = (0..200).map(|number| format!("t-{number:03}")).collect();
    let jobs = FakeJobs {
        config: Some(SweepConfig { page_size: 200, max_in_flight: 20, ..config() }),
        shared_tasks: tasks[10..].to_vec(),
        tasks,
        ..FakeJobs::default()
    };
    let stage = Stage::new(jobs).await;

    let totals = stage.sweep(vec![]).await;

    assert_eq!(totals, json!({"cleaned": 10, "skipped": 190, "failed": 0, "skipped_multi_agent": 190}));
    assert_eq!(stage.found_after(), [None, Some("t-199".to_owned())]);
}

/// temporal §7: 20
#[tokio::test]
async fn nothing_is_deleted_unless_it_is_said() {
    let jobs = FakeJobs { tasks: texts(["w-1"]), ..FakeJobs::default() };
    let stage = Stage::new(jobs).await;

    stage.sweep(vec![json!({"idle_days": 3, "agent_names": ["a"]})]).await;
    let id = format!("task-{}", stage.queue());
    stage.start("RetentionCleanupTaskWorkflow", &id, vec![json!({"task_id": "w-2", "idle_days": 4})]).await;
    let outcome = stage.result(&id).await.unwrap();

    let dry = |task: &str, idle_days| Call::Clean {
        task: TaskId::from(task),
        idle_days,
        dry_run: true,
        stale_running_days: 0,
    };
    let cleaned: Vec<Call> = stage.jobs.calls().into_iter().filter(|call| matches!(call, Call::Clean { .. })).collect();
    assert_eq!(cleaned, [dry("w-1", 3), dry("w-2", 4)]);
    let keys: Vec<&str> = outcome.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["events_deleted", "messages_deleted", "reason", "status", "task_id", "task_states_deleted"];
    assert_eq!(keys, expected);
    stage.record(&id, "retention-task").await;
}

/// Without a cache every task begins with a replay of the history so far, and fails when the code would do something else.
#[tokio::test]
async fn a_sweep_does_the_same_at_every_replay() {
    let jobs = FakeJobs {
        config: Some(SweepConfig { page_size: 10, max_in_flight: 4, ..config() }),
        tasks: (0..14).map(|number| format!("t-{number:02}")).collect(),
        cleaned: vec![("t-03".to_owned(), Some("skipped"))],
        ..FakeJobs::default()
    };
    let stage = Stage::with(jobs, WorkerOptions { cached_workflows: 0, ..quick() }).await;

    let totals = stage.sweep(vec![]).await;

    assert_eq!(totals, json!({"cleaned": 13, "skipped": 1, "failed": 0}));
}
