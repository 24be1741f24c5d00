use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::store::{Change, Changes, RelationshipStore, RelationshipStoreError, Revision, Snapshot, Write, Written};
use crate::model::{Graph, Schema};

/// Who else writes to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreUse {
    /// Nobody: this process is the only writer, so what it has in memory is what there is and a decision asks nobody.
    Exclusive,
    /// Other processes: each decision first asks the store whether anything happened.
    Shared,
}

/// The relationships of a store in memory, kept up with it.
pub(super) struct Follower {
    schema: Arc<Schema>,
    store: Arc<dyn RelationshipStore>,
    store_use: StoreUse,
    /// Read by decisions, without waiting on anything. Only a holder of `turn` writes.
    seen: RwLock<Seen>,
    /// One at a time brings `seen` up to date; the others wait for it instead of asking the same.
    turn: Mutex<()>,
    /// How many writes were not answered, so that they may have happened unseen.
    unanswered: AtomicU64,
    /// How many of those are settled: a write begun later was answered, and the store's writes happen one after the
    /// other.
    settled: AtomicU64,
}

struct Seen {
    graph: Graph,
    revision: Revision,
}

impl Follower {
    pub(super) async fn open(
        schema: Arc<Schema>,
        store: Arc<dyn RelationshipStore>,
        store_use: StoreUse,
    ) -> Result<Self, RelationshipStoreError> {
        let seen = RwLock::new(Seen::from_snapshot(&schema, store.load().await?));
        let (unanswered, settled) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { schema, store, store_use, seen, turn: Mutex::default(), unanswered, settled })
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What `look` makes of the graph, with every write in it that was answered before this call. One call sees one
    /// state of the graph.
    pub(super) async fn read<T>(&self, look: impl FnOnce(&Graph) -> T) -> Result<T, RelationshipStoreError> {
        if self.store_use == StoreUse::Shared || self.in_doubt() {
            let current = self.store.revision().await?;
            if current != self.revision() {
                self.catch_up(None).await?;
            }
        }
        Ok(look(&self.seen.read().unwrap_or_else(PoisonError::into_inner).graph))
    }

    /// Writes to the store; once answered, every later [`Follower::read`] sees it.
    ///
    /// To be run where nobody can drop it half-way, or a write could happen unseen.
    pub(super) async fn write(&self, write: Write) -> Result<Written, RelationshipStoreError> {
        let doubts_before = self.unanswered.load(Ordering::SeqCst);
        let written = self.store.write(&write).await;
        let known = match written {
            Ok(Written::Changed(revision)) => self.catch_up(Some((revision, write))).await,
            Ok(Written::Unchanged(_)) => self.catch_up(None).await,
            Ok(Written::PreconditionFailed) => return written,
            Err(_) => Ok(()),
        };
        let written = known.and(written);
        match written {
            Ok(_) => self.settled.fetch_max(doubts_before, Ordering::SeqCst),
            Err(_) => self.unanswered.fetch_add(1, Ordering::SeqCst),
        };
        written
    }

    fn in_doubt(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst) > self.settled.load(Ordering::SeqCst)
    }

    /// Follows the store up to its newest revision. A write of our own that is exactly the next one needs no question.
    async fn catch_up(&self, own: Option<(Revision, Write)>) -> Result<(), RelationshipStoreError> {
        let _turn = self.turn.lock().await;
        let seen = self.revision();
        match own {
            Some((revision, _)) if revision <= seen => return Ok(()),
            Some((revision, write)) if revision == seen.next() => {
                self.update(|it| it.apply_own(&self.schema, write, revision));
                return Ok(());
            }
            _ => {}
        }
        match self.store.changes_since(seen).await? {
            Changes::Since { changes, revision } => self.update(|it| it.apply(&self.schema, changes, revision)),
            Changes::Reload => {
                let fresh = Seen::from_snapshot(&self.schema, self.store.load().await?);
                self.update(|it| *it = fresh);
            }
        }
        Ok(())
    }

    fn revision(&self) -> Revision {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Seen {
    /// What the schema does not admit is left out: a row of another writer must not give access that the model forbids.
    fn from_snapshot(schema: &Schema, snapshot: Snapshot) -> Self {
        let mut graph = Graph::default();
        snapshot.relationships.into_iter().filter(|edge| schema.admits(edge)).for_each(|edge| graph.insert(edge));
        Self { graph, revision: snapshot.revision }
    }

    fn apply(&mut self, schema: &Schema, changes: Vec<Change>, revision: Revision) {
        for change in changes {
            match change {
                Change::Touched(edge) if schema.admits(&edge) => self.graph.insert(edge),
                // One that is not admitted may have taken the place of one that was.
                Change::Touched(edge) | Change::Removed(edge) => {
                    self.graph.remove(&edge.resource, &edge.relation, &edge.subject);
                }
            }
        }
        self.revision = revision;
    }

    fn apply_own(&mut self, schema: &Schema, write: Write, revision: Revision) {
        for object in &write.clear {
            self.graph.remove_resource(object);
        }
        let removed = write.remove.into_iter().map(Change::Removed);
        let touched = write.touch.into_iter().map(Change::Touched);
        self.apply(schema, removed.chain(touched).collect(), revision);
    }
}
