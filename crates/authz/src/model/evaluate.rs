use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::graph::{Graph, Object, Relationship};
use super::numbers::{Node, NumberHash, Word};
use super::schema::{Definition, Expression, Schema, SubjectForm};

/// How deep a check may go before it is refused; a model with deeper nesting than this has a cycle.
pub(super) const MAX_DEPTH: usize = 50;

/// What a check knows beside the relationships.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckContext<'a> {
    /// The account the subject acts in. The caveat `acting_in` holds where the account stored with the relationship
    /// equals it; without it no caveated relationship counts.
    pub acting_account: Option<&'a str>,
}

/// Why a check has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The schema has no such object type.
    #[error("object definition `{0}` not found")]
    UnknownKind(String),
    /// The object type has no such relation or permission.
    #[error("relation/permission `{name}` not found under definition `{kind}`")]
    UnknownPermission {
        /// The object type.
        kind: String,
        /// The name asked for.
        name: String,
    },
    /// The relationships nest too deeply.
    #[error("maximum depth exceeded")]
    TooDeep,
}

impl Schema {
    /// Whether `subject` has `permission` (or the relation of that name) on `resource`.
    ///
    /// # Errors
    /// Names the schema does not know, or nesting deeper than 50: a deployment error, not a denial.
    pub fn check(
        &self,
        graph: &Graph,
        resource: &Object,
        permission: &str,
        subject: &Object,
        context: CheckContext<'_>,
    ) -> Result<bool, EvaluationError> {
        let among = [graph.find(resource)];
        let found = self.with_permission(graph, &among, &resource.kind, permission, subject, context)?;
        Ok(!found.is_empty())
    }

    /// Those `among` objects of type `kind`, which are in ascending order, that [`Schema::check`] says yes to; its error
    /// about any of them is the answer.
    pub(super) fn with_permission(
        &self,
        graph: &Graph,
        among: &[Node],
        kind: &str,
        permission: &str,
        subject: &Object,
        context: CheckContext<'_>,
    ) -> Result<Vec<Node>, EvaluationError> {
        let definition = self.definitions.get(kind).ok_or_else(|| EvaluationError::UnknownKind(kind.to_owned()))?;
        if !definition.has(permission) {
            let (kind, name) = (kind.to_owned(), permission.to_owned());
            return Err(EvaluationError::UnknownPermission { kind, name });
        }
        if !self.definitions.contains_key(&*subject.kind) {
            return Err(EvaluationError::UnknownKind(subject.kind.to_string()));
        }
        let account = context.acting_account.and_then(|account| graph.word(account));
        let evaluation = Evaluation { schema: self, graph, faces: graph.faces_of(subject), account };
        evaluation.with(among, definition, permission, MAX_DEPTH)
    }

    /// Whether the type has a permission (not just a relation) of this name.
    #[must_use]
    pub fn has_permission(&self, kind: &str, name: &str) -> bool {
        self.definitions.get(kind).is_some_and(|definition| definition.permissions.contains_key(name))
    }

    /// Whether the schema lets such a relationship exist.
    #[must_use]
    pub fn admits(&self, edge: &Relationship) -> bool {
        let allowed = self.definitions.get(&*edge.resource.kind).and_then(|found| found.relations.get(&*edge.relation));
        allowed.into_iter().flatten().any(|allowed| {
            let form = match &allowed.form {
                SubjectForm::Object => edge.subject.relation.is_none() && !edge.subject.is_wildcard(),
                SubjectForm::Userset(name) => {
                    edge.subject.relation.as_deref() == Some(name) && !edge.subject.is_wildcard()
                }
                SubjectForm::Wildcard => edge.subject.relation.is_none() && edge.subject.is_wildcard(),
            };
            form && *allowed.kind == *edge.subject.object.kind && allowed.caveat.is_some() == edge.acting_in.is_some()
        })
    }
}

