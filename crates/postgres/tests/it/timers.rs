//! Timers in states that no port method makes.

use agentex_domain::Misfire;
use agentex_domain::ports::{FinishedFire, FireLease, StoreError, Stores};
use agentex_testkit::build::{at, timer};

use crate::database::migrated;

const DUE: i64 = 55;
const LATER: i64 = DUE + 11 * 60;

/// The timers that fire.
async fn fired(stores: &Stores, now: i64) -> Vec<String> {
    let fired = stores.timers.fire_due(at(now), at(now + 30), 10, Misfire::default()).await.unwrap();
    let lease = |fire_id: &String, fence| FireLease { fire_id: fire_id.clone(), fence };
    let ends: Vec<FinishedFire> = fired
        .iter()
        .map(|claimed| FinishedFire { lease: lease(&claimed.fire.id, claimed.fence), error: None })
        .collect();
    stores.timers.finish(&ends, at(now)).await.unwrap();
    let mut timers: Vec<String> = fired.into_iter().filter_map(|claimed| claimed.fire.timer_id).collect();
    timers.sort();
    timers
}

/// A row of a later release, or of another tool: it may become readable again.
#[tokio::test]
async fn timers_that_cannot_be_read_stop_no_other_and_are_tried_again_later() {
    let database = migrated().await;
    let stores = &database.stores;
    for id in ["a-bad", "b-bad", "good"] {
        stores.timers.insert(&timer(id)).await.unwrap();
    }
    database.run("UPDATE schedule_timers SET timing = '{\"intervals_seconds\": 1}' WHERE id = 'a-bad'").await;
    database
        .run("UPDATE schedule_timers SET definition = '7', next_at = next_at - interval '1 s' WHERE id = 'b-bad'")
        .await;

    assert_eq!(fired(stores, DUE).await, ["good"]);

    let next = stores.timers.find("good").await.unwrap().unwrap().next_at;
    assert_eq!(stores.timers.next_due().await.unwrap(), next, "they are not waited for in a hurry");
    assert_eq!(fired(stores, DUE + 1).await, [""; 0]);
    let unreadable = stores.timers.find("a-bad").await;
    assert!(matches!(unreadable, Err(StoreError::Corrupt { .. } | StoreError::Failed(_))), "{unreadable:?}");
    database.run("UPDATE schedule_timers SET definition = NULL WHERE id = 'b-bad'").await;
    assert_eq!(fired(stores, LATER).await, ["b-bad", "good"]);
}
