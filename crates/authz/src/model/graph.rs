use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

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
    /// Objects have few relations, so these are searched one by one.
    edges: HashMap<Object, Vec<(Arc<str>, Edges)>>,
    appearances: HashMap<Subject, HashSet<Place>>,
    /// Names of types and relations, each kept once.
    names: HashSet<Arc<str>>,
}

/// A relation of an object.
pub(super) type Place = (Object, Arc<str>);

/// The account that a caveated edge is limited to.
type Caveat = Option<Arc<str>>;

/// Subjects of one relation of one object.
///
/// Most relations hold one or two subjects; those are a list. A relation that many hold is indexed.
#[derive(Debug, Clone)]
pub(super) enum Edges {
    Few(Vec<(Subject, Caveat)>),
    Many(Box<Crowd>),
}

/// Up to how many subjects are searched one by one.
const FEW: usize = 8;

/// Many subjects. The usersets are apart, because a check looks into each of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd {
    objects: HashMap<Subject, Caveat>,
    usersets: HashMap<Subject, Caveat>,
}

impl Graph {
    /// Adds an edge; an edge between the same two that differs in its caveat only is replaced.
    pub fn insert(&mut self, edge: Relationship) {
        let Relationship { resource, relation, subject, acting_in } = edge;
        let relation = self.name(relation);
        let resource = match self.edges.get_key_value(&resource) {
            Some((known, _)) => known.clone(),
            None => Object { kind: self.name(resource.kind), id: resource.id },
        };
        let subject = match self.appearances.get_key_value(&subject) {
            Some((known, _)) => known.clone(),
            None => {
                let object = Object { kind: self.name(subject.object.kind), id: subject.object.id };
                Subject { object, relation: subject.relation.map(|name| self.name(name)) }
            }
        };
        self.appearances.entry(subject.clone()).or_default().insert((resource.clone(), Arc::clone(&relation)));
        let relations = self.edges.entry(resource).or_default();
        match relations.iter_mut().find(|(name, _)| *name == relation) {
            Some((_, edges)) => edges.insert(subject, acting_in),
            None => {
                relations.reserve_exact(1);
                relations.push((relation, Edges::Few(vec![(subject, acting_in)])));
            }
        }
    }

    /// Removes an edge, whatever its caveat. An absent one is fine.
    pub fn remove(&mut self, resource: &Object, relation: &str, subject: &Subject) {
        self.forget_appearance(resource, relation, subject);
        let Some(relations) = self.edges.get_mut(resource) else { return };
        if let Some(place) = relations.iter().position(|(name, _)| &**name == relation) {
            relations[place].1.remove(subject);
            if relations[place].1.is_empty() {
                relations.swap_remove(place);
            }
        }
        if relations.is_empty() {
            self.edges.remove(resource);
        }
    }

    /// Removes every edge on `resource`.
    pub fn remove_resource(&mut self, resource: &Object) {
        for (relation, edges) in self.edges.remove(resource).into_iter().flatten() {
            for (subject, _) in edges.iter() {
                self.forget_appearance(resource, &relation, subject);
            }
        }
    }

    /// Whether anything has a relation to `resource`.
    #[must_use]
    pub fn has_relationships(&self, resource: &Object) -> bool {
        self.edges.contains_key(resource)
    }

    fn name(&mut self, name: Arc<str>) -> Arc<str> {
        match self.names.get(&name) {
            Some(known) => Arc::clone(known),
            None => {
                self.names.insert(Arc::clone(&name));
                name
            }
        }
    }

    fn forget_appearance(&mut self, resource: &Object, relation: &str, subject: &Subject) {
        if let Some(places) = self.appearances.get_mut(subject) {
            places.remove(&(resource.clone(), relation.into()));
            if places.is_empty() {
                self.appearances.remove(subject);
            }
        }
    }

    /// Where `subject` appears, its caveats not looked at.
    pub(super) fn appearances(&self, subject: &Subject) -> impl Iterator<Item = &Place> {
        self.appearances.get(subject).into_iter().flatten()
    }

    /// Every edge, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Relationship> + '_ {
        self.edges.iter().flat_map(|(resource, relations)| {
            relations.iter().flat_map(move |(relation, edges)| {
                edges.iter().map(move |(subject, acting_in)| Relationship {
                    resource: resource.clone(),
                    relation: Arc::clone(relation),
                    subject: subject.clone(),
                    acting_in: acting_in.clone(),
                })
            })
        })
    }

    /// The objects that have `relation` to `resource` directly.
    pub fn objects(&self, resource: &Object, relation: &str) -> impl Iterator<Item = &Object> {
        let subjects = self.of(resource, relation).into_iter().flat_map(Edges::iter);
        subjects.filter(|(subject, _)| subject.relation.is_none() && !subject.is_wildcard()).map(|(s, _)| &s.object)
    }

    pub(super) fn of(&self, resource: &Object, relation: &str) -> Option<&Edges> {
        self.edges.get(resource)?.iter().find(|(name, _)| &**name == relation).map(|(_, edges)| edges)
    }
}