struct Evaluation<'a> {
    schema: &'a Schema,
    graph: &'a Graph,
    /// The subject, and everybody of its type.
    faces: [Node; 2],
    account: Option<Word>,
}

/// Objects are looked at many at a time, because a lookup asks the same of thousands: names are resolved once, and what
/// an arrow leads to is decided once. For each single object, what is looked at and in which order is the same.
///
/// Lists of objects are in ascending order and without repetition.
impl Evaluation<'_> {
    fn has(&self, object: Node, name: &str, depth: usize) -> Result<bool, EvaluationError> {
        // What a relationship points at may be of a type that lacks the name; then nobody has it there.
        let Some(definition) = self.schema.definitions.get(self.graph.kind(object)) else { return Ok(false) };
        Ok(!self.with(&[object], definition, name, depth)?.is_empty())
    }

    /// Those of the objects on which the subject has `name`.
    fn with(
        &self,
        objects: &[Node],
        definition: &Definition,
        name: &str,
        depth: usize,
    ) -> Result<Vec<Node>, EvaluationError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let depth = depth.checked_sub(1).ok_or(EvaluationError::TooDeep)?;
        match definition.permissions.get(name) {
            Some(expression) => self.evaluate(objects, definition, expression, depth),
            None => {
                let Some(relation) = self.graph.word(name) else { return Ok(Vec::new()) };
                let mut known = HashMap::default();
                those(objects, |object| self.related(object, relation, depth, &mut known))
            }
        }
    }

    /// Whether the subject has the relation, by itself or in a userset. `known` says of which usersets it is a member;
    /// many objects are shared with the same few.
    fn related(
        &self,
        object: Node,
        relation: Word,
        depth: usize,
        known: &mut HashMap<(Node, Word), bool, NumberHash>,
    ) -> Result<bool, EvaluationError> {
        if self.is_direct(object, relation) {
            return Ok(true);
        }
        for userset in self.usersets(object, relation) {
            let is_member = match known.get(&userset) {
                Some(is_member) => *is_member,
                None => {
                    let is_member = self.is_member(userset, depth, &mut HashSet::default())?;
                    known.insert(userset, is_member);
                    is_member
                }
            };
            if is_member {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Usersets are relations (the schema is checked for that), so membership is plain reachability: what one visit
    /// did not find, no other way leads to, and a cycle ends. That is true within one search only; the next one starts
    /// with nothing visited.
    fn is_member(
        &self,
        (object, relation): (Node, Word),
        depth: usize,
        visited: &mut HashSet<(Node, Word), NumberHash>,
    ) -> Result<bool, EvaluationError> {
        let depth = depth.checked_sub(1).ok_or(EvaluationError::TooDeep)?;
        if self.is_direct(object, relation) {
            return Ok(true);
        }
        for userset in self.usersets(object, relation) {
            if visited.insert(userset) && self.is_member(userset, depth, visited)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_direct(&self, object: Node, relation: Word) -> bool {
        let edges = self.graph.edges(object);
        let counts = |face: &Node| edges.with(relation, *face).is_some_and(|edge| edge.counts(self.account));
        self.faces.iter().any(counts)
    }

    fn usersets(&self, object: Node, relation: Word) -> impl Iterator<Item = (Node, Word)> {
        let usersets = self.graph.edges(object).usersets(relation);
        usersets.filter(|(edge, _)| edge.counts(self.account)).map(|(edge, name)| (edge.with, name))
    }

    fn evaluate(
        &self,
        objects: &[Node],
        definition: &Definition,
        expression: &Expression,
        depth: usize,
    ) -> Result<Vec<Node>, EvaluationError> {
        let of = |objects: &[Node], part| self.evaluate(objects, definition, part, depth);
        match expression {
            Expression::Reference(name) => self.with(objects, definition, name, depth),
            Expression::Arrow { relation, target } => self.behind(objects, relation, target, depth),
            Expression::Union(parts) => {
                let (mut open, mut found) = (Cow::Borrowed(objects), Vec::new());
                for part in parts {
                    let more = of(&open, part)?;
                    if !more.is_empty() {
                        open = Cow::Owned(without(&open, &more));
                        found.extend(more);
                    }
                }
                found.sort_unstable();
                Ok(found)
            }
            Expression::Intersection(parts) => {
                let left = parts.iter().try_fold(Cow::Borrowed(objects), |left, part| Ok(Cow::Owned(of(&left, part)?)));
                left.map(Cow::into_owned)
            }
            Expression::Exclusion(parts) => {
                let Some((first, rest)) = parts.split_first() else { return Ok(Vec::new()) };
                rest.iter().try_fold(of(objects, first)?, |left, part| Ok(without(&left, &of(&left, part)?)))
            }
        }
    }

    fn behind(
        &self,
        objects: &[Node],
        relation: &str,
        target: &str,
        depth: usize,
    ) -> Result<Vec<Node>, EvaluationError> {
        let Some(relation) = self.graph.word(relation) else { return Ok(Vec::new()) };
        // Mostly all of them lead to the same, and then the map stays empty.
        let mut last = None;
        let mut others: HashMap<Node, bool, NumberHash> = HashMap::default();
        let mut has = |object| match (last, others.get(&object)) {
            (Some((known, has)), _) if known == object => Ok(has),
            (_, Some(has)) => Ok(*has),
            _ => {
                let has = self.has(object, target, depth)?;
                others.extend(last.replace((object, has)));
                Ok(has)
            }
        };
        those(objects, |object| {
            for behind in self.graph.arrows(object, relation, self.account) {
                if has(behind)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

fn those(
    objects: &[Node],
    mut holds: impl FnMut(Node) -> Result<bool, EvaluationError>,
) -> Result<Vec<Node>, EvaluationError> {
    let mut found = Vec::new();
    for object in objects {
        if holds(*object)? {
            found.push(*object);
        }
    }
    Ok(found)
}

fn without(objects: &[Node], excluded: &[Node]) -> Vec<Node> {
    let mut excluded = excluded.iter().peekable();
    objects.iter().filter(|object| excluded.next_if_eq(object).is_none()).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{SCHEMA, Subject};
    use super::*;

    /// Edges as `task:t#owner@user:u`, `group:g#member`, caveats as a trailing `[account]`.
    fn graph(edges: &[&str]) -> Graph {
        let object = |text: &str| {
            let (kind, id) = text.split_once(':').unwrap();
            Object::new(kind, id)
        };
        let mut graph = Graph::default();
        for edge in edges {
            let (edge, acting_in) = match edge.strip_suffix(']').and_then(|edge| edge.split_once('[')) {
                Some((edge, account)) => (edge, Some(account.into())),
                None => (*edge, None),
            };
            let (resource, subject) = edge.split_once('@').unwrap();
            let (resource, relation) = resource.split_once('#').unwrap();
            let subject = match subject.split_once('#') {
                Some((of, relation)) => Subject { object: object(of), relation: Some(relation.into()) },
                None => Subject::object(object(subject)),
            };
            graph.insert(Relationship { resource: object(resource), relation: relation.into(), subject, acting_in });
        }
        graph
    }

    fn allowed(graph: &Graph, resource: &str, permission: &str, user: &str, account: Option<&str>) -> bool {
        let (kind, id) = resource.split_once(':').unwrap();
        let context = CheckContext { acting_account: account };
        Schema::parse(SCHEMA)
            .unwrap()
            .check(graph, &Object::new(kind, id), permission, &Object::new("user", user), context)
            .unwrap()
    }

    const TENANT: &str = "account:acme#member@user:*[acme]";

    #[test]
    fn an_owner_acts_in_the_tenants_account_only() {
        let graph = graph(&[TENANT, "task:t#tenant@account:acme", "task:t#owner@user:alice"]);

        for operation in ["read", "update", "execute", "cancel", "delete"] {
            assert!(allowed(&graph, "task:t", operation, "alice", Some("acme")), "{operation}");
            assert!(!allowed(&graph, "task:t", operation, "alice", Some("other")), "{operation}");
            assert!(!allowed(&graph, "task:t", operation, "alice", None), "{operation}");
            assert!(!allowed(&graph, "task:t", operation, "bob", Some("acme")), "{operation}");
        }
        assert!(allowed(&graph, "account:acme", "create_task", "bob", Some("acme")));
        assert!(!allowed(&graph, "account:acme", "create_task", "bob", Some("other")));
    }

    #[test]
    fn roles_grant_what_they_say_and_nothing_more() {
        let graph = graph(&[
            TENANT,
            "task:t#tenant@account:acme",
            "task:t#editor@user:eve",
            "task:t#viewer@group:staff#member",
            "group:staff#member@group:inner#member",
            "group:inner#member@user:vic",
            "group:inner#member@group:staff#member",
        ]);
        let can = |user, operation| allowed(&graph, "task:t", operation, user, Some("acme"));

        assert!(can("eve", "read") && can("eve", "update"));
        assert!(!can("eve", "cancel") && !can("eve", "execute") && !can("eve", "delete"));
        assert!(can("vic", "read"), "through nested groups, a cycle among them included");
        assert!(!can("vic", "update"));
    }

    /// The group is looked into for the role and again for the tenant.
    #[test]
    fn one_group_can_be_both_factors() {
        let graph = graph(&[
            "account:acme#member@group:staff#member",
            "task:t#tenant@account:acme",
            "task:t#viewer@group:staff#member",
            "group:staff#member@user:vic",
        ]);

        assert!(allowed(&graph, "task:t", "read", "vic", Some("acme")));
        assert!(!allowed(&graph, "task:t", "read", "eve", Some("acme")));
    }

    #[test]
    fn the_schema_admits_what_its_relations_list() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let admits = |edge: &str| graph(&[edge]).iter().all(|edge| schema.admits(&edge));

        for good in ["task:t#owner@user:u", "task:t#viewer@group:g#member", TENANT, "account:a#member@user:u"] {
            assert!(admits(good), "{good}");
        }
        for bad in [
            "task:t#owner@user:*",
            "task:t#owner@user:u[acme]",
            "task:t#owner@agent:a",
            "task:t#read@user:u",
            "task:t#viewer@group:g",
            "task:t#viewer@group:g#owner",
            "account:a#member@user:*",
            "widget:w#owner@user:u",
        ] {
            assert!(!admits(bad), "{bad}");
        }
    }

    #[test]
    fn keys_need_both_factors() {
        let base = [
            TENANT,
            "agent:a#tenant@account:acme",
            "agent_api_key:k#tenant@account:acme",
            "agent_api_key:k#parent_agent@agent:a",
        ];
        let with = |more: &[&str]| graph(&[&base[..], more].concat());
        let delete = |graph: &Graph| allowed(graph, "agent_api_key:k", "delete", "alice", Some("acme"));

        assert!(!delete(&with(&["agent_api_key:k#owner@user:alice"])));
        assert!(!delete(&with(&["agent:a#owner@user:alice"])));
        assert!(delete(&with(&["agent:a#editor@user:alice", "agent_api_key:k#owner@user:alice"])));
    }

    #[test]
    fn unknown_names_are_errors_and_not_denials() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let check = |kind: &str, permission: &str| {
            let subject = Object::new("user", "u");
            schema.check(&Graph::default(), &Object::new(kind, "x"), permission, &subject, CheckContext::default())
        };

        assert!(matches!(check("widget", "read"), Err(EvaluationError::UnknownKind(_))));
        assert!(matches!(check("task", "fly"), Err(EvaluationError::UnknownPermission { .. })));
        assert_eq!(check("task", "read"), Ok(false));
    }
}
