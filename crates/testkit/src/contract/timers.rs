//! What every `TimerRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentex_domain::ports::{FinishedFire, FireLease, FireNow, StoreError, Stores};
use agentex_domain::{
    ClaimedFire, Fire, JsonObject, Misfire, MisfirePolicy, RunTrigger, Timer, TimerAction, Timestamp, Timing,
};
use serde_json::json;

use crate::build::{at, object, timer};

/// The first occurrence of [`timer`] has come by [`at`]`(55)`, the one after it by [`at`]`(115)`.
const FIRST: i64 = 55;
const SECOND: i64 = 115;

async fn stored(stores: &Stores, id: &str) -> Timer {
    let timer = timer(id);
    stores.timers.insert(&timer).await.unwrap();
    timer
}

async fn find(stores: &Stores, id: &str) -> Timer {
    stores.timers.find(id).await.unwrap().unwrap()
}

/// What is due at `now`, claimed for 30 seconds.
async fn fire_due(stores: &Stores, now: i64) -> Vec<ClaimedFire> {
    stores.timers.fire_due(at(now), at(now + 30), 1_000, Misfire::default()).await.unwrap()
}

async fn claim(stores: &Stores, now: i64) -> Vec<ClaimedFire> {
    stores.timers.claim(at(now), at(now + 30), 1_000).await.unwrap()
}

fn lease(claimed: &ClaimedFire) -> FireLease {
    FireLease { fire_id: claimed.fire.id.clone(), fence: claimed.fence }
}

fn finished(claimed: &ClaimedFire) -> FinishedFire {
    FinishedFire { lease: lease(claimed), error: None }
}

async fn finish(stores: &Stores, claimed: &ClaimedFire, now: i64) -> u64 {
    stores.timers.finish(&[finished(claimed)], at(now)).await.unwrap()
}

fn manual(id: &str, timer_id: Option<&str>) -> Fire {
    Fire {
        id: id.to_owned(),
        timer_id: timer_id.map(str::to_owned),
        action: TimerAction::Run("row".into()),
        trigger: RunTrigger::Manual,
        nominal_at: at(1),
    }
}

pub async fn an_inserted_timer_reads_back_equal(stores: &Stores) {
    let plain = stored(stores, "plain").await;
    let full = Timer {
        timing: Timing {
            cron_expressions: vec!["0 9 * * mon # 'x'".into(), "@daily".into()],
            intervals_seconds: vec![90, 3_600],
            timezone: Some("Europe/Berlin".into()),
            start_at: Some(at(-5)),
            end_at: Some(at(99)),
        },
        action: TimerAction::RetentionSweep,
        paused: true,
        note: Some("over\nnight".into()),
        definition: Some(object(json!({"b": [1, null], "a": {"n": 9_007_199_254_740_993_u64}}))),
        skipped: vec![at(60), at(120)],
        next_at: None,
        actions_taken: 5,
        missed: 7,
        last_action_at: Some(at(-1)),
        version: 3,
        ..timer("full")
    };
    stores.timers.insert(&full).await.unwrap();

    for timer in [plain, full] {
        assert_eq!(find(stores, &timer.id).await, timer);
        let taken = stores.timers.insert(&Timer { version: 9, ..timer.clone() }).await;
        assert!(matches!(taken, Err(StoreError::Duplicate { .. })), "{taken:?}");
        assert_eq!(find(stores, &timer.id).await, timer);
    }
    for absent in ["absent", "PLAIN", "\0"] {
        assert_eq!(stores.timers.find(absent).await.unwrap(), None);
    }
}

pub async fn timers_are_listed_by_prefix_and_selection(stores: &Stores) {
    let ids = ["a--1", "a--2", "a--%", "a-_", "b--1", "A--1"];
    for id in ids {
        stored(stores, id).await;
    }
    let listed = async |prefix: &str, only: Option<Arc<[String]>>, limit: u32| -> Vec<String> {
        stores.timers.list(prefix, only, limit).await.unwrap().into_iter().map(|timer| timer.id).collect()
    };

    assert_eq!(listed("a--", None, 10).await, ["a--%", "a--1", "a--2"]);
    assert_eq!(listed("a--", None, 2).await, ["a--%", "a--1"]);
    assert_eq!(listed("", None, 10).await, ["A--1", "a--%", "a--1", "a--2", "a-_", "b--1"]);
    let only: Arc<[String]> = ["a--2".to_owned(), "b--1".to_owned()].into();
    assert_eq!(listed("a--", Some(only), 1).await, ["a--2"]);
    assert_eq!(listed("a--", Some([].into()), 10).await, [""; 0]);
    assert_eq!(listed("c", None, 10).await, [""; 0]);
}

