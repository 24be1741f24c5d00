//! What a server asks its authorizer.

use std::sync::{Arc, Mutex};

use agentex_authz::model::Explanation;
use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use async_trait::async_trait;

/// An authorizer that writes down what it is asked, one line per call: `check update task:ID`, where several things are
/// asked at once `check execute agent:ID, create task:*`, then `list read task`, `explain`, `register`, `deregister`,
/// `grant` and `revoke`.
#[derive(Clone)]
pub(crate) struct Recording {
    inner: Arc<dyn Authorizer>,
    calls: Calls,
}

/// The calls of an authorizer, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    /// Everything since the last time, which is forgotten.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The same without the writes.
    pub(crate) fn questions(&self) -> Vec<String> {
        let verbs = ["check ", "list ", "explain "];
        self.take().into_iter().filter(|call| verbs.iter().any(|verb| call.starts_with(verb))).collect()
    }

    /// The same without the questions.
    pub(crate) fn writes(&self) -> Vec<String> {
        let verbs = ["register ", "deregister ", "grant ", "revoke "];
        self.take().into_iter().filter(|call| verbs.iter().any(|verb| call.starts_with(verb))).collect()
    }

    fn add(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

impl Recording {
    pub(crate) fn of(inner: Arc<dyn Authorizer>, calls: &Calls) -> Self {
        Self { inner, calls: calls.clone() }
    }
}

#[async_trait]
impl Authorizer for Recording {
    async fn check(
        &self,
        by: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        self.calls.add(format!("check {operation} {resource}"));
        self.inner.check(by, operation, resource).await
    }

    async fn check_many(&self, by: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        let asked: Vec<String> = checks.iter().map(|check| format!("{} {}", check.operation, check.resource)).collect();
        self.calls.add(format!("check {}", asked.join(", ")));
        self.inner.check_many(by, checks).await
    }

    async fn list_resources(
        &self,
        by: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        self.calls.add(format!("list {operation} {kind}"));
        self.inner.list_resources(by, kind, operation).await
    }

    async fn explain(
        &self,
        by: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Explanation, AuthzError> {
        self.calls.add(format!("explain {operation} {resource}"));
        self.inner.explain(by, operation, resource).await
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        let below = parent.as_ref().map(|parent| format!(" of {parent}")).unwrap_or_default();
        self.calls.add(format!("register {resource}{below}"));
        self.inner.register(owner, resource, parent).await
    }

    async fn deregister(&self, by: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.calls.add(format!("deregister {resource}"));
        self.inner.deregister(by, resource).await
    }

    async fn grant(&self, to: &Principal, operation: Operation, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.calls.add(format!("grant {operation} {resource}"));
        self.inner.grant(to, operation, resource).await
    }

    async fn revoke(&self, from: &Principal, operation: Operation, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.calls.add(format!("revoke {operation} {resource}"));
        self.inner.revoke(from, operation, resource).await
    }
}
