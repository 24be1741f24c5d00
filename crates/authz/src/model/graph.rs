use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::edges::{Appearance, Appearances, AsWhat, Edge, Edges};
use super::numbers::{Node, NumberHash, Word};
use super::objects::Objects;

/// One object of the graph: a type and an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// The type's name in the schema.
    pub kind: Arc<str>,
    /// The id; `*` as a subject means every object of the type.
    pub id: Arc<str>,
}

impl Object {
    /// The object `kind:id`.
    #[must_use]
    pub fn new(kind: &str, id: &str) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

/// Who a relationship is with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// An object, or with [`Subject::relation`] everybody who has that relation to it.
    pub object: Object,
    /// `member` in `group:g#member`.
    pub relation: Option<Arc<str>>,
}

impl Subject {
    /// The object itself.
    #[must_use]
    pub const fn object(object: Object) -> Self {
        Self { object, relation: None }
    }

    pub(super) fn is_wildcard(&self) -> bool {
        &*self.object.id == "*"
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.relation {
            Some(relation) => write!(f, "{}#{relation}", self.object),
            None => self.object.fmt(f),
        }
    }
}

/// One edge: `subject` has `relation` to `resource`. A caveated edge counts only in the account it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relationship {
    /// What the edge is on.
    pub resource: Object,
    /// Which relation.
    pub relation: Arc<str>,
    /// Who has it.
    pub subject: Subject,
    /// The account of the `acting_in` caveat, when the edge carries it.
    pub acting_in: Option<Arc<str>>,
}

/// Relationships in memory, by what they are on.
///
/// The reverse side (what a subject appears on) is kept too, so that finding everything a subject may see costs what the
/// subject has, not what there is.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    objects: Objects,
    /// Types and relations that have ever been a userset, like `group#member`.
    usersets: HashSet<(Word, Word), NumberHash>,
}

impl Graph {
    /// Adds an edge; an edge between the same two that differs in its caveat only is replaced.
    pub fn insert(&mut self, edge: Relationship) {
        let words = self.objects.words_mut();
        let kind = words.number(&edge.resource.kind);
        let relation = words.number(&edge.relation);
        let userset = edge.subject.relation.map(|name| words.number(&name));
        let caveat = edge.acting_in.map(|account| words.number(&account));
        if let Some(name) = userset {
            self.usersets.insert((words.number(&edge.subject.object.kind), name));
        }
        let on = self.objects.number(&edge.resource);
        let with = self.objects.number(&edge.subject.object);

        self.objects.entry_mut(on).edges.insert(Edge { relation, with, userset, caveat });
        let subject = self.objects.entry_mut(with);
        subject.appearances.get_or_insert_default().insert(AsWhat { userset, relation, kind }, on);
    }

    /// Removes an edge, whatever its caveat. An absent one is fine.
    pub fn remove(&mut self, resource: &Object, relation: &str, subject: &Subject) {
        let Some(relation) = self.word(relation) else { return };
        let userset = match &subject.relation {
            None => None,
            Some(name) => match self.word(name) {
                None => return,
                known => known,
            },
        };
        let (on, with) = (self.find(resource), self.find(&subject.object));
        if on == Node::UNKNOWN || with == Node::UNKNOWN {
            return;
        }
        let edge = Edge { relation, with, userset, caveat: None };
        self.objects.entry_mut(on).edges.remove(&edge);
        self.forget_appearance(on, &edge);
        self.objects.forget_if_unused(on);
    }

    /// Removes every edge on `resource`.
    pub fn remove_resource(&mut self, resource: &Object) {
        let on = self.find(resource);
        if on == Node::UNKNOWN {
            return;
        }
        let edges = std::mem::replace(&mut self.objects.entry_mut(on).edges, Edges::NONE);
        edges.iter().for_each(|edge| self.forget_appearance(on, &edge));
        self.objects.forget_if_unused(on);
    }

    /// Whether anything has a relation to `resource`.
    #[must_use]
    pub fn has_relationships(&self, resource: &Object) -> bool {
        !self.edges(self.find(resource)).is_empty()
    }

