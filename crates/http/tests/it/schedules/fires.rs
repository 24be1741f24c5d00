//! Occurrences of run schedules, as schedulers and workers bring them about.

use std::sync::Arc;

use agentex_app::AppJobs;
use agentex_authz::{AuthzError, Operation};
use agentex_domain::ports::{AgentHealth, Jobs, RunOutcome};
use agentex_domain::{AgentId, RunScheduleId, RunTrigger, TaskId};
use agentex_testkit::fake_agent::{FakeAgent, Reply};
use serde_json::{Value, json};

use super::{agent, hourly};
use crate::support::{World, id};

struct Fired {
    world: World,
    agent: FakeAgent,
    agent_id: String,
    schedule: String,
    jobs: AppJobs,
}

impl Fired {
    async fn new(acp_type: &str) -> Self {
        let (world, agent_server) = (World::new().await, FakeAgent::start().await);
        let agent_id = agent(&world, acp_type, agent_server.url()).await;
        let mut new = hourly("nightly");
        new["task_params"] = json!({"p": 1});
        new["task_metadata"] = json!({"team": "x", "schedule_id": "mine"});
        let made = world.post(&format!("/agents/{agent_id}/schedules"), new).await.ok();
        let jobs = AppJobs::new(Arc::clone(&world.app));
        world.calls.take();
        Self { schedule: id(&made).to_owned(), world, agent: agent_server, agent_id, jobs }
    }

    fn fire_id(&self) -> String {
        format!("agent-run-schedule:{}-run-2026-03-04T05:06:07Z", self.schedule)
    }

    async fn fire(&self, trigger: RunTrigger) -> Result<RunOutcome, agentex_domain::ports::JobError> {
        self.jobs.scheduled_run(&RunScheduleId::from(self.schedule.as_str()), &self.fire_id(), trigger).await
    }

    async fn launched(&self) -> TaskId {
        match self.fire(RunTrigger::Scheduled).await.unwrap() {
            RunOutcome::Launched { task_id, .. } => task_id,
            other => panic!("{other:?}"),
        }
    }

