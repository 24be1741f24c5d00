//! An authorizer that answers as it was told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope, Selectors,
};

/// How one call ends, whatever its verb: lists are whole or empty, writes succeed either way.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Allow,
    Deny,
    Error(fn() -> AuthzError),
    Hang,
}

pub(crate) struct Scripted {
    next: Mutex<VecDeque<Answer>>,
    otherwise: Answer,
    asked: watch::Sender<usize>,
}

impl Scripted {
    /// Answers with `answers` in order, and allows everything afterwards.
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let next = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { next, otherwise: Answer::Allow, asked: watch::Sender::new(0) })
    }

    pub(crate) fn always(answer: Answer) -> Arc<Self> {
        Arc::new(Self { next: Mutex::default(), otherwise: answer, asked: watch::Sender::new(0) })
    }

    /// How many calls came here.
    pub(super) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    pub(super) async fn wait_asked(&self, count: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= count).await.unwrap();
    }

    async fn answer(&self) -> Result<Decision, AuthzError> {
        let answer = self.next.lock().unwrap().pop_front().unwrap_or(self.otherwise);
        self.asked.send_modify(|asked| *asked += 1);
        match answer {
            Answer::Allow => Ok(Decision::Allow),
            Answer::Deny => Ok(Decision::Deny),
            Answer::Error(error) => Err(error()),
            Answer::Hang => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Authorizer for Scripted {
    async fn check(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<Decision, AuthzError> {
        self.answer().await
    }

    async fn check_many(&self, _: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        Ok(vec![self.answer().await?; checks.len()])
    }

    async fn list_resources(&self, _: &Principal, _: ResourceKind, _: Operation) -> Result<Scope, AuthzError> {
        Ok(if self.answer().await?.is_allowed() { Scope::All } else { Scope::Only(Selectors::default()) })
    }

    async fn register(&self, _: &Principal, _: &ResourceRef, _: Option<ResourceRef>) -> Result<(), AuthzError> {
        self.answer().await.map(drop)
    }

    async fn deregister(&self, _: &Principal, _: &ResourceRef) -> Result<(), AuthzError> {
        self.answer().await.map(drop)
    }

    async fn grant(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<(), AuthzError> {
        self.answer().await.map(drop)
    }

    async fn revoke(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<(), AuthzError> {
        self.answer().await.map(drop)
    }
}

fn alice() -> Principal {
    Principal::from_json(json!({"user_id": "alice"}))
}

pub(super) async fn ask(authorizer: &dyn Authorizer) -> Result<Decision, AuthzError> {
    authorizer.check(&alice(), Operation::Read, &ResourceRef::task("t1")).await
}

/// Calls every method, one after the other, and says how each ended.
pub(super) async fn every_verb(authorizer: &dyn Authorizer) -> Vec<Result<(), AuthzError>> {
    let (alice, task) = (alice(), ResourceRef::task("t1"));
    let checks = [Check { operation: Operation::Update, resource: task.clone() }];
    vec![
        authorizer.check(&alice, Operation::Read, &task).await.map(drop),
        authorizer.check_many(&alice, &checks).await.map(drop),
        authorizer.list_resources(&alice, task.kind, Operation::Read).await.map(drop),
        authorizer.explain(&alice, Operation::Read, &task).await.map(drop),
        authorizer.register(&alice, &task, None).await,
        authorizer.deregister(&alice, &task).await,
        authorizer.grant(&alice, Operation::Create, &task).await,
        authorizer.revoke(&alice, Operation::Delete, &task).await,
    ]
}

/// The name of an error, for comparing.
pub(super) fn kind(error: &AuthzError) -> &'static str {
    match error {
        AuthzError::Unavailable(_) => "unavailable",
        AuthzError::Busy(_) => "busy",
        AuthzError::Unauthenticated => "unauthenticated",
        AuthzError::Gateway(_) => "gateway",
        AuthzError::Service(_) => "service",
        AuthzError::Protocol(_) => "protocol",
        AuthzError::Refused => "refused",
        AuthzError::Deferred => "deferred",
    }
}
