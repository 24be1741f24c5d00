use std::time::Duration;

use agentex_domain::ports::{NewSchedule, ScheduleError, Scheduler};
use agentex_domain::{RunTrigger, Timing};
use agentex_inprocess::SchedulerOptions;
use tokio_util::sync::CancellationToken;

use super::world::{Behaviour, Call, World, every, noon, until};

const MINUTE: Duration = Duration::from_secs(60);

fn scheduled(id: &str, nominal: &str) -> Call {
    Call { schedule: id.to_owned(), fire_id: format!("{id}-run-{nominal}"), trigger: RunTrigger::Scheduled }
}

#[tokio::test]
async fn an_occurrence_is_carried_out_at_its_time_and_counted() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    replica.scheduler.create(&every(60, "job")).await.unwrap();

    world.clock.advance(Duration::from_millis(59_999));
    assert_eq!(replica.told(), []);
    world.clock.advance(Duration::from_millis(1));

    assert_eq!(replica.call().await, scheduled("job", "2026-03-02T12:01:00Z"));
    world.clock.advance(MINUTE);
    assert_eq!(replica.call().await, scheduled("job", "2026-03-02T12:02:00Z"));
    world.settled().await;
    let found = replica.describe("job").await;
    assert_eq!((found.actions_taken, found.actions_missed), (2, 0));
    assert_eq!(found.last_action_time, Some(noon().plus_millis(120_000)));
    replica.stop().await;
}

#[tokio::test]
async fn a_schedule_made_while_nothing_was_to_come_is_not_slept_over() {
    let world = World::sqlite().await;
    // Nothing but the write itself can wake it before its time.
    let mut replica = world.replica_with(SchedulerOptions { poll: 1_000 * MINUTE, ..SchedulerOptions::default() });
    until(async || world.clock.sleepers() > 2).await;

    replica.scheduler.create(&every(60, "job")).await.unwrap();
    world.clock.advance(MINUTE);

    assert_eq!(replica.call().await.schedule, "job");
    replica.stop().await;
}

#[tokio::test]
async fn a_paused_schedule_fires_by_hand_only_and_goes_on_when_resumed() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    replica.scheduler.create(&every(60, "job")).await.unwrap();
    replica.scheduler.pause("job", "holiday").await.unwrap();
    world.clock.advance(10 * MINUTE);

    replica.scheduler.trigger("job").await.unwrap();

    let call = replica.call().await;
    assert_eq!(call.trigger, RunTrigger::Manual);
    assert!(call.fire_id.starts_with("job-manual-") && call.fire_id.ends_with("-2026-03-02T12:10:00Z"), "{call:?}");
    world.settled().await;
    assert_eq!(replica.describe("job").await.actions_taken, 1);

    replica.scheduler.resume("job", "back").await.unwrap();
    world.clock.advance(MINUTE);
    assert_eq!(replica.call().await, scheduled("job", "2026-03-02T12:11:00Z"));
    let found = replica.describe("job").await;
    assert_eq!((found.actions_missed, found.note.as_deref()), (0, Some("back")));
    replica.stop().await;
}

#[tokio::test]
async fn a_run_asked_for_is_carried_out_once_per_token_whatever_the_schedule_does() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    let row = "row".into();

    replica.scheduler.run_now(&row, "token").await.unwrap();
    assert_eq!(
        replica.call().await,
        Call { schedule: "row".into(), fire_id: "token".into(), trigger: RunTrigger::Manual }
    );
    world.settled().await;
    replica.scheduler.run_now(&row, "token").await.unwrap();
    replica.scheduler.run_now(&row, "other").await.unwrap();

    assert_eq!(replica.call().await.fire_id, "other");
    world.settled().await;
    assert_eq!(replica.told(), []);
    replica.stop().await;
}

#[tokio::test]
async fn a_skipped_occurrence_is_passed_over() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    replica.scheduler.create(&every(60, "job")).await.unwrap();
    replica.scheduler.skip("job", noon().plus_millis(60_000)).await.unwrap();

    world.clock.advance(MINUTE);
    world.clock.advance(MINUTE);

    assert_eq!(replica.call().await, scheduled("job", "2026-03-02T12:02:00Z"));
    assert_eq!(replica.describe("job").await.actions_missed, 0);
    let past = replica.scheduler.unskip("job", noon()).await;
    assert!(matches!(past, Err(ScheduleError::Past)));
    replica.stop().await;
}

#[tokio::test]
async fn an_occurrence_that_meets_a_running_one_is_passed_over() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    let hang = CancellationToken::new();
    replica.jobs.set("job", Behaviour::Hang(hang.clone()));
    replica.scheduler.create(&every(60, "job")).await.unwrap();
    world.clock.advance(MINUTE);
    replica.call().await;

    world.clock.advance(MINUTE);
    until(async || replica.describe("job").await.actions_missed == 1).await;
    replica.jobs.set("job", Behaviour::Succeed);
    hang.cancel();
    world.settled().await;
    world.clock.advance(MINUTE);

    assert_eq!(replica.call().await, scheduled("job", "2026-03-02T12:03:00Z"));
    replica.stop().await;
}

