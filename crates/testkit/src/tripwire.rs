//! Ends the process, or what it is doing, at a chosen call between the product and what is outside of it.
//!
//! Rows and edges only change in calls of ports. Whoever stops before and after each of them, one after the other, has
//! stopped everywhere where a crash can make a difference; what a crash in the middle of a call leaves is the business
//! of the store and of the permission service.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use agentex_domain::ports::{Backlog, IntentRepository, Opened, Settlement, StoreError};
use agentex_domain::{Intent, IntentId, IntentStep, Timestamp};
use async_trait::async_trait;
use tokio::sync::watch;

/// What happens at the chosen point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    /// The process is gone at once, as after `kill -9`; the point is named on standard error.
    Die,
    /// The call waits until it is released: the test can do something else meanwhile, or drop whoever makes it.
    Hang,
}

/// Counts the points that calls pass, two for each call: before it and after it returned. Clones count together.
///
/// Nothing is counted, and nothing happens, until it is armed. Calls with which a relay looks for work are not counted.
#[derive(Clone)]
pub struct Tripwire {
    trip: Trip,
    state: Arc<Mutex<State>>,
    tripped: watch::Sender<Option<String>>,
    released: watch::Sender<bool>,
    /// How many points were passed since it was armed.
    progress: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    armed: Option<Armed>,
    passed: Vec<String>,
}

/// Where to stop.
enum Armed {
    /// At the point of this number, counted from 0 since it was armed.
    Number(usize),
    /// At the first point of this name.
    Name(String),
    /// Nowhere any more: it has stopped somebody, and only counts.
    Tripped,
}

impl Tripwire {
    /// One that is not armed.
    #[must_use]
    pub fn new(trip: Trip) -> Self {
        Self {
            trip,
            state: Arc::default(),
            tripped: watch::Sender::new(None),
            released: watch::Sender::new(false),
            progress: watch::Sender::new(0),
        }
    }

    /// Stops at the point with this number, counted from 0 and from now.
    pub fn arm(&self, at: usize) {
        self.arm_for(Armed::Number(at));
    }

    /// Stops at the next point of this name, such as `before grant task`.
    pub fn arm_on(&self, point: &str) {
        self.arm_for(Armed::Name(point.to_owned()));
    }

    fn arm_for(&self, armed: Armed) {
        *self.state() = State { armed: Some(armed), passed: Vec::new() };
        self.tripped.send_replace(None);
        self.released.send_replace(false);
    }

    /// Lets everything pass again. What hangs stays so.
    pub fn disarm(&self) {
        self.state().armed = None;
    }

    /// Lets what hangs go on, and everything pass.
    pub fn release(&self) {
        self.disarm();
        self.released.send_replace(true);
    }

    /// The points passed since it was armed, in order.
    #[must_use]
    pub fn passed(&self) -> Vec<String> {
        self.state().passed.clone()
    }

    /// Waits until the point of this name has been passed so many times since it was armed, also by those who came after the
    /// one that hangs.
    pub async fn passes(&self, point: &str, times: usize) {
        let mut progress = self.progress.subscribe();
        while self.state().passed.iter().filter(|passed| *passed == point).count() < times {
            // The sender lives as long as this value.
            let _ = progress.changed().await;
        }
    }

    /// Waits until a call hangs at the chosen point, and says which.
    pub async fn tripped(&self) -> String {
        let mut tripped = self.tripped.subscribe();
        // The sender lives as long as this value.
        match tripped.wait_for(Option::is_some).await {
            Ok(point) => point.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Puts the wire in front of an authorizer.
    #[must_use]
    pub fn authorizer(&self, inner: Arc<dyn Authorizer>) -> Arc<dyn Authorizer> {
        Arc::new(TrippedAuthorizer { inner, wire: self.clone() })
    }

    /// Puts the wire in front of the store of intents.
    #[must_use]
    pub fn intents(&self, inner: Arc<dyn IntentRepository>) -> Arc<dyn IntentRepository> {
        Arc::new(TrippedIntents { inner, wire: self.clone() })
    }

    async fn around<T>(&self, call: String, future: impl Future<Output = T>) -> T {
        self.point(format!("before {call}")).await;
        let answer = future.await;
        self.point(format!("after {call}")).await;
        answer
    }

    async fn point(&self, name: String) {
        let (chosen, passed) = {
            let mut state = self.state();
            if state.armed.is_none() {
                return;
            }
            state.passed.push(name.clone());
            let chosen = match &state.armed {
                Some(Armed::Number(at)) => state.passed.len() == at + 1,
                Some(Armed::Name(wanted)) => name == *wanted,
                Some(Armed::Tripped) | None => false,
            };
            if chosen {
                state.armed = Some(Armed::Tripped);
            }
            (chosen, state.passed.len())
        };
        self.progress.send_replace(passed);
        if !chosen {
            return;
        }
        if self.trip == Trip::Die {
            eprintln!("died {name}");
            // No unwinding, no destructors, and unlike an abort no core file.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        let mut released = self.released.subscribe();
        self.tripped.send_replace(Some(name));
        // The sender lives as long as this value.
        let _ = released.wait_for(|released| *released).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

struct TrippedAuthorizer {
    inner: Arc<dyn Authorizer>,
    wire: Tripwire,
}

#[async_trait]
impl Authorizer for TrippedAuthorizer {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let call = format!("check {operation} {}", resource.kind);
        self.wire.around(call, self.inner.check(principal, operation, resource)).await
    }

    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        self.wire.around("check_many".to_owned(), self.inner.check_many(principal, checks)).await
    }

    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        self.wire.around(format!("list {kind}"), self.inner.list_resources(principal, kind, operation)).await
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        self.wire.around(format!("register {}", resource.kind), self.inner.register(owner, resource, parent)).await
    }

    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.wire.around(format!("deregister {}", resource.kind), self.inner.deregister(principal, resource)).await
    }

    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.wire.around(format!("grant {}", resource.kind), self.inner.grant(principal, operation, resource)).await
    }

    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.wire.around(format!("revoke {}", resource.kind), self.inner.revoke(principal, operation, resource)).await
    }
}

