use agentex_authz::{Principal, ResourceKind, ResourceRef};
use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{Intent, IntentId, IntentStep, Ownership, Timestamp};

/// What became of [`IntentRepository::open`].
#[derive(Debug, Clone, PartialEq)]
pub enum Opened {
    /// The intent is stored.
    Done,
    /// The resource has an unfinished intent already, which is this one; nothing was stored.
    Busy(Intent),
}

/// Under which intent a row is written. In the transaction that writes the row, the intent moves from
/// [`IntentStep::Registering`] to `then`, and its owner is recorded as the row's owner. When it is not registering any more,
/// nothing is written and the call answers [`StoreError::IntentLost`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The intent.
    pub intent: IntentId,
    /// What is outstanding once the row is there.
    pub then: IntentStep,
    /// When somebody else may go on with it.
    pub due_at: Timestamp,
}

/// On whose behalf a row goes. In the transaction that removes the row, the record of its owner goes, too, and an intent of
/// step [`IntentStep::Deregistering`] is stored in place of whatever intent the resource had. Its owner is the recorded one,
/// or `by` where none is recorded.
///
/// Where an intent is replaced that somebody may still be working on (its `due_at` is in the future), the new one stays,
/// although finished, until that moment: see [`IntentRepository::close`].
#[derive(Debug, Clone, PartialEq)]
pub struct Departure {
    /// Who removes it: the identity only.
    pub by: Principal,
    /// When somebody else may go on with the intent.
    pub due_at: Timestamp,
}

/// How much is unfinished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Intents in the store.
    pub open: u64,
    /// Those that failed at least once.
    pub failing: u64,
    /// When the oldest was made.
    pub oldest: Option<Timestamp>,
}

/// Keeps unfinished changes of the authorization graph. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait IntentRepository: Send + Sync {
    /// Stores a new intent exactly as given, unless its resource has one.
    async fn open(&self, intent: &Intent) -> Result<Opened, StoreError>;

    /// Turns an intent that is still [`IntentStep::Registering`] into one that is [`IntentStep::Deregistering`], due at
    /// `due_at`; answers whether it did. From then on the row can no longer be written under it.
    async fn abandon(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError>;

    /// What the transaction that writes a row does, for a resource that is kept where no transaction reaches: moves the intent
    /// from [`IntentStep::Registering`] on and records its owner. [`StoreError::IntentLost`] when it is not registering any
    /// more; nothing is changed then.
    async fn settle(&self, settlement: &Settlement) -> Result<(), StoreError>;

    /// [`Self::abandon`] for such a resource once it is gone: the record of its owner goes with it.
    async fn retire(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError>;

    /// Removes the intent if it is still at `step`; answers whether it was at that step. One that replaced another that was
    /// being worked on stays until that work must have ended, and is then due again.
    async fn close(&self, id: &IntentId, step: IntentStep, now: Timestamp) -> Result<bool, StoreError>;

    /// Counts a failed attempt, keeps why, and makes the intent due at `due_at`. An intent that is gone is left alone.
    async fn failed(&self, id: &IntentId, error: &str, due_at: Timestamp) -> Result<(), StoreError>;

    /// Takes up to `limit` intents that are due at `now`, oldest due first, and makes each due again at `until`. Of several
    /// callers at once each gets others.
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Intent>, StoreError>;

    /// Takes the intent of one resource if it is due at `now`, and makes it due again at `until`.
    async fn claim_one(
        &self,
        resource: &ResourceRef,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Intent>, StoreError>;

    /// Up to `limit` intents, oldest first.
    async fn list(&self, limit: u32) -> Result<Vec<Intent>, StoreError>;

    /// How much is unfinished.
    async fn backlog(&self) -> Result<Backlog, StoreError>;
}

/// Tells who owns what, as recorded with the rows.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait OwnerRepository: Send + Sync {
    /// The owner of one resource.
    async fn find(&self, resource: &ResourceRef) -> Result<Option<Ownership>, StoreError>;

    /// Up to `limit` resources of `kind` with an owner, by selector, those after `after` only.
    async fn page(&self, kind: ResourceKind, after: Option<String>, limit: u32) -> Result<Vec<Ownership>, StoreError>;

    /// Up to `limit` ids of live rows (agents and tasks that are not deleted, API keys, run schedules; these by selector) without a
    /// recorded owner, in order, those after `after` only.
    async fn unowned(&self, kind: ResourceKind, after: Option<String>, limit: u32) -> Result<Vec<String>, StoreError>;
}
