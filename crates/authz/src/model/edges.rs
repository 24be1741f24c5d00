use std::collections::{HashMap, HashSet};

use super::numbers::{Node, NumberHash, Word};

/// One edge, seen from the object it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) relation: Word,
    pub(super) with: Node,
    /// `member` where the edge is with everybody in `group:g#member`.
    pub(super) userset: Option<Word>,
    /// The account that a caveated edge is limited to.
    pub(super) caveat: Option<Word>,
}

impl Edge {
    /// Whether the two differ in their caveat at most.
    fn is_same(&self, other: &Self) -> bool {
        (self.relation, self.with, self.userset) == (other.relation, other.with, other.userset)
    }

    /// Whether the edge is there for somebody who acts in the account.
    pub(super) fn counts(&self, acting_account: Option<Word>) -> bool {
        self.caveat.is_none() || self.caveat == acting_account
    }
}

/// Edges on one object.
///
/// Most objects have an owner, an account and a parent, and those are right here. Some have a handful, in a list. An
/// object that has many is indexed.
#[derive(Debug, Clone)]
pub(super) enum Edges {
    Three([Option<Edge>; 3]),
    Few(Vec<Option<Edge>>),
    Many(HashMap<Word, Crowd, NumberHash>),
}

/// Up to how many edges are searched one by one.
pub(super) const FEW: usize = 16;

/// The edges of one relation. The usersets are apart, because a check looks into each of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd {
    objects: HashMap<Node, Option<Word>, NumberHash>,
    usersets: HashMap<(Node, Word), Option<Word>, NumberHash>,
}

impl Edges {
    pub(super) const NONE: Self = Self::Three([None; 3]);

    /// Adds an edge, in place of one that differs in its caveat only.
    pub(super) fn insert(&mut self, edge: Edge) {
        let few = match self {
            Self::Three(three) => three.as_mut_slice(),
            Self::Few(few) => few.as_mut_slice(),
            Self::Many(many) => return insert(many, edge),
        };
        let place = few.iter().position(|known| known.is_some_and(|known| known.is_same(&edge)));
        if let Some(place) = place.or_else(|| few.iter().position(Option::is_none)) {
            few[place] = Some(edge);
        } else if few.len() < FEW {
            let mut more = few.to_vec();
            more.resize((2 * few.len()).min(FEW), None);
            more[few.len()] = Some(edge);
            *self = Self::Few(more);
        } else {
            let mut many = HashMap::default();
            few.iter().copied().flatten().chain([edge]).for_each(|edge| insert(&mut many, edge));
            *self = Self::Many(many);
        }
    }

