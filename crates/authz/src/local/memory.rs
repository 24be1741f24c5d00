use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::store::{
    Change, Changes, Precondition, RelationshipStore, RelationshipStoreError, Revision, Write, Written,
};
use crate::model::{Object, Relationship, Subject};

/// Changing writes remembered for those who follow.
const REMEMBERED_WRITES: usize = 10_000;

/// Relationships in memory, gone with the process: for tests and tools.
#[derive(Debug, Default)]
pub struct MemoryRelationships(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    edges: BTreeMap<Object, Edges>,
    revision: Revision,
    /// What the newest writes changed, oldest first; the last one led to `revision`.
    changes: VecDeque<Vec<Change>>,
}

/// The caveats of an object's relationships.
type Edges = BTreeMap<Place, Caveat>;

/// A relation and who has it.
type Place = (Arc<str>, Subject);

/// The account that a relationship is limited to.
type Caveat = Option<Arc<str>>;

impl MemoryRelationships {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RelationshipStore for MemoryRelationships {
    async fn load_each(&self, each: &mut (dyn FnMut(Relationship) + Send)) -> Result<Revision, RelationshipStoreError> {
        let state = self.state();
        for (resource, edges) in &state.edges {
            edges.iter().for_each(|(place, caveat)| each(relationship(resource, place, caveat.clone())));
        }
        Ok(state.revision)
    }

    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        Ok(self.state().revision)
    }

    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        let state = self.state();
        let missed = state.revision.0.checked_sub(seen.0).and_then(|missed| usize::try_from(missed).ok());
        let Some(first) = missed.and_then(|missed| state.changes.len().checked_sub(missed)) else {
            return Ok(Changes::Reload);
        };
        let changes = state.changes.range(first..).flatten().cloned().collect();
        Ok(Changes::Since { changes, revision: state.revision })
    }

    async fn write_all(&self, writes: &[Write]) -> Result<Vec<Written>, RelationshipStoreError> {
        let mut state = self.state();
        Ok(writes.iter().map(|write| state.write(write)).collect())
    }
}

impl State {
    fn write(&mut self, write: &Write) -> Written {
        if !write.preconditions.iter().all(|precondition| self.meets(precondition)) {
            return Written::PreconditionFailed;
        }
        let changes = self.outcome(write);
        if changes.is_empty() {
            return Written::Unchanged(self.revision);
        }
        changes.iter().for_each(|change| self.apply(change));
        self.revision = self.revision.next();
        self.changes.push_back(changes);
        if self.changes.len() > REMEMBERED_WRITES {
            self.changes.pop_front();
        }
        Written::Changed(self.revision)
    }

    fn meets(&self, precondition: &Precondition) -> bool {
        let Precondition::FreeOrHeldBy { resource, relation, subject } = precondition;
        let edges = self.edges.get(resource).into_iter().flat_map(BTreeMap::keys);
        let mut holders = edges.filter(|(held, _)| **held == **relation).map(|(_, holder)| holder).peekable();
        holders.peek().is_none() || holders.any(|holder| holder == subject)
    }

    /// What `write` changes, each relationship once.
    fn outcome(&self, write: &Write) -> Vec<Change> {
        let mut afterwards: BTreeMap<Object, BTreeMap<Place, Option<Caveat>>> = BTreeMap::new();
        for object in &write.clear {
            let places = self.edges.get(object).into_iter().flat_map(BTreeMap::keys);
            afterwards.entry(object.clone()).or_default().extend(places.map(|place| (place.clone(), None)));
        }
        let removed = write.remove.iter().map(|edge| (edge, None));
        let touched = write.touch.iter().map(|edge| (edge, Some(edge.acting_in.clone())));
        for (edge, caveat) in removed.chain(touched) {
            let place = (Arc::clone(&edge.relation), edge.subject.clone());
            afterwards.entry(edge.resource.clone()).or_default().insert(place, caveat);
        }

        let mut changes = Vec::new();
        for (resource, places) in afterwards {
            let edges = self.edges.get(&resource);
            for (place, after) in places {
                let before = edges.and_then(|edges| edges.get(&place)).cloned();
                match (before, after) {
                    (before, after) if before == after => {}
                    (_, Some(caveat)) => changes.push(Change::Touched(relationship(&resource, &place, caveat))),
                    (before, None) => {
                        changes.push(Change::Removed(relationship(&resource, &place, before.flatten())));
                    }
                }
            }
        }
        changes
    }

    fn apply(&mut self, change: &Change) {
        let (Change::Touched(edge) | Change::Removed(edge)) = change;
        let place = (Arc::clone(&edge.relation), edge.subject.clone());
        let edges = self.edges.entry(edge.resource.clone()).or_default();
        match change {
            Change::Touched(edge) => {
                edges.insert(place, edge.acting_in.clone());
            }
            Change::Removed(edge) => {
                edges.remove(&place);
                if edges.is_empty() {
                    self.edges.remove(&edge.resource);
                }
            }
        }
    }
}

fn relationship(resource: &Object, (relation, subject): &Place, acting_in: Caveat) -> Relationship {
    Relationship { resource: resource.clone(), relation: Arc::clone(relation), subject: subject.clone(), acting_in }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That everything else holds, the contract suite shows.
    #[tokio::test]
    async fn writes_that_are_long_past_are_forgotten() {
        let store = MemoryRelationships::default();
        let touch = |index: usize| Relationship {
            resource: Object::new("task", &index.to_string()),
            relation: "owner".into(),
            subject: Subject::object(Object::new("user", "u")),
            acting_in: None,
        };
        for index in 0..=REMEMBERED_WRITES {
            let write = Write { touch: vec![touch(index)], ..Write::default() };
            assert!(matches!(store.write(&write).await.unwrap(), Written::Changed(_)));
        }

        assert_eq!(store.changes_since(Revision(0)).await.unwrap(), Changes::Reload);
        let Changes::Since { changes, .. } = store.changes_since(Revision(1)).await.unwrap() else {
            panic!("forgotten too early")
        };
        assert_eq!(changes.len(), REMEMBERED_WRITES);
    }
}