pub async fn a_timer_is_replaced_at_its_version_only(stores: &Stores) {
    let old = stored(stores, "timer").await;
    let changed = Timer {
        timing: Timing { cron_expressions: vec!["@hourly".into()], ..Timing::default() },
        action: TimerAction::RetentionSweep,
        paused: true,
        note: Some("n".into()),
        definition: Some(JsonObject::new()),
        skipped: vec![at(9)],
        next_at: None,
        actions_taken: 1,
        missed: 2,
        last_action_at: Some(at(3)),
        ..old.clone()
    };

    assert!(stores.timers.replace(&Timer { created_at: at(77), ..changed.clone() }).await.unwrap());

    assert_eq!(find(stores, "timer").await, Timer { version: 2, ..changed.clone() });
    assert!(!stores.timers.replace(&old).await.unwrap());
    assert!(!stores.timers.replace(&timer("absent")).await.unwrap());
    assert_eq!(find(stores, "timer").await, Timer { version: 2, ..changed });
}

pub async fn a_timer_is_deleted_once_and_its_fires_go_on(stores: &Stores) {
    stored(stores, "timer").await;
    let fired = fire_due(stores, FIRST).await.remove(0);

    assert!(stores.timers.delete("timer").await.unwrap());
    assert!(!stores.timers.delete("timer").await.unwrap());

    assert_eq!(stores.timers.find("timer").await.unwrap(), None);
    assert_eq!(claim(stores, FIRST + 30).await[0].fire, fired.fire);
}

pub async fn a_due_timer_fires_once_and_goes_on(stores: &Stores) {
    let before = stored(stores, "timer").await;
    stored(stores, "twin").await;
    assert_eq!(fire_due(stores, 54).await, []);

    let fired = fire_due(stores, FIRST).await;

    assert_eq!(fired.len(), 2);
    let fire = &fired.iter().find(|fired| fired.fire.timer_id.as_deref() == Some("timer")).unwrap().fire;
    let nominal_at = before.next_at.unwrap();
    let expected = Fire {
        id: format!("timer-run-{nominal_at}"),
        timer_id: Some("timer".into()),
        action: before.action.clone(),
        trigger: RunTrigger::Scheduled,
        nominal_at,
    };
    assert_eq!(*fire, expected);
    assert!(fired.iter().all(|fired| fired.attempt == 1));
    let after = find(stores, "timer").await;
    assert_eq!(
        after,
        Timer {
            next_at: Some(nominal_at.plus_millis(60_000)),
            actions_taken: 1,
            last_action_at: Some(at(FIRST)),
            version: 2,
            ..before
        }
    );
    assert_eq!(fire_due(stores, FIRST).await, []);
    assert_eq!(claim(stores, FIRST).await, [], "it is held");
}

pub async fn paused_and_ended_timers_do_not_fire(stores: &Stores) {
    let mut paused = Timer { paused: true, ..timer("paused") };
    paused.look_ahead(at(0));
    let mut ended = timer("ended");
    ended.timing.end_at = Some(at(10));
    ended.look_ahead(at(0));
    for timer in [paused, ended] {
        assert_eq!(timer.next_at, None);
        stores.timers.insert(&timer).await.unwrap();
    }

    assert_eq!(fire_due(stores, 100_000).await, []);
    assert_eq!(stores.timers.next_due().await.unwrap(), None);
}

pub async fn the_timers_that_wait_longest_fire_first(stores: &Stores) {
    for (id, seconds) in [("late", 3), ("early", 1), ("middle", 2)] {
        stores.timers.insert(&Timer { next_at: Some(at(seconds)), ..timer(id) }).await.unwrap();
    }

    let mut order = Vec::new();
    for limit in [2, 2, 0] {
        let fired = stores.timers.fire_due(at(4), at(30), limit, Misfire::default()).await.unwrap();
        let mut ids: Vec<String> = fired.into_iter().filter_map(|fired| fired.fire.timer_id).collect();
        ids.sort();
        order.push(ids);
    }

    assert_eq!(order, [vec!["early", "middle"], vec!["late"], vec![]]);
}

