//! What every `RunScheduleRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::sync::Arc;

use agentex_authz::{ResourceKind, ResourceRef};
use agentex_domain::ports::{Departure, Settlement, StoreError, Stores};
use agentex_domain::{Agent, AgentId, Author, Cadence, IntentStep, RunSchedule, RunScheduleId, ScheduleInput};
use serde_json::json;

use super::stored::{granting, intent_of, opened, stored_agent};
use crate::build::{at, object, run_schedule, user};

async fn stored(stores: &Stores, agent: &Agent, name: &str) -> RunSchedule {
    let schedule = run_schedule(&agent.id, name);
    stores.run_schedules.insert(&schedule, None).await.unwrap();
    schedule
}

fn resource(schedule: &RunSchedule) -> ResourceRef {
    RunSchedule::resource(&schedule.agent_id, &schedule.id)
}

pub async fn an_inserted_schedule_reads_back_equal(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let plain = stored(stores, &agent, "plain").await;
    let full = RunSchedule {
        description: Some("every \u{1f319} at 'two'".into()),
        cadence: Cadence::Cron("CRON_TZ=Europe/Berlin 0 2 * * * # night".into()),
        timezone: "Europe/Berlin".into(),
        start_at: Some(at(10)),
        end_at: Some(at(1_000_000)),
        paused: true,
        creator_principal: object(json!({"user_id": "alice", "account_id": "acme"})),
        task_params: Some(object(json!({"n": 9_007_199_254_740_993_u64, "deep": {"a": [1.5, null]}}))),
        task_metadata: Some(object(json!({}))),
        initial_input: ScheduleInput { author: Author::Agent, content: "go\n\"on\"".into() },
        updated_at: at(3),
        ..run_schedule(&agent.id, "full")
    };
    stores.run_schedules.insert(&full, None).await.unwrap();

    for schedule in [plain, full] {
        assert_eq!(stores.run_schedules.find(&schedule.id).await.unwrap().as_ref(), Some(&schedule));
        let by_name = stores.run_schedules.find_by_name(&agent.id, &schedule.name).await.unwrap();
        assert_eq!(by_name, Some(schedule));
    }
    assert_eq!(stores.run_schedules.find(&"absent".into()).await.unwrap(), None);
    assert_eq!(stores.run_schedules.find(&"\0".into()).await.unwrap(), None);
    assert_eq!(stores.run_schedules.find_by_name(&AgentId::generate(), "plain").await.unwrap(), None);
}

/// schedules §4: 18, 19
pub async fn a_name_is_taken_within_its_agent_until_the_schedule_is_deleted(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let first = stored(stores, &one, "nightly").await;
    stored(stores, &other, "nightly").await;

    let refused = stores.run_schedules.insert(&run_schedule(&one.id, "nightly"), None).await;
    assert!(matches!(refused, Err(StoreError::Duplicate { what: "run schedule" })), "{refused:?}");
    assert_eq!(stores.run_schedules.find_by_name(&one.id, "nightly").await.unwrap(), Some(first.clone()));

    stores.run_schedules.delete(&first.id, at(5), None).await.unwrap().unwrap();
    let again = stored(stores, &one, "nightly").await;
    assert_ne!(again.id, first.id);
    assert_eq!(stores.run_schedules.find_by_name(&one.id, "nightly").await.unwrap(), Some(again));
    let gone = stores.run_schedules.find(&first.id).await.unwrap().unwrap();
    assert_eq!((gone.deleted_at, gone.version), (Some(at(5)), 2));
}

/// schedules §4: 18
pub async fn of_concurrent_inserts_of_one_schedule_name_one_wins(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let inserts = (0..8).map(|_| {
        let (stores, schedule) = (stores.clone(), run_schedule(&agent.id, "nightly"));
        tokio::spawn(async move { stores.run_schedules.insert(&schedule, None).await })
    });

    let outcomes: Vec<_> = futures::future::join_all(inserts).await.into_iter().map(Result::unwrap).collect();

    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(StoreError::Duplicate { .. }))));
}

pub async fn a_schedule_of_an_absent_or_deleted_agent_is_dangling(stores: &Stores) {
    let gone = stored_agent(stores, "gone").await;
    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap().unwrap();
    for agent in [&gone.id, &AgentId::generate()] {
        let schedule = run_schedule(agent, "nightly");
        let intent = opened(stores, resource(&schedule), None).await;

        let refused = stores.run_schedules.insert(&schedule, Some(granting(&intent))).await;

        assert!(matches!(refused, Err(StoreError::Dangling { .. })), "{refused:?}");
        assert_eq!(intent_of(stores, &intent.resource).await, Some(intent));
        assert_eq!(stores.run_schedules.find(&schedule.id).await.unwrap(), None);
    }
}

