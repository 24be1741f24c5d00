//! What callers are told when Temporal is away, or was never there.

use agentex_testkit::services::temporal::{TemporalServer, temporal};
use serde_json::{Value, json};

use super::site::{Engine, Site, until};
use crate::durability::world::Home;

const AWAY: &str = "Temporal client is not connected";

fn run(name: &str) -> Value {
    json!({"name": name, "cron_expression": "0 * * * *", "initial_input": {"content": "go"}})
}

fn flow(name: &str) -> Value {
    json!({"name": name, "workflow_name": "Note", "task_queue": "nobody", "interval_seconds": 3600})
}

/// Neither rows, nor edges, nor anything that is still to be done.
async fn nothing_is_written(site: &Site, agent: &str) {
    let listed = site.alice().get(&format!("/agents/{agent}/schedules")).await.expect(200);
    assert_eq!(listed["total"], 0);
    assert_eq!(site.schedule_edges().await, []);
    site.rows_and_edges_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_while_temporal_is_away_and_the_server_finds_it_when_it_is_back() {
    let mut server = TemporalServer::start().await;
    let engine = Engine { address: server.address(), queue: "away".to_owned() };
    server.kill();
    let site = Site::on_temporal(&engine, 0).await;
    let (agent, id) = site.agent("async").await;
    let all = format!("/agents/{id}/schedules");

    for new in [run("x"), flow("y")] {
        let refused = site.alice().post(&all, &new).await.expect(503);
        assert_eq!(refused["message"], AWAY);
        nothing_is_written(&site, &id).await;
    }
    server.start_again().await;
    let made = until("a schedule", async || {
        let answer = site.alice().post(&all, &run("x")).await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    site.post(&all, &flow("y")).await;
    site.post(&format!("{all}/name/x/trigger"), &json!({})).await;
    until("the run", async || agent.methods().contains(&"event/send".to_owned()).then_some(())).await;

    // What exists is left as it is.
    server.kill();
    let edges = site.schedule_edges().await;
    let refused = site.alice().get(&format!("{all}?kind=workflow")).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let listed = site.alice().get(&all).await.expect(200);
    assert_eq!((&listed["total"], &listed["schedules_available"]), (&json!(1), &json!(false)));
    for path in [format!("{all}/y"), format!("{all}/{}", made["id"].as_str().unwrap())] {
        let refused = site.alice().delete(&path).await.expect(503);
        assert!(refused["message"] == AWAY || refused["message"].as_str().unwrap().contains("did not answer"));
    }
    assert_eq!(site.schedule_edges().await, edges);
    let shown = site.alice().get(&format!("{all}/name/x")).await.expect(200);
    assert_eq!((&shown["id"], &shown["live_data_available"]), (&made["id"], &json!(false)));
    server.start_again().await;
    for path in [format!("{all}/y"), format!("{all}/name/x")] {
        until("the delete", async || (site.alice().delete(&path).await.status == 200).then_some(())).await;
    }
    assert_eq!(site.schedule_edges().await, []);
    site.rows_and_edges_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_schedule_of_a_name_leaves_the_first_as_it_is() {
    let server = temporal().await;
    let engine = Engine { address: server.address().to_owned(), queue: server.unique().to_owned() };
    let site = Site::on_temporal(&engine, 0).await;
    let (_agent, id) = site.agent("async").await;
    let all = format!("/agents/{id}/schedules");
    let made = site.post(&all, &flow("y")).await;
    let row = site.post(&all, &run("x")).await;
    let edges = site.schedule_edges().await;

    let flows = [flow("y"), {
        let mut other = flow("y");
        other["workflow_name"] = json!("Other");
        other
    }];
    for new in flows {
        let refused = site.alice().post(&all, &new).await.expect(409);
        assert_eq!(refused["message"], format!("Schedule with ID '{id}--y' already exists"));
    }
    let refused = site.alice().post(&all, &flow("x")).await.expect(409);
    assert_eq!(refused["message"], format!("Schedule with ID '{id}--x' already exists"));
    for name in ["x", "y"] {
        let refused = site.alice().post(&all, &run(name)).await.expect(400);
        assert_eq!(refused["message"], format!("Run schedule '{name}' already exists for agent '{id}'"));
    }
    // Many at once: one is made, the others are told so.
    let (path, new) = (&all, flow("z"));
    let client = site.alice();
    let racing = futures::future::join_all((0..8).map(|_| client.post(path, &new))).await;
    let mut statuses: Vec<u16> = racing.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);

    let shown = site.alice().get(&format!("{all}/y")).await.expect(200);
    assert_eq!((&shown["action"], &shown["created_at"]), (&made["action"], &made["created_at"]));
    assert_eq!(site.alice().get(&format!("{all}/name/x")).await.expect(200)["id"], row["id"]);
    let now = site.schedule_edges().await;
    assert_eq!(now.len(), edges.len() + 3, "{now:#?}");
    assert!(edges.iter().all(|edge| now.contains(edge)), "{now:#?}");
    for name in ["y", "z", "name/x"] {
        site.delete(&format!("{all}/{name}")).await;
    }
    assert_eq!(site.schedule_edges().await, []);
    site.rows_and_edges_agree().await;
}

/// temporal §7: 1
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_says_no_leaves_run_schedules_to_the_server_itself() {
    let site = Site::with(Home::sqlite().await, &[("TEMPORAL_ADDRESS", "false")], 1, 0).await;
    let (agent, id) = site.agent("async").await;
    let all = format!("/agents/{id}/schedules");

    let refused = site.alice().post(&all, &flow("y")).await.expect(503);
    assert_eq!((&refused["message"], &refused["code"]), (&json!(AWAY), &json!(503)));
    nothing_is_written(&site, &id).await;

    site.post(&all, &run("x")).await;
    site.post(&format!("{all}/name/x/trigger"), &json!({})).await;
    until("the run", async || agent.methods().contains(&"event/send".to_owned()).then_some(())).await;
}

/// temporal §7: 13
#[tokio::test(flavor = "multi_thread")]
async fn a_start_leaves_the_retention_schedule_as_it_is_unless_the_settings_have_changed() {
    const SWEEP: &str = "retention-cleanup-sweep";
    let server = TemporalServer::start().await;
    let engine = Engine { address: server.address(), queue: "sweep".to_owned() };
    let settings = [
        ("TEMPORAL_ADDRESS", engine.address.as_str()),
        ("AGENTEX_SERVER_TASK_QUEUE", engine.queue.as_str()),
        ("RETENTION_CLEANUP_ENABLED", "true"),
        ("RETENTION_CLEANUP_CRON", "0 4 * * *"),
        // Comes after the sweep's schedule, so that the test sees when a start is through with that.
        ("ENABLE_HEALTH_CHECK_WORKFLOW", "true"),
    ];
    let mut site = Site::with(Home::postgres().await, &settings, 1, 0).await;
    until("the schedule", async || engine.has_clock(SWEEP).await.then_some(())).await;
    let before = engine.described(SWEEP).await;
    let (_agent, id) = site.agent("async").await;
    let check = format!("healthcheck_workflow_{id}");
    until("the health check", async || engine.is_running(&check).await.then_some(())).await;

    for (cron, changed) in [("0 4 * * *", false), ("0 5 * * *", true)] {
        engine.end(&check).await;
        site.set("RETENTION_CLEANUP_CRON", cron);
        site.kill_and_restart().await;
        until("the health check of the next start", async || engine.is_running(&check).await.then_some(())).await;

        let after = engine.described(SWEEP).await;
        assert_eq!(after.timing.cron_expressions, [cron]);
        assert_eq!((after.created_at, after.paused), (before.created_at, before.paused));
        assert_eq!(after.timing != before.timing, changed);
    }
    engine.end(&check).await;
}
