//! Run schedules over the store and the embedded scheduler, and over one that fails.

use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Operation, ResourceRef};
use agentex_domain::ports::ScheduleError;
use serde_json::{Value, json};

use super::keeper::Keeper;
use super::{agent, hourly};
use crate::support::{Authorization, Setup, World, id};

const URL: &str = "http://agent.test:1";

async fn kept(authorization: Authorization) -> (World, Keeper, String) {
    let keeper = Keeper::default();
    let setup = Setup { scheduler: Some(Arc::new(keeper.clone())), authorization, ..Setup::default() };
    let world = World::with(setup).await;
    let agent = agent(&world, "async", URL).await;
    (world, keeper, format!("/agents/{agent}/schedules"))
}

/// authz §7: 171, 173, 176
/// schedules §4: 15, 19, 28, 39
#[tokio::test]
async fn a_run_schedule_goes_through_its_whole_life() {
    let world = World::new().await;
    let agent = agent(&world, "async", URL).await;
    let all = format!("/agents/{agent}/schedules");

    let made = world.post(&all, hourly("nightly")).await.ok();
    assert_eq!((&made["kind"], &made["state"]), (&json!("agent_run"), &json!("ACTIVE")));
    assert_eq!((&made["initial_input_method"], &made["timezone"]), (&json!("event/send"), &json!("UTC")));
    assert_eq!(made["next_action_times"].as_array().unwrap().len(), 10);
    assert_eq!(
        made["creator_principal"],
        json!({"principal_type": null, "user_id": "somebody", "service_account_id": null, "account_id": "acme"})
    );
    let one = format!("{all}/{}", id(&made));
    let named = format!("{all}/name/nightly");
    assert_eq!(world.get(&one).await.ok()["id"], made["id"]);
    assert_eq!(world.get(&named).await.ok()["id"], made["id"]);

    let change = json!({"name": "daily", "interval_seconds": 60, "description": "d"});
    let changed = world.call("PATCH", &one, &[], Some(&change.to_string())).await.ok();
    assert_eq!((&changed["cron_expression"], &changed["interval_seconds"]), (&Value::Null, &json!(60)));
    let gone = format!("Run schedule 'nightly' for agent '{agent}' does not exist.");
    world.get(&named).await.refused(404, &gone);
    world.get(&one).await.ok();

    let next = changed["next_action_times"][0].clone();
    let skip = json!({"scheduled_time": next});
    let skipped = world.post(&format!("{one}/skip"), skip.clone()).await.ok();
    assert_eq!(skipped["skipped_action_times"], json!([next]));
    let same = world.call("PATCH", &one, &[], Some(r#"{"description": null}"#)).await.ok();
    assert_eq!((&same["skipped_action_times"], &same["description"]), (&json!([next]), &Value::Null));
    world.post(&format!("{one}/unskip"), skip).await.ok();

    for (verb, state) in [("pause", "PAUSED"), ("resume", "ACTIVE"), ("pause", "PAUSED"), ("unpause", "ACTIVE")] {
        let answer = world.call("POST", &format!("{all}/name/daily/{verb}"), &[], None).await.ok();
        assert_eq!(answer["state"], state, "{verb}");
    }
    world.call("POST", &format!("{one}/trigger"), &[], None).await.ok();

    let list = world.get(&format!("{all}?kind=agent_run")).await.ok();
    assert_eq!((&list["total"], &list["run_schedules"][0]["live_data_available"]), (&json!(1), &Value::Null));
    let list = world.get(&format!("{all}?include_live=true")).await.ok();
    assert_eq!(list["run_schedules"][0]["live_data_available"], true);
    assert_eq!(list["schedules_available"], false);

    let deleted = world.delete(&one).await.ok();
    let message = format!("Run schedule '{}' deleted successfully", id(&made));
    assert_eq!(deleted, json!({"id": made["id"], "message": message}));
    world.delete(&one).await.refused(404, &format!("Run schedule '{}' for agent '{agent}' does not exist.", id(&made)));
    assert_eq!(world.get(&all).await.ok()["total"], 0);
    let again = world.post(&all, hourly("daily")).await.ok();
    assert_ne!(again["id"], made["id"]);
}

/// schedules §4: 20, 21, 22
/// authz §7: 172
#[tokio::test]
async fn lists_have_no_hidden_cap_and_ask_the_scheduler_boundedly() {
    let (world, keeper, all) = kept(Authorization::Rules).await;
    let mut first = None;
    for number in 0..250 {
        let made = world.post(&all, hourly(&format!("s{number}"))).await.ok();
        first.get_or_insert(id(&made).to_owned());
        world.clock.advance(Duration::from_secs(1));
    }
    keeper.calls();

    assert_eq!(world.get(&format!("{all}?limit=150&kind=agent_run")).await.ok()["total"], 150);
    assert_eq!(keeper.calls().len(), 0);
    let list = world.get(&format!("{all}?limit=1000&include_live=true&kind=agent_run")).await.ok();
    assert_eq!(keeper.calls().len(), 200);
    assert_eq!(keeper.most_described_at_once(), 10);
    assert_eq!((&list["total"], &list["run_schedules"][199]["live_data_available"]), (&json!(250), &json!(true)));
    assert_eq!(list["run_schedules"][200]["live_data_available"], Value::Null);

    let agent = all.split('/').nth(2).unwrap();
    world.rules.show_only(&[&format!("run-schedule::{agent}::{}", first.unwrap()), "run-schedule::other::x"]);
    let list = world.get(&format!("{all}?limit=1&kind=agent_run")).await.ok();
    assert_eq!((&list["total"], &list["run_schedules"][0]["name"]), (&json!(1), &json!("s0")));
    world.rules.show_only(&[]);
    assert_eq!(world.get(&all).await.ok(), json!({"run_schedules": [], "schedules": [], "total": 0}));
}

/// authz §7: 164, 165, 167, 168, 175
/// schedules §4: 17, 18, 23, 26
#[tokio::test]
async fn a_create_is_unwound_and_a_lost_clock_disturbs_nothing() {
    let (world, keeper, all) = kept(Authorization::Rules).await;
    keeper.fail("create", || ScheduleError::Unavailable("down".into()), false);
    world.calls.take();
    world.post(&all, hourly("x")).await.refused(503, "Temporal client is not connected");
    let verbs: Vec<String> = world.calls.take().iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(verbs, ["check", "register", "grant", "deregister", "revoke"]);
    assert_eq!(world.get(&format!("{all}?kind=agent_run")).await.ok()["total"], 0);

    // The scheduler did it and did not say so.
    keeper.fail("create", || ScheduleError::Unknown("cut".into()), true);
    let made = world.post(&all, hourly("x")).await.ok();
    keeper.fail("create", || ScheduleError::Failed("broken".into()), false);
    let refused = world.post(&all, hourly("y")).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("Failed to create schedule 'agent-run-schedule:"), "{}", refused.text());
    let agent = all.split('/').nth(2).unwrap();
    let taken = format!("Run schedule 'x' already exists for agent '{agent}'");
    world.calls.take();
    world.post(&all, hourly("x")).await.refused(400, &taken);
    assert_eq!(world.calls.take().len(), 1);

    keeper.fail("describe", || ScheduleError::Failed("broken".into()), false);
    let one = format!("{all}/{}", id(&made));
    let shown = world.get(&one).await.ok();
    assert_eq!((&shown["live_data_available"], &shown["state"]), (&json!(false), &json!("ACTIVE")));

    let clock = format!("agent-run-schedule:{}", id(&made));
    keeper.lose(&clock);
    let changed = world.call("PATCH", &one, &[], Some(r#"{"interval_seconds": 5}"#)).await.ok();
    assert_eq!((&changed["interval_seconds"], keeper.kept(&clock).is_some()), (&json!(5), true));
    keeper.lose(&clock);
    assert_eq!(world.call("POST", &format!("{one}/pause"), &[], None).await.ok()["paused"], true);
    keeper.lose(&clock);
    world.delete(&one).await.ok();
    assert_eq!(world.get(&format!("{all}?kind=agent_run")).await.ok()["total"], 0);
}

/// schedules §4: 24, 25, 27
#[tokio::test]
async fn a_change_reaches_the_clock_before_the_row() {
    let (world, keeper, all) = kept(Authorization::Rules).await;
    let made = world.post(&all, hourly("x")).await.ok();
    let one = format!("{all}/{}", id(&made));
    keeper.calls();

    let text = "Schedule must have exactly one of cron_expression or interval_seconds";
    world.call("PATCH", &one, &[], Some(r#"{"cron_expression": null}"#)).await.refused(400, text);
    assert_eq!(keeper.calls(), [""; 0]);
    keeper.fail("update", || ScheduleError::Failed("broken".into()), false);
    let refused = world.call("PATCH", &one, &[], Some(r#"{"interval_seconds": 5}"#)).await;
    refused.refused(500, &format!("Failed to update schedule 'agent-run-schedule:{}'", id(&made)));
    assert_eq!(world.get(&one).await.ok()["cron_expression"], "0 * * * *");
    let both = r#"{"interval_seconds": 5, "cron_expression": "* * * * *"}"#;
    let refused = world.call("PATCH", &one, &[], Some(both)).await.invalid();
    assert!(refused.contains("Provide only one of cron_expression or interval_seconds, not both"), "{refused}");
}

/// schedules §4: 29
#[tokio::test]
async fn only_the_next_occurrences_can_be_skipped_whatever_zone_their_time_is_given_in() {
    let world = World::new().await;
    let agent = agent(&world, "async", URL).await;
    let made = world.post(&format!("/agents/{agent}/schedules"), hourly("x")).await.ok();
    let one = format!("/agents/{agent}/schedules/{}", id(&made));
    let at = |time: &str| json!({"scheduled_time": time});
    let next = made["next_action_times"][0].as_str().unwrap();
    // The same moment by clocks that are an hour ahead, or behind where that would be another day.
    let hour: u8 = next[11..13].parse().unwrap();
    let (hour, offset) = if hour < 23 { (hour + 1, "+01:00") } else { (hour - 1, "-01:00") };
    let elsewhere = format!("{}T{hour:02}:00:00{offset}", &next[..10]);

    for time in ["2001-01-01T00:00:00Z", "2001-01-01T00:00:00+02:00"] {
        world.post(&format!("{one}/skip"), at(time)).await.refused(400, "Cannot skip a past scheduled time");
        world.post(&format!("{one}/unskip"), at(time)).await.refused(400, "Cannot unskip a past scheduled time");
    }
    let text = "Cannot skip a time that is not an upcoming schedule action";
    for time in [next.replace(":00:00", ":30:00"), "2199-01-01T00:00:00Z".to_owned()] {
        world.post(&format!("{one}/skip"), at(&time)).await.refused(400, text);
    }
    let text = "Cannot unskip a time that is not currently skipped";
    world.post(&format!("{one}/unskip"), at(next)).await.refused(400, text);

    let skipped = world.post(&format!("{one}/skip"), at(&elsewhere)).await.ok();
    assert_eq!(skipped["skipped_action_times"], json!([next]));
    let back = world.post(&format!("{one}/unskip"), at(&elsewhere)).await.ok();
    assert_eq!((&back["skipped_action_times"], &back["next_action_times"][0]), (&json!([]), &json!(next)));
}

/// schedules §4: 35, 36, 38
#[tokio::test]
async fn bad_input_is_refused_before_anything_is_done() {
    let (world, keeper, all) = kept(Authorization::Rules).await;
    world.calls.take();
    let with = |member: &str, value: Value| {
        let mut body = hourly("x");
        body[member] = value;
        body
    };
    let mut no_cadence = hourly("x");
    no_cadence.as_object_mut().unwrap().remove("cron_expression");
    for (body, text) in [
        (with("cron_expression", json!("61 * * * *")), "Invalid cron_expression '61 * * * *'"),
        (with("timezone", json!("Mars/Base")), "Invalid timezone 'Mars/Base'"),
        (with("interval_seconds", json!(5)), "Provide exactly one of cron_expression or interval_seconds"),
        (no_cadence, "Provide exactly one of cron_expression or interval_seconds"),
        (with("name", json!("No")), "body.name: String should match pattern"),
        (
            with("workflow_name", json!("W")),
            "Ambiguous schedule: provide either workflow_name/task_queue or initial_input",
        ),
        (with("kind", json!("workflow")), "Field 'initial_input' is not valid for a workflow schedule"),
        (with("initial_input", json!({"type": "data", "content": "x"})), "body.initial_input.type"),
        (with("end_at", json!("x")), "body.end_at"),
        (json!({"name": "x", "interval_seconds": 5}), "body.initial_input: Field required"),
    ] {
        let refused = world.post(&all, body).await.invalid();
        assert!(refused.contains(text), "{refused}");
    }
    let window = json!({"name": "x", "interval_seconds": 5, "initial_input": {"content": "x"},
        "start_at": "2030-01-01T00:00:00Z", "end_at": "2029-01-01T00:00:00Z"});
    assert!(world.post(&all, window).await.invalid().contains("body.end_at"));
    assert_eq!((world.calls.take().len(), keeper.calls().len()), (0, 0));

    let made = world.post(&all, hourly("x")).await.ok();
    let skip = format!("{all}/{}/skip", id(&made));
    let naive = json!({"scheduled_time": "2030-01-01T00:00:00"});
    let refused = world.post(&skip, naive).await.invalid();
    assert!(refused.contains("scheduled_time must include timezone information."), "{refused}");
    keeper.calls();
    let agent = all.split('/').nth(2).unwrap();
    let unknown = "01234567-89ab-4def-8123-456789abcdef";
    world
        .get(&format!("{all}/{unknown}"))
        .await
        .refused(404, &format!("Run schedule '{unknown}' for agent '{agent}' does not exist."));
    world.get(&format!("{all}/NoName")).await.refused(404, "Item with id 'NoName' does not exist.");
    assert_eq!(keeper.calls().len(), 0);
    let refused = world.get(&format!("{all}?limit=1&page_size=2")).await.invalid();
    assert!(refused.contains("query.page_size"), "{refused}");
}

/// authz §7: 180
/// schedules §4: 40
/// conventions §11: 53
#[tokio::test]
async fn a_kind_that_is_off_is_not_there() {
    let mut setup = Setup { authorization: Authorization::Off, ..Setup::default() };
    setup.http.schedules = false;
    let world = World::with(setup).await;
    assert_eq!(world.get("/agents/x/schedules").await.expect(404), json!({"detail": "Not Found"}));

    let keeper = Keeper::default();
    let mut setup = Setup { authorization: Authorization::Off, ..Setup::default() };
    setup.scheduler = Some(Arc::new(keeper));
    setup.settings.schedules.run_schedules = false;
    let world = World::with(setup).await;
    let agent = agent(&world, "async", URL).await;
    let all = format!("/agents/{agent}/schedules");
    assert_eq!(world.post(&all, hourly("x")).await.status, 404);
    world.post(&all, super::flow("f")).await.ok();
    world.get(&format!("{all}/01234567-89ab-4def-8123-456789abcdef")).await.expect(404);
    assert_eq!(world.get(&all).await.ok()["total"], 1);
}

/// Weakness: a deleted agent left its clocks running.
#[tokio::test]
async fn the_schedules_of_a_deleted_agent_go_with_it() {
    let (world, keeper, all) = kept(Authorization::Rules).await;
    let made = world.post(&all, hourly("x")).await.ok();
    world.post(&all, super::flow("f")).await.ok();
    let agent = all.split('/').nth(2).unwrap();

    world.delete(&format!("/agents/{agent}")).await.ok();

    assert!(keeper.kept(&format!("agent-run-schedule:{}", id(&made))).is_none());
    assert!(keeper.kept(&format!("{agent}--f")).is_none());
}

/// authz §7: 169, 170, 174
/// schedules §4: 11, 12, 34
#[tokio::test]
async fn permissions_are_those_of_the_schedule() {
    let world = World::with_authorization().await;
    let agent = agent(&world, "async", URL).await;
    let all = format!("/agents/{agent}/schedules");
    let made = world.call_as("alice", "POST", &all, Some(hourly("x"))).await.ok();
    let selector = format!("run-schedule::{agent}::{}", id(&made));
    let one = format!("{all}/{}", id(&made));

    let absent = "01234567-89ab-4def-8123-456789abcdef";
    let hidden = world.call_as("mallory", "GET", &one, None).await;
    let nothing = world.call_as("mallory", "GET", &format!("{all}/{absent}"), None).await;
    assert_eq!(hidden.text().replace(id(&made), absent), nothing.text());
    let named = world.call_as("mallory", "GET", &format!("{all}/name/x"), None).await;
    named.refused(404, &format!("Run schedule 'x' for agent '{agent}' does not exist."));

    world.share("bob", Operation::Read, ResourceRef::schedule(selector)).await;
    world.share("bob", Operation::Read, ResourceRef::agent(&*agent)).await;
    world.call_as("bob", "GET", &one, None).await.ok();
    assert_eq!(world.call_as("bob", "POST", &format!("{one}/pause"), None).await.status, 403);
    assert_eq!(world.call_as("bob", "DELETE", &one, None).await.status, 403);
    world.call_as("alice", "DELETE", &one, None).await.ok();
    assert_eq!(world.call_as("bob", "GET", &one, None).await.status, 404);
}