pub async fn schedules_of_all_agents_are_paged_by_id_without_the_deleted(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let mut expected = Vec::new();
    for number in 0..5 {
        expected.push(stored(stores, &one, &format!("schedule-{number}")).await.id);
        expected.push(stored(stores, &other, &format!("schedule-{number}")).await.id);
    }
    stores.run_schedules.delete(&expected.remove(4), at(5), None).await.unwrap().unwrap();
    stores.agents.delete(&other.id, "gone", at(6), None).await.unwrap().unwrap();
    expected.sort();

    let mut seen = Vec::new();
    for length in [4, 4, 1] {
        let page = stores.run_schedules.page(seen.last().cloned(), 4).await.unwrap();
        assert_eq!(page.len(), length);
        seen.extend(page.into_iter().map(|schedule| schedule.id));
    }
    assert_eq!(seen, expected);
    assert_eq!(stores.run_schedules.page(seen.last().cloned(), 4).await.unwrap(), []);
    let first = stores.run_schedules.page(None, 1).await.unwrap().remove(0);
    assert_eq!(stores.run_schedules.find(&first.id).await.unwrap(), Some(first));
}

/// schedules §4: 20, 21
pub async fn schedules_are_listed_newest_first_without_the_deleted(stores: &Stores) {
    let (agent, other) = (stored_agent(stores, "worker").await, stored_agent(stores, "other").await);
    stored(stores, &other, "foreign").await;
    let mut expected = Vec::new();
    for number in 0..60 {
        let schedule =
            RunSchedule { created_at: at(number / 2), ..run_schedule(&agent.id, &format!("schedule-{number}")) };
        stores.run_schedules.insert(&schedule, None).await.unwrap();
        expected.push(schedule);
    }
    let gone = expected.remove(30);
    stores.run_schedules.delete(&gone.id, at(99), None).await.unwrap().unwrap();
    expected.sort_by(|a, b| (b.created_at, b.id.as_str()).cmp(&(a.created_at, a.id.as_str())));

    let all = stores.run_schedules.list(&agent.id, None, 100).await.unwrap();
    assert_eq!(all, expected);
    assert_eq!(stores.run_schedules.list(&agent.id, None, 7).await.unwrap(), expected[..7]);
    let ids: Vec<RunScheduleId> = expected.iter().map(|schedule| schedule.id.clone()).collect();
    assert_eq!(stores.run_schedules.of_agent(&agent.id).await.unwrap(), ids);

    // The one that sorts last is found although the limit comes first.
    let last = expected.last().unwrap();
    let only: Arc<[String]> = [last.id.to_string(), gone.id.to_string(), "absent".to_owned()].into();
    let visible = stores.run_schedules.list(&agent.id, Some(only), 1).await.unwrap();
    assert_eq!(visible, std::slice::from_ref(last));
    assert_eq!(stores.run_schedules.list(&agent.id, Some([].into()), 100).await.unwrap(), []);
}

pub async fn an_update_replaces_what_may_change_and_counts_the_version(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let old = stored(stores, &agent, "old").await;
    let changed = RunSchedule {
        name: "new".into(),
        description: Some("d".into()),
        cadence: Cadence::Cron("@daily".into()),
        timezone: "Asia/Tokyo".into(),
        start_at: Some(at(1)),
        end_at: Some(at(2)),
        paused: true,
        task_params: Some(object(json!({"a": 1}))),
        task_metadata: Some(object(json!({"b": 2}))),
        initial_input: ScheduleInput { author: Author::Agent, content: "changed".into() },
        updated_at: at(7),
        ..old.clone()
    };
    let creator = object(json!({"user_id": "mallory"}));
    let attempt = RunSchedule { creator_principal: creator, created_at: at(77), ..changed.clone() };

    let updated = stores.run_schedules.update(&attempt).await.unwrap().unwrap();

    assert_eq!(updated, RunSchedule { version: 2, ..changed.clone() }, "creator and creation stay");
    assert_eq!(stores.run_schedules.find(&old.id).await.unwrap(), Some(updated.clone()));
    // The same again comes from somebody who has not seen the change.
    assert_eq!(stores.run_schedules.update(&attempt).await.unwrap(), None);
    let back = RunSchedule { cadence: old.cadence.clone(), task_params: None, ..updated };
    let back = stores.run_schedules.update(&back).await.unwrap().unwrap();
    assert_eq!((back.cadence, back.task_params, back.version), (old.cadence, None, 3));
}

pub async fn a_rename_onto_a_taken_name_changes_nothing(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    stored(stores, &agent, "taken").await;
    let schedule = stored(stores, &agent, "mine").await;

    let refused = stores.run_schedules.update(&RunSchedule { name: "taken".into(), ..schedule.clone() }).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    assert_eq!(stores.run_schedules.find(&schedule.id).await.unwrap(), Some(schedule));
}

pub async fn of_concurrent_updates_of_one_version_one_happens(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let schedule = stored(stores, &agent, "busy").await;
    let updates = (0..8).map(|number| {
        let (stores, schedule) =
            (stores.clone(), RunSchedule { description: Some(format!("{number}")), ..schedule.clone() });
        tokio::spawn(async move { stores.run_schedules.update(&schedule).await.unwrap() })
    });

    let outcomes: Vec<_> = futures::future::join_all(updates).await.into_iter().map(Result::unwrap).collect();

    let winners: Vec<&RunSchedule> = outcomes.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(stores.run_schedules.find(&schedule.id).await.unwrap().as_ref(), Some(winners[0]));
}

