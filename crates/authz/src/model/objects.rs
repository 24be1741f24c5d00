use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::edges::{Appearances, Edges};
use super::graph::Object;
use super::numbers::{Node, NumberHash, Word, Words};

/// The objects of a graph by number, with what is known about each.
///
/// A million of them lie next to each other, ids included: a decision then waits for memory a few times instead of a
/// dozen, and what a store was loaded from is not kept alive in small pieces.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    words: Words,
    entries: Vec<Option<Entry>>,
    unused: Vec<Node>,
    ids: Ids,
    /// By the hash of type and id, the newest object that has it. Ids come from outside, so the hash has a secret.
    newest: HashMap<u64, Node, NumberHash>,
    hashing: RandomState,
}

/// An object that has relationships, on either side.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: Word,
    /// The next older object with the same hash, or [`Node::UNKNOWN`].
    older: Node,
    id: Id,
    pub(super) edges: Edges,
    /// Most objects are nobody's subject.
    pub(super) appearances: Option<Box<Appearances>>,
}

impl Objects {
    /// The number of an object, or [`Node::UNKNOWN`].
    pub(super) fn find(&self, kind: &str, id: &str) -> Node {
        let mut node = self.newest.get(&self.hash(kind, id)).copied().unwrap_or(Node::UNKNOWN);
        while let Some(entry) = self.get(node) {
            if *self.ids.text(entry.id) == *id && **self.words.text(entry.kind) == *kind {
                break;
            }
            node = entry.older;
        }
        node
    }

    /// The object's number, which it gets now if it has none.
    pub(super) fn number(&mut self, object: &Object) -> Node {
        let known = self.find(&object.kind, &object.id);
        if known != Node::UNKNOWN {
            return known;
        }
        let node = self.unused.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Node::of_index(self.entries.len() - 1)
        });
        let older = self.newest.insert(self.hash(&object.kind, &object.id), node).unwrap_or(Node::UNKNOWN);
        let (kind, id) = (self.words.number(&object.kind), self.ids.add(&object.id));
        self.entries[node.index()] = Some(Entry { kind, older, id, edges: Edges::NONE, appearances: None });
        node
    }

    /// Forgets an object that no relationship is left of. Its number is given out again.
    pub(super) fn forget_if_unused(&mut self, node: Node) {
        let unused = |entry: &&Entry| entry.edges.is_empty() && entry.appearances.is_none();
        let Some(&Entry { older, id, .. }) = self.get(node).filter(unused) else { return };
        let hash = self.hash(self.kind(node), self.id(node));
        match self.newest.get(&hash) {
            Some(newest) if *newest == node && older == Node::UNKNOWN => {
                self.newest.remove(&hash);
            }
            Some(newest) if *newest == node => {
                self.newest.insert(hash, older);
            }
            newest => {
                let mut newer = newest.copied().unwrap_or(Node::UNKNOWN);
                while let Some(entry) = self.entries.get_mut(newer.index()).and_then(Option::as_mut) {
                    if entry.older == node {
                        entry.older = older;
                        break;
                    }
                    newer = entry.older;
                }
            }
        }
        self.entries[node.index()] = None;
        self.unused.push(node);
        self.ids.remove(id);
        if self.ids.are_mostly_gaps() {
            self.ids = self.ids.packed(self.entries.iter_mut().flatten().map(|entry| &mut entry.id));
        }
    }

    pub(super) fn get(&self, node: Node) -> Option<&Entry> {
        self.entries.get(node.index())?.as_ref()
    }

    /// The entry of a known object.
    pub(super) fn entry(&self, node: Node) -> &Entry {
        self.get(node).expect("an object stays as long as a relationship names it")
    }

    /// The entry of a known object.
    pub(super) fn entry_mut(&mut self, node: Node) -> &mut Entry {
        self.entries[node.index()].as_mut().expect("an object stays as long as a relationship names it")
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        let known = self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some());
        known.map(|(index, _)| Node::of_index(index))
    }

    /// A known object's type.
    pub(super) fn kind(&self, node: Node) -> &str {
        self.words.text(self.entry(node).kind)
    }

    /// A known object's id.
    pub(super) fn id(&self, node: Node) -> &str {
        self.ids.text(self.entry(node).id)
    }

    /// A known object, by name.
    pub(super) fn object(&self, node: Node) -> Object {
        Object { kind: Arc::clone(self.words.text(self.entry(node).kind)), id: self.id(node).into() }
    }

    pub(super) const fn words(&self) -> &Words {
        &self.words
    }

    pub(super) const fn words_mut(&mut self) -> &mut Words {
        &mut self.words
    }

    fn hash(&self, kind: &str, id: &str) -> u64 {
        let hash = self.hashing.hash_one((kind, id));
        // So that tests meet what hardly ever happens: objects with the same hash.
        if cfg!(test) { hash % 4 } else { hash }
    }
}

