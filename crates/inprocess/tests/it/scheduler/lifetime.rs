use std::time::Duration;

use agentex_domain::ports::Scheduler;
use agentex_domain::{Misfire, MisfirePolicy};
use agentex_inprocess::SchedulerOptions;
use tokio_util::sync::CancellationToken;

use super::world::{Behaviour, Replica, World, every, noon, until};

const MINUTE: Duration = Duration::from_secs(60);

async fn fired_after_three_hours(policy: MisfirePolicy) -> (Vec<String>, u64) {
    let world = World::sqlite().await;
    let options = SchedulerOptions { misfire: Misfire { policy, ..Misfire::default() }, ..SchedulerOptions::default() };
    world.scheduler(options.clone()).create(&every(3_600, "job")).await.unwrap();
    world.clock.advance(3 * 60 * MINUTE + 10 * MINUTE);

    let mut replica = world.replica_with(options);
    until(async || replica.describe("job").await.actions_missed + replica.describe("job").await.actions_taken == 3)
        .await;
    world.settled().await;

    let mut ids: Vec<String> = replica.told().into_iter().map(|call| call.fire_id).collect();
    ids.sort();
    let missed = replica.describe("job").await.actions_missed;
    replica.stop().await;
    (ids, missed)
}

#[tokio::test]
async fn what_was_due_while_nothing_ran_fires_as_the_policy_says() {
    let at = |hour: u32| format!("job-run-2026-03-02T{hour}:00:00Z");

    assert_eq!(fired_after_three_hours(MisfirePolicy::Skip).await, (vec![], 3));
    assert_eq!(fired_after_three_hours(MisfirePolicy::FireOnce).await, (vec![at(15)], 2));
    assert_eq!(fired_after_three_hours(MisfirePolicy::CatchUp).await, (vec![at(13), at(14), at(15)], 0));
}

/// A fire in the middle of its work when the process dies.
async fn hanging(world: &World) -> (Replica, String) {
    let mut replica = world.replica();
    replica.jobs.set("job", Behaviour::Hang(CancellationToken::new()));
    replica.scheduler.create(&every(3_600, "job")).await.unwrap();
    world.clock.advance(60 * MINUTE);
    let fire_id = replica.call().await.fire_id;
    (replica, fire_id)
}

#[tokio::test]
async fn a_fire_whose_process_was_killed_is_taken_up_when_its_lease_ends() {
    let world = World::sqlite().await;
    let (killed, fire_id) = hanging(&world).await;
    killed.kill().await;
    let mut next = world.replica();

    world.clock.advance(Duration::from_secs(29));
    next.scheduler.run_now(&"marker".into(), "marker").await.unwrap();
    assert_eq!(next.call().await.fire_id, "marker");
    world.clock.advance(Duration::from_secs(1));

    assert_eq!(next.call().await.fire_id, fire_id);
    world.settled().await;
    assert_eq!(next.told(), []);
    assert_eq!(next.describe("job").await.actions_taken, 1);
    next.stop().await;
}

#[tokio::test]
async fn a_shutdown_lets_running_fires_end() {
    let world = World::sqlite().await;
    let mut replica = world.replica();
    let hang = CancellationToken::new();
    replica.jobs.set("job", Behaviour::Hang(hang.clone()));
    replica.scheduler.run_now(&"job".into(), "token").await.unwrap();
    replica.call().await;

    replica.shutdown.cancel();
    hang.cancel();
    replica.stop().await;

    assert_eq!(world.stores.timers.next_due().await.unwrap(), None, "its end is stored");
}

#[tokio::test]
async fn what_does_not_end_in_time_is_given_back_and_taken_up_at_once() {
    let world = World::sqlite().await;
    let (replica, fire_id) = hanging(&world).await;
    let shutdown = replica.shutdown.clone();
    let stopping = tokio::spawn(replica.stop());

    shutdown.cancel();
    // The shutdown is noticed at its own time, so the patience is counted from there.
    while !stopping.is_finished() {
        world.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    stopping.await.unwrap();
    let now = world.clock.advance(Duration::ZERO);
    assert!(world.stores.timers.next_due().await.unwrap().unwrap() <= now);
    let mut next = world.replica();

    assert_eq!(next.call().await.fire_id, fire_id);
    world.settled().await;
    next.stop().await;
}

#[tokio::test]
async fn a_process_that_keeps_dying_does_not_carry_out_a_fire_for_ever() {
    let world = World::sqlite().await;
    let (replica, fire_id) = hanging(&world).await;
    replica.kill().await;
    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(30));
        let mut replica = world.replica();
        replica.jobs.set("job", Behaviour::Hang(CancellationToken::new()));
        assert_eq!(replica.call().await.fire_id, fire_id);
        replica.kill().await;
    }

    world.clock.advance(Duration::from_secs(30));
    let mut last = world.replica();

    world.settled().await;
    assert_eq!(last.told(), []);
    last.stop().await;
}

#[tokio::test]
async fn a_fire_that_takes_long_is_kept_from_others() {
    let world = World::sqlite().await;
    let mut one = world.replica();
    let hang = CancellationToken::new();
    one.jobs.set("row", Behaviour::Hang(hang.clone()));
    one.scheduler.run_now(&"row".into(), "token").await.unwrap();
    one.call().await;
    let mut other = world.replica();

    for _ in 0..30 {
        let now = world.clock.advance(Duration::from_secs(10));
        let kept = now.plus_millis(20_000);
        until(async || world.stores.timers.next_due().await.unwrap().is_some_and(|due| due >= kept)).await;
    }
    hang.cancel();
    world.settled().await;

    assert_eq!((one.told(), other.told()), (vec![], vec![]));
    assert!(world.clock.advance(Duration::ZERO) > noon());
    one.stop().await;
    other.stop().await;
}
