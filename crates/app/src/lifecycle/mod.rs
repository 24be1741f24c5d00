mod elsewhere;
mod relay;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Authorizer, AuthzError, Operation, Principal, ResourceRef};
use agentex_domain::ports::{
    Clock, Departure, IntentRepository, Opened, OwnerRepository, Scheduler, Settlement, StoreError,
};
use agentex_domain::{Intent, IntentId, IntentStep, Timestamp};
use futures::StreamExt as _;

use crate::{Caller, Error, RelaySettings};

pub(crate) use elsewhere::Elsewhere;
pub use relay::{IntentRelay, Relayed};

/// How many changes are driven at the same time.
const AT_ONCE: usize = 8;
/// How often somebody who waits for another change of the same resource looks again, and how often at most.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOKS: u32 = 60;
/// How often what a new row needs is tried before a service that keeps refusing it is left alone for a while.
const PATIENCE: u32 = 5;
/// Longest error text kept with an intent.
const MAX_ERROR_CHARS: usize = 500;

/// Keeps the two halves of a resource — its row and its edges in the authorization graph — together, whatever crashes.
///
/// Before anything else an intent is stored. Then the resource is registered, and the transaction that writes the row
/// moves the intent on, so that the intent always tells which half is missing. A delete stores its intent in the
/// transaction that removes the row. Whoever began a change drives it at once; what that leaves undone the relay finishes.
#[derive(Clone)]
pub(crate) struct Lifecycle {
    /// `None`: authorization is off and there is no graph.
    engine: Option<Arc<Engine>>,
}

struct Engine {
    authorizer: Arc<dyn Authorizer>,
    intents: Arc<dyn IntentRepository>,
    owners: Arc<dyn OwnerRepository>,
    clock: Arc<dyn Clock>,
    settings: RelaySettings,
    /// Where the resources are that have no row.
    scheduler: Option<Arc<dyn Scheduler>>,
}

/// What the write of a row did.
#[derive(Debug)]
pub(crate) enum Written<T> {
    /// A new row.
    Created(T),
    /// Somebody else's row was there first; nothing was written.
    Lost(T),
}

/// What became of bringing a deleted resource back.
#[derive(Debug)]
pub(crate) enum Revived<T> {
    /// It is back.
    Written(Written<T>),
    /// Somebody else brought it back first; nothing was written.
    Occupied,
}

impl Lifecycle {
    /// For tests in which every resource has a row.
    #[cfg(test)]
    pub(crate) fn new(
        authorizer: Option<Arc<dyn Authorizer>>,
        intents: Arc<dyn IntentRepository>,
        owners: Arc<dyn OwnerRepository>,
        clock: Arc<dyn Clock>,
        settings: RelaySettings,
    ) -> Self {
        Self::over(authorizer, intents, owners, clock, settings, None)
    }

    /// Over these ports; a scheduler keeps the resources that have no row.
    pub(crate) fn over(
        authorizer: Option<Arc<dyn Authorizer>>,
        intents: Arc<dyn IntentRepository>,
        owners: Arc<dyn OwnerRepository>,
        clock: Arc<dyn Clock>,
        settings: RelaySettings,
        scheduler: Option<Arc<dyn Scheduler>>,
    ) -> Self {
        let engine =
            authorizer.map(|authorizer| Arc::new(Engine { authorizer, intents, owners, clock, settings, scheduler }));
        Self { engine }
    }

    /// Whether anything is recorded at all.
    pub(crate) const fn is_enabled(&self) -> bool {
        self.engine.is_some()
    }

    /// Who is to own what `caller` creates: itself or whom it acts for; what an agent creates on its own belongs to the
    /// agent's owner.
    pub(crate) async fn owner_for(&self, caller: &Caller) -> Result<Option<Principal>, Error> {
        match (caller.creator(), caller) {
            (Some(creator), _) => Ok(Some(creator.clone())),
            (None, Caller::Agent { id, .. }) => self.owner_of(&ResourceRef::agent(id.as_str())).await,
            (None, Caller::Anonymous | Caller::Principal(_)) => Ok(None),
        }
    }