pub async fn an_occurrence_is_passed_over_while_the_one_before_runs(stores: &Stores) {
    stored(stores, "timer").await;
    let running = fire_due(stores, FIRST).await.remove(0);

    assert_eq!(fire_due(stores, SECOND).await, []);
    let timer = find(stores, "timer").await;
    assert_eq!((timer.actions_taken, timer.missed, timer.last_action_at), (1, 1, Some(at(FIRST))));
    assert_eq!(finish(stores, &running, SECOND + 1).await, 1);

    assert_eq!(fire_due(stores, SECOND + 60).await.len(), 1);
}

pub async fn late_occurrences_fire_as_the_policy_says_and_the_rest_is_counted(stores: &Stores) {
    for (policy, fires) in [(MisfirePolicy::Skip, 0), (MisfirePolicy::FireOnce, 1), (MisfirePolicy::CatchUp, 4)] {
        let mut slow = timer(&format!("{policy:?}"));
        slow.timing.intervals_seconds = vec![600];
        slow.look_ahead(at(0));
        stores.timers.insert(&slow).await.unwrap();
        let misfire = Misfire { policy, grace: Duration::from_secs(60), window: Duration::from_secs(86_400) };
        let now = slow.next_at.unwrap().plus_millis(3 * 600_000 + 120_000);

        let fired = stores.timers.fire_due(now, now.plus_millis(30_000), 10, misfire).await.unwrap();

        let after = find(stores, &slow.id).await;
        assert_eq!((fired.len(), after.actions_taken, after.missed), (fires, fires as u64, 4 - fires as u64));
        assert_eq!(after.next_at, Some(slow.next_at.unwrap().plus_millis(4 * 600_000)));
        stores.timers.finish(&fired.iter().map(finished).collect::<Vec<_>>(), now).await.unwrap();
    }
}

pub async fn a_skipped_occurrence_does_not_fire(stores: &Stores) {
    let mut timer = timer("timer");
    let (first, second) = (timer.next_at.unwrap(), timer.next_at.unwrap().plus_millis(60_000));
    timer.skipped = vec![second, at(10_000)];
    stores.timers.insert(&timer).await.unwrap();

    assert_eq!(fire_due(stores, FIRST).await[0].fire.nominal_at, first);

    assert_eq!(find(stores, "timer").await.next_at, Some(second.plus_millis(60_000)));
    assert_eq!(fire_due(stores, SECOND).await, []);
    let next = fire_due(stores, SECOND + 60).await;
    assert_eq!(next, [], "the first still runs");
    assert_eq!(find(stores, "timer").await.skipped, [at(10_000)]);
}

pub async fn an_occurrence_that_is_known_does_not_fire_again(stores: &Stores) {
    let timer = stored(stores, "timer").await;
    let fired = fire_due(stores, FIRST).await.remove(0);
    finish(stores, &fired, FIRST).await;
    // As after a change by a server whose clock is behind.
    let back = Timer { next_at: timer.next_at, version: 2, ..timer };
    assert!(stores.timers.replace(&back).await.unwrap());

    assert_eq!(fire_due(stores, FIRST).await, []);
    assert_eq!(claim(stores, 100_000).await, []);
}

pub async fn a_fire_somebody_asks_for_waits_to_be_claimed_and_is_stored_once(stores: &Stores) {
    let before = stored(stores, "timer").await;
    let free = manual("free", None);
    let counted = manual("counted", Some("timer"));
    let orphan = manual("orphan", Some("absent"));

    for (fire, first) in [(&free, FireNow::Stored), (&counted, FireNow::Stored), (&orphan, FireNow::NoTimer)] {
        assert_eq!(stores.timers.fire_now(fire, at(1)).await.unwrap(), first);
    }
    assert_eq!(stores.timers.fire_now(&free, at(2)).await.unwrap(), FireNow::Known);
    assert_eq!(stores.timers.fire_now(&counted, at(2)).await.unwrap(), FireNow::Known);

    let after = find(stores, "timer").await;
    assert_eq!(after, Timer { actions_taken: 1, last_action_at: Some(at(1)), version: 2, ..before });
    let claimed = claim(stores, 1).await;
    let fires: Vec<Fire> = claimed.iter().map(|claimed| claimed.fire.clone()).collect();
    assert_eq!(fires, [counted, free.clone()]);
    assert!(claimed.iter().all(|claimed| claimed.attempt == 1));
    finish(stores, &claimed[1], 2).await;
    assert_eq!(stores.timers.fire_now(&free, at(3)).await.unwrap(), FireNow::Known, "finished ones are known, too");
}