impl Edges {
    fn insert(&mut self, subject: Subject, caveat: Caveat) {
        match self {
            Self::Few(few) => {
                if let Some(edge) = few.iter_mut().find(|(known, _)| *known == subject) {
                    edge.1 = caveat;
                } else if few.len() < FEW {
                    few.push((subject, caveat));
                } else {
                    let mut crowd = Crowd::default();
                    few.drain(..).for_each(|(subject, caveat)| crowd.insert(subject, caveat));
                    crowd.insert(subject, caveat);
                    *self = Self::Many(Box::new(crowd));
                }
            }
            Self::Many(crowd) => crowd.insert(subject, caveat),
        }
    }

    fn remove(&mut self, subject: &Subject) {
        match self {
            Self::Few(few) => few.retain(|(known, _)| known != subject),
            Self::Many(crowd) => {
                crowd.objects.remove(subject);
                crowd.usersets.remove(subject);
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(crowd) => crowd.objects.is_empty() && crowd.usersets.is_empty(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Subject, &Caveat)> {
        let (few, crowd) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(crowd) => (None, Some(crowd)),
        };
        let few = few.into_iter().flatten().map(|(subject, caveat)| (subject, caveat));
        few.chain(crowd.into_iter().flat_map(|crowd| crowd.objects.iter().chain(&crowd.usersets)))
    }

    /// Whether an edge with `subject` itself counts in the account.
    pub(super) fn holds(&self, subject: &Subject, acting_account: Option<&str>) -> bool {
        let caveat = match self {
            Self::Few(few) => few.iter().find(|(known, _)| known == subject).map(|(_, caveat)| caveat),
            Self::Many(crowd) => crowd.objects.get(subject),
        };
        caveat.is_some_and(|caveat| counts(caveat, acting_account))
    }

    /// The usersets among them that count in the account.
    pub(super) fn usersets<'a>(
        &'a self,
        acting_account: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Object, &'a Arc<str>)> {
        let (few, crowd) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(crowd) => (None, Some(&crowd.usersets)),
        };
        let few = few.into_iter().flatten().map(|(subject, caveat)| (subject, caveat));
        few.chain(crowd.into_iter().flatten())
            .filter(move |(_, caveat)| counts(caveat, acting_account))
            .filter_map(|(subject, _)| Some((&subject.object, subject.relation.as_ref()?)))
    }

    /// The objects an arrow leads to. It walks the object of a userset, too: the relation after `#` plays no part in it.
    pub(super) fn arrows<'a>(&'a self, acting_account: Option<&'a str>) -> impl Iterator<Item = &'a Object> {
        self.iter()
            .filter(move |(subject, caveat)| counts(caveat, acting_account) && !subject.is_wildcard())
            .map(|(subject, _)| &subject.object)
    }
}

impl Crowd {
    fn insert(&mut self, subject: Subject, caveat: Caveat) {
        let side = if subject.relation.is_some() { &mut self.usersets } else { &mut self.objects };
        side.insert(subject, caveat);
    }
}

/// Whether an edge with the caveat is there for somebody who acts in the account.
fn counts(caveat: &Caveat, acting_account: Option<&str>) -> bool {
    caveat.is_none() || caveat.as_deref() == acting_account
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_that_many_hold_behaves_like_one_that_few_hold() {
        let team = Object::new("group", "team");
        let edge = |subject: Subject| Relationship {
            resource: team.clone(),
            relation: "member".into(),
            subject,
            acting_in: None,
        };
        let user = |id: usize| Subject::object(Object::new("user", &id.to_string()));
        let inner = Subject { object: Object::new("group", "inner"), relation: Some("member".into()) };
        let mut graph = Graph::default();

        graph.insert(edge(inner.clone()));
        (0..3 * FEW).for_each(|id| graph.insert(edge(user(id))));
        graph.insert(Relationship { acting_in: Some("acme".into()), ..edge(user(0)) });

        let edges = graph.of(&team, "member").unwrap();
        assert_eq!(edges.iter().count(), 3 * FEW + 1);
        assert!(edges.holds(&user(1), None) && !edges.holds(&user(0), None) && edges.holds(&user(0), Some("acme")));
        assert_eq!(edges.usersets(None).collect::<Vec<_>>(), [(&inner.object, &Arc::from("member"))]);
        assert_eq!(graph.objects(&team, "member").count(), 3 * FEW);

        (0..3 * FEW).for_each(|id| graph.remove(&team, "member", &user(id)));
        assert_eq!(graph.iter().collect::<Vec<_>>(), [edge(inner.clone())]);
        graph.remove(&team, "member", &inner);
        assert!(!graph.has_relationships(&team));
    }
}
