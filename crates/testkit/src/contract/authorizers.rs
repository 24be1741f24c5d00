//! What every `Authorizer` that knows the permission model must do.
//!
//! Most of it is written as data: [`agentex_authz::cases`]. An adapter runs all of it with
//! [`authorizer_contract!`](crate::authorizer_contract).

use std::collections::BTreeSet;
use std::sync::Arc;

use agentex_authz::cases::{self, CASES, CaseReport};
use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

/// Runs the contract against one authorizer: one test per case.
///
/// The argument is evaluated in each test and yields `(Arc<dyn Authorizer>, guard)`; the guard lives as long as the
/// test. The backend may be shared: every case uses ids of its own. The calling crate needs `tokio` with `macros` and
/// `rt-multi-thread`.
#[macro_export]
macro_rules! authorizer_contract {
    ($setup:expr) => {
        $crate::authorizer_contract! { @cases $setup;
            every_validation_case_holds
            of_concurrent_owners_of_one_resource_one_wins
            concurrent_registrations_by_the_same_owner_all_succeed
            many_checks_are_answered_in_the_order_asked
            a_long_list_is_complete
            an_explanation_says_what_the_check_says
        }
    };
    (@cases $setup:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (authorizer, _guard) = $setup;
                $crate::contract::authorizers::$case(&authorizer).await;
            }
        )+
    };
}

fn fresh_id() -> String {
    #[expect(clippy::disallowed_methods, reason = "a random id that only this test knows")]
    let id = Uuid::new_v4();
    id.simple().to_string()
}

fn user(name: &str) -> Principal {
    Principal::from_json(json!({"user_id": name, "account_id": name}))
}

/// The product's validation cases.
///
/// authz §7: 199, 200, 201, 202, 203, 204, 205, 206, 207, 208
pub async fn every_validation_case_holds(authorizer: &Arc<dyn Authorizer>) {
    for (file, yaml) in CASES {
        let reports = cases::run(&**authorizer, yaml, &fresh_id()).await.unwrap();
        let failed: Vec<&CaseReport> = reports.iter().filter(|report| !report.holds()).collect();
        assert!(failed.is_empty(), "{file}: {failed:#?}");
    }
}

/// Two people who create a resource of the same id at once must not both own it.
pub async fn of_concurrent_owners_of_one_resource_one_wins(authorizer: &Arc<dyn Authorizer>) {
    let task = ResourceRef::task(fresh_id());
    let attempts = (0..16).map(|_| {
        let (authorizer, task) = (Arc::clone(authorizer), task.clone());
        tokio::spawn(async move {
            let owner = user(&fresh_id());
            (authorizer.register(&owner, &task, None).await, owner)
        })
    });

    let outcomes: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();

    assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for (outcome, owner) in outcomes {
        let deletes = authorizer.check(&owner, Operation::Delete, &task).await.unwrap();
        assert_eq!(deletes.is_allowed(), outcome.is_ok());
        assert!(matches!(outcome, Ok(()) | Err(AuthzError::Refused)), "{outcome:?}");
    }
}

/// A retry that overtakes the first attempt is no other owner.
pub async fn concurrent_registrations_by_the_same_owner_all_succeed(authorizer: &Arc<dyn Authorizer>) {
    let (owner, task) = (user(&fresh_id()), ResourceRef::task(fresh_id()));

    let outcomes = join_all((0..8).map(|_| authorizer.register(&owner, &task, None))).await;

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(authorizer.check(&owner, Operation::Cancel, &task).await.unwrap(), Decision::Allow);
}

/// Mixing them up would give one resource's answer for another.
pub async fn many_checks_are_answered_in_the_order_asked(authorizer: &Arc<dyn Authorizer>) {
    let owner = user(&fresh_id());
    let tasks: Vec<ResourceRef> = (0..9).map(|_| ResourceRef::task(fresh_id())).collect();
    for task in tasks.iter().step_by(2) {
        authorizer.register(&owner, task, None).await.unwrap();
    }
    let checks: Vec<Check> = tasks.into_iter().map(|resource| Check { operation: Operation::Read, resource }).collect();

    let decisions = authorizer.check_many(&owner, &checks).await.unwrap();

    let expected = (0..9).map(|index| if index % 2 == 0 { Decision::Allow } else { Decision::Deny });
    assert_eq!(decisions, expected.collect::<Vec<_>>());
    assert_eq!(authorizer.check_many(&owner, &[]).await.unwrap(), []);
    assert_eq!(
        authorizer.check_many(&Principal::anonymous(), &checks).await.unwrap(),
        vec![Decision::Deny; checks.len()]
    );
}

/// More than a backend is likely to answer on one page.
pub async fn a_long_list_is_complete(authorizer: &Arc<dyn Authorizer>) {
    let owner = user(&fresh_id());
    let ids: BTreeSet<String> = (0..250).map(|_| fresh_id()).collect();
    for id in &ids {
        authorizer.register(&owner, &ResourceRef::task(id), None).await.unwrap();
    }

    let scope = authorizer.list_resources(&owner, ResourceKind::Task, Operation::Update).await.unwrap();

    assert_eq!(scope, Scope::Only(ids.into()));
}

/// Whoever looks for the reason of a decision must not be told about another one.
pub async fn an_explanation_says_what_the_check_says(authorizer: &Arc<dyn Authorizer>) {
    let (owner, stranger, task) = (user(&fresh_id()), user(&fresh_id()), ResourceRef::task(fresh_id()));
    authorizer.register(&owner, &task, None).await.unwrap();

    for who in [&owner, &stranger, &Principal::anonymous()] {
        for operation in [Operation::Read, Operation::Cancel, Operation::Create] {
            let decision = authorizer.check(who, operation, &task).await.unwrap();
            let explained = authorizer.explain(who, operation, &task).await.unwrap();
            assert_eq!(explained.holds, decision.is_allowed(), "{operation}: {explained}");
        }
    }
}