pub async fn a_fire_whose_lease_has_ended_goes_to_another_holder(stores: &Stores) {
    stored(stores, "timer").await;
    let first = fire_due(stores, FIRST).await.remove(0);
    assert_eq!(claim(stores, FIRST + 29).await, []);

    let second = claim(stores, FIRST + 30).await.remove(0);

    assert_eq!((&second.fire, second.attempt), (&first.fire, 2));
    assert_ne!(second.fence, first.fence);
    // Whoever held it first can do nothing to it any more.
    assert_eq!(finish(stores, &first, FIRST + 31).await, 0);
    assert!(!stores.timers.retry(&lease(&first), at(0), "late").await.unwrap());
    stores.timers.release(&[lease(&first)], at(0)).await.unwrap();
    let lost = stores.timers.extend(&[lease(&first), lease(&second)], at(FIRST + 90)).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&first.fire.id), "named once for the lease that is not held");
    assert_eq!(claim(stores, FIRST + 89).await, []);
    assert_eq!(finish(stores, &second, FIRST + 89).await, 1);
    assert_eq!(finish(stores, &second, FIRST + 90).await, 0, "it ends once");
    assert_eq!(claim(stores, 100_000).await, []);
}

pub async fn a_lease_can_be_made_longer(stores: &Stores) {
    stored(stores, "timer").await;
    let fired = fire_due(stores, FIRST).await.remove(0);

    assert_eq!(stores.timers.extend(&[lease(&fired)], at(FIRST + 60)).await.unwrap(), [""; 0]);

    assert_eq!(claim(stores, FIRST + 59).await, []);
    assert_eq!(claim(stores, FIRST + 60).await.len(), 1);
    let unknown = FireLease { fire_id: "absent".into(), fence: 1 };
    assert_eq!(stores.timers.extend(&[unknown], at(FIRST + 60)).await.unwrap(), ["absent"]);
}

pub async fn a_retry_comes_at_its_time_as_one_more_attempt(stores: &Stores) {
    stored(stores, "timer").await;
    let first = fire_due(stores, FIRST).await.remove(0);

    assert!(stores.timers.retry(&lease(&first), at(FIRST + 2), "not \0 now").await.unwrap());

    assert_eq!(finish(stores, &first, FIRST + 1).await, 0, "nobody holds it in between");
    assert_eq!(claim(stores, FIRST + 1).await, []);
    let second = claim(stores, FIRST + 2).await.remove(0);
    assert_eq!((second.fire, second.attempt), (first.fire, 2));
}

pub async fn a_fire_given_back_does_not_count_as_an_attempt(stores: &Stores) {
    stored(stores, "timer").await;
    let first = fire_due(stores, FIRST).await.remove(0);

    stores.timers.release(&[lease(&first)], at(FIRST + 1)).await.unwrap();

    assert_eq!(claim(stores, FIRST).await, []);
    let again = claim(stores, FIRST + 1).await.remove(0);
    assert_eq!((&again.fire, again.attempt), (&first.fire, 1));
    assert_eq!(finish(stores, &first, FIRST + 2).await, 0);
    assert_eq!(finish(stores, &again, FIRST + 2).await, 1);
}

pub async fn many_fires_end_at_once_and_some_with_an_error(stores: &Stores) {
    for number in 0..5 {
        stored(stores, &format!("timer-{number}")).await;
    }
    let fired = fire_due(stores, FIRST).await;
    let mut ends: Vec<FinishedFire> = fired.iter().map(finished).collect();
    ends[0].error = Some("gave \0 up".into());
    ends[1].lease.fence += 7;

    assert_eq!(stores.timers.finish(&ends, at(FIRST)).await.unwrap(), 4);
    assert_eq!(stores.timers.finish(&[], at(FIRST)).await.unwrap(), 0);

    assert_eq!(claim(stores, 100_000).await.len(), 1);
}

pub async fn the_next_thing_to_do_is_known(stores: &Stores) {
    let due = async || stores.timers.next_due().await.unwrap();
    assert_eq!(due().await, None);
    let timer = stored(stores, "timer").await;
    assert_eq!(due().await, timer.next_at);
    stores.timers.fire_now(&manual("now", None), at(3)).await.unwrap();
    assert_eq!(due().await, Some(at(3)));
    let claimed = claim(stores, 3).await.remove(0);
    assert_eq!(due().await, Some(at(33)), "the end of the lease");
    finish(stores, &claimed, 4).await;
    assert_eq!(due().await, timer.next_at);
}

