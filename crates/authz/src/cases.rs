//! Validation cases: YAML that says what is registered and granted, and what then must be allowed and denied.
//!
//! ```yaml
//! - name: a viewer may read only
//!   principals:
//!     olga: { user: olga, account: acme }
//!     vera: { user: vera, account: acme }
//!   given:
//!     - { as: olga, register: "task:t", parent: "agent:a" }
//!     - { as: vera, grant: read, on: "task:t" }
//!     - { as: vera, register: "task:t", refused: true }
//!   checks:
//!     - { as: vera, on: "task:t", allow: [read], deny: [update, delete] }
//!   lists:
//!     - { as: vera, kind: task, operation: read, sees: [t] }
//! ```
//!
//! [`CASES`] are the product's own; every authorizer that knows the permission model passes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::local::{GraphAuthorizer, MemoryRelationships, StoreUse};
use crate::{Authorizer, AuthzError, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};

/// The validation cases of the product, by file name.
pub const CASES: [(&str, &str); 4] = [
    ("roles", include_str!("../cases/roles.yaml")),
    ("two_factors", include_str!("../cases/two_factors.yaml")),
    ("tenants", include_str!("../cases/tenants.yaml")),
    ("ownership", include_str!("../cases/ownership.yaml")),
];

/// How one case came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    /// What the case shows.
    pub name: String,
    /// How many decisions, lists and refusals it demanded.
    pub assertions: usize,
    /// What did not come out as it says, one line each; empty when all of it holds.
    pub failures: Vec<String>,
}

impl CaseReport {
    /// Whether everything came out as the case says.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Why cases could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// The text is not a list of cases.
    #[error("not a list of validation cases")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A case refers to somebody or something that it does not define.
    #[error("case `{case}`: {problem}")]
    Meaningless {
        /// The name of the case.
        case: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Runs the cases in `yaml`, one after the other in the order of the text, and reports on each.
///
/// Ids, users and accounts get a suffix made of `unique` and the number of the case, so that cases do not meet; with
/// another `unique` for each call, neither do runs on a shared backend.
///
/// # Errors
/// The first case that cannot be understood; the cases before it were run. That the authorizer fails is a failure of the
/// case, not an error.
pub async fn run(authorizer: &dyn Authorizer, yaml: &str, unique: &str) -> Result<Vec<CaseReport>, CasesError> {
    let cases: Vec<Case> = serde_saphyr::from_str(yaml).map_err(|error| CasesError::Malformed(error.into()))?;
    let mut reports = Vec::with_capacity(cases.len());
    for (index, case) in cases.iter().enumerate() {
        let suffix = format!("-{unique}-{index}");
        reports.push(Run { authorizer, case, suffix, assertions: 0, failures: Vec::new() }.report().await?);
    }
    Ok(reports)
}

/// An authorizer with the product's permission model and no relationships, for trying cases without any service.
///
/// # Errors
/// None that the store in memory has; the signature is that of [`GraphAuthorizer::open`].
pub async fn in_memory() -> Result<GraphAuthorizer, AuthzError> {
    GraphAuthorizer::open(Arc::new(MemoryRelationships::default()), StoreUse::Exclusive).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, register, parent, deregister, grant, revoke, on, refused: _ } = self;
        f.write_str(principal)?;
        for (verb, of) in [("register", register), ("under", parent), ("deregister", deregister)] {
            of.iter().try_for_each(|of| write!(f, " {verb} {of}"))?;
        }
        for (verb, of) in [("grant", grant), ("revoke", revoke)] {
            of.iter().try_for_each(|of| write!(f, " {verb} {of}"))?;
        }
        on.iter().try_for_each(|on| write!(f, " on {on}"))
    }
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

struct Run<'a> {
    authorizer: &'a dyn Authorizer,
    case: &'a Case,
    suffix: String,
    assertions: usize,
    failures: Vec<String>,
}