    async fn skipped(&self) -> &'static str {
        match self.fire(RunTrigger::Scheduled).await.unwrap() {
            RunOutcome::Skipped { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    async fn tasks(&self) -> Vec<Value> {
        self.world.get("/tasks").await.ok().as_array().unwrap().clone()
    }
}

/// schedules §4: 31
#[tokio::test]
async fn an_occurrence_creates_one_task_and_tells_it_its_input_once() {
    let fired = Fired::new("async").await;

    let task_id = fired.launched().await;

    assert_eq!(fired.agent.methods(), ["task/create", "event/send"]);
    let task = fired.world.get(&format!("/tasks/{task_id}")).await.ok();
    assert_eq!(task["name"], format!("scheduled-run:{}:{}", fired.schedule, fired.fire_id()));
    assert_eq!(task["params"], json!({"p": 1}));
    assert_eq!(
        task["task_metadata"],
        json!({"display_name": "nightly", "team": "x", "schedule_id": fired.schedule,
            "scheduled_fire_id": fired.fire_id(), "trigger_type": "scheduled", "fire_time": "2026-03-04T05:06:07Z",
            "scheduled_input_delivered": true})
    );
    assert_eq!(fired.skipped().await, "input_already_delivered");
    assert_eq!((fired.agent.methods().len(), fired.tasks().await.len()), (2, 1));
    let call = fired.agent.call(1).await;
    assert_eq!(call.header("x-idempotency-key"), task["name"].as_str());
    assert_eq!(call.header("authorization"), None);
}

/// What an agent did not accept is told again, as the same event.
#[tokio::test]
async fn a_repeated_delivery_is_the_same_event() {
    let fired = Fired::new("async").await;
    fired.agent.once("event/send", Reply::http(502, "away"));
    fired.fire(RunTrigger::Scheduled).await.unwrap_err();

    let task_id = fired.launched().await;

    let events = format!("/events?task_id={task_id}&agent_id={}", fired.agent_id);
    assert_eq!(fired.world.get(&events).await.ok().as_array().unwrap().len(), 1);
    let told: Vec<Value> = fired
        .agent
        .calls()
        .iter()
        .filter(|call| call.rpc_method() == "event/send")
        .map(|call| call.params()["event"]["id"].clone())
        .collect();
    assert_eq!((told.len(), &told[0]), (2, &told[1]));
    assert_eq!(fired.agent.methods(), ["task/create", "event/send", "event/send"], "the agent knew the task already");
}

/// As when the process died while the agent was taking the event, and the agent was through before the next attempt.
#[tokio::test]
async fn a_task_that_ended_while_it_was_being_told_is_told_no_more() {
    let fired = Fired::new("async").await;
    fired.agent.once("event/send", Reply::http(502, "away"));
    fired.fire(RunTrigger::Scheduled).await.unwrap_err();
    let task = fired.tasks().await.swap_remove(0);
    fired.world.call("POST", &format!("/tasks/{}/complete", id(&task)), &[], None).await.ok();

    assert_eq!(fired.skipped().await, "input_already_delivered");

    assert_eq!(fired.agent.methods(), ["task/create", "event/send"]);
    let task = fired.world.get(&format!("/tasks/{}", id(&task))).await.ok();
    assert_eq!((&task["status"], fired.tasks().await.len()), (&json!("COMPLETED"), 1));
    assert_eq!(task["task_metadata"]["scheduled_input_delivered"], true);
}

#[tokio::test]
async fn a_synchronous_agent_that_failed_is_asked_again_and_its_input_is_stored_once() {
    let fired = Fired::new("sync").await;
    let text = json!({"type": "text", "author": "agent", "content": "done", "format": "markdown", "style": "active"});
    fired.agent.on("message/send", Reply::updates([json!({"type": "full", "index": 0, "content": text})]));
    fired.agent.once("message/send", Reply::http(502, "away"));
    fired.fire(RunTrigger::Scheduled).await.unwrap_err();

    let task_id = fired.launched().await;

    let messages = fired.world.get(&format!("/messages?task_id={task_id}&order_direction=asc")).await.ok();
    let texts: Vec<&Value> = messages.as_array().unwrap().iter().map(|one| &one["content"]["content"]).collect();
    assert_eq!(texts, [&json!("go"), &json!("done")]);
    assert_eq!(fired.world.get(&format!("/tasks/{task_id}")).await.ok()["status"], "RUNNING");
}

/// schedules §4: 30
#[tokio::test]
async fn a_paused_schedule_fires_only_when_asked_to() {
    let fired = Fired::new("async").await;
    let one = format!("/agents/{}/schedules/{}", fired.agent_id, fired.schedule);
    fired.world.call("POST", &format!("{one}/pause"), &[], None).await.ok();

    assert_eq!(fired.skipped().await, "schedule_paused");
    let RunOutcome::Launched { task_id, .. } = fired.fire(RunTrigger::Manual).await.unwrap() else { panic!() };

    let task = fired.world.get(&format!("/tasks/{task_id}")).await.ok();
    assert_eq!(task["task_metadata"]["trigger_type"], "manual");
}

/// schedules §4: 32
/// authz §7: 177, 178
#[tokio::test]
async fn a_creator_without_permission_makes_nothing_and_loses_the_schedule_in_the_end() {
    let fired = Fired::new("async").await;
    fired.world.rules.fail(|| AuthzError::Unavailable("down".into()));
    fired.fire(RunTrigger::Scheduled).await.unwrap_err();
    fired.world.rules.reset();
    fired.world.rules.deny(&fired.agent_id, &[Operation::Execute]);

    for _ in 0..5 {
        assert_eq!(fired.skipped().await, "permission_denied");
    }

    assert_eq!(fired.skipped().await, "schedule_paused");
    fired.world.rules.reset();
    assert_eq!((fired.tasks().await.len(), fired.agent.methods().len()), (0, 0));
    let shown = fired.world.get(&format!("/agents/{}/schedules/{}", fired.agent_id, fired.schedule)).await.ok();
    assert_eq!((&shown["paused"], &shown["state"]), (&json!(true), &json!("PAUSED")));
}

/// authz §7: 179
#[tokio::test]
async fn a_schedule_without_creator_asks_nobody_and_does_nothing() {
    let fired = Fired::new("async").await;
    let stores = fired.world.store.stores();
    let id = RunScheduleId::from(fired.schedule.as_str());
    let found = stores.run_schedules.find(&id).await.unwrap().unwrap();
    let id = RunScheduleId::generate();
    let orphan = agentex_domain::RunSchedule {
        id: id.clone(),
        name: "orphan".to_owned(),
        creator_principal: serde_json::Map::new(),
        ..found
    };
    stores.run_schedules.insert(&orphan, None).await.unwrap();

    let outcome = fired.jobs.scheduled_run(&id, "f", RunTrigger::Scheduled).await.unwrap();

    assert!(matches!(outcome, RunOutcome::Skipped { reason: "permission_denied", .. }), "{outcome:?}");
    assert_eq!(fired.world.calls.take().len(), 0);
}

#[tokio::test]
async fn what_is_gone_does_not_fire() {
    let fired = Fired::new("async").await;
    let unknown = fired.jobs.scheduled_run(&RunScheduleId::generate(), "f", RunTrigger::Scheduled).await.unwrap();
    assert!(matches!(unknown, RunOutcome::Skipped { reason: "schedule_not_found", .. }), "{unknown:?}");

    let one = format!("/agents/{}/schedules/{}", fired.agent_id, fired.schedule);
    fired.world.delete(&one).await.ok();
    assert_eq!(fired.skipped().await, "schedule_deleted");
}

/// temporal §7: 9
#[tokio::test]
async fn an_agent_is_asked_at_its_present_url_and_never_comes_back_from_the_dead() {
    let fired = Fired::new("async").await;
    let id = AgentId::from(fired.agent_id.as_str());
    for (status, body, health) in [
        (200, json!({"status": "healthy"}), AgentHealth::Healthy),
        (200, json!({"status": "healthy", "agent_id": ""}), AgentHealth::Healthy),
        (200, json!({"status": "healthy", "agent_id": fired.agent_id}), AgentHealth::Healthy),
        (200, json!({"status": "healthy", "agent_id": "other"}), AgentHealth::Failing),
        (200, json!({"status": "sick"}), AgentHealth::Failing),
        (200, json!("healthy"), AgentHealth::Failing),
        (500, json!({"status": "healthy"}), AgentHealth::Failing),
    ] {
        fired.agent.health(status, body.clone());
        assert_eq!(fired.jobs.check_agent(&id).await.unwrap(), health, "{body}");
    }
    let status = async || fired.world.get(&format!("/agents/{}", fired.agent_id)).await.ok()["status"].clone();
    fired.jobs.set_agent_health(&id, false).await.unwrap();
    assert_eq!(status().await, "Unhealthy");
    fired.jobs.set_agent_health(&id, true).await.unwrap();
    assert_eq!(status().await, "Ready");

    fired.world.delete(&format!("/agents/{}", fired.agent_id)).await.ok();
    fired.jobs.set_agent_health(&id, false).await.unwrap();
    assert_eq!(fired.jobs.check_agent(&id).await.unwrap(), AgentHealth::Gone);
    let row = fired.world.store.stores().agents.find(&id).await.unwrap().unwrap();
    assert!(row.is_deleted());
}
