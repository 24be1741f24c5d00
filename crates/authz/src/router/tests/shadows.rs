use super::*;
use crate::wrap::notes::Notes;
use crate::wrap::scripted::{Answer, Scripted};
use crate::{MockAuthorizer, Scope};

const EVERYTHING: Shadow = Shadow { sample: 1.0, deadline: Duration::from_secs(60) };

fn shadowing(shadow: Shadow) -> RouterSettings {
    RouterSettings { shadow: Some(shadow), ..settings() }
}

/// Only what the shadow says, once `count` of it has been said.
async fn shadow_notes(notes: &Notes, count: usize) -> Vec<String> {
    let mut said = Vec::new();
    while said.len() < count {
        tokio::task::yield_now().await;
        said.extend(notes.take().into_iter().filter(|note| note.contains("shadow")));
    }
    said
}

fn outcome(operation: &str, outcome: &str) -> String {
    format!("agentex_authz_shadow_total{{type=task,op={operation},outcome={outcome}}}")
}

/// authz §7: 211
#[tokio::test]
async fn a_mismatch_is_counted_and_logged_and_the_legacy_answer_returned() {
    let notes = Notes::default();
    let _recording = metrics::set_default_local_recorder(&notes);
    let _tracing = tracing::subscriber::set_default(notes.clone());
    let it = Fixture::new(DUAL_WRITE, shadowing(EVERYTHING)).await;
    it.router.grant(&olga(), Operation::Create, &task()).await.unwrap();
    notes.take();

    assert_eq!(it.read().await, Decision::Allow);

    let said = shadow_notes(&notes, 2).await;
    assert_eq!(said[0], outcome("read", "mismatch"));
    assert!(said[1].starts_with("authz.shadow "), "{said:?}");
    for part in ["account=\"acme\"", "resource.selector=\"t\"", "legacy=true", "spark=false"] {
        assert!(said[1].contains(part), "{said:?}");
    }
    for secret in ["principal", "olga"] {
        assert!(!said[1].contains(secret), "{said:?}");
    }

    let scope = it.router.list_resources(&olga(), ResourceKind::Task, Operation::Read).await.unwrap();
    assert_eq!(scope, Scope::Only(["t".to_owned()].into()));
    let said = shadow_notes(&notes, 2).await;
    assert_eq!(said[0], outcome("read", "mismatch"));
    assert!(said[1].contains("only_legacy=1 only_spark=0"), "{said:?}");
}

/// authz §7: 211
#[tokio::test]
async fn what_both_say_is_a_match_check_by_check() {
    let notes = Notes::default();
    let _recording = metrics::set_default_local_recorder(&notes);
    let it = Fixture::new(DUAL_WRITE, shadowing(EVERYTHING)).await;
    it.router.register(&olga(), &task(), None).await.unwrap();
    it.router.grant(&olga(), Operation::Create, &task()).await.unwrap();
    notes.take();
    let check = |operation, resource| Check { operation, resource };
    let checks = [check(Operation::Delete, task()), check(Operation::Create, task())];

    let decisions = it.router.check_many(&olga(), &checks).await.unwrap();

    assert_eq!(decisions, [Decision::Allow, Decision::Allow], "the legacy answers");
    assert_eq!(shadow_notes(&notes, 2).await, [outcome("delete", "match"), outcome("create", "mismatch")]);
    let _ = it.router.list_resources(&olga(), ResourceKind::Task, Operation::Read).await.unwrap();
    assert_eq!(shadow_notes(&notes, 1).await, [outcome("read", "match")]);
}

/// authz §7: 211
#[tokio::test]
async fn a_spark_that_fails_counts_as_an_error() {
    let notes = Notes::default();
    let _recording = metrics::set_default_local_recorder(&notes);
    let mut spark = MockAuthorizer::new();
    spark.expect_check_many().times(1).returning(|_, _| Err(AuthzError::Unavailable("down".into())));
    spark.expect_check_many().times(1).returning(|_, _| Ok(Vec::new()));
    spark.expect_list_resources().returning(|_, _, _| Err(AuthzError::Busy("busy".into())));
    let it = Fixture::with_spark(Arc::new(spark), DUAL_WRITE, shadowing(EVERYTHING));

    for _ in 0..2 {
        assert_eq!(it.read().await, Decision::Deny);
        assert_eq!(shadow_notes(&notes, 1).await, [outcome("read", "error")]);
    }
    let _ = it.router.list_resources(&olga(), ResourceKind::Task, Operation::Read).await.unwrap();
    assert_eq!(shadow_notes(&notes, 1).await, [outcome("read", "error")]);
}

/// Answers nothing, ever.
fn hanging() -> Arc<dyn Authorizer> {
    Scripted::always(Answer::Hang)
}

/// authz §7: 211
#[tokio::test]
async fn nobody_waits_for_a_spark_that_hangs() {
    let notes = Notes::default();
    let _recording = metrics::set_default_local_recorder(&notes);
    let it = Fixture::with_spark(hanging(), DUAL_WRITE, shadowing(EVERYTHING));

    for _ in 0..100 {
        // Spark is never answered, so that an answer that waited for it would never come.
        assert_eq!(it.read().await, Decision::Deny);
    }

    tokio::task::yield_now().await;
    assert_eq!(it.spark.take().len(), 64, "and no more than so many wait");
    let dropped = notes.take().into_iter().filter(|note| note == "agentex_authz_shadow_dropped_total{}").count();
    assert_eq!(dropped, 36);
}

/// authz §7: 211
#[tokio::test]
async fn a_comparison_ends_with_its_deadline() {
    let notes = Notes::default();
    let _recording = metrics::set_default_local_recorder(&notes);
    let shadow = Shadow { deadline: Duration::from_millis(1), ..EVERYTHING };
    let it = Fixture::with_spark(hanging(), DUAL_WRITE, shadowing(shadow));

    assert_eq!(it.read().await, Decision::Deny);

    assert_eq!(shadow_notes(&notes, 1).await, [outcome("read", "error")]);
}

#[tokio::test]
async fn only_accounts_between_dual_write_and_cut_over_are_compared() {
    for flags in [OFF, BOTH] {
        let it = Fixture::new(flags, shadowing(EVERYTHING)).await;
        ask_everything(&it.router, &olga()).await;
        tokio::task::yield_now().await;
        let (legacy, spark) = it.calls();
        assert_eq!(legacy.len() + spark.len(), QUESTIONS.len(), "{flags:?}: {legacy:?} {spark:?}");
    }
}

#[tokio::test]
async fn the_sample_is_the_share_that_is_compared() {
    for (sample, expected) in [(0.0, 0..=0), (0.25, 400..=600), (1.0, 2000..=2000)] {
        let it = Fixture::new(DUAL_WRITE, shadowing(Shadow { sample, ..EVERYTHING })).await;
        for _ in 0..2000 {
            let _ = it.read().await;
            tokio::task::yield_now().await;
        }

        let compared = it.spark.take().len();

        assert!(expected.contains(&compared), "{sample}: {compared}");
    }
}
