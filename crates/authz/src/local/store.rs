use std::fmt;

use async_trait::async_trait;

use crate::model::{Object, Relationship, Subject};

/// How many changing writes a store has seen. Every write that changes something makes it one larger, and whoever has
/// read a revision sees every write up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything in a store at one revision.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// In no particular order.
    pub relationships: Vec<Relationship>,
    /// Counts exactly the writes that [`Snapshot::relationships`] shows.
    pub revision: Revision,
}

/// What happened after a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Applying all of them, in order, to what there was at the revision asked about gives what there is at `revision`.
    Since {
        /// Oldest first.
        changes: Vec<Change>,
        /// The newest revision they lead to; the one asked about when nothing happened.
        revision: Revision,
    },
    /// The store does not remember that far back, or never had that revision: load everything.
    Reload,
}

/// One relationship that came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there now, with this caveat, in place of one that differs from it in its caveat only.
    Touched(Relationship),
    /// It is gone.
    Removed(Relationship),
}

/// One atomic change of the relationships. Removals come first, so that what is touched is there afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// What must hold before, or nothing is changed.
    pub preconditions: Vec<Precondition>,
    /// Objects on which no relationship is left. Those in which the object is the subject stay.
    pub clear: Vec<Object>,
    /// Relationships to remove, whatever their caveat. Absent ones are fine.
    pub remove: Vec<Relationship>,
    /// Relationships to add. One that exists gets the caveat stated here.
    pub touch: Vec<Relationship>,
}

/// What must hold for a [`Write`] to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Nobody has `relation` to `resource`, or `subject` is among those who do.
    FreeOrHeldBy {
        /// What the relation is to.
        resource: Object,
        /// Which relation.
        relation: String,
        /// Who may have it already.
        subject: Subject,
    },
}

/// What became of a [`Write`].
#[must_use = "a write that did not happen looks like one that did"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is durable, and this is its revision.
    Changed(Revision),
    /// Everything was as it says already, at this revision.
    Unchanged(Revision),
    /// A precondition does not hold; nothing was changed.
    PreconditionFailed,
}

/// Why the store did not do its job.
#[derive(Debug, thiserror::Error)]
pub enum RelationshipStoreError {
    /// It could not be reached or did not answer in time. Reads may be retried; whether a write happened is not known.
    #[error("relationship store unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refused the statement, or what it holds cannot be read.
    #[error("relationship store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Keeps relationships and remembers in which order they changed, so that any number of processes can follow.
///
/// Writes of all processes happen one after the other. Each method sees every write that was answered before it was
/// called, by whichever process. The store does not know the permission model: any kinds, relations and ids are kept as
/// they are, as long as they are text without U+0000 and ids are at most 1024 bytes long.
#[async_trait]
pub trait RelationshipStore: Send + Sync {
    /// Calls `each` with everything there is, in no particular order, and answers the revision that counts exactly the
    /// writes it shows. There may be millions, so they are handed over as they are read. After an error `each` has seen
    /// some of them.
    async fn load_each(&self, each: &mut (dyn FnMut(Relationship) + Send)) -> Result<Revision, RelationshipStoreError>;

    /// The current revision; cheap enough to be asked before every decision.
    async fn revision(&self) -> Result<Revision, RelationshipStoreError>;

    /// What happened after `seen`.
    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError>;

    /// Makes the writes happen as if they came alone, in this order: of each, all or nothing, and each sees those
    /// before it. The answers are in the same order; when they are there, everything is durable. Repeating a write
    /// changes nothing. After [`RelationshipStoreError::Failed`] none of them happened.
    async fn write_all(&self, writes: &[Write]) -> Result<Vec<Written>, RelationshipStoreError>;

    /// Everything there is, at once.
    async fn load(&self) -> Result<Snapshot, RelationshipStoreError> {
        let mut relationships = Vec::new();
        let revision = self.load_each(&mut |relationship| relationships.push(relationship)).await?;
        Ok(Snapshot { relationships, revision })
    }

    /// Makes all of `write` happen, or nothing of it.
    async fn write(&self, write: &Write) -> Result<Written, RelationshipStoreError> {
        let answers = self.write_all(std::slice::from_ref(write)).await?;
        let [answer] = answers[..] else { return Err(RelationshipStoreError::Failed("not one answer".into())) };
        Ok(answer)
    }
}
