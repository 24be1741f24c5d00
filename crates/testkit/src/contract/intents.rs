//! What every `IntentRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_authz::{Principal, ResourceRef};
use agentex_domain::ports::{Backlog, Opened, Settlement, StoreError, Stores};
use agentex_domain::{Intent, IntentId, IntentStep};
use serde_json::json;

use super::stored::{intent_of, opened};
use crate::build::{at, intent, user};

async fn store(stores: &Stores, intents: &[Intent]) {
    for intent in intents {
        assert_eq!(stores.intents.open(intent).await.unwrap(), Opened::Done);
    }
}

/// An intent of a task of its own, due at this second.
fn due(second: i64) -> Intent {
    Intent { due_at: at(second), ..intent(ResourceRef::task(IntentId::generate().into_string())) }
}

fn ids(intents: &[Intent]) -> Vec<IntentId> {
    intents.iter().map(|intent| intent.id.clone()).collect()
}

pub async fn an_opened_intent_reads_back_equal(stores: &Stores) {
    for (second, (name, step)) in (0..).zip(IntentStep::ALL) {
        let full = Intent {
            parent: Some(ResourceRef::agent("a'gent::1")),
            owner: Principal::from_json(json!({"service_account_id": "s\u{1F980}", "account_id": "a"})),
            step,
            attempts: 7,
            last_error: Some("it's \"broken\"\n".into()),
            created_at: at(second),
            due_at: at(second + 100),
            ..intent(ResourceRef::schedule(format!("agent--{name}")))
        };

        store(stores, std::slice::from_ref(&full)).await;

        assert_eq!(intent_of(stores, &full.resource).await, Some(full));
    }
    for resource in [ResourceRef::agent("x"), ResourceRef::task("x"), ResourceRef::api_key("x")] {
        let bare = Intent { owner: Principal::anonymous().identity(), ..intent(resource) };
        store(stores, std::slice::from_ref(&bare)).await;
        assert_eq!(intent_of(stores, &bare.resource).await, Some(bare));
    }
}

pub async fn a_resource_has_one_intent_and_the_next_is_shown_it(stores: &Stores) {
    let first = opened(stores, ResourceRef::task("t"), None).await;
    let next = Intent { owner: user("bob"), ..intent(ResourceRef::task("t")) };

    assert_eq!(stores.intents.open(&next).await.unwrap(), Opened::Busy(first.clone()));
    assert_eq!(stores.intents.open(&first).await.unwrap(), Opened::Busy(first.clone()), "not even by itself");

    assert_eq!(stores.intents.list(10).await.unwrap(), [first]);
}

pub async fn of_many_who_open_for_one_resource_one_does(stores: &Stores) {
    for round in 0..5 {
        let calls = (0..16).map(|_| {
            let (stores, intent) = (stores.clone(), intent(ResourceRef::task(format!("t-{round}"))));
            tokio::spawn(async move { (stores.intents.open(&intent).await.unwrap(), intent) })
        });

        let outcomes: Vec<(Opened, Intent)> =
            futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();

        let winners: Vec<&Intent> =
            outcomes.iter().filter_map(|(outcome, intent)| (*outcome == Opened::Done).then_some(intent)).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for (outcome, _) in &outcomes {
            assert!(*outcome == Opened::Done || *outcome == Opened::Busy(winners[0].clone()), "{outcome:?}");
        }
    }
}

pub async fn only_a_registering_intent_is_abandoned(stores: &Stores) {
    let registering = opened(stores, ResourceRef::task("t"), Some(ResourceRef::agent("a"))).await;

    assert!(stores.intents.abandon(&registering.id, at(5)).await.unwrap());

    let abandoned = Intent { step: IntentStep::Deregistering, due_at: at(5), ..registering };
    assert_eq!(intent_of(stores, &abandoned.resource).await.as_ref(), Some(&abandoned));
    assert!(!stores.intents.abandon(&abandoned.id, at(6)).await.unwrap());
    assert_eq!(intent_of(stores, &abandoned.resource).await, Some(abandoned));
    for step in [IntentStep::Granting, IntentStep::RegisteringLate] {
        let other = Intent { step, ..intent(ResourceRef::task(step.as_str())) };
        store(stores, std::slice::from_ref(&other)).await;
        assert!(!stores.intents.abandon(&other.id, at(5)).await.unwrap());
        assert_eq!(intent_of(stores, &other.resource).await, Some(other));
    }
    assert!(!stores.intents.abandon(&IntentId::generate(), at(5)).await.unwrap());
}