impl Run<'_> {
    async fn report(mut self) -> Result<CaseReport, CasesError> {
        for step in &self.case.given {
            self.write(step).await?;
        }
        for question in &self.case.checks {
            self.ask(question).await?;
        }
        for list in &self.case.lists {
            self.list(list).await?;
        }
        let Self { case, assertions, failures, .. } = self;
        Ok(CaseReport { name: case.name.clone(), assertions, failures })
    }

    async fn write(&mut self, step: &Step) -> Result<(), CasesError> {
        let principal = self.principal(&step.principal)?;
        let on = || self.resource(step.on.as_deref().unwrap_or_default());
        let written = match step {
            Step { register: Some(resource), deregister: None, grant: None, revoke: None, on: None, .. } => {
                let parent = step.parent.as_deref().map(|parent| self.resource(parent)).transpose()?;
                self.authorizer.register(&principal, &self.resource(resource)?, parent).await
            }
            Step {
                deregister: Some(resource),
                register: None,
                parent: None,
                grant: None,
                revoke: None,
                on: None,
                ..
            } => self.authorizer.deregister(&principal, &self.resource(resource)?).await,
            Step { grant: Some(operation), register: None, parent: None, deregister: None, revoke: None, .. } => {
                self.authorizer.grant(&principal, *operation, &on()?).await
            }
            Step { revoke: Some(operation), register: None, parent: None, deregister: None, grant: None, .. } => {
                self.authorizer.revoke(&principal, *operation, &on()?).await
            }
            _ => return Err(self.meaningless(format!("`{step}` is not exactly one write"))),
        };
        self.assertions += usize::from(step.refused);
        match written {
            Ok(()) if step.refused => self.failures.push(format!("{step}: was not refused")),
            Err(AuthzError::Refused | AuthzError::Protocol(_)) if step.refused => {}
            Err(error) => self.failures.push(format!("{step}: {error}")),
            Ok(()) => {}
        }
        Ok(())
    }

    async fn ask(&mut self, question: &Question) -> Result<(), CasesError> {
        let (principal, resource) = (self.principal(&question.principal)?, self.resource(&question.on)?);
        let allowed = question.allow.iter().map(|operation| (*operation, Decision::Allow));
        let denied = question.deny.iter().map(|operation| (*operation, Decision::Deny));
        for (operation, expected) in allowed.chain(denied) {
            let asked = format!("{} {operation} {}", question.principal, question.on);
            self.assertions += 1;
            match self.authorizer.check(&principal, operation, &resource).await {
                Ok(decision) if decision == expected => {}
                Ok(decision) => self.failures.push(format!("{asked}: expected {expected:?}, got {decision:?}")),
                Err(error) => self.failures.push(format!("{asked}: {error}")),
            }
        }
        Ok(())
    }

    async fn list(&mut self, list: &List) -> Result<(), CasesError> {
        let List { principal: name, kind, operation, sees } = list;
        let principal = self.principal(name)?;
        let asked = format!("{name} {operation} any {kind}");
        self.assertions += 1;
        match self.authorizer.list_resources(&principal, *kind, *operation).await {
            Ok(Scope::Only(ids)) => {
                let plain = |id: &str| id.strip_suffix(&self.suffix).unwrap_or(id).to_owned();
                let ids: BTreeSet<String> = ids.iter().map(plain).collect();
                if ids != *sees {
                    self.failures.push(format!("{asked}: expected {sees:?}, got {ids:?}"));
                }
            }
            Ok(Scope::All) => self.failures.push(format!("{asked}: expected {sees:?}, got everything")),
            Err(error) => self.failures.push(format!("{asked}: {error}")),
        }
        Ok(())
    }

    fn principal(&self, name: &str) -> Result<Principal, CasesError> {
        let identity = self.case.principals.get(name);
        let Identity { user, service_account, account } =
            identity.ok_or_else(|| self.meaningless(format!("nobody is called `{name}`")))?;
        let mut members = serde_json::Map::new();
        for (key, value) in [("user_id", user), ("service_account_id", service_account), ("account_id", account)] {
            if let Some(value) = value {
                members.insert(key.to_owned(), json!(self.suffixed(value)));
            }
        }
        Ok(Principal::from_json(members.into()))
    }

    fn resource(&self, text: &str) -> Result<ResourceRef, CasesError> {
        let named = text.split_once(':').and_then(|(kind, selector)| {
            let kind = serde_json::from_value(json!(kind)).ok()?;
            Some(ResourceRef { kind, selector: self.suffixed(selector) })
        });
        named.ok_or_else(|| self.meaningless(format!("`{text}` is not kind:selector")))
    }

    fn suffixed(&self, id: &str) -> String {
        // Empty and wildcard ids are cases of their own and stay what they are.
        let suffix = if matches!(id, "" | "*") { "" } else { &self.suffix };
        format!("{id}{suffix}")
    }

    fn meaningless(&self, problem: String) -> CasesError {
        CasesError::Meaningless { case: self.case.name.clone(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn try_out(yaml: &str) -> Result<Vec<CaseReport>, CasesError> {
        run(&in_memory().await.unwrap(), yaml, "test").await
    }

    /// authz §7: 199, 200, 201, 202, 203, 204, 205, 206, 207, 208
    #[tokio::test]
    async fn the_products_cases_hold_in_memory() {
        let authorizer = in_memory().await.unwrap();

        for (file, yaml) in CASES {
            let reports = run(&authorizer, yaml, file).await.unwrap();

            assert!(reports.iter().all(CaseReport::holds), "{file}: {reports:#?}");
            assert!(reports.iter().all(|report| report.assertions > 0), "{file}: {reports:#?}");
        }
    }

    #[tokio::test]
    async fn what_does_not_come_out_is_a_failure() {
        let reports = try_out(
            r#"
            - name: wrong
              principals:
                olga: { user: olga, account: acme }
                nowhere: { user: olga }
              given:
                - { as: olga, register: "task:t" }
                - { as: olga, register: "task:t", refused: true }
                - { as: nowhere, register: "task:u", parent: "agent:a" }
              checks:
                - { as: olga, on: "task:t", allow: [read, create], deny: [delete] }
              lists:
                - { as: olga, kind: task, operation: read, sees: [u] }
            - name: right
              principals: { olga: { user: olga, account: acme } }
              checks: [{ as: olga, on: "task:t", deny: [read] }]
            "#,
        )
        .await
        .unwrap();

        let expected = [
            "olga register task:t: was not refused",
            "nowhere register task:u under agent:a: authorization answer not understood",
            "olga create task:t: expected Allow, got Deny",
            "olga delete task:t: expected Deny, got Allow",
            "olga read any task: expected {\"u\"}, got {\"t\"}",
        ];
        assert_eq!(reports[0].failures, expected);
        assert_eq!((reports[0].name.as_str(), reports[0].assertions), ("wrong", 5));
        assert_eq!(reports[1], CaseReport { name: "right".into(), assertions: 1, failures: Vec::new() });
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_an_error_and_not_a_pass() {
        let case =
            |body: &str| format!("- name: odd\n  principals: {{ olga: {{ user: olga, account: acme }} }}\n  {body}\n");
        for malformed in [
            "a: list",
            "- { name: without principals }",
            &case("checks: [{ as: olga, on: 'task:t', allow: [reed] }]"),
            &case("check: []"),
        ] {
            assert!(matches!(try_out(malformed).await, Err(CasesError::Malformed(_))), "{malformed}");
        }
        for (body, problem) in [
            ("checks: [{ as: eve, on: 'task:t', allow: [read] }]", "nobody is called `eve`"),
            ("checks: [{ as: olga, on: t, deny: [read] }]", "`t` is not kind:selector"),
            ("checks: [{ as: olga, on: 'widget:t', deny: [read] }]", "`widget:t` is not kind:selector"),
            ("given: [{ as: olga, on: 'task:t' }]", "`olga on task:t` is not exactly one write"),
            (
                "given: [{ as: olga, register: 'task:t', grant: read, on: 'task:t' }]",
                "`olga register task:t grant read on task:t` is not exactly one write",
            ),
        ] {
            let error = try_out(&case(body)).await.unwrap_err();
            assert_eq!(error.to_string(), format!("case `odd`: {problem}"));
        }
    }
}
