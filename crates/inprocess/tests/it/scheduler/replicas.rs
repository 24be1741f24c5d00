use std::collections::BTreeMap;
use std::time::Duration;

use agentex_domain::ports::Scheduler;

use super::world::{Call, World, every, until};

const SCHEDULES: usize = 100;
const ROUNDS: usize = 3;

/// Two processes over one store, many schedules at the same moments: each occurrence is carried out once.
async fn each_occurrence_once(world: World) {
    let mut replicas = [world.replica(), world.replica()];
    for number in 0..SCHEDULES {
        replicas[number % 2].scheduler.create(&every(60, &format!("job-{number}"))).await.unwrap();
    }

    let mut calls: Vec<Call> = Vec::new();
    for round in 1..=ROUNDS {
        world.clock.advance(Duration::from_secs(60));
        while calls.len() < SCHEDULES * round {
            let [one, other] = &mut replicas;
            let call = tokio::select! { call = one.call() => call, call = other.call() => call };
            calls.push(call);
        }
        world.settled().await;
    }

    for replica in &mut replicas {
        calls.extend(replica.told());
    }
    let mut per_fire: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &calls {
        *per_fire.entry(&call.fire_id).or_default() += 1;
    }
    assert_eq!(per_fire.len(), SCHEDULES * ROUNDS);
    assert!(per_fire.values().all(|times| *times == 1), "{per_fire:?}");
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_on_one_file_carry_out_each_occurrence_once() {
    each_occurrence_once(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_on_one_database_carry_out_each_occurrence_once() {
    each_occurrence_once(World::postgres().await).await;
}

/// What one process makes, the other carries out when the first is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_outlives_the_process_that_made_it() {
    let world = World::postgres().await;
    let (maker, mut other) = (world.replica(), world.replica());
    maker.scheduler.create(&every(3_600, "job")).await.unwrap();
    maker.kill().await;

    // It has not been told, so it looks by itself.
    until(async || world.clock.advance(Duration::from_secs(1)).as_micros() % 3_600_000_000 == 0).await;

    assert_eq!(other.call().await.schedule, "job");
    other.stop().await;
}