    /// The recorded owner of a resource.
    pub(crate) async fn owner_of(&self, resource: &ResourceRef) -> Result<Option<Principal>, Error> {
        let Some(engine) = &self.engine else { return Ok(None) };
        Ok(engine.owners.find(resource).await?.map(|ownership| ownership.owner))
    }

    /// Creates `resource`, which nobody else can be creating: register, `write` the row, grant.
    ///
    /// Without an owner nothing is recorded in the graph. A write that fails or loses a race takes the registration back;
    /// that never hides the write's own outcome. A grant that fails does not undo the resource, registration already made
    /// it the owner's; it is repeated until it is done.
    pub(crate) async fn create<T, E: Into<Error>, W: Future<Output = Result<Written<T>, E>>>(
        &self,
        owner: Option<&Principal>,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
        write: impl FnOnce(Option<Settlement>) -> W,
    ) -> Result<Written<T>, Error> {
        let vacant = async { Ok::<_, Error>(true) };
        match self.revive(owner, resource, parent, vacant, write).await? {
            Revived::Written(written) => Ok(written),
            Revived::Occupied => Err(Error::Unavailable("the resource is there already")),
        }
    }

    /// Like [`Self::create`] for a resource that has been there before. Changes of one resource happen one after the other,
    /// so once it is this one's turn, `vacant` tells whether the resource is still gone.
    pub(crate) async fn revive<T, E: Into<Error>, W: Future<Output = Result<Written<T>, E>>>(
        &self,
        owner: Option<&Principal>,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
        vacant: impl Future<Output = Result<bool, Error>>,
        write: impl FnOnce(Option<Settlement>) -> W,
    ) -> Result<Revived<T>, Error> {
        let (Some(engine), Some(owner)) = (&self.engine, owner) else {
            if self.engine.is_some() {
                tracing::warn!(%resource, "created without an owner: the caller names no user or service account");
            }
            return if vacant.await? {
                write(None).await.map(Revived::Written).map_err(Into::into)
            } else {
                Ok(Revived::Occupied)
            };
        };
        let intent = engine.open(owner, resource, parent.as_ref()).await?;
        match vacant.await {
            Ok(true) => {}
            Ok(false) => {
                engine.close(&intent, IntentStep::Registering).await;
                return Ok(Revived::Occupied);
            }
            Err(error) => {
                engine.close(&intent, IntentStep::Registering).await;
                return Err(error);
            }
        }
        let then = match engine.authorizer.register(owner, resource, parent).await {
            Ok(()) => IntentStep::Granting,
            // Which backend to register with is not known: the relay does it as soon as it is.
            Err(AuthzError::Deferred) => IntentStep::RegisteringLate,
            Err(error) => {
                engine.register_failed(&intent, &error).await;
                return Err(error.into());
            }
        };
        let settlement = Settlement { intent: intent.clone(), then, due_at: engine.lease() };
        match write(Some(settlement)).await {
            Ok(Written::Created(row)) => {
                engine.grant(&intent, then, owner, resource).await;
                Ok(Revived::Written(Written::Created(row)))
            }
            Ok(Written::Lost(row)) => {
                engine.take_back(&intent, owner, resource).await;
                Ok(Revived::Written(Written::Lost(row)))
            }
            Err(error) => {
                engine.take_back(&intent, owner, resource).await;
                Err(match error.into() {
                    Error::Store(StoreError::IntentLost) => Error::Unavailable("the request took too long; try again"),
                    error => error,
                })
            }
        }
    }

    /// On whose behalf a row is removed; `None` when nothing is recorded.
    pub(crate) fn departure(&self, caller: &Caller) -> Option<Departure> {
        let engine = self.engine.as_ref()?;
        Some(Departure { by: caller.principal().identity(), due_at: engine.lease() })
    }

