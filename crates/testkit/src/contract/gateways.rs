//! What every `GatewayRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::GatewayEventId;
use agentex_domain::ports::{GatewayAccepted, GatewayClaim, GatewayEvent, GatewayRepository, NewGatewayEvent, Stores};
use futures::future::join_all;
use serde_json::json;

use crate::build::at;

/// An event of Slack that came at `now` and whose names last for 100 seconds.
fn event(keys: &[&str], lane: &str, now: i64) -> NewGatewayEvent {
    NewGatewayEvent {
        id: GatewayEventId::generate(),
        provider: "slack".to_owned(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        lane: lane.to_owned(),
        payload: json!({"prompt": "è \"quoted\"", "n": 1, "none": null}),
        at: at(now),
        keys_expire_at: at(now + 100),
    }
}

async fn accepted(gateways: &dyn GatewayRepository, event: &NewGatewayEvent) {
    assert_eq!(gateways.accept(event).await.unwrap(), GatewayAccepted::New);
}

/// The wish for a lease of 10 seconds.
fn claim(provider: &str, holder: &str, now: i64, limit: u32) -> GatewayClaim {
    GatewayClaim {
        holder: holder.to_owned(),
        providers: vec![provider.to_owned()],
        now: at(now),
        lease_until: at(now + 10),
        limit,
    }
}

async fn claimed(gateways: &dyn GatewayRepository, holder: &str, now: i64, limit: u32) -> Vec<GatewayEvent> {
    gateways.claim(&claim("slack", holder, now, limit)).await.unwrap()
}

fn ids(events: &[GatewayEvent]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

pub async fn an_accepted_event_is_claimed_as_it_was_said(stores: &Stores) {
    let gateways = &*stores.gateways;
    let said = event(&["k"], "lane", 0);
    accepted(gateways, &said).await;

    assert!(gateways.is_busy("lane").await.unwrap());
    assert!(!gateways.is_busy("other").await.unwrap());
    let [found] = claimed(gateways, "one", 1, 5).await.try_into().unwrap();

    let expected = GatewayEvent {
        id: said.id,
        provider: said.provider,
        lane: said.lane,
        payload: said.payload,
        progress: None,
        attempts: 1,
        at: said.at,
    };
    assert_eq!(found, expected);
    assert_eq!(claimed(gateways, "two", 2, 5).await, [], "one holds it");
}

pub async fn an_event_is_accepted_once_while_one_of_its_names_is_known(stores: &Stores) {
    let gateways = &*stores.gateways;
    accepted(gateways, &event(&["a", "b"], "lane", 0)).await;

    for keys in [&["a"][..], &["b"], &["c", "a"], &["b", "d"]] {
        assert_eq!(gateways.accept(&event(keys, "lane", 99)).await.unwrap(), GatewayAccepted::Seen, "{keys:?}");
    }
    accepted(gateways, &event(&["c", "d"], "lane", 99)).await;
    accepted(gateways, &event(&["a", "b"], "lane", 100)).await;
    for _ in 0..2 {
        accepted(gateways, &event(&[], "lane", 100)).await;
    }
    assert_eq!(gateways.accept(&event(&["b"], "lane", 101)).await.unwrap(), GatewayAccepted::Seen, "known anew");
}

pub async fn of_concurrent_deliveries_of_one_event_one_is_accepted(stores: &Stores) {
    let events: Vec<NewGatewayEvent> = (0..12)
        .map(|number| if number % 2 == 0 { event(&["x", "y"], "lane", 0) } else { event(&["y", "x"], "lane", 0) })
        .collect();

    let outcomes = join_all(events.iter().map(|event| stores.gateways.accept(event))).await;

    let new = outcomes.into_iter().filter(|outcome| matches!(outcome, Ok(GatewayAccepted::New))).count();
    assert_eq!(new, 1);
    assert_eq!(claimed(&*stores.gateways, "one", 1, 50).await.len(), 1);
}

pub async fn a_finished_event_is_gone_and_its_name_stays_known(stores: &Stores) {
    let gateways = &*stores.gateways;
    let said = event(&["k"], "lane", 0);
    accepted(gateways, &said).await;
    assert_eq!(claimed(gateways, "one", 0, 5).await.len(), 1);

    assert!(!gateways.finish(&said.id, "two").await.unwrap(), "somebody else holds it");
    assert!(gateways.finish(&said.id, "one").await.unwrap());

    assert!(!gateways.finish(&said.id, "one").await.unwrap());
    assert!(!gateways.is_busy("lane").await.unwrap());
    assert_eq!(claimed(gateways, "two", 50, 5).await, []);
    assert_eq!(gateways.accept(&event(&["k"], "lane", 50)).await.unwrap(), GatewayAccepted::Seen);
}

pub async fn a_lease_that_ends_gives_the_event_to_the_next_with_its_progress(stores: &Stores) {
    let gateways = &*stores.gateways;
    let said = event(&["k"], "lane", 0);
    accepted(gateways, &said).await;
    assert_eq!(claimed(gateways, "one", 0, 5).await.len(), 1);
    assert!(gateways.note(&said.id, "one", &json!({"task_id": "t"})).await.unwrap());
    assert!(gateways.renew(&said.id, "one", at(20)).await.unwrap());

    assert_eq!(claimed(gateways, "two", 19, 5).await, []);
    let [found] = claimed(gateways, "two", 20, 5).await.try_into().unwrap();

    assert_eq!((found.attempts, found.progress), (2, Some(json!({"task_id": "t"}))));
    assert!(!gateways.renew(&said.id, "one", at(90)).await.unwrap());
    assert!(!gateways.note(&said.id, "one", &json!({})).await.unwrap());
    assert!(!gateways.release(&said.id, "one", at(21)).await.unwrap());
    assert!(!gateways.finish(&said.id, "one").await.unwrap());
    assert_eq!(claimed(gateways, "three", 21, 5).await, [], "the second holder is not disturbed");
}

pub async fn a_released_event_is_claimed_again_when_it_is_time(stores: &Stores) {
    let gateways = &*stores.gateways;
    let said = event(&["k"], "lane", 0);
    accepted(gateways, &said).await;
    assert_eq!(claimed(gateways, "one", 0, 5).await.len(), 1);

    assert!(gateways.release(&said.id, "one", at(30)).await.unwrap());

    assert_eq!(claimed(gateways, "two", 29, 5).await, []);
    assert_eq!(ids(&claimed(gateways, "two", 30, 5).await), [said.id.as_str()]);
}

pub async fn a_conversation_is_carried_out_in_its_order(stores: &Stores) {
    let gateways = &*stores.gateways;
    let [first, second, other] = [event(&[], "a", 0), event(&[], "a", 0), event(&[], "b", 0)];
    for said in [&first, &second, &other] {
        accepted(gateways, said).await;
    }

    assert_eq!(ids(&claimed(gateways, "one", 1, 5).await), [first.id.as_str(), other.id.as_str()]);
    assert_eq!(claimed(gateways, "two", 2, 5).await, [], "the first is being carried out");
    assert!(gateways.release(&first.id, "one", at(5)).await.unwrap());
    assert_eq!(claimed(gateways, "two", 3, 5).await, [], "the first comes first");
    assert_eq!(ids(&claimed(gateways, "two", 5, 5).await), [first.id.as_str()]);
    assert!(gateways.finish(&first.id, "two").await.unwrap());
    assert_eq!(ids(&claimed(gateways, "two", 6, 5).await), [second.id.as_str()]);
}

pub async fn only_events_of_the_providers_asked_for_are_claimed(stores: &Stores) {
    let gateways = &*stores.gateways;
    let (slack, linear) = (event(&[], "a", 0), NewGatewayEvent { provider: "linear".to_owned(), ..event(&[], "b", 0) });
    accepted(gateways, &slack).await;
    accepted(gateways, &linear).await;

    let of_linear = gateways.claim(&claim("linear", "one", 0, 5)).await.unwrap();
    assert_eq!(ids(&of_linear), [linear.id.as_str()]);
    assert_eq!(ids(&claimed(gateways, "two", 0, 5).await), [slack.id.as_str()]);
}

pub async fn concurrent_claimers_get_different_events(stores: &Stores) {
    for number in 0..24 {
        accepted(&*stores.gateways, &event(&[], &format!("lane {}", number % 12), 0)).await;
    }
    let holders: Vec<String> = (0..6).map(|number| format!("holder {number}")).collect();

    let claims = join_all(holders.iter().map(|holder| claimed(&*stores.gateways, holder, 1, 4))).await;

    let all: Vec<GatewayEvent> = claims.into_iter().flatten().collect();
    let lanes: BTreeSet<&str> = all.iter().map(|event| event.lane.as_str()).collect();
    assert_eq!(all.len(), lanes.len(), "of each conversation one");
    let rest = claimed(&*stores.gateways, "last", 2, 50).await;
    assert_eq!(all.len() + rest.len(), 12);
}

pub async fn expired_names_are_dropped_in_portions(stores: &Stores) {
    let gateways = &*stores.gateways;
    for (key, now) in [("a", 0), ("b", 1), ("c", 2), ("d", 50)] {
        accepted(gateways, &event(&[key], "lane", now)).await;
    }

    assert_eq!(gateways.purge(at(99), 10).await.unwrap(), 0);
    assert_eq!(gateways.purge(at(102), 2).await.unwrap(), 2);
    assert_eq!(gateways.purge(at(102), 2).await.unwrap(), 1);
    assert_eq!(gateways.purge(at(102), 2).await.unwrap(), 0);
    assert_eq!(gateways.accept(&event(&["d"], "lane", 103)).await.unwrap(), GatewayAccepted::Seen);
}
