//! What every `IdempotencyRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{Claimed, IdempotencyClaim, IdempotencyRepository, StoredAnswer, Stores};
use futures::future::join_all;

use crate::build::at;

/// A claim made at `now` with a lease of 10 seconds on a key that lasts for 100.
fn claim(digest: &str, request: &str, holder: &str, now: i64) -> IdempotencyClaim {
    IdempotencyClaim {
        digest: digest.to_owned(),
        request: request.to_owned(),
        holder: holder.to_owned(),
        at: at(now),
        lease_until: at(now + 10),
        expires_at: at(now + 100),
    }
}

fn answer(body: Option<&str>) -> StoredAnswer {
    let headers =
        vec![("content-type".to_owned(), "application/json".to_owned()), ("x".to_owned(), "\"é\"".to_owned())];
    StoredAnswer { status: 201, headers, body: body.map(str::to_owned) }
}

async fn claimed(keys: &dyn IdempotencyRepository, digest: &str, request: &str, holder: &str, now: i64) -> Claimed {
    keys.claim(&claim(digest, request, holder, now)).await.unwrap()
}

pub async fn a_key_is_held_by_one_and_answers_the_others(stores: &Stores) {
    let keys = &*stores.idempotency;

    assert_eq!(claimed(keys, "k", "r", "one", 0).await, Claimed::Granted);
    assert_eq!(claimed(keys, "k", "r", "two", 1).await, Claimed::Running);
    assert_eq!(claimed(keys, "other", "r", "two", 1).await, Claimed::Granted, "keys do not meet");

    assert!(keys.finish("k", "one", &answer(Some("{\"a\":1}"))).await.unwrap());
    assert_eq!(claimed(keys, "k", "r", "two", 2).await, Claimed::Answered(answer(Some("{\"a\":1}"))));
    assert_eq!(claimed(keys, "k", "r", "two", 50).await, Claimed::Answered(answer(Some("{\"a\":1}"))), "no lease");
    assert!(!keys.finish("k", "one", &answer(None)).await.unwrap(), "once");
    assert_eq!(claimed(keys, "k", "r", "two", 51).await, Claimed::Answered(answer(Some("{\"a\":1}"))));
}

pub async fn an_answer_without_its_body_is_told_from_an_empty_one(stores: &Stores) {
    let keys = &*stores.idempotency;
    for (digest, kept) in [("none", answer(None)), ("empty", answer(Some("")))] {
        assert_eq!(claimed(keys, digest, "r", "one", 0).await, Claimed::Granted);
        assert!(keys.finish(digest, "one", &kept).await.unwrap());
        assert_eq!(claimed(keys, digest, "r", "two", 1).await, Claimed::Answered(kept));
    }
}

pub async fn a_key_used_for_one_request_refuses_others_until_it_expires(stores: &Stores) {
    let keys = &*stores.idempotency;
    assert_eq!(claimed(keys, "k", "r", "one", 0).await, Claimed::Granted);

    assert_eq!(claimed(keys, "k", "s", "two", 1).await, Claimed::Other);
    assert_eq!(claimed(keys, "k", "s", "two", 11).await, Claimed::Other, "also after the lease");
    assert!(keys.finish("k", "one", &answer(Some("x"))).await.unwrap());
    assert_eq!(claimed(keys, "k", "s", "two", 99).await, Claimed::Other);
    assert_eq!(claimed(keys, "k", "s", "two", 100).await, Claimed::Granted);
    assert_eq!(claimed(keys, "k", "s", "three", 101).await, Claimed::Running, "nothing is left of the first");
}

pub async fn a_lease_that_ends_gives_the_key_to_the_next(stores: &Stores) {
    let keys = &*stores.idempotency;
    assert_eq!(claimed(keys, "k", "r", "one", 0).await, Claimed::Granted);
    assert!(keys.renew("k", "one", at(20)).await.unwrap());

    assert_eq!(claimed(keys, "k", "r", "two", 19).await, Claimed::Running);
    assert_eq!(claimed(keys, "k", "r", "two", 20).await, Claimed::Granted);

    assert!(!keys.renew("k", "one", at(90)).await.unwrap());
    assert!(!keys.finish("k", "one", &answer(Some("late"))).await.unwrap());
    assert!(!keys.release("k", "one").await.unwrap());
    assert_eq!(claimed(keys, "k", "r", "three", 21).await, Claimed::Running, "the second holder is not disturbed");
}

pub async fn a_released_key_is_unused(stores: &Stores) {
    let keys = &*stores.idempotency;
    assert_eq!(claimed(keys, "k", "r", "one", 0).await, Claimed::Granted);

    assert!(keys.release("k", "one").await.unwrap());

    assert!(!keys.release("k", "one").await.unwrap());
    assert_eq!(claimed(keys, "k", "another", "two", 1).await, Claimed::Granted);
    assert!(keys.finish("k", "two", &answer(None)).await.unwrap());
    assert!(!keys.release("k", "two").await.unwrap(), "what was answered stays");
}

pub async fn of_concurrent_claims_one_is_granted(stores: &Stores) {
    for (round, expired) in [(0, false), (1000, true)] {
        let holders: Vec<String> = (0..12).map(|number| format!("holder {round} {number}")).collect();
        let claims: Vec<_> = holders.iter().map(|holder| claim("k", "r", holder, round)).collect();

        let outcomes = join_all(claims.iter().map(|claim| stores.idempotency.claim(claim))).await;

        let outcomes: Vec<Claimed> = outcomes.into_iter().map(Result::unwrap).collect();
        let granted = outcomes.iter().filter(|outcome| **outcome == Claimed::Granted).count();
        assert_eq!(granted, 1, "expired before: {expired}");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Claimed::Granted | Claimed::Running)));
    }
}

pub async fn expired_keys_are_dropped_in_portions(stores: &Stores) {
    let keys = &*stores.idempotency;
    for (digest, now) in [("a", 0), ("b", 1), ("c", 2), ("d", 50)] {
        assert_eq!(claimed(keys, digest, "r", "one", now).await, Claimed::Granted);
    }

    assert_eq!(keys.purge(at(99), 10).await.unwrap(), 0);
    assert_eq!(keys.purge(at(102), 2).await.unwrap(), 2);
    assert_eq!(keys.purge(at(102), 2).await.unwrap(), 1);
    assert_eq!(keys.purge(at(102), 2).await.unwrap(), 0);
    assert!(keys.finish("d", "one", &answer(None)).await.unwrap(), "it has not expired");
}
