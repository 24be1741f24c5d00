//! Both kinds of schedules from the first request to the last, by an unmodified client of the public SDK.

use std::collections::BTreeSet;

use agentex::domain::ports::{StartWorkflow, WorkflowGateway as _};
use agentex_testkit::services::temporal::temporal;
use serde_json::{Value, json};

use super::site::{Engine, Site, Workflows, until};
use crate::support::{Sdk, SdkAgent};

/// Makes, watches, handles and removes the schedules of an agent, and looks at the graph and at Temporal in between.
async fn whole_life(site: &Site, agent: &str, answered: bool, temporal: Option<(&Engine, &Workflows)>) {
    let sdk = site.sdk();
    let mut arguments = vec!["--agent", agent];
    if let Some((_, workflows)) = temporal {
        arguments.extend(["--queue", &workflows.queue]);
    }
    if answered {
        arguments.push("--answered");
    }
    let step = async |step| sdk.program("schedules.py", &[&arguments[..], &[step]].concat()).await;
    assert_eq!(site.schedule_edges().await, []);

    let made = step("make").await;

    let row = made["run"]["id"].as_str().unwrap();
    let mut registered: BTreeSet<String> = [format!("run-schedule::{agent}::{row}")].into();
    let clock = format!("agent-run-schedule:{row}");
    let flow = format!("{agent}--flow");
    if let Some((engine, _)) = temporal {
        registered.insert(flow.clone());
        assert!(engine.has_clock(&clock).await && engine.has_clock(&flow).await);
        assert_eq!(made["flow"]["schedule_id"], flow);
    }
    // Each has its owner, its account and its agent.
    let edges = site.schedule_edges().await;
    assert_eq!(edges.len(), 3 * registered.len(), "{edges:#?}");
    assert_eq!(edges.iter().map(|edge| edge.resource.id.to_string()).collect::<BTreeSet<_>>(), registered);

    let watched = step("watch").await;

    assert!(watched["tasks"].as_array().unwrap().len() > 1);
    if let Some((_, workflows)) = temporal {
        let notes = until("what the workflows were given", async || {
            let notes = workflows.notes();
            (notes.len() > 1).then_some(notes)
        })
        .await;
        let prefix = format!("{flow}-run-");
        assert!(notes.iter().all(|note| note["workflow_id"].as_str().unwrap().starts_with(&prefix)), "{notes:?}");
        assert!(notes.iter().all(|note| note["params"] == json!({"from": "a clock"})), "{notes:?}");
    }
    step("handle").await;

    let removed = step("remove").await;

    assert_eq!(removed["run"]["id"], row);
    assert_eq!(site.schedule_edges().await, []);
    if let Some((engine, _)) = temporal {
        assert!(!engine.has_clock(&clock).await && !engine.has_clock(&flow).await);
    }
    each_occurrence_has_one_task(site).await;
    site.rows_and_edges_agree().await;
}

async fn each_occurrence_has_one_task(site: &Site) {
    let tasks = site.tasks().await;
    let fires: BTreeSet<&str> =
        tasks.iter().map(|task| task["task_metadata"]["scheduled_fire_id"].as_str().unwrap()).collect();
    assert!(fires.len() > 2, "{fires:?}");
    assert_eq!(fires.len(), tasks.len());
}

/// An SDK agent of Alice's, and its id. It registers with the token that Alice got when she announced it.
async fn sdk_agent(site: &Site) -> (SdkAgent, String) {
    let body = json!({"name": "sdk-async", "description": "fired by a clock"});
    let built = site.post("/agents/register-build", &body).await;
    let token = built["registration_token"].as_str().unwrap();
    let url = site.deployment.url().replacen("http://", &format!("http://token:{token}@"), 1);
    let environment = [("AGENTEX_BASE_URL", url.as_str())];
    let agent = SdkAgent::start_with(Sdk::Newest, "async_agent.py", "sdk-async", &site.deployment, &environment).await;
    (agent, built["id"].as_str().unwrap().to_owned())
}

async fn engine() -> (agentex_testkit::services::temporal::TestTemporal, Engine) {
    let server = temporal().await;
    let engine = Engine { address: server.address().to_owned(), queue: server.unique().to_owned() };
    (server, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_live_on_temporal_with_a_worker_of_its_own_and_an_agent_of_the_sdk() {
    let (_server, engine) = engine().await;
    let site = Site::on_temporal(&engine, 1).await;
    let (workflows, (_agent, id)) = tokio::join!(Workflows::start(&engine), sdk_agent(&site));

    whole_life(&site, &id, true, Some((&engine, &workflows))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_live_on_temporal_with_the_work_done_by_the_server() {
    let (_server, engine) = engine().await;
    let site = Site::on_temporal(&engine, 0).await;
    let (workflows, (_agent, id)) = tokio::join!(Workflows::start(&engine), site.agent("async"));

    whole_life(&site, &id, false, Some((&engine, &workflows))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_schedules_live_on_the_embedded_engine_with_an_agent_of_the_sdk() {
    let site = Site::embedded().await;
    let (_agent, id) = sdk_agent(&site).await;

    whole_life(&site, &id, true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_schedules_live_on_two_replicas_that_fire_each_occurrence_once() {
    let site = Site::replicas(2).await;
    let (agent, id) = site.agent("async").await;

    whole_life(&site, &id, false, None).await;

    let told: Vec<Value> = agent
        .calls()
        .iter()
        .filter(|call| call.rpc_method() == "event/send")
        .map(|call| call.params()["task"]["id"].clone())
        .collect();
    let distinct: BTreeSet<&str> = told.iter().map(|task| task.as_str().unwrap()).collect();
    assert_eq!((told.len(), distinct.len()), (site.tasks().await.len(), told.len()));
}

/// temporal §7: 6, 7
#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_asks_the_workflow_of_a_task() {
    let (_server, engine) = engine().await;
    let site = Site::on_temporal(&engine, 0).await;
    let (workflows, (_agent, _)) = tokio::join!(Workflows::start(&engine), site.agent("async"));
    let create = json!({"jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {}});
    let created = site.post("/agents/name/clockwork/rpc", &create).await;
    let task = created["result"]["id"].as_str().unwrap();
    let ask = async |query| site.alice().get(&format!("/tasks/{task}/query/{query}")).await;

    let absent = ask("state").await.expect(404);
    assert_eq!(absent["message"], format!("Workflow '{task}' not found"));
    let waiting = StartWorkflow {
        workflow_type: "Waiting".to_owned(),
        id: task.to_owned(),
        arguments: Vec::new(),
        task_queue: workflows.queue.clone(),
    };
    engine.client().start(&waiting).await.unwrap();

    let answered = site.sdk().program("schedules.py", &["--task", task, "query"]).await;
    let unknown = ask("weather").await.expect(400);
    let broken = ask("broken").await.expect(500);
    engine.end(task).await;

    assert_eq!(answered["answer"], json!({"task_id": task, "query": "state", "result": {"steps": 1}}));
    assert_eq!(unknown["message"], "Unknown query 'weather'");
    assert_eq!(broken["message"], format!("Failed to execute query 'broken' on workflow '{task}'"));
}