struct TrippedIntents {
    inner: Arc<dyn IntentRepository>,
    wire: Tripwire,
}

#[async_trait]
impl IntentRepository for TrippedIntents {
    async fn open(&self, intent: &Intent) -> Result<Opened, StoreError> {
        self.wire.around(format!("opening the intent of {}", intent.resource.kind), self.inner.open(intent)).await
    }

    async fn abandon(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError> {
        self.wire.around("abandoning an intent".to_owned(), self.inner.abandon(id, due_at)).await
    }

    async fn settle(&self, settlement: &Settlement) -> Result<(), StoreError> {
        self.wire.around("settling an intent".to_owned(), self.inner.settle(settlement)).await
    }

    async fn retire(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError> {
        self.wire.around("retiring an intent".to_owned(), self.inner.retire(id, due_at)).await
    }

    async fn close(&self, id: &IntentId, step: IntentStep, now: Timestamp) -> Result<bool, StoreError> {
        self.wire.around(format!("closing while {}", step.as_str()), self.inner.close(id, step, now)).await
    }

    async fn failed(&self, id: &IntentId, error: &str, due_at: Timestamp) -> Result<(), StoreError> {
        self.wire.around("noting a failure".to_owned(), self.inner.failed(id, error, due_at)).await
    }

    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Intent>, StoreError> {
        self.inner.claim(now, until, limit).await
    }

    async fn claim_one(
        &self,
        resource: &ResourceRef,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Intent>, StoreError> {
        self.wire.around("claiming one intent".to_owned(), self.inner.claim_one(resource, now, until)).await
    }

    async fn list(&self, limit: u32) -> Result<Vec<Intent>, StoreError> {
        self.inner.list(limit).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.inner.backlog().await
    }
}

#[cfg(test)]
mod tests {
    use agentex_authz::AllowAll;

    use super::*;

    #[tokio::test]
    async fn a_call_hangs_at_the_chosen_point_and_at_no_other() {
        let wire = Tripwire::new(Trip::Hang);
        let authorizer = wire.authorizer(Arc::new(AllowAll));
        let task = ResourceRef::task("t");
        let nobody = Principal::anonymous();
        authorizer.deregister(&nobody, &task).await.unwrap();

        wire.arm(3);
        authorizer.deregister(&nobody, &task).await.unwrap();
        let hanging = tokio::select! {
            _ = authorizer.revoke(&nobody, Operation::Delete, &task) => panic!("it returned"),
            point = wire.tripped() => point,
        };

        assert_eq!(hanging, "after revoke task");
        assert_eq!(
            wire.passed(),
            ["before deregister task", "after deregister task", "before revoke task", "after revoke task"]
        );
        authorizer.revoke(&nobody, Operation::Delete, &task).await.unwrap();
    }

    #[tokio::test]
    async fn what_hangs_at_a_named_point_goes_on_when_it_is_released() {
        let wire = Tripwire::new(Trip::Hang);
        let authorizer = wire.authorizer(Arc::new(AllowAll));
        let (task, nobody) = (ResourceRef::task("t"), Principal::anonymous());
        wire.arm_on("before deregister task");

        authorizer.revoke(&nobody, Operation::Delete, &task).await.unwrap();
        let hanging = authorizer.deregister(&nobody, &task);
        let (done, ()) = tokio::join!(hanging, async {
            wire.tripped().await;
            tokio::join!(wire.passes("after revoke task", 2), async {
                authorizer.revoke(&nobody, Operation::Delete, &task).await.unwrap();
            });
            wire.release();
        });

        done.unwrap();
    }
}