/// Texts one after the other, with gaps where some were removed.
#[derive(Debug, Clone, Default)]
struct Ids {
    texts: String,
    gaps: usize,
}

/// Where an id is among [`Ids`].
#[derive(Debug, Clone, Copy)]
struct Id {
    start: usize,
    length: usize,
}

/// Gaps up to this size, in bytes, are not worth the work.
const SMALL: usize = if cfg!(test) { 16 } else { 1 << 20 };

impl Ids {
    fn add(&mut self, text: &str) -> Id {
        let id = Id { start: self.texts.len(), length: text.len() };
        self.texts.push_str(text);
        id
    }

    fn text(&self, id: Id) -> &str {
        &self.texts[id.start..id.start + id.length]
    }

    const fn remove(&mut self, id: Id) {
        self.gaps += id.length;
    }

    const fn are_mostly_gaps(&self) -> bool {
        self.gaps > SMALL && self.gaps > self.texts.len() / 2
    }

    /// The same without gaps. `all` are those that were not removed; each is told its new place.
    fn packed<'a>(&self, all: impl Iterator<Item = &'a mut Id>) -> Self {
        let mut packed = Self { texts: String::with_capacity(self.texts.len() - self.gaps), gaps: 0 };
        all.for_each(|id| *id = packed.add(self.text(*id)));
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that makes and deletes tasks for years must not grow by each.
    #[test]
    fn what_is_forgotten_makes_room_and_the_rest_is_found() {
        let user = |number: usize| Object::new("user", &format!("user-{number}"));
        let find = |objects: &Objects, number| objects.find("user", &user(number).id);
        let mut objects = Objects::default();

        let stays: Vec<Node> = (0..10).map(|number| objects.number(&user(number))).collect();
        stays.iter().for_each(|node| objects.entry_mut(*node).appearances = Some(Box::default()));
        for number in 10..1_000 {
            let node = objects.number(&user(number));
            assert_eq!(find(&objects, number), node);
            assert_eq!(objects.find("task", &user(number).id), Node::UNKNOWN);
            objects.forget_if_unused(node);
            assert_eq!(find(&objects, number), Node::UNKNOWN);
        }

        assert_eq!((objects.entries.len(), objects.unused.len()), (11, 1));
        assert!(objects.ids.texts.len() < 1_000, "{}", objects.ids.texts.len());
        for (number, node) in stays.iter().enumerate() {
            objects.forget_if_unused(*node);
            assert_eq!((find(&objects, number), objects.object(*node)), (*node, user(number)));
        }
        // The oldest, the newest and one in the middle of those with the same hash.
        for number in [0, 9, 4, 1, 2, 3, 5, 6, 7, 8] {
            objects.entry_mut(stays[number]).appearances = None;
            objects.forget_if_unused(stays[number]);
            assert_eq!(find(&objects, number), Node::UNKNOWN);
        }
        assert!(objects.newest.is_empty() && objects.nodes().next().is_none());
    }
}