pub async fn what_ended_long_ago_is_forgotten(stores: &Stores) {
    for (id, at_second) in [("a", 1), ("b", 2), ("c", 3), ("running", 4)] {
        stores.timers.fire_now(&manual(id, None), at(at_second)).await.unwrap();
        let claimed = claim(stores, at_second).await.remove(0);
        if id != "running" {
            finish(stores, &claimed, at_second).await;
        }
    }

    assert_eq!(stores.timers.prune(at(1), 10).await.unwrap(), 0);
    assert_eq!(stores.timers.prune(at(9), 2).await.unwrap(), 2);
    assert_eq!(stores.timers.prune(at(9), 10).await.unwrap(), 1);

    assert_eq!(stores.timers.fire_now(&manual("a", None), at(10)).await.unwrap(), FireNow::Stored);
    assert_eq!(stores.timers.fire_now(&manual("running", None), at(10)).await.unwrap(), FireNow::Known);
}

/// Each occurrence of each timer exactly once, however many look for work at the same time.
pub async fn thirty_two_claimers_get_each_occurrence_once(stores: &Stores) {
    let timers: BTreeSet<String> = (0..100).map(|number| format!("timer-{number}")).collect();
    for id in &timers {
        stored(stores, id).await;
    }

    for round in 0..3 {
        let now: Timestamp = at(FIRST + 60 * round);
        let claimers = (0..32).map(|_| {
            let stores = stores.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for _ in 0..4 {
                    let until = now.plus_millis(30_000);
                    mine.extend(stores.timers.fire_due(now, until, 7, Misfire::default()).await.unwrap());
                    mine.extend(stores.timers.claim(now, until, 7).await.unwrap());
                }
                mine
            })
        });

        let mut fired: Vec<ClaimedFire> =
            futures::future::join_all(claimers).await.into_iter().flat_map(Result::unwrap).collect();
        // What was passed over because others had it locked.
        fired.extend(stores.timers.fire_due(now, now.plus_millis(30_000), 1_000, Misfire::default()).await.unwrap());

        let of: Vec<String> = fired.iter().filter_map(|fired| fired.fire.timer_id.clone()).collect();
        assert_eq!(of.len(), timers.len(), "round {round}");
        assert_eq!(of.into_iter().collect::<BTreeSet<_>>(), timers);
        let ends: Vec<FinishedFire> = fired.iter().map(finished).collect();
        assert_eq!(stores.timers.finish(&ends, now).await.unwrap(), 100);
    }
}

/// The same for fires that lost their holder.
pub async fn of_many_who_claim_a_fire_one_gets_it(stores: &Stores) {
    for number in 0..50 {
        stores.timers.fire_now(&manual(&format!("fire-{number}"), None), at(1)).await.unwrap();
    }
    for round in 0..3 {
        let now = 1 + 30 * round;
        let claimers = (0..32).map(|_| {
            let stores = stores.clone();
            tokio::spawn(async move { stores.timers.claim(at(now), at(now + 30), 9).await.unwrap() })
        });

        let claimed: Vec<ClaimedFire> =
            futures::future::join_all(claimers).await.into_iter().flat_map(Result::unwrap).collect();

        let ids: BTreeSet<&str> = claimed.iter().map(|claimed| claimed.fire.id.as_str()).collect();
        assert_eq!(ids.len(), claimed.len());
        let rest = claim(stores, now).await;
        assert_eq!(claimed.len() + rest.len(), 50);
        assert!(claimed.iter().chain(&rest).all(|claimed| i64::from(claimed.attempt) == round + 1));
    }
}

/// A change by somebody and an occurrence at the same time: neither is lost.
pub async fn a_change_that_meets_an_occurrence_is_refused_or_comes_after_it(stores: &Stores) {
    for number in 0..10 {
        let timer = stored(stores, &format!("timer-{number}")).await;
        let change = {
            let (stores, mut changed) = (stores.clone(), Timer { paused: true, ..timer.clone() });
            changed.look_ahead(at(FIRST));
            tokio::spawn(async move { stores.timers.replace(&changed).await.unwrap() })
        };
        let occurrence = {
            let (stores, now) = (stores.clone(), at(FIRST));
            tokio::spawn(
                async move { stores.timers.fire_due(now, at(FIRST + 30), 1, Misfire::default()).await.unwrap() },
            )
        };

        let (changed, fired) = (change.await.unwrap(), occurrence.await.unwrap());

        let after = find(stores, &timer.id).await;
        assert_eq!(after.paused, changed);
        assert_eq!(after.actions_taken, fired.len() as u64);
        if changed {
            assert_eq!((fired.len(), after.next_at), (0, None), "a version serves one of them");
        }
        for fired in fire_due(stores, FIRST).await.iter().chain(&fired) {
            finish(stores, fired, FIRST).await;
        }
    }
}
