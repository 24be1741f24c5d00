//! Workflow schedules over a scheduler that keeps them in memory.

use std::sync::Arc;

use agentex_domain::ScheduledAction;
use agentex_domain::ports::{MockWorkflowGateway, ScheduleError, WorkflowError};
use serde_json::{Value, json};

use super::keeper::Keeper;
use super::{agent, flow, hourly};
use crate::support::{Authorization, Setup, World};

async fn kept(authorization: Authorization) -> (World, Keeper, String, String) {
    let keeper = Keeper::default();
    let setup = Setup { scheduler: Some(Arc::new(keeper.clone())), authorization, ..Setup::default() };
    let world = World::with(setup).await;
    let agent = agent(&world, "async", "http://agent.test:1").await;
    let all = format!("/agents/{agent}/schedules");
    (world, keeper, agent, all)
}

fn verbs(world: &World) -> Vec<String> {
    world.calls.take().iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect()
}

/// schedules §4: 1, 2, 3, 4, 37
#[tokio::test]
async fn a_workflow_schedule_goes_through_its_whole_life() {
    let (world, keeper, agent, all) = kept(Authorization::Rules).await;
    world.calls.take();
    keeper.calls();
    let without = json!({"name": "f", "workflow_name": "W", "task_queue": "q"});
    let text = "Either cron_expression or interval_seconds must be provided";
    world.post(&all, without).await.refused(400, text);
    assert_eq!((world.calls.take().len(), keeper.calls().len()), (0, 0));

    let mut new = flow("f");
    new["workflow_params"] = json!({});
    let made = world.post(&all, new).await.ok();
    let sid = format!("{agent}--f");
    assert_eq!((&made["schedule_id"], &made["kind"]), (&json!(sid), &json!("workflow")));
    assert_eq!(
        made["action"],
        json!({"workflow_name": "W", "workflow_id_prefix": format!("{sid}-run"), "task_queue": "q", "workflow_params": null})
    );
    assert_eq!(
        (&made["spec"]["cron_expressions"], &made["spec"]["intervals_seconds"]),
        (&json!(["0 * * * *"]), &json!([60]))
    );
    assert_eq!(verbs(&world), ["check", "register", "grant"]);
    let calls: Vec<String> = keeper.calls().iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(calls, ["describe", "create", "describe"]);
    let schedule = keeper.kept(&sid).unwrap();
    let ScheduledAction::Workflow(action) = &schedule.action else { panic!("{schedule:?}") };
    assert_eq!(action.params, None);
    assert_eq!(schedule.definition.unwrap()["name"], "f");

    for (path, verb, state) in [
        (format!("{all}/f"), "pause", "PAUSED"),
        (format!("{all}/f"), "resume", "ACTIVE"),
        (format!("{all}/name/f"), "pause", "PAUSED"),
        (format!("{all}/name/f"), "unpause", "ACTIVE"),
        (format!("{all}/f"), "trigger", "ACTIVE"),
    ] {
        let answer = world.call("POST", &format!("{path}/{verb}"), &[], None).await.ok();
        assert_eq!(answer["state"], state, "{verb}");
    }
    let at = "2031-01-01T00:00:00Z";
    let skipped = world.post(&format!("{all}/f/skip"), json!({"scheduled_time": at})).await.ok();
    assert_eq!(skipped["skipped_action_times"], json!([at]));

    let one = format!("{all}/f");
    world.call("PATCH", &one, &[], Some(r#"{"name":"g"}"#)).await.refused(400, "Workflow schedules cannot be renamed");
    let change = r#"{"interval_seconds": 5, "workflow_params": {"a": 1}, "paused": true}"#;
    let changed = world.call("PATCH", &one, &[], Some(change)).await.ok();
    assert_eq!(changed["action"]["workflow_params"], json!([{"a": 1}]));
    assert_eq!((&changed["spec"]["cron_expressions"], &changed["state"]), (&json!([]), &json!("PAUSED")));

    let list = world.get(&all).await.ok();
    assert_eq!((&list["total"], &list["schedules"][0]["state"]), (&json!(1), &json!("PAUSED")));
    assert_eq!(list["schedules"][0]["workflow_name"], "W");
    world.calls.take();
    let deleted = world.delete(&one).await.ok();
    assert_eq!(deleted, json!({"id": sid, "message": "Schedule 'f' deleted successfully"}));
    assert_eq!(verbs(&world), ["check", "deregister", "revoke"]);
    let absent = format!("Item with id '{sid}' does not exist.");
    world.delete(&one).await.refused(404, &absent);
    for verb in ["pause", "trigger", "unpause"] {
        world.call("POST", &format!("{one}/{verb}"), &[], None).await.refused(404, &absent);
    }
    world.get(&one).await.refused(404, &absent);
    world.post(&all, flow("f")).await.ok();
}

/// schedules §4: 6, 7, 8
#[tokio::test]
async fn only_what_was_registered_is_taken_back_and_never_a_living_schedules_entry() {
    let (world, keeper, agent, all) = kept(Authorization::Rules).await;
    let sid = format!("{agent}--f");
    world.calls.take();

    keeper.fail("create", || ScheduleError::Invalid("no".into()), false);
    world.post(&all, flow("f")).await.refused(400, &format!("Invalid arguments provided for schedule '{sid}'"));
    assert_eq!(verbs(&world), ["check", "register", "deregister"]);

    keeper.fail("create", || ScheduleError::Unknown("cut".into()), true);
    world.post(&all, flow("f")).await.ok();
    assert_eq!(verbs(&world), ["check", "register", "grant"]);

    let taken = format!("Schedule with ID '{sid}' already exists");
    world.post(&all, flow("f")).await.refused(409, &taken);
    assert_eq!(verbs(&world), ["check"]);
    let taken_by_run = world.post(&all, hourly("f")).await;
    taken_by_run.refused(400, &format!("Run schedule 'f' already exists for agent '{agent}'"));
    assert_eq!(verbs(&world), ["check"]);

    // It appears between the look and the create.
    keeper.fail("describe", || ScheduleError::NotFound, false);
    world.post(&all, flow("f")).await.refused(409, &taken);
    assert_eq!(verbs(&world), ["check", "register"]);
    assert!(keeper.kept(&sid).is_some());

    // It is made, and then it cannot be shown.
    keeper.fail("describe", || ScheduleError::NotFound, false);
    keeper.fail("describe", || ScheduleError::Failed("broken".into()), false);
    let unseen = world.post(&all, flow("g")).await;
    unseen.refused(500, &format!("Failed to describe schedule '{agent}--g'"));
    assert_eq!(verbs(&world), ["check", "register", "grant"]);
    world.get(&format!("{all}/g")).await.ok();
}

/// An outage in the middle of a create leaves the registration to the relay, which looks before it decides.
#[tokio::test]
async fn an_undecided_create_is_finished_by_the_relay() {
    for arrived in [true, false] {
        let (world, keeper, agent, all) = kept(Authorization::Rules).await;
        let sid = format!("{agent}--f");
        world.calls.take();
        keeper.fail("describe", || ScheduleError::NotFound, false);
        keeper.fail("create", || ScheduleError::Unknown("cut".into()), arrived);
        keeper.fail("describe", || ScheduleError::Unavailable("down".into()), false);
        assert_eq!(world.post(&all, flow("f")).await.status, 503);
        assert_eq!(verbs(&world), ["check", "register"]);

        world.clock.advance(std::time::Duration::from_secs(120));
        world.app.relay.run_due().await.unwrap();

        let expected: &[&str] = if arrived { &["grant"] } else { &["deregister", "revoke"] };
        assert_eq!(verbs(&world), expected);
        assert_eq!(keeper.kept(&sid).is_some(), arrived);
        assert_eq!(world.app.relay.unfinished(10).await.unwrap(), []);
    }
}

/// schedules §4: 9
#[tokio::test]
async fn who_can_own_nothing_makes_schedules_only_in_the_compatible_profile() {
    for (strict, status) in [(false, 200), (true, 403)] {
        let keeper = Keeper::default();
        let mut setup = Setup {
            scheduler: Some(Arc::new(keeper.clone())),
            authorization: Authorization::Rules,
            ..Setup::default()
        };
        setup.authorization = if strict { Authorization::StrictRules } else { Authorization::Rules };
        let world = World::with(setup).await;
        let agent = agent(&world, "async", "http://agent.test:1").await;
        let key = world
            .call_as(
                "alice",
                "POST",
                "/agents/register",
                Some(crate::support::registration("a", "async", "http://agent.test:1")),
            )
            .await;
        let key = key.ok()["agent_api_key"].as_str().unwrap().to_owned();
        world.calls.take();
        let path = format!("/agents/{agent}/schedules");
        let answer = world.call("POST", &path, &[("x-agent-api-key", &key)], Some(&flow("f").to_string())).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(!verbs(&world).iter().any(|verb| verb == "register"));
    }
}

/// schedules §4: 13
#[tokio::test]
async fn lists_show_what_one_may_see_and_nothing_of_other_agents() {
    let (world, _, agent, all) = kept(Authorization::Rules).await;
    for name in ["f", "g"] {
        world.post(&all, flow(name)).await.ok();
    }
    world.rules.show_only(&[&format!("{agent}--g"), "other--f"]);
    let list = world.get(&format!("{all}?kind=workflow")).await.ok();
    assert_eq!((&list["total"], &list["schedules"][0]["name"]), (&json!(1), &json!("g")));
    world.rules.show_only(&[]);
    assert_eq!(world.get(&all).await.ok()["total"], 0);
    world.rules.reset();
    assert_eq!(world.get(&all).await.ok()["total"], 2);
}

/// temporal §7: 1
#[tokio::test]
async fn without_temporal_there_are_no_workflow_schedules() {
    let world = World::new().await;
    let agent = agent(&world, "async", "http://agent.test:1").await;
    let all = format!("/agents/{agent}/schedules");

    world.post(&all, flow("f")).await.refused(503, "Temporal client is not connected");
    world.get(&format!("{all}?kind=workflow")).await.refused(503, "Temporal client is not connected");
    world.post(&all, hourly("f")).await.ok();
    assert_eq!(world.get(&all).await.ok()["schedules_available"], false);
}

/// temporal §7: 6, 7
#[tokio::test]
async fn queries_of_workflows_are_answered_and_their_failures_told_apart() {
    let mut gateway = MockWorkflowGateway::new();
    gateway.expect_query().returning(|_, query, _| match query {
        "state" => Ok(json!({"n": 1})),
        "unknown" => Err(WorkflowError::UnknownQuery),
        "slow" => Err(WorkflowError::DeadlineExceeded("slow".into())),
        "broken" => Err(WorkflowError::Failed("broken".into())),
        _ => Err(WorkflowError::NotFound),
    });
    let world = World::with(Setup { workflows: Some(Arc::new(gateway)), ..Setup::default() }).await;
    let task = world.task("a").await;
    let task = crate::support::id(&task);
    let ask = async |query: &str| world.get(&format!("/tasks/{task}/query/{query}")).await;

    assert_eq!(ask("state").await.ok(), json!({"task_id": task, "query": "state", "result": {"n": 1}}));
    ask("unknown").await.refused(400, "Unknown query 'unknown'");
    ask("gone").await.refused(404, &format!("Workflow '{task}' not found"));
    ask("broken").await.refused(500, &format!("Failed to execute query 'broken' on workflow '{task}'"));
    assert_eq!(ask("slow").await.status, 504);
    let _: Value = ask("state").await.ok();
}

/// Beside the looks that schedules §3 asks for: at the other kind's name, and at the result.
#[tokio::test]
async fn a_run_schedule_takes_one_call_of_the_scheduler_that_changes_anything() {
    let (world, keeper, agent, all) = kept(Authorization::Off).await;
    keeper.calls();

    let made = world.post(&all, hourly("r")).await.ok();

    let clock = format!("agent-run-schedule:{}", made["id"].as_str().unwrap());
    assert_eq!(
        keeper.calls(),
        [format!("describe {agent}--r"), format!("create {clock}"), format!("describe {clock}")]
    );
}
