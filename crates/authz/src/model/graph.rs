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

    fn is_wildcard(&self) -> bool {
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
    edges: HashMap<Object, HashMap<Arc<str>, Edges>>,
    appearances: HashMap<Subject, HashSet<Place>>,
}

/// A relation of an object.
pub(super) type Place = (Object, Arc<str>);

/// Subjects of one relation of one object, with the account each is limited to.
#[derive(Debug, Clone, Default)]
pub(super) struct Edges {
    objects: HashMap<Object, Option<Arc<str>>>,
    wildcards: HashMap<Arc<str>, Option<Arc<str>>>,
    usersets: HashSet<(Object, Arc<str>, Option<Arc<str>>)>,
}

impl Graph {
    /// Adds an edge; an edge between the same two that differs in its caveat only is replaced.
    pub fn insert(&mut self, edge: Relationship) {
        let Relationship { resource, relation, subject, acting_in } = edge;
        let place = (resource.clone(), Arc::clone(&relation));
        self.appearances.entry(subject.clone()).or_default().insert(place);
        let edges = self.edges.entry(resource).or_default().entry(relation).or_default();
        match subject {
            subject if subject.is_wildcard() => {
                edges.wildcards.insert(subject.object.kind, acting_in);
            }
            Subject { object, relation: Some(relation) } => {
                edges.usersets.retain(|(o, r, _)| (o, r) != (&object, &relation));
                edges.usersets.insert((object, relation, acting_in));
            }
            Subject { object, relation: None } => {
                edges.objects.insert(object, acting_in);
            }
        }
    }

    /// Removes an edge, whatever its caveat. An absent one is fine.
    pub fn remove(&mut self, resource: &Object, relation: &str, subject: &Subject) {
        self.forget_appearance(resource, relation, subject);
        let Some(relations) = self.edges.get_mut(resource) else { return };
        if let Some(edges) = relations.get_mut(relation) {
            match subject {
                subject if subject.is_wildcard() => {
                    edges.wildcards.remove(&subject.object.kind);
                }
                Subject { object, relation: Some(relation) } => {
                    edges.usersets.retain(|(o, r, _)| (o, r) != (object, relation));
                }
                Subject { object, relation: None } => {
                    edges.objects.remove(object);
                }
            }
            if edges.is_empty() {
                relations.remove(relation);
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
                self.forget_appearance(resource, &relation, &subject);
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
                    subject,
                    acting_in,
                })
            })
        })
    }

    /// The objects that have `relation` to `resource` directly.
    pub fn objects(&self, resource: &Object, relation: &str) -> impl Iterator<Item = &Object> {
        self.of(resource, relation).into_iter().flat_map(|edges| edges.objects.keys())
    }

    pub(super) fn of(&self, resource: &Object, relation: &str) -> Option<&Edges> {
        self.edges.get(resource)?.get(relation)
    }
}

impl Edges {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.wildcards.is_empty() && self.usersets.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = (Subject, Option<Arc<str>>)> + '_ {
        let objects = self.objects.iter().map(|(object, caveat)| (Subject::object(object.clone()), caveat.clone()));
        let wildcards = self
            .wildcards
            .iter()
            .map(|(kind, caveat)| (Subject::object(Object { kind: Arc::clone(kind), id: "*".into() }), caveat.clone()));
        let usersets = self.usersets.iter().map(|(object, relation, caveat)| {
            (Subject { object: object.clone(), relation: Some(Arc::clone(relation)) }, caveat.clone())
        });
        objects.chain(wildcards).chain(usersets)
    }

    /// Whether the subject itself is among them, given the account it acts in.
    pub(super) fn names(&self, subject: &Object, acting_account: Option<&str>) -> bool {
        let counts = |caveat: &Option<Arc<str>>| caveat.is_none() || caveat.as_deref() == acting_account;
        self.objects.get(subject).is_some_and(counts) || self.wildcards.get(&subject.kind).is_some_and(counts)
    }

    /// The usersets among them that count in the account.
    pub(super) fn usersets(&self, acting_account: Option<&str>) -> impl Iterator<Item = (&Object, &Arc<str>)> {
        let acting_account = acting_account.map(str::to_owned);
        self.usersets.iter().filter_map(move |(object, relation, caveat)| {
            (caveat.is_none() || *caveat.as_deref().unwrap_or_default() == *acting_account.as_deref().unwrap_or("\0"))
                .then_some((object, relation))
        })
    }

    /// The objects an arrow leads to.
    pub(super) fn arrows(&self, acting_account: Option<&str>) -> impl Iterator<Item = &Object> {
        let acting_account = acting_account.map(str::to_owned);
        let objects = self.objects.iter();
        // An arrow walks the object of a userset, too: the relation after `#` plays no part in it.
        let usersets = self.usersets.iter().map(|(object, _, caveat)| (object, caveat));
        objects.chain(usersets).filter_map(move |(object, caveat)| {
            (caveat.is_none() || caveat.as_deref() == acting_account.as_deref()).then_some(object)
        })
    }
}