pub async fn an_intent_is_closed_at_its_step_only(stores: &Stores) {
    for (name, step) in IntentStep::ALL {
        let open = Intent { step, ..intent(ResourceRef::task(name)) };
        store(stores, std::slice::from_ref(&open)).await;
        for (_, other) in IntentStep::ALL {
            if other != step {
                assert!(!stores.intents.close(&open.id, other, at(99)).await.unwrap(), "{other:?} at {name}");
            }
        }
        assert_eq!(intent_of(stores, &open.resource).await.as_ref(), Some(&open));

        // Whoever finished it may be early or late.
        assert!(stores.intents.close(&open.id, step, at(1)).await.unwrap());

        assert_eq!(intent_of(stores, &open.resource).await, None);
        assert!(!stores.intents.close(&open.id, step, at(1)).await.unwrap());
        store(stores, &[Intent { id: IntentId::generate(), ..open }]).await;
    }
}

pub async fn a_failed_attempt_is_counted_and_put_off(stores: &Stores) {
    let open = opened(stores, ResourceRef::task("t"), None).await;
    let long = "refused ".repeat(500);

    stores.intents.failed(&open.id, "timed out", at(50)).await.unwrap();
    stores.intents.failed(&open.id, &long, at(60)).await.unwrap();
    stores.intents.failed(&IntentId::generate(), "gone", at(70)).await.unwrap();

    let expected = Intent { attempts: 2, last_error: Some(long), due_at: at(60), ..open };
    assert_eq!(stores.intents.list(10).await.unwrap(), [expected]);
}

/// authz §7: 212, 213, 214
pub async fn due_intents_are_claimed_oldest_first_and_come_back_later(stores: &Stores) {
    let (late, first, second, third) = (due(11), due(3), due(5), due(10));
    let failed = Intent { attempts: 4, last_error: Some("no".into()), ..due(7) };
    store(stores, &[late.clone(), third.clone(), first.clone(), failed.clone(), second.clone()]).await;

    let claimed = stores.intents.claim(at(10), at(40), 2).await.unwrap();

    let taken = |intent: &Intent| Intent { due_at: at(40), ..intent.clone() };
    assert_eq!(claimed, [taken(&first), taken(&second)]);
    assert_eq!(intent_of(stores, &first.resource).await, Some(taken(&first)));
    let rest = stores.intents.claim(at(10), at(41), 10).await.unwrap();
    assert_eq!(ids(&rest), [failed.id.clone(), third.id.clone()]);
    assert_eq!((rest[0].attempts, rest[0].last_error.as_deref()), (4, Some("no")), "a claim is not a failure");
    assert_eq!(stores.intents.claim(at(10), at(42), 10).await.unwrap(), []);
    assert_eq!(ids(&stores.intents.claim(at(39), at(80), 10).await.unwrap()), [late.id]);
    let again = stores.intents.claim(at(41), at(81), 10).await.unwrap();
    let (one, other) = again.split_at(2);
    assert_eq!(BTreeSet::from_iter(ids(one)), BTreeSet::from([first.id, second.id]));
    assert_eq!(BTreeSet::from_iter(ids(other)), BTreeSet::from([failed.id, third.id]));
}

pub async fn nothing_is_claimed_where_nothing_is_asked_for(stores: &Stores) {
    store(stores, &[due(1)]).await;

    assert_eq!(stores.intents.claim(at(5), at(10), 0).await.unwrap(), []);
    assert_eq!(stores.intents.claim(at(5), at(10), 1).await.unwrap().len(), 1);
}

pub async fn sixteen_claimers_get_different_intents(stores: &Stores) {
    let intents: Vec<Intent> = (0..64).map(due).collect();
    store(stores, &intents).await;

    let claims = (0..16).map(|_| {
        let stores = stores.clone();
        tokio::spawn(async move { stores.intents.claim(at(100), at(200), 4).await.unwrap() })
    });
    let claimed: Vec<Vec<Intent>> = futures::future::join_all(claims).await.into_iter().map(Result::unwrap).collect();
    let left = stores.intents.claim(at(100), at(200), 100).await.unwrap();

    let all: Vec<IntentId> = claimed.iter().chain([&left]).flat_map(|intents| ids(intents)).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "nobody gets another's");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), ids(&intents).into_iter().collect(), "none is lost");
    assert!(claimed.iter().filter(|intents| !intents.is_empty()).count() > 1, "one claim does not shut out all others");
}

pub async fn one_intent_is_claimed_by_its_resource_when_it_is_due(stores: &Stores) {
    let resource = ResourceRef::task("same");
    let wanted = Intent { due_at: at(5), ..intent(resource.clone()) };
    let other = Intent { due_at: at(5), ..intent(ResourceRef::agent("same")) };
    store(stores, &[wanted.clone(), other.clone()]).await;

    assert_eq!(stores.intents.claim_one(&resource, at(4), at(40)).await.unwrap(), None);
    let claimed = stores.intents.claim_one(&resource, at(5), at(40)).await.unwrap();

    assert_eq!(claimed, Some(Intent { due_at: at(40), ..wanted }));
    assert_eq!(intent_of(stores, &resource).await, claimed);
    assert_eq!(stores.intents.claim_one(&resource, at(39), at(80)).await.unwrap(), None);
    assert!(stores.intents.claim_one(&resource, at(40), at(80)).await.unwrap().is_some());
    assert_eq!(stores.intents.claim_one(&ResourceRef::task("absent"), at(99), at(100)).await.unwrap(), None);
    assert_eq!(intent_of(stores, &other.resource).await, Some(other));
}