pub async fn pausing_counts_the_version_and_touches_nothing_else(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let schedule = stored(stores, &agent, "nightly").await;

    let paused = stores.run_schedules.set_paused(&schedule.id, true, at(4)).await.unwrap().unwrap();
    assert_eq!(paused, RunSchedule { paused: true, updated_at: at(4), version: 2, ..schedule.clone() });
    let again = stores.run_schedules.set_paused(&schedule.id, true, at(5)).await.unwrap().unwrap();
    assert_eq!((again.paused, again.version), (true, 3));
    let resumed = stores.run_schedules.set_paused(&schedule.id, false, at(6)).await.unwrap().unwrap();
    assert_eq!((resumed.paused, resumed.version), (false, 4));
    assert_eq!(stores.run_schedules.set_paused(&"absent".into(), true, at(6)).await.unwrap(), None);
}

pub async fn a_deleted_schedule_cannot_be_changed_or_deleted_again(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let schedule = stored(stores, &agent, "nightly").await;
    assert_eq!(stores.run_schedules.delete(&schedule.id, at(5), None).await.unwrap(), Some(None));
    let gone = stores.run_schedules.find(&schedule.id).await.unwrap().unwrap();

    assert_eq!(stores.run_schedules.update(&gone).await.unwrap(), None);
    assert_eq!(stores.run_schedules.set_paused(&schedule.id, true, at(6)).await.unwrap(), None);
    let departure = Departure { by: user("bob"), due_at: at(80) };
    assert_eq!(stores.run_schedules.delete(&schedule.id, at(6), Some(departure)).await.unwrap(), None);
    assert_eq!(stores.run_schedules.delete(&"absent".into(), at(6), None).await.unwrap(), None);
    assert_eq!(stores.run_schedules.find(&schedule.id).await.unwrap(), Some(gone));
    assert_eq!(stores.intents.list(10).await.unwrap(), []);
}

pub async fn a_schedule_is_stored_under_its_intent_or_not_at_all(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let parent = ResourceRef::agent(agent.id.as_str());
    let schedule = run_schedule(&agent.id, "nightly");
    let intent = opened(stores, resource(&schedule), Some(parent.clone())).await;

    stores.run_schedules.insert(&schedule, Some(granting(&intent))).await.unwrap();

    let owner = stores.owners.find(&intent.resource).await.unwrap().unwrap();
    assert_eq!((owner.owner, owner.parent), (user("alice"), Some(parent)));
    assert_eq!(intent_of(stores, &intent.resource).await.unwrap().step, IntentStep::Granting);

    let late = run_schedule(&agent.id, "late");
    let lost = Settlement { intent: intent.id.clone(), ..granting(&intent) };
    let refused = stores.run_schedules.insert(&late, Some(lost)).await;
    assert!(matches!(refused, Err(StoreError::IntentLost)), "{refused:?}");
    assert_eq!(stores.run_schedules.find(&late.id).await.unwrap(), None);
}

pub async fn a_deleted_schedule_departs_with_its_owner_and_parent(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let parent = ResourceRef::agent(agent.id.as_str());
    let schedule = run_schedule(&agent.id, "nightly");
    let intent = opened(stores, resource(&schedule), Some(parent.clone())).await;
    stores.run_schedules.insert(&schedule, Some(granting(&intent))).await.unwrap();
    let departure = || Some(Departure { by: user("bob"), due_at: at(80) });

    let left = stores.run_schedules.delete(&schedule.id, at(50), departure()).await.unwrap().unwrap().unwrap();

    assert_eq!((&left.resource, &left.parent, &left.owner), (&intent.resource, &Some(parent), &user("alice")));
    assert_eq!((left.step, left.created_at, left.due_at), (IntentStep::Deregistering, at(50), at(80)));
    assert_eq!(intent_of(stores, &intent.resource).await, Some(left));
    assert_eq!(stores.owners.find(&intent.resource).await.unwrap(), None);

    let unowned = stored(stores, &agent, "unowned").await;
    let left = stores.run_schedules.delete(&unowned.id, at(50), departure()).await.unwrap().unwrap().unwrap();
    assert_eq!((left.resource, left.owner), (resource(&unowned), user("bob")));
}

pub async fn schedules_without_an_owner_are_told_by_selector(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let mut expected = Vec::new();
    for number in 0..4 {
        let schedule = stored(stores, &agent, &format!("schedule-{number}")).await;
        expected.push(resource(&schedule).selector);
    }
    let gone = stored(stores, &agent, "gone").await;
    stores.run_schedules.delete(&gone.id, at(1), None).await.unwrap().unwrap();
    let owned = run_schedule(&agent.id, "owned");
    let intent = opened(stores, resource(&owned), None).await;
    stores.run_schedules.insert(&owned, Some(granting(&intent))).await.unwrap();
    expected.sort();

    let mut told = Vec::new();
    loop {
        let after = told.last().cloned();
        let page = stores.owners.unowned(ResourceKind::Schedule, after, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        told.extend(page);
    }

    assert_eq!(told, expected);
}