    /// Removes the edges of resources whose rows are gone. The delete has already succeeded: what fails here is repeated
    /// until it is done.
    pub(crate) async fn departed(&self, caller: &Caller, intents: Vec<Intent>) {
        let Some(engine) = &self.engine else { return };
        let principal = caller.principal();
        futures::stream::iter(&intents)
            .for_each_concurrent(AT_ONCE, |intent| async {
                let outcome = engine.clear(&principal, intent).await;
                engine.finish(intent, outcome).await;
            })
            .await;
    }
}

impl Engine {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn after(&self, pause: Duration) -> Timestamp {
        self.now().plus_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
    }

    /// Until when what this process works on is left to it.
    fn lease(&self) -> Timestamp {
        self.after(self.settings.grace)
    }

    /// When to try again what has failed, `attempts` times before.
    fn retry_at(&self, attempts: u32) -> Timestamp {
        let factor = 2_u32.saturating_pow(attempts.min(20));
        self.after(self.settings.first_retry.saturating_mul(factor).min(self.settings.longest_retry))
    }

    /// Whether trying again soon is pointless: a service that can be reached has said no, not for the first time.
    ///
    /// Only where the row is there, which its creator can use meanwhile. The edges of a row that is gone never rest: whoever
    /// wants its name waits for them.
    fn is_pointless(intent: &Intent, error: &AuthzError) -> bool {
        let said_no = matches!(error, AuthzError::Refused | AuthzError::Unauthenticated);
        let row_is_there = matches!(intent.step, IntentStep::Granting | IntentStep::RegisteringLate);
        let as_before = intent.last_error.as_ref().is_some_and(|last| last.ends_with(&describe(error)));
        said_no && row_is_there && as_before && intent.attempts + 1 >= PATIENCE
    }

    /// Stores the intent of a create. Where the resource still has one, that is finished first; one that somebody is working
    /// on is waited for.
    async fn open(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<&ResourceRef>,
    ) -> Result<IntentId, Error> {
        for look in 0..LOOKS {
            let now = self.now();
            let intent = Intent {
                id: IntentId::generate(),
                resource: resource.clone(),
                parent: parent.cloned(),
                owner: owner.identity(),
                step: IntentStep::Registering,
                attempts: 0,
                last_error: None,
                created_at: now,
                due_at: self.lease(),
            };
            match self.intents.open(&intent).await? {
                Opened::Done => return Ok(intent.id),
                Opened::Busy(_) => match self.intents.claim_one(resource, now, self.lease()).await? {
                    Some(unfinished) => self.drive(unfinished).await,
                    None if look + 1 < LOOKS => tokio::time::sleep(LOOK_AGAIN).await,
                    None => {}
                },
            }
        }
        Err(Error::Unavailable("another change of the same resource is going on; try again"))
    }

    /// The row is there: what remains is the owner's explicit record.
    async fn grant(&self, intent: &IntentId, step: IntentStep, owner: &Principal, resource: &ResourceRef) {
        match self.authorizer.grant(owner, Operation::Create, resource).await {
            // A late registration is the relay's business.
            Ok(()) if step == IntentStep::Granting => self.close(intent, step).await,
            Ok(()) => self.failed(intent, "not registered yet", self.retry_at(0)).await,
            Err(error) => {
                tracing::warn!(%resource, %error, "grant after create failed; it will be repeated");
                self.failed(intent, &describe(&error), self.retry_at(0)).await;
            }
        }
    }

