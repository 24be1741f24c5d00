use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::queue::{Pending, Queue};
use super::store::{Change, Changes, RelationshipStore, RelationshipStoreError, Revision, Write, Written};
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
    /// What is to be written, so that those who write at the same time share one visit to the store.
    queue: Queue,
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
        let seen = RwLock::new(Seen::load(&schema, &*store).await?);
        let (unanswered, settled) = (AtomicU64::new(0), AtomicU64::new(0));
        let (turn, queue) = (Mutex::default(), Queue::default());
        Ok(Self { schema, store, store_use, seen, turn, queue, unanswered, settled })
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
                self.catch_up(None, Vec::new()).await?;
            }
        }
        Ok(look(&self.seen.read().unwrap_or_else(PoisonError::into_inner).graph))
    }

    /// Writes to the store; once answered, every later [`Follower::read`] sees it.
    ///
    /// To be run where nobody can drop it half-way, or a write could happen unseen.
    pub(super) async fn write(&self, write: Write) -> Result<Written, RelationshipStoreError> {
        let answer = self.queue.add(write, |batch| self.write_batch(batch)).await;
        answer.unwrap_or_else(|| {
            self.unanswered.fetch_add(1, Ordering::SeqCst);
            Err(RelationshipStoreError::Unavailable("the write was given up half-way".into()))
        })
    }

    async fn write_batch(&self, batch: Vec<Pending>) {
        let (writes, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(Pending::into_parts).unzip();
        match self.write_together(writes.clone()).await {
            Ok(written) => answers.into_iter().zip(written).for_each(|(answer, written)| answer.give(Ok(written))),
            // One that the store refuses must not take the others along.
            Err(RelationshipStoreError::Failed(_)) if writes.len() > 1 => {
                for (write, answer) in writes.into_iter().zip(answers) {
                    let written = self.write_together(vec![write]).await;
                    answer.give(written.map(|written| written[0]));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                answers.into_iter().for_each(|answer| answer.give(Err(shared(&error))));
            }
        }
    }

    /// Answers all of `writes`, and is up to date with what they did.
    async fn write_together(&self, writes: Vec<Write>) -> Result<Vec<Written>, RelationshipStoreError> {
        let doubts_before = self.unanswered.load(Ordering::SeqCst);
        let written = self.write_and_follow(writes).await;
        match &written {
            Ok(written) if written.iter().all(|one| *one == Written::PreconditionFailed) => {}
            Ok(_) => {
                self.settled.fetch_max(doubts_before, Ordering::SeqCst);
            }
            Err(_) => {
                self.unanswered.fetch_add(1, Ordering::SeqCst);
            }
        }
        written
    }

    async fn write_and_follow(&self, writes: Vec<Write>) -> Result<Vec<Written>, RelationshipStoreError> {
        let written = self.store.write_all(&writes).await?;
        if written.len() != writes.len() {
            return Err(RelationshipStoreError::Unavailable("not as many answers as writes".into()));
        }
        let mut newest = Revision::default();
        let mut own = Vec::new();
        for (written, write) in written.iter().zip(writes) {
            match *written {
                Written::Changed(revision) => {
                    newest = newest.max(revision);
                    own.push((revision, write));
                }
                Written::Unchanged(revision) => newest = newest.max(revision),
                Written::PreconditionFailed => {}
            }
        }
        self.catch_up(Some(newest), own).await?;
        Ok(written)
    }

    fn in_doubt(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst) > self.settled.load(Ordering::SeqCst)
    }

    /// Follows the store up to `revision` at least, its newest one when `None`. Writes of our own that are exactly the
    /// next ones need no question.
    async fn catch_up(
        &self,
        revision: Option<Revision>,
        own: Vec<(Revision, Write)>,
    ) -> Result<(), RelationshipStoreError> {
        let _turn = self.turn.lock().await;
        let mut seen = self.revision();
        for (revision, write) in own {
            if revision == seen.next() {
                self.update(|it| it.apply_own(&self.schema, write, revision));
                seen = revision;
            }
        }
        if revision.is_some_and(|revision| revision <= seen) {
            return Ok(());
        }
        match self.store.changes_since(seen).await? {
            Changes::Since { changes, revision } => self.update(|it| it.apply(&self.schema, changes, revision)),
            Changes::Reload => {
                let fresh = Seen::load(&self.schema, &*self.store).await?;
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
    async fn load(schema: &Schema, store: &dyn RelationshipStore) -> Result<Self, RelationshipStoreError> {
        let mut graph = Graph::default();
        let mut insert = |edge| {
            if schema.admits(&edge) {
                graph.insert(edge);
            }
        };
        let revision = store.load_each(&mut insert).await?;
        Ok(Self { graph, revision })
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

/// One error as the answer to several.
fn shared(error: &Arc<RelationshipStoreError>) -> RelationshipStoreError {
    match **error {
        RelationshipStoreError::Unavailable(_) => RelationshipStoreError::Unavailable(Box::new(Arc::clone(error))),
        RelationshipStoreError::Failed(_) => RelationshipStoreError::Failed(Box::new(Arc::clone(error))),
    }
}