    /// Every edge, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Relationship> + '_ {
        self.objects.nodes().flat_map(move |on| {
            let resource = self.object(on);
            self.edges(on).iter().map(move |edge| Relationship {
                resource: resource.clone(),
                relation: Arc::clone(self.text(edge.relation)),
                subject: self.subject(&edge),
                acting_in: edge.caveat.map(|account| Arc::clone(self.text(account))),
            })
        })
    }

    /// The number of an object, or [`Node::UNKNOWN`].
    pub(super) fn find(&self, object: &Object) -> Node {
        self.objects.find(&object.kind, &object.id)
    }

    /// The subject, and everybody of its type.
    pub(super) fn faces_of(&self, subject: &Object) -> [Node; 2] {
        [self.find(subject), self.objects.find(&subject.kind, "*")]
    }

    pub(super) fn word(&self, text: &str) -> Option<Word> {
        self.objects.words().find(text)
    }

    pub(super) fn text(&self, word: Word) -> &Arc<str> {
        self.objects.words().text(word)
    }

    /// The object of a number that an edge or an appearance holds.
    pub(super) fn object(&self, node: Node) -> Object {
        self.objects.object(node)
    }

    /// Its type.
    pub(super) fn kind(&self, node: Node) -> &str {
        self.objects.kind(node)
    }

    /// Its id.
    pub(super) fn id(&self, node: Node) -> &str {
        self.objects.id(node)
    }

    /// Who an edge is with.
    pub(super) fn subject(&self, edge: &Edge) -> Subject {
        Subject { object: self.object(edge.with), relation: edge.userset.map(|name| Arc::clone(self.text(name))) }
    }

    /// The edges on an object.
    pub(super) fn edges(&self, node: Node) -> &Edges {
        static NONE: Edges = Edges::NONE;
        self.objects.get(node).map_or(&NONE, |entry| &entry.edges)
    }

    /// The objects an arrow leads to. It walks the object of a userset, too: the relation after `#` plays no part in it.
    pub(super) fn arrows(
        &self,
        from: Node,
        relation: Word,
        acting_account: Option<Word>,
    ) -> impl Iterator<Item = Node> {
        let edges = self.edges(from).of(relation);
        edges.filter(move |edge| edge.counts(acting_account) && self.id(edge.with) != "*").map(|edge| edge.with)
    }

    /// Where an object is the subject, caveats not looked at.
    pub(super) fn appearances(&self, node: Node) -> impl Iterator<Item = &Appearance> {
        let appearances = self.objects.get(node).and_then(|entry| entry.appearances.as_deref());
        appearances.into_iter().flat_map(Appearances::iter)
    }

    /// Whether relationships may be with everybody who has `relation` to some object of type `kind`.
    pub(super) fn may_be_userset(&self, kind: Word, relation: Word) -> bool {
        self.usersets.contains(&(kind, relation))
    }

    fn forget_appearance(&mut self, on: Node, edge: &Edge) {
        let Edge { relation, with, userset, .. } = *edge;
        let kind = self.objects.entry(on).kind;
        let subject = self.objects.entry_mut(with);
        if let Some(appearances) = &mut subject.appearances {
            appearances.remove(AsWhat { userset, relation, kind }, on);
            if appearances.is_empty() {
                subject.appearances = None;
            }
        }
        if with != on {
            self.objects.forget_if_unused(with);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(resource: &str, relation: &str, subject: Subject) -> Relationship {
        Relationship { resource: Object::new("group", resource), relation: relation.into(), subject, acting_in: None }
    }

    #[test]
    fn what_contains_itself_can_be_removed() {
        let within = Subject { object: Object::new("group", "g"), relation: Some("member".into()) };
        let mut graph = Graph::default();

        graph.insert(edge("g", "member", within.clone()));
        graph.insert(edge("g", "member", within.clone()));
        assert_eq!(graph.iter().collect::<Vec<_>>(), [edge("g", "member", within.clone())]);

        graph.remove(&Object::new("group", "g"), "member", &within);
        graph.remove(&Object::new("group", "g"), "member", &within);
        assert!(!graph.has_relationships(&within.object) && graph.iter().next().is_none());
    }
}
