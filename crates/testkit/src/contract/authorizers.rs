//! What every `Authorizer` that knows the permission model must do.
//!
//! Most of it is written as data: validation cases in YAML that say what was registered and granted and what then must
//! be allowed and denied. [`CASES`] are those of the product. An adapter runs all of it with
//! [`authorizer_contract!`](crate::authorizer_contract).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use futures::future::join_all;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// The validation cases of the product, by file name.
pub const CASES: [(&str, &str); 4] = [
    ("roles", include_str!("../../../authz/cases/roles.yaml")),
    ("two_factors", include_str!("../../../authz/cases/two_factors.yaml")),
    ("tenants", include_str!("../../../authz/cases/tenants.yaml")),
    ("ownership", include_str!("../../../authz/cases/ownership.yaml")),
];

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

/// One validation case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    name: String,
    /// Who takes part, by the names used below.
    principals: BTreeMap<String, Identity>,
    /// What is written before anything is asked, in order.
    #[serde(default)]
    given: Vec<Step>,
    #[serde(default)]
    checks: Vec<Question>,
    #[serde(default)]
    lists: Vec<List>,
}

/// The members of a principal that count.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    user: Option<String>,
    service_account: Option<String>,
    account: Option<String>,
}

/// One write. With `refused: true` it must fail, and for no reason that a retry could mend.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(rename = "as")]
    principal: String,
    register: Option<String>,
    parent: Option<String>,
    deregister: Option<String>,
    grant: Option<Operation>,
    revoke: Option<Operation>,
    on: Option<String>,
    #[serde(default)]
    refused: bool,
}

/// What somebody may and may not do with one resource.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(rename = "as")]
    principal: String,
    on: String,
    #[serde(default)]
    allow: Vec<Operation>,
    #[serde(default)]
    deny: Vec<Operation>,
}

/// Which of the resources of a kind somebody may perform an operation on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "as")]
    principal: String,
    kind: ResourceKind,
    operation: Operation,
    /// Exactly these selectors.
    sees: BTreeSet<String>,
}

/// Runs the validation cases in `yaml` and says what did not come out as they say; one line each, empty when all hold.
///
/// Ids, accounts and users get a suffix of their own in each case, so neither cases nor runs meet.
///
/// # Errors
/// When the text is not a list of cases, or refers to names it does not define.
pub async fn run_cases(authorizer: &dyn Authorizer, yaml: &str) -> anyhow::Result<Vec<String>> {
    let mut failures = Vec::new();
    for case in serde_saphyr::from_str::<Vec<Case>>(yaml)? {
        let run = Run { authorizer, case: &case, suffix: format!("-{}", fresh_id()), failures: Vec::new() };
        failures.extend(run.run().await?.into_iter().map(|failure| format!("{}: {failure}", case.name)));
    }
    Ok(failures)
}

struct Run<'a> {
    authorizer: &'a dyn Authorizer,
    case: &'a Case,
    suffix: String,
    failures: Vec<String>,
}

impl Run<'_> {
    async fn run(mut self) -> anyhow::Result<Vec<String>> {
        for step in &self.case.given {
            self.write(step).await?;
        }
        for question in &self.case.checks {
            self.ask(question).await?;
        }
        for list in &self.case.lists {
            self.list(list).await?;
        }
        Ok(self.failures)
    }

    async fn write(&mut self, step: &Step) -> anyhow::Result<()> {
        let principal = self.principal(&step.principal)?;
        let on = || self.resource(step.on.as_deref().unwrap_or_default());
        let written = match step {
            Step { register: Some(resource), .. } => {
                let parent = step.parent.as_deref().map(|parent| self.resource(parent)).transpose()?;
                self.authorizer.register(&principal, &self.resource(resource)?, parent).await
            }
            Step { deregister: Some(resource), .. } => {
                self.authorizer.deregister(&principal, &self.resource(resource)?).await
            }
            Step { grant: Some(operation), .. } => self.authorizer.grant(&principal, *operation, &on()?).await,
            Step { revoke: Some(operation), .. } => self.authorizer.revoke(&principal, *operation, &on()?).await,
            _ => anyhow::bail!("{}: a step without a verb", self.case.name),
        };
        match written {
            Ok(()) if step.refused => self.failures.push(format!("{step:?} was not refused")),
            Err(AuthzError::Refused | AuthzError::Protocol(_)) if step.refused => {}
            Err(error) => self.failures.push(format!("{step:?}: {error}")),
            Ok(()) => {}
        }
        Ok(())
    }

    async fn ask(&mut self, question: &Question) -> anyhow::Result<()> {
        let (principal, resource) = (self.principal(&question.principal)?, self.resource(&question.on)?);
        let allowed = question.allow.iter().map(|operation| (*operation, Decision::Allow));
        let denied = question.deny.iter().map(|operation| (*operation, Decision::Deny));
        for (operation, expected) in allowed.chain(denied) {
            let asked = format!("{} {operation} {}", question.principal, question.on);
            match self.authorizer.check(&principal, operation, &resource).await {
                Ok(decision) if decision == expected => {}
                Ok(_) => self.failures.push(format!("{asked}: expected {expected:?}")),
                Err(error) => self.failures.push(format!("{asked}: {error}")),
            }
        }
        Ok(())
    }

    async fn list(&mut self, list: &List) -> anyhow::Result<()> {
        let principal = self.principal(&list.principal)?;
        let expected = Scope::Only(list.sees.iter().map(|id| format!("{id}{}", self.suffix)).collect());
        match self.authorizer.list_resources(&principal, list.kind, list.operation).await {
            Ok(scope) if scope == expected => {}
            Ok(scope) => self.failures.push(format!("{list:?}: got {scope:?}")),
            Err(error) => self.failures.push(format!("{list:?}: {error}")),
        }
        Ok(())
    }

    fn principal(&self, name: &str) -> anyhow::Result<Principal> {
        let identity = self.case.principals.get(name);
        let Identity { user, service_account, account } =
            identity.ok_or_else(|| anyhow::anyhow!("{}: nobody is called {name}", self.case.name))?;
        let mut members = serde_json::Map::new();
        for (key, value) in [("user_id", user), ("service_account_id", service_account), ("account_id", account)] {
            // Empty and wildcard ids are cases of their own and stay what they are.
            if let Some(value) = value {
                let suffix = if matches!(value.as_str(), "" | "*") { "" } else { &self.suffix };
                members.insert(key.to_owned(), json!(format!("{value}{suffix}")));
            }
        }
        Ok(Principal::from_json(members.into()))
    }

    fn resource(&self, text: &str) -> anyhow::Result<ResourceRef> {
        let named = text.split_once(':').and_then(|(kind, selector)| {
            let kind = serde_json::from_value(json!(kind)).ok()?;
            let suffix = if matches!(selector, "" | "*") { "" } else { &self.suffix };
            Some(ResourceRef { kind, selector: format!("{selector}{suffix}") })
        });
        named.ok_or_else(|| anyhow::anyhow!("{}: `{text}` is not kind:selector", self.case.name))
    }
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
pub async fn every_validation_case_holds(authorizer: &Arc<dyn Authorizer>) {
    for (file, yaml) in CASES {
        let failures = run_cases(&**authorizer, yaml).await.unwrap();
        assert!(failures.is_empty(), "{file}: {failures:#?}");
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

    assert_eq!(scope, Scope::Only(ids));
}
