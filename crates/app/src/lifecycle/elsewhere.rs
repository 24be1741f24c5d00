//! Resources that are kept where no transaction reaches: schedules that only their scheduler knows.

use std::future::Future;

use agentex_authz::{AuthzError, Principal, ResourceKind, ResourceRef};
use agentex_domain::ports::{ScheduleError, Settlement, StoreError};
use agentex_domain::{Intent, IntentStep};

use super::{Engine, Lifecycle};
use crate::{Caller, Error};

/// What became of writing or removing such a resource.
#[derive(Debug)]
pub(crate) enum Elsewhere {
    /// It was done.
    Done,
    /// It was not done, for certain.
    Refused(Error),
    /// Somebody else's resource was there first; nothing was changed.
    Taken(Error),
    /// It may or may not have been done.
    Unknown(Error),
}

/// Whether the resource is a schedule without a row.
pub(super) fn is_kept_elsewhere(resource: &ResourceRef) -> bool {
    resource.kind == ResourceKind::Schedule && !resource.selector.starts_with("run-schedule::")
}

impl Lifecycle {
    /// [`Lifecycle::create`] for a resource without a row: register, `write`, record the owner, grant.
    ///
    /// When nobody can tell whether the resource is there now, its registration stays for the relay, which looks.
    pub(crate) async fn create_elsewhere(
        &self,
        owner: Option<&Principal>,
        resource: &ResourceRef,
        parent: ResourceRef,
        write: impl Future<Output = Elsewhere>,
    ) -> Result<(), Error> {
        let (Some(engine), Some(owner)) = (&self.engine, owner) else {
            if self.engine.is_some() {
                tracing::warn!(%resource, "created without an owner: the caller names no user or service account");
            }
            return match write.await {
                Elsewhere::Done => Ok(()),
                Elsewhere::Refused(error) | Elsewhere::Taken(error) | Elsewhere::Unknown(error) => Err(error),
            };
        };
        let intent = engine.open(owner, resource, Some(&parent)).await?;
        let then = match engine.authorizer.register(owner, resource, Some(parent)).await {
            Ok(()) => IntentStep::Granting,
            Err(AuthzError::Deferred) => IntentStep::RegisteringLate,
            Err(error) => {
                engine.register_failed(&intent, &error).await;
                return Err(error.into());
            }
        };
        match write.await {
            Elsewhere::Done => {
                let settlement = Settlement { intent: intent.clone(), then, due_at: engine.lease() };
                match engine.intents.settle(&settlement).await {
                    Ok(()) => engine.grant(&intent, then, owner, resource).await,
                    // The relay looked meanwhile and has done it.
                    Err(StoreError::IntentLost) => {}
                    Err(error) => tracing::warn!(%resource, %error, "the relay will grant what was created"),
                }
                Ok(())
            }
            Elsewhere::Refused(error) => {
                engine.take_back(&intent, owner, resource).await;
                Err(error)
            }
            Elsewhere::Taken(error) => {
                // What is in the graph belongs to the living resource, unless nobody is known to own that.
                match engine.owners.find(resource).await {
                    Ok(None) => engine.take_back(&intent, owner, resource).await,
                    Ok(Some(_)) | Err(_) => engine.close(&intent, IntentStep::Registering).await,
                }
                Err(error)
            }
            Elsewhere::Unknown(error) => Err(error),
        }
    }

    /// Removes a resource without a row, then what the graph holds of it. Once `remove` has succeeded so has the call: what
    /// fails afterwards is repeated until it is done.
    pub(crate) async fn remove_elsewhere(
        &self,
        caller: &Caller,
        resource: &ResourceRef,
        remove: impl Future<Output = Elsewhere>,
    ) -> Result<(), Error> {
        let Some(engine) = &self.engine else {
            return match remove.await {
                Elsewhere::Done => Ok(()),
                Elsewhere::Refused(error) | Elsewhere::Taken(error) | Elsewhere::Unknown(error) => Err(error),
            };
        };
        let recorded = engine.owners.find(resource).await?;
        let (owner, parent) = match recorded {
            Some(recorded) => (recorded.owner, recorded.parent),
            None => (caller.principal().identity(), None),
        };
        // As long as it stands, this says that the edges go unless the resource is found to be there.
        let id = engine.open(&owner, resource, parent.as_ref()).await?;
        match remove.await {
            Elsewhere::Done => {}
            Elsewhere::Refused(error) | Elsewhere::Taken(error) => {
                engine.close(&id, IntentStep::Registering).await;
                return Err(error);
            }
            Elsewhere::Unknown(error) => return Err(error),
        }
        match engine.intents.retire(&id, engine.lease()).await {
            Ok(true) => {
                let now = engine.now();
                let (resource, step) = (resource.clone(), IntentStep::Deregistering);
                let due_at = engine.lease();
                let intent = Intent {
                    id,
                    resource,
                    parent,
                    owner,
                    step,
                    attempts: 0,
                    last_error: None,
                    created_at: now,
                    due_at,
                };
                let outcome = engine.clear(&caller.principal(), &intent).await;
                engine.finish(&intent, outcome).await;
            }
            // The relay has taken over.
            Ok(false) => {}
            Err(error) => tracing::warn!(%resource, %error, "the edges of a removed schedule will be removed later"),
        }
        Ok(())
    }
}

impl Engine {
    /// Finds out what a half-done change of a resource without a row has come to, and moves the intent there. `false`: that
    /// cannot be told now, or somebody else is doing it.
    pub(super) async fn catch_up(&self, intent: &mut Intent) -> bool {
        if intent.step != IntentStep::Registering {
            return true;
        }
        let is_there = match &self.scheduler {
            None => Err("there is no scheduler to ask".to_owned()),
            Some(scheduler) => match scheduler.describe(&intent.resource.selector).await {
                Ok(_) => Ok(true),
                Err(ScheduleError::NotFound) => Ok(false),
                Err(error) => Err(error.to_string()),
            },
        };
        let moved = match is_there {
            Ok(true) => {
                let then = IntentStep::Granting;
                let settlement = Settlement { intent: intent.id.clone(), then, due_at: self.lease() };
                intent.step = then;
                match self.intents.settle(&settlement).await {
                    Err(StoreError::IntentLost) => Ok(false),
                    outcome => outcome.map(|()| true),
                }
            }
            Ok(false) => {
                intent.step = IntentStep::Deregistering;
                self.intents.retire(&intent.id, self.lease()).await
            }
            Err(why) => {
                self.failed(&intent.id, &why, self.retry_at(intent.attempts)).await;
                Ok(false)
            }
        };
        moved.unwrap_or_else(|error| {
            tracing::warn!(resource = %intent.resource, %error, "a half-done change could not be moved on yet");
            false
        })
    }
}
