use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::super::{RolloutFlags, RolloutStore, RolloutStoreError};
use crate::model::Explanation;
use crate::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};

/// Passes everything on and writes down the verbs.
pub(super) struct Recording {
    inner: Arc<dyn Authorizer>,
    verbs: Mutex<Vec<&'static str>>,
}

impl Recording {
    pub(super) fn new(inner: Arc<dyn Authorizer>) -> Arc<Self> {
        Arc::new(Self { inner, verbs: Mutex::default() })
    }

    pub(super) fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.verbs.lock().unwrap())
    }

    fn note(&self, verb: &'static str) -> &dyn Authorizer {
        self.verbs.lock().unwrap().push(verb);
        &*self.inner
    }
}

#[async_trait]
impl Authorizer for Recording {
    async fn check(&self, who: &Principal, operation: Operation, on: &ResourceRef) -> Result<Decision, AuthzError> {
        self.note("check").check(who, operation, on).await
    }

    async fn check_many(&self, who: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        self.note("check_many").check_many(who, checks).await
    }

    async fn list_resources(
        &self,
        who: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        self.note("list_resources").list_resources(who, kind, operation).await
    }

    async fn explain(
        &self,
        who: &Principal,
        operation: Operation,
        on: &ResourceRef,
    ) -> Result<Explanation, AuthzError> {
        self.note("explain").explain(who, operation, on).await
    }

    async fn register(
        &self,
        who: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        self.note("register").register(who, resource, parent).await
    }

    async fn deregister(&self, who: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.note("deregister").deregister(who, resource).await
    }

    async fn grant(&self, who: &Principal, operation: Operation, on: &ResourceRef) -> Result<(), AuthzError> {
        self.note("grant").grant(who, operation, on).await
    }

    async fn revoke(&self, who: &Principal, operation: Operation, on: &ResourceRef) -> Result<(), AuthzError> {
        self.note("revoke").revoke(who, operation, on).await
    }
}

/// A service that knows who was granted what and nothing else: whoever holds a grant may do everything.
#[derive(Default)]
pub(super) struct Legacy(Mutex<BTreeSet<(String, String)>>);

impl Legacy {
    fn edge(who: &Principal, on: &ResourceRef) -> (String, String) {
        (who.user_id().unwrap_or_default().to_owned(), on.to_string())
    }
}

#[async_trait]
impl Authorizer for Legacy {
    async fn check(&self, who: &Principal, _: Operation, on: &ResourceRef) -> Result<Decision, AuthzError> {
        let held = self.0.lock().unwrap().contains(&Self::edge(who, on));
        Ok(if held { Decision::Allow } else { Decision::Deny })
    }

    async fn list_resources(&self, who: &Principal, kind: ResourceKind, _: Operation) -> Result<Scope, AuthzError> {
        let (user, prefix) = (who.user_id().unwrap_or_default(), format!("{kind}:"));
        let edges = self.0.lock().unwrap();
        let held = edges.iter().filter(|(holder, _)| holder == user);
        Ok(Scope::Only(held.filter_map(|(_, on)| on.strip_prefix(&prefix)).map(str::to_owned).collect()))
    }

    async fn register(&self, _: &Principal, _: &ResourceRef, _: Option<ResourceRef>) -> Result<(), AuthzError> {
        panic!("lifecycle writes are not the legacy service's")
    }

    async fn deregister(&self, _: &Principal, _: &ResourceRef) -> Result<(), AuthzError> {
        panic!("lifecycle writes are not the legacy service's")
    }

    async fn grant(&self, who: &Principal, _: Operation, on: &ResourceRef) -> Result<(), AuthzError> {
        self.0.lock().unwrap().insert(Self::edge(who, on));
        Ok(())
    }

    async fn revoke(&self, who: &Principal, _: Operation, on: &ResourceRef) -> Result<(), AuthzError> {
        self.0.lock().unwrap().remove(&Self::edge(who, on));
        Ok(())
    }
}

/// Flags of the account `acme`, valid or not, or an outage; counts the questions.
pub(super) struct Switches(Mutex<(Option<Answer>, usize)>);

#[derive(Clone, Copy)]
enum Answer {
    Flags(RolloutFlags),
    Silence,
}

impl Switches {
    pub(super) fn new(flags: RolloutFlags) -> Arc<Self> {
        Arc::new(Self(Mutex::new((Some(Answer::Flags(flags)), 0))))
    }

    pub(super) fn turn(&self, flags: RolloutFlags) {
        self.0.lock().unwrap().0 = Some(Answer::Flags(flags));
    }

    pub(super) fn break_down(&self) {
        self.0.lock().unwrap().0 = None;
    }

    pub(super) fn fall_silent(&self) {
        self.0.lock().unwrap().0 = Some(Answer::Silence);
    }

    pub(super) fn asked(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

#[async_trait]
impl RolloutStore for Switches {
    async fn flags(&self, account: &str) -> Result<Option<RolloutFlags>, RolloutStoreError> {
        let answer = {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            state.0
        };
        // Others take their turn here, as they do while a real store thinks.
        tokio::task::yield_now().await;
        match answer {
            Some(Answer::Flags(flags)) => Ok((account == "acme").then_some(flags)),
            Some(Answer::Silence) => std::future::pending().await,
            None => Err(RolloutStoreError::Unavailable("down".into())),
        }
    }

    async fn set(&self, _: &str, _: RolloutFlags) -> Result<(), RolloutStoreError> {
        panic!("the router sets nothing")
    }

    async fn list(&self) -> Result<Vec<(String, RolloutFlags)>, RolloutStoreError> {
        panic!("the router lists nothing")
    }
}
