//! The regular clean over restarts, and what its jobs report.

use std::time::Duration;

use agentex::Agentex;
use agentex::app::{AppJobs, RetentionSettings, Settings, SweepSettings};
use agentex::domain::Timer;
use agentex::domain::ports::{Jobs as _, Stores, SweepConfig};
use agentex::sqlite::{SqliteOptions, SqliteStore};
use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::http_client::HttpClient;
use serde_json::json;

use crate::{folder, register, serve};

const SWEEP: &str = "retention-cleanup-sweep";

/// The schedule once it is as `expected`, in the time of one process with these settings.
async fn started(stores: &Stores, sweep: SweepSettings, expected: impl Fn(Option<&Timer>) -> bool) -> Option<Timer> {
    let retention = RetentionSettings { sweep, ..RetentionSettings::default() };
    let settings = Settings { retention, ..Settings::default() };
    let agentex = Agentex::builder().stores(stores.clone()).settings(settings).build().await.unwrap();
    let timer = loop {
        let found = stores.timers.find(SWEEP).await.unwrap();
        if expected(found.as_ref()) {
            break found;
        }
        tokio::task::yield_now().await;
    };
    agentex.worker().drained(Duration::from_secs(10)).await.unwrap();
    timer
}

fn sweeping(cron: &str) -> SweepSettings {
    SweepSettings { enabled: true, cron: cron.to_owned(), ..SweepSettings::default() }
}

fn has_cron(timer: Option<&Timer>, cron: &str) -> bool {
    timer.is_some_and(|timer| timer.timing.cron_expressions == [cron])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_settings_say_of_the_sweep_counts_from_the_next_start() {
    let folder = folder();
    let store = SqliteStore::open(SqliteOptions::new(folder.path().join("agentex.db"))).await.unwrap();
    store.migrate().await.unwrap();
    let stores = store.stores();

    let made = started(&stores, sweeping("0 4 * * *"), |timer| has_cron(timer, "0 4 * * *")).await.unwrap();
    assert_eq!(made.version, 1);
    let moved = started(&stores, sweeping("0 5 * * *"), |timer| has_cron(timer, "0 5 * * *")).await.unwrap();
    assert_eq!((moved.version, moved.created_at), (2, made.created_at));
    assert_ne!(moved.next_at, made.next_at);
    let off = started(&stores, SweepSettings::default(), |timer| timer.is_none()).await;
    assert_eq!(off, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_that_cleans_a_task_reports_what_went() {
    let folder = folder();
    let agentex = Agentex::builder().embedded(folder.path()).build().await.unwrap();
    let client = HttpClient::new(serve(agentex.router()).await);
    let agent = FakeAgent::start().await;
    let agent_id = register(&client, &agent).await["id"].clone();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {} });
    let created = client.post("/agents/name/echo/rpc", &call).await.expect(200);
    let task = created["result"]["id"].as_str().unwrap().to_owned();
    for content in ["one", "two"] {
        let message = json!({"task_id": task, "content": {"type": "text", "author": "user", "content": content}});
        client.post("/messages", &message).await.expect(200).as_object().unwrap();
    }
    let state = json!({"task_id": task, "agent_id": agent_id, "state": {"step": 1}});
    client.post("/states", &state).await.expect(200).as_object().unwrap();
    client.post(&format!("/tasks/{task}/complete"), &json!({})).await.expect(200).as_object().unwrap();
    let jobs = AppJobs::new(std::sync::Arc::clone(agentex.app()));
    let config = SweepConfig {
        enabled: true,
        agent_names: vec!["echo".to_owned()],
        idle_days: 0,
        page_size: 10,
        max_in_flight: 1,
        dry_run: true,
        stale_running_days: 0,
    };
    let task = task.into();

    let looked = jobs.clean_task(&task, &config).await.unwrap();
    let cleaned = jobs.clean_task(&task, &SweepConfig { dry_run: false, ..config.clone() }).await.unwrap();
    let again = jobs.clean_task(&task, &SweepConfig { dry_run: false, ..config }).await.unwrap();

    assert_eq!((looked.status, looked.messages_deleted), ("dry_run", 0));
    let went = (cleaned.status, cleaned.messages_deleted, cleaned.task_states_deleted, cleaned.events_deleted);
    assert_eq!(went, ("cleaned", 2, 1, 0));
    assert_eq!((again.status, again.messages_deleted), ("skipped", 0));
}