    /// There is no row: the registration goes back, with the principal that made it.
    async fn take_back(&self, intent: &IntentId, owner: &Principal, resource: &ResourceRef) {
        match self.intents.abandon(intent, self.lease()).await {
            Ok(true) => {}
            // Somebody else has taken over, or the row was written although the store did not say so.
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%resource, %error, "a registration could not be given up yet");
                return;
            }
        }
        match self.authorizer.deregister(owner, resource).await {
            Ok(()) => self.close(intent, IntentStep::Deregistering).await,
            Err(error) => {
                tracing::warn!(%resource, %error, "deregister failed; it will be repeated");
                self.failed(intent, &describe(&error), self.retry_at(0)).await;
            }
        }
    }

    /// Nothing was written. Unless the backend said no, the registration may have arrived all the same, or still be on its
    /// way; the relay clears it once it cannot be any more. The caller need not wait for a backend that fails.
    async fn register_failed(&self, intent: &IntentId, error: &AuthzError) {
        if matches!(error, AuthzError::Refused) {
            self.close(intent, IntentStep::Registering).await;
        } else if let Err(error) = self.intents.abandon(intent, self.lease()).await {
            tracing::error!(%error, "a registration could not be given up yet");
        }
    }

    /// Removes every edge of a resource, and the record of its owner.
    async fn clear(&self, principal: &Principal, intent: &Intent) -> Result<(), AuthzError> {
        let owner = &intent.owner;
        let as_owner = if principal.identity() == *owner { principal } else { owner };
        let by = if principal.is_resolvable_creator() { principal } else { as_owner };
        let deregistered = self.authorizer.deregister(by, &intent.resource).await;
        // The revoke is tried whatever became of the other: they may go to different backends.
        let revoked = if as_owner.is_resolvable_creator() {
            self.authorizer.revoke(as_owner, Operation::Delete, &intent.resource).await
        } else {
            Ok(())
        };
        deregistered.and(revoked)
    }

    /// Brings an intent that this process has claimed one attempt further.
    async fn drive(&self, mut intent: Intent) {
        if elsewhere::is_kept_elsewhere(&intent.resource) {
            if !self.catch_up(&mut intent).await {
                return;
            }
        } else if intent.step == IntentStep::Registering {
            match self.intents.abandon(&intent.id, self.lease()).await {
                Ok(true) => intent.step = IntentStep::Deregistering,
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(resource = %intent.resource, %error, "a registration could not be given up yet");
                    return;
                }
            }
        }
        let Intent { owner, resource, parent, .. } = &intent;
        let outcome = match intent.step {
            IntentStep::Granting => self.authorizer.grant(owner, Operation::Create, resource).await,
            IntentStep::RegisteringLate => match self.authorizer.register(owner, resource, parent.clone()).await {
                Ok(()) => self.authorizer.grant(owner, Operation::Create, resource).await,
                Err(error) => Err(error),
            },
            IntentStep::Registering | IntentStep::Deregistering => self.clear(owner, &intent).await,
        };
        self.finish(&intent, outcome).await;
    }

    async fn finish(&self, intent: &Intent, outcome: Result<(), AuthzError>) {
        let verb = intent.step.as_str();
        let done = if outcome.is_ok() { "done" } else { "failed" };
        metrics::counter!("agentex_authz_intent_attempts_total", "step" => verb, "outcome" => done).increment(1);
        match outcome {
            Ok(()) => self.close(&intent.id, intent.step).await,
            Err(error) => {
                let (resource, attempts) = (&intent.resource, intent.attempts + 1);
                if Self::is_pointless(intent, &error) {
                    tracing::error!(%resource, step = verb, attempts, %error, "is refused again and again; rests for a while");
                    let why = format!("resting: {}", describe(&error));
                    self.failed(&intent.id, &why, self.after(self.settings.refused_retry)).await;
                } else {
                    tracing::warn!(%resource, step = verb, attempts, %error, "will be repeated");
                    self.failed(&intent.id, &describe(&error), self.retry_at(intent.attempts)).await;
                }
            }
        }
    }

    /// A close that fails leaves an intent that is driven again, which changes nothing.
    async fn close(&self, intent: &IntentId, step: IntentStep) {
        if let Err(error) = self.intents.close(intent, step, self.now()).await {
            tracing::warn!(intent = %intent, %error, "a finished intent could not be removed yet");
        }
    }

    async fn failed(&self, intent: &IntentId, why: &str, due_at: Timestamp) {
        if let Err(error) = self.intents.failed(intent, why, due_at).await {
            tracing::warn!(intent = %intent, %error, "a failed attempt could not be recorded");
        }
    }
}

/// An error with its causes, bounded. Backends keep credentials out of their errors.
fn describe(error: &AuthzError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text.chars().filter(|letter| *letter != '\0').take(MAX_ERROR_CHARS).collect()
}
