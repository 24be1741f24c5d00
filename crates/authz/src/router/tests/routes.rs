use super::super::{MemoryRollout, RolloutStore, RolloutStoreError};
use super::*;
use crate::wrap::notes::Notes;

/// authz §7: 193
#[tokio::test]
async fn with_both_flags_off_only_the_legacy_backend_is_called() {
    let it = Fixture::new(OFF, settings()).await;

    ask_everything(&it.router, &olga()).await;
    assert_eq!(it.calls(), (QUESTIONS.to_vec(), NOTHING.to_vec()));
    let written = write_lifecycle(&it.router, &olga()).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(it.calls(), (NOTHING.to_vec(), NOTHING.to_vec()));
    write_edges(&it.router, &olga()).await;
    assert_eq!(it.calls(), (vec!["grant", "revoke"], NOTHING.to_vec()));
}

/// authz §7: 194
#[tokio::test]
async fn with_dual_write_lifecycle_writes_reach_spark_and_nothing_else_does() {
    let it = Fixture::new(DUAL_WRITE, settings()).await;

    ask_everything(&it.router, &olga()).await;
    assert_eq!(it.calls(), (QUESTIONS.to_vec(), NOTHING.to_vec()));
    let written = write_lifecycle(&it.router, &olga()).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(it.calls(), (NOTHING.to_vec(), vec!["register", "deregister"]));
    write_edges(&it.router, &olga()).await;
    assert_eq!(it.calls(), (vec!["grant", "revoke"], NOTHING.to_vec()));
}

/// authz §7: 195
#[tokio::test]
async fn with_both_flags_on_questions_go_to_spark_only() {
    let it = Fixture::new(BOTH, settings()).await;
    it.router.register(&olga(), &task(), None).await.unwrap();
    it.calls();

    ask_everything(&it.router, &olga()).await;
    assert_eq!(it.calls(), (NOTHING.to_vec(), QUESTIONS.to_vec()));
    assert_eq!(it.read().await, Decision::Allow);
    it.calls();
    write_edges(&it.router, &olga()).await;
    assert_eq!(it.calls(), (vec!["grant", "revoke"], NOTHING.to_vec()));
    assert_eq!(it.read().await, Decision::Allow, "revoking on the legacy backend takes nothing from Spark");
}

/// authz §7: 196
#[tokio::test]
async fn reading_without_dual_write_refuses_lifecycle_writes_and_alerts() {
    let notes = Notes::default();
    let _recording = metrics::set_default_local_recorder(&notes);
    let _tracing = tracing::subscriber::set_default(notes.clone());
    let it = Fixture::new(READ_ONLY, settings()).await;

    let written = write_lifecycle(&it.router, &olga()).await;

    assert!(written.iter().all(|write| matches!(write, Err(AuthzError::Busy(_)))), "{written:?}");
    assert_eq!(it.calls(), (NOTHING.to_vec(), NOTHING.to_vec()));
    let noted = notes.take();
    let counted = noted.iter().filter(|note| *note == "agentex_authz_rollout_invalid_total{}").count();
    let logged = noted.iter().filter(|note| note.starts_with("agentex_authz::router") && note.contains("acme")).count();
    assert_eq!((counted, logged), (2, 2), "{noted:?}");
    ask_everything(&it.router, &olga()).await;
    assert_eq!(it.calls().1, QUESTIONS);
}

/// authz §7: 198
#[tokio::test]
async fn going_back_to_the_legacy_backend_finds_what_was_granted_meanwhile() {
    let it = Fixture::new(DUAL_WRITE, settings()).await;
    it.rollout.turn(BOTH);
    it.router.register(&olga(), &task(), None).await.unwrap();
    it.router.grant(&olga(), Operation::Create, &task()).await.unwrap();
    assert_eq!(it.read().await, Decision::Allow);
    it.calls();

    it.rollout.turn(DUAL_WRITE);

    assert_eq!(it.read().await, Decision::Allow);
    assert_eq!(it.calls(), (vec!["check"], NOTHING.to_vec()));
    it.router.revoke(&olga(), Operation::Delete, &task()).await.unwrap();
    assert_eq!(it.read().await, Decision::Deny);
}

/// authz §7: 193
#[tokio::test]
async fn other_accounts_and_principals_without_one_stay_where_they_were() {
    let it = Fixture::new(BOTH, settings()).await;
    for who in [json!({"user_id": "olga", "account_id": "other"}), json!({"user_id": "olga"})] {
        let who = Principal::from_json(who);

        ask_everything(&it.router, &who).await;
        let written = write_lifecycle(&it.router, &who).await;
        write_edges(&it.router, &who).await;

        assert!(written.iter().all(Result::is_ok), "{written:?}");
        let all = [&QUESTIONS[..], &["grant", "revoke"]].concat();
        assert_eq!(it.calls(), (all, NOTHING.to_vec()), "{who:?}");
    }
}

#[tokio::test]
async fn an_error_of_a_backend_is_the_routers() {
    let mut spark = crate::MockAuthorizer::new();
    spark.expect_register().returning(|_, _, _| Err(AuthzError::Refused));
    spark.expect_check().returning(|_, _, _| Err(AuthzError::Unavailable("down".into())));
    let it = Fixture::with_spark(Arc::new(spark), BOTH, settings());

    let registered = it.router.register(&olga(), &task(), None).await;
    let checked = it.router.check(&olga(), Operation::Read, &task()).await;

    assert!(matches!(registered, Err(AuthzError::Refused)), "{registered:?}");
    assert!(matches!(checked, Err(AuthzError::Unavailable(_))), "an outage is no reason to ask the other one");
    assert_eq!(it.legacy.take(), NOTHING);
}

#[tokio::test]
async fn flags_in_memory_are_kept_by_account_and_make_sense() {
    let rollout = MemoryRollout::default();
    assert_eq!(rollout.flags("acme").await.unwrap(), None);

    for (account, flags) in [("b", BOTH), ("acme", DUAL_WRITE), ("B", OFF), ("acme", BOTH)] {
        rollout.set(account, flags).await.unwrap();
    }

    for (account, flags) in [("acme", READ_ONLY), ("", OFF), ("a\0", OFF)] {
        let refused = rollout.set(account, flags).await;
        assert!(matches!(refused, Err(RolloutStoreError::Invalid)), "{account:?}: {refused:?}");
    }
    let expected = [("B".to_owned(), OFF), ("acme".to_owned(), BOTH), ("b".to_owned(), BOTH)];
    assert_eq!(rollout.list().await.unwrap(), expected);
    assert_eq!(rollout.flags("acme").await.unwrap(), Some(BOTH));
}