#[tokio::test]
async fn a_failed_fire_is_tried_again_after_growing_pauses_and_given_up_after_five_attempts() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    replica.jobs.set("row", Behaviour::Fail);
    replica.scheduler.run_now(&"row".into(), "token").await.unwrap();
    assert_eq!(replica.call().await.fire_id, "token");

    for pause in [2, 4, 8, 16] {
        let due = world.clock.advance(Duration::ZERO).plus_millis(pause * 1_000);
        until(async || world.stores.timers.next_due().await.unwrap() == Some(due)).await;
        world.clock.advance(Duration::from_millis(pause.unsigned_abs() * 1_000 - 1));
        assert_eq!(replica.told(), []);
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(replica.call().await.fire_id, "token");
    }

    world.settled().await;
    world.clock.advance(60 * MINUTE);
    replica.scheduler.run_now(&"marker".into(), "marker").await.unwrap();
    assert_eq!(replica.call().await.fire_id, "marker");
    replica.stop().await;
}

#[tokio::test]
async fn work_that_panics_or_takes_too_long_is_tried_again_and_stops_nobody() {
    let world = World::sqlite().await;
    let options = SchedulerOptions { attempt_timeout: 5 * MINUTE, ..SchedulerOptions::default() };
    let mut replica = world.replica_with(options);
    replica.jobs.set("panics", Behaviour::Panic);
    replica.jobs.set("hangs", Behaviour::Hang(CancellationToken::new()));
    for row in ["panics", "hangs", "works"] {
        replica.scheduler.run_now(&row.into(), row).await.unwrap();
        assert_eq!(replica.call().await.fire_id, row);
    }
    replica.jobs.set("panics", Behaviour::Succeed);
    replica.jobs.set("hangs", Behaviour::Succeed);
    let retry = noon().plus_millis(2_000);
    until(async || world.stores.timers.next_due().await.unwrap() == Some(retry)).await;

    world.clock.advance(Duration::from_secs(2));
    assert_eq!(replica.call().await.fire_id, "panics");
    // The lease is made longer while it hangs.
    for _ in 0..33 {
        world.step(Duration::from_secs(9)).await;
    }
    assert_eq!(replica.told(), []);
    world.clock.advance(Duration::from_secs(1));
    let retry = noon().plus_millis(302_000);
    until(async || world.stores.timers.next_due().await.unwrap() == Some(retry)).await;
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(replica.call().await.fire_id, "hangs");

    world.settled().await;
    assert_eq!(replica.told(), []);
    replica.stop().await;
}

#[tokio::test]
async fn many_due_at_once_are_carried_out_within_the_bound() {
    let world = World::sqlite().await;
    let options = SchedulerOptions { max_running: 4, batch: 3, ..SchedulerOptions::default() };
    let mut replica = world.replica_with(options);
    let hang = CancellationToken::new();
    for number in 0..20 {
        let id = format!("job-{number}");
        replica.jobs.set(&id, Behaviour::Hang(hang.clone()));
        replica.scheduler.create(&every(3_600, &id)).await.unwrap();
    }
    world.clock.advance(60 * MINUTE);
    for _ in 0..4 {
        replica.call().await;
    }
    // Were there room for more, the one asked for would be begun.
    replica.scheduler.run_now(&"late".into(), "late").await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(replica.told(), []);

    hang.cancel();

    let mut rest: Vec<String> = Vec::new();
    while rest.len() < 17 {
        rest.push(replica.call().await.schedule);
    }
    rest.sort();
    rest.dedup();
    assert_eq!(rest.len(), 17);
    world.settled().await;
    replica.stop().await;
}

#[tokio::test]
async fn a_deleted_schedule_fires_no_more_and_a_window_ends() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    replica.scheduler.create(&every(60, "deleted")).await.unwrap();
    let ended = Timing { end_at: Some(noon().plus_millis(60_000)), ..every(60, "ended").timing };
    replica.scheduler.create(&NewSchedule { timing: ended, ..every(60, "ended") }).await.unwrap();
    replica.scheduler.delete("deleted").await.unwrap();

    world.clock.advance(MINUTE);
    assert_eq!(replica.call().await.schedule, "ended");
    world.settled().await;
    world.clock.advance(60 * MINUTE);
    replica.scheduler.run_now(&"marker".into(), "marker").await.unwrap();

    assert_eq!(replica.call().await.fire_id, "marker");
    assert_eq!(replica.describe("ended").await.next_action_times, []);
    replica.stop().await;
}

#[tokio::test]
async fn a_change_of_something_else_does_not_lose_an_occurrence_that_is_due() {
    let world = World::sqlite().await;
    let scheduler = world.scheduler(SchedulerOptions::default());
    scheduler.create(&every(60, "job")).await.unwrap();
    world.clock.advance(MINUTE);

    let definition = Some(serde_json::Map::from_iter([("description".to_owned(), "new".into())]));
    scheduler.update(&NewSchedule { definition, ..every(60, "job") }).await.unwrap();
    let mut replica = world.replica();

    assert_eq!(replica.call().await, scheduled("job", "2026-03-02T12:01:00Z"));
    replica.stop().await;
}

#[tokio::test]
async fn ends_are_forgotten_after_a_while() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    replica.scheduler.run_now(&"row".into(), "token").await.unwrap();
    replica.call().await;
    world.settled().await;

    world.clock.advance(70 * MINUTE);

    until(async || world.stores.timers.prune(noon().plus_millis(86_400_000), 10).await.unwrap() == 0).await;
    replica.scheduler.run_now(&"row".into(), "token").await.unwrap();
    assert_eq!(replica.call().await.fire_id, "token");
    replica.stop().await;
}