    /// Removes an edge, whatever its caveat.
    pub(super) fn remove(&mut self, edge: &Edge) {
        match self {
            Self::Three(three) => vacate(three, edge),
            Self::Few(few) => vacate(few, edge),
            Self::Many(many) => {
                let Some(crowd) = many.get_mut(&edge.relation) else { return };
                match edge.userset {
                    None => crowd.objects.remove(&edge.with),
                    Some(name) => crowd.usersets.remove(&(edge.with, name)),
                };
                if crowd.objects.is_empty() && crowd.usersets.is_empty() {
                    many.remove(&edge.relation);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Three(three) => three.iter().all(Option::is_none),
            Self::Few(few) => few.iter().all(Option::is_none),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Edge> {
        let (few, many) = match self {
            Self::Three(three) => (three.as_slice(), None),
            Self::Few(few) => (few.as_slice(), None),
            Self::Many(many) => (&[][..], Some(many)),
        };
        let many = many.into_iter().flat_map(|many| many.iter());
        few.iter().copied().flatten().chain(many.flat_map(|(relation, crowd)| crowd.iter(*relation)))
    }

    pub(super) fn of(&self, relation: Word) -> impl Iterator<Item = Edge> {
        let (few, crowd) = self.parts(relation);
        let few = few.iter().copied().flatten().filter(move |edge| edge.relation == relation);
        few.chain(crowd.into_iter().flat_map(move |crowd| crowd.iter(relation)))
    }

    /// The edge of the relation with the object itself.
    pub(super) fn with(&self, relation: Word, object: Node) -> Option<Edge> {
        let (few, crowd) = self.parts(relation);
        let found = few
            .iter()
            .copied()
            .flatten()
            .find(|edge| (edge.relation, edge.with, edge.userset) == (relation, object, None));
        found.or_else(|| {
            let caveat = *crowd?.objects.get(&object)?;
            Some(Edge { relation, with: object, userset: None, caveat })
        })
    }

    /// The edges of the relation that are with a userset, and that userset.
    pub(super) fn usersets(&self, relation: Word) -> impl Iterator<Item = (Edge, Word)> {
        let (few, crowd) = self.parts(relation);
        let few = few.iter().copied().flatten().filter(move |edge| edge.relation == relation);
        let many = crowd.into_iter().flat_map(move |crowd| crowd.usersets(relation));
        few.chain(many).filter_map(|edge| Some((edge, edge.userset?)))
    }

    fn parts(&self, relation: Word) -> (&[Option<Edge>], Option<&Crowd>) {
        match self {
            Self::Three(three) => (three, None),
            Self::Few(few) => (few, None),
            Self::Many(many) => (&[], many.get(&relation)),
        }
    }
}

impl Crowd {
    fn iter(&self, relation: Word) -> impl Iterator<Item = Edge> {
        let objects = self.objects.iter().map(move |(with, caveat)| Edge {
            relation,
            with: *with,
            userset: None,
            caveat: *caveat,
        });
        objects.chain(self.usersets(relation))
    }

    fn usersets(&self, relation: Word) -> impl Iterator<Item = Edge> {
        let edge = move |(with, name), caveat| Edge { relation, with, userset: Some(name), caveat };
        self.usersets.iter().map(move |(userset, caveat)| edge(*userset, *caveat))
    }
}

fn vacate(few: &mut [Option<Edge>], edge: &Edge) {
    few.iter_mut().filter(|known| known.is_some_and(|known| known.is_same(edge))).for_each(|known| *known = None);
}

fn insert(many: &mut HashMap<Word, Crowd, NumberHash>, edge: Edge) {
    let crowd = many.entry(edge.relation).or_default();
    match edge.userset {
        None => crowd.objects.insert(edge.with, edge.caveat),
        Some(name) => crowd.usersets.insert((edge.with, name), edge.caveat),
    };
}

/// Where an object is the subject: for each way of being one, on what.
#[derive(Debug, Clone, Default)]
pub(super) struct Appearances(Vec<Appearance>);

/// What one subject has one relation to, among the objects of one type.
#[derive(Debug, Clone)]
pub(super) struct Appearance {
    pub(super) as_what: AsWhat,
    pub(super) on: HashSet<Node, NumberHash>,
}

/// How an object appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AsWhat {
    /// As itself, or as the userset of this relation.
    pub(super) userset: Option<Word>,
    /// In which relation.
    pub(super) relation: Word,
    /// To objects of which type.
    pub(super) kind: Word,
}

impl Appearances {
    pub(super) fn insert(&mut self, as_what: AsWhat, on: Node) {
        match self.0.iter_mut().find(|known| known.as_what == as_what) {
            Some(known) => {
                known.on.insert(on);
            }
            None => self.0.push(Appearance { as_what, on: HashSet::from_iter([on]) }),
        }
    }

    pub(super) fn remove(&mut self, as_what: AsWhat, on: Node) {
        let Some(place) = self.0.iter().position(|known| known.as_what == as_what) else { return };
        self.0[place].on.remove(&on);
        if self.0[place].on.is_empty() {
            self.0.swap_remove(place);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Appearance> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::numbers::Words;
    use super::*;

    #[test]
    fn an_object_with_many_edges_behaves_like_one_with_few() {
        let mut words = Words::default();
        let mut word = |text: &str| words.number(&Arc::from(text));
        let (member, admin, acme, inner) = (word("member"), word("admin"), word("acme"), Node::of_index(1_000));
        let user = |index| Edge { relation: member, with: Node::of_index(index), userset: None, caveat: None };
        let group = Edge { relation: member, with: inner, userset: Some(member), caveat: None };
        let chief = Edge { relation: admin, ..user(0) };
        let mut edges = Edges::NONE;

        [group, chief].into_iter().for_each(|edge| edges.insert(edge));
        (0..3 * FEW).for_each(|index| edges.insert(user(index)));
        edges.insert(Edge { caveat: Some(acme), ..user(0) });

        assert!(matches!(edges, Edges::Many(_)));
        assert_eq!(
            (edges.iter().count(), edges.of(member).count(), edges.of(admin).count()),
            (3 * FEW + 2, 3 * FEW + 1, 1)
        );
        assert_eq!(edges.with(member, Node::of_index(1)), Some(user(1)));
        assert_eq!(edges.with(member, Node::of_index(0)), Some(Edge { caveat: Some(acme), ..user(0) }));
        assert_eq!(edges.with(member, inner), None, "everybody in the group, not the group");
        assert_eq!(edges.usersets(member).collect::<Vec<_>>(), [(group, member)]);

        (0..3 * FEW).for_each(|index| edges.remove(&user(index)));
        edges.remove(&chief);
        assert_eq!(edges.iter().collect::<Vec<_>>(), [group]);
        edges.remove(&group);
        assert!(edges.is_empty());
    }
}
