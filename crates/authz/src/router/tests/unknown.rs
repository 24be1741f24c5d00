use std::collections::BTreeSet;

use futures::future::join_all;

use super::*;

const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// authz §7: 197
#[tokio::test]
async fn while_the_store_fails_the_last_known_flags_count() {
    let it = Fixture::new(BOTH, settings()).await;
    assert_eq!(it.read().await, Decision::Deny);
    it.calls();

    it.rollout.break_down();

    let written = write_lifecycle(&it.router, &olga()).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    ask_everything(&it.router, &olga()).await;
    let all = [&["register", "deregister"], &QUESTIONS[..]].concat();
    assert_eq!(it.calls(), (NOTHING.to_vec(), all));
}

/// authz §7: 197
#[tokio::test]
async fn without_any_known_flags_questions_go_to_the_legacy_backend_and_lifecycle_writes_are_deferred() {
    let it = Fixture::new(BOTH, settings()).await;
    it.rollout.break_down();

    ask_everything(&it.router, &olga()).await;
    let written = write_lifecycle(&it.router, &olga()).await;
    write_edges(&it.router, &olga()).await;

    assert!(written.iter().all(|write| matches!(write, Err(AuthzError::Deferred))), "{written:?}");
    let all = [&QUESTIONS[..], &["grant", "revoke"]].concat();
    assert_eq!(it.calls(), (all, NOTHING.to_vec()));

    it.rollout.turn(BOTH);
    assert!(write_lifecycle(&it.router, &olga()).await.iter().all(Result::is_ok), "repeated later, they are made");
    assert_eq!(it.calls().1, ["register", "deregister"]);
}

/// authz §7: 197
#[tokio::test]
async fn flags_that_are_too_old_are_as_good_as_none() {
    let it = Fixture::new(BOTH, RouterSettings { known_for: Duration::ZERO, ..settings() }).await;
    assert_eq!(it.read().await, Decision::Deny);
    it.calls();

    it.rollout.break_down();

    ask_everything(&it.router, &olga()).await;
    assert_eq!(it.calls(), (QUESTIONS.to_vec(), NOTHING.to_vec()));
    let written = write_lifecycle(&it.router, &olga()).await;
    assert!(written.iter().all(|write| matches!(write, Err(AuthzError::Deferred))), "{written:?}");
}

/// authz §7: 197
#[tokio::test]
async fn an_account_that_is_cut_over_is_read_from_spark_when_its_flags_are_unknown() {
    let cut_over = BTreeSet::from(["acme".to_owned()]);
    let it = Fixture::new(OFF, RouterSettings { cut_over, ..settings() }).await;
    it.rollout.break_down();

    ask_everything(&it.router, &olga()).await;
    let written = write_lifecycle(&it.router, &olga()).await;

    assert_eq!(it.calls(), (NOTHING.to_vec(), QUESTIONS.to_vec()));
    assert!(written.iter().all(|write| matches!(write, Err(AuthzError::Deferred))), "{written:?}");
    it.rollout.turn(OFF);
    ask_everything(&it.router, &olga()).await;
    assert_eq!(it.calls(), (QUESTIONS.to_vec(), NOTHING.to_vec()), "known flags go before");
}

/// authz §7: 197
#[tokio::test]
async fn a_store_that_does_not_answer_counts_as_failing_and_is_not_asked_again_at_once() {
    let settings =
        RouterSettings { fresh_for: LONG, answer_within: Duration::from_millis(1), ..RouterSettings::default() };
    let it = Fixture::new(BOTH, settings).await;
    it.rollout.fall_silent();

    let written = write_lifecycle(&it.router, &olga()).await;

    assert!(written.iter().all(|write| matches!(write, Err(AuthzError::Deferred))), "{written:?}");
    assert_eq!(it.rollout.asked(), 1);
}

#[tokio::test]
async fn fresh_flags_are_used_without_asking_again() {
    let it = Fixture::new(OFF, RouterSettings { fresh_for: LONG, ..RouterSettings::default() }).await;

    let olga = olga();
    join_all((0..16).map(|_| ask_everything(&it.router, &olga))).await;
    it.rollout.turn(BOTH);
    ask_everything(&it.router, &olga).await;

    assert_eq!(it.rollout.asked(), 1, "those who come at once wait for one answer");
    assert_eq!(it.calls().1, NOTHING);
}

#[tokio::test]
async fn flags_that_are_no_longer_fresh_are_asked_for_again() {
    let it = Fixture::new(OFF, settings()).await;
    ask_everything(&it.router, &olga()).await;
    it.calls();

    it.rollout.turn(BOTH);

    ask_everything(&it.router, &olga()).await;
    assert_eq!(it.calls(), (NOTHING.to_vec(), QUESTIONS.to_vec()));
}

/// A caller that gives up must leave neither a turn that nobody holds nor a value that nobody was told.
#[tokio::test]
async fn a_question_that_is_given_up_leaves_the_next_one_free() {
    let settings = RouterSettings { answer_within: LONG, ..settings() };
    let it = Arc::new(Fixture::new(BOTH, settings).await);
    it.rollout.fall_silent();
    let asking = tokio::spawn({
        let it = Arc::clone(&it);
        async move { it.read().await }
    });
    while it.rollout.asked() == 0 {
        tokio::task::yield_now().await;
    }

    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());

    it.rollout.turn(BOTH);
    assert_eq!(it.read().await, Decision::Deny);
    assert_eq!(it.calls().1, ["check"]);
}