pub async fn of_many_who_claim_one_intent_one_gets_it(stores: &Stores) {
    for round in 0..5 {
        let open = Intent { due_at: at(5), ..intent(ResourceRef::task(format!("t-{round}"))) };
        store(stores, std::slice::from_ref(&open)).await;
        let claims = (0..16).map(|number| {
            let (stores, resource) = (stores.clone(), open.resource.clone());
            tokio::spawn(async move {
                if number % 2 == 0 {
                    stores.intents.claim_one(&resource, at(5), at(40)).await.unwrap()
                } else {
                    stores.intents.claim(at(5), at(40), 10).await.unwrap().pop()
                }
            })
        });

        let claimed: Vec<Option<Intent>> =
            futures::future::join_all(claims).await.into_iter().map(Result::unwrap).collect();

        assert_eq!(claimed.iter().flatten().count(), 1, "{claimed:?}");
    }
}

pub async fn intents_are_listed_oldest_first(stores: &Stores) {
    let made = |second, due| Intent {
        created_at: at(second),
        due_at: at(due),
        ..intent(ResourceRef::task(IntentId::generate().into_string()))
    };
    let (third, first, second) = (made(3, 1), made(1, 9), made(2, 5));
    store(stores, &[third.clone(), first.clone(), second.clone()]).await;

    assert_eq!(stores.intents.list(2).await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(stores.intents.list(10).await.unwrap(), [first, second, third]);
}

pub async fn the_backlog_counts_what_is_open_and_what_fails(stores: &Stores) {
    assert_eq!(stores.intents.backlog().await.unwrap(), Backlog::default());
    let made =
        |second| Intent { created_at: at(second), ..intent(ResourceRef::task(IntentId::generate().into_string())) };
    let (newer, older) = (made(9), made(4));
    store(stores, &[newer.clone(), older.clone()]).await;
    stores.intents.failed(&newer.id, "no", at(50)).await.unwrap();

    assert_eq!(stores.intents.backlog().await.unwrap(), Backlog { open: 2, failing: 1, oldest: Some(at(4)) });

    stores.intents.close(&older.id, IntentStep::Registering, at(99)).await.unwrap();
    assert_eq!(stores.intents.backlog().await.unwrap(), Backlog { open: 1, failing: 1, oldest: Some(at(9)) });
}

pub async fn an_intent_without_a_row_is_settled_once_and_records_its_owner(stores: &Stores) {
    let intent = opened(stores, ResourceRef::schedule("a--f"), Some(ResourceRef::agent("a"))).await;
    let settlement = Settlement { intent: intent.id.clone(), then: IntentStep::Granting, due_at: at(50) };

    stores.intents.settle(&settlement).await.unwrap();

    let moved = intent_of(stores, &intent.resource).await.unwrap();
    assert_eq!((moved.step, moved.due_at), (IntentStep::Granting, at(50)));
    let recorded = stores.owners.find(&intent.resource).await.unwrap().unwrap();
    assert_eq!((recorded.owner, recorded.parent), (intent.owner, intent.parent));
    let again = stores.intents.settle(&settlement).await;
    assert!(matches!(again, Err(StoreError::IntentLost)), "{again:?}");
    assert!(!stores.intents.retire(&settlement.intent, at(60)).await.unwrap());
}

pub async fn a_retired_intent_takes_the_owner_along(stores: &Stores) {
    let resource = ResourceRef::schedule("a--f");
    let made = opened(stores, resource.clone(), Some(ResourceRef::agent("a"))).await;
    let settlement = Settlement { intent: made.id.clone(), then: IntentStep::Granting, due_at: at(50) };
    stores.intents.settle(&settlement).await.unwrap();
    assert!(stores.intents.close(&made.id, IntentStep::Granting, at(51)).await.unwrap());
    let removing = opened(stores, resource.clone(), None).await;

    assert!(stores.intents.retire(&removing.id, at(60)).await.unwrap());

    let left = intent_of(stores, &resource).await.unwrap();
    assert_eq!((left.step, left.due_at), (IntentStep::Deregistering, at(60)));
    assert_eq!(stores.owners.find(&resource).await.unwrap(), None);
    assert!(!stores.intents.retire(&removing.id, at(61)).await.unwrap());
}
