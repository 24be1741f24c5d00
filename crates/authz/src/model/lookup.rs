use std::collections::{BTreeSet, HashSet};

use super::edges::AsWhat;
use super::evaluate::{CheckContext, EvaluationError};
use super::graph::{Graph, Object};
use super::numbers::{Node, NumberHash, Word};
use super::schema::{Expression, Schema};
use crate::Selectors;

impl Schema {
    /// Ids of every object of type `kind` on which `subject` has `permission`.
    ///
    /// Candidates are found from the subject's side and then checked, so the answer is exactly what [`Schema::check`]
    /// says of each object.
    ///
    /// # Errors
    /// As [`Schema::check`].
    pub fn lookup(
        &self,
        graph: &Graph,
        kind: &str,
        permission: &str,
        subject: &Object,
        context: CheckContext<'_>,
    ) -> Result<Selectors, EvaluationError> {
        // Asks about an object that has no relationships, for the errors of unknown and of circular names.
        self.with_permission(graph, &[Node::UNKNOWN], kind, permission, subject, context)?;
        let finding = Finding { schema: self, graph, subjects: graph.subjects_of(subject) };
        let mut candidates = finding.candidates(kind, permission);
        candidates.sort_unstable();
        candidates.dedup();
        let found = self.with_permission(graph, &candidates, kind, permission, subject, context)?;
        Ok(found.into_iter().map(|node| graph.id(node)).collect())
    }
}

/// An object, or everybody who has a relation to it.
type Face = (Node, Option<Word>);

impl Graph {
    /// Every subject that stands for `subject` in a relationship: itself, the wildcard of its type, and each userset it
    /// is in, however deep. Caveats are not looked at; the check does that.
    fn subjects_of(&self, subject: &Object) -> Vec<Face> {
        let mut subjects = Vec::from(self.faces_of(subject).map(|node| (node, None)));
        let mut known: HashSet<(Node, Word), NumberHash> = HashSet::default();
        let mut next = 0;
        while let Some((node, userset)) = subjects.get(next).copied() {
            next += 1;
            for appearance in self.appearances(node).filter(|it| it.as_what.userset == userset) {
                let relation = appearance.as_what.relation;
                if self.may_be_userset(appearance.as_what.kind, relation) {
                    let new = appearance.on.iter().filter(|on| known.insert((**on, relation)));
                    subjects.extend(new.map(|on| (*on, Some(relation))));
                }
            }
        }
        subjects
    }
}

struct Finding<'a> {
    schema: &'a Schema,
    graph: &'a Graph,
    subjects: Vec<Face>,
}

impl Finding<'_> {
    /// At least the objects on which the subject has `name`, in no order and possibly repeated; possibly more.
    fn candidates(&self, kind: &str, name: &str) -> Vec<Node> {
        let Some(definition) = self.schema.definitions.get(kind) else { return Vec::new() };
        match definition.permissions.get(name) {
            Some(expression) => self.of_expression(kind, expression),
            None => self.related(kind, name),
        }
    }

    fn related(&self, kind: &str, relation: &str) -> Vec<Node> {
        let (Some(kind), Some(relation)) = (self.graph.word(kind), self.graph.word(relation)) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (node, userset) in &self.subjects {
            let places =
                self.graph.appearances(*node).filter(|it| it.as_what == AsWhat { userset: *userset, relation, kind });
            places.for_each(|place| found.extend(&place.on));
        }
        found
    }

    fn of_expression(&self, kind: &str, expression: &Expression) -> Vec<Node> {
        match expression {
            Expression::Reference(name) => self.candidates(kind, name),
            Expression::Arrow { relation, target } => self.behind(kind, relation, target),
            Expression::Union(parts) => parts.iter().flat_map(|part| self.of_expression(kind, part)).collect(),
            // Any one part bounds the answer. One made of the object's own relations is found without walking on to
            // other objects, and is small where an arrow leads to a whole account.
            Expression::Intersection(parts) => parts
                .iter()
                .min_by_key(|part| self.arrows_in(kind, part))
                .map(|part| self.of_expression(kind, part))
                .unwrap_or_default(),
            Expression::Exclusion(parts) => {
                parts.first().map(|part| self.of_expression(kind, part)).unwrap_or_default()
            }
        }
    }

    fn behind(&self, kind: &str, relation: &str, target: &str) -> Vec<Node> {
        let subjects = self.schema.definitions.get(kind).and_then(|definition| definition.relations.get(relation));
        let kinds: BTreeSet<&str> = subjects.into_iter().flatten().map(|subject| subject.kind.as_str()).collect();
        let objects: HashSet<Node, NumberHash> =
            kinds.into_iter().flat_map(|behind| self.candidates(behind, target)).collect();
        self.pointing_at(objects, kind, relation)
    }

    /// The objects of type `kind` whose `relation` leads to one of `objects`, as itself or as a userset of it.
    fn pointing_at(&self, objects: HashSet<Node, NumberHash>, kind: &str, relation: &str) -> Vec<Node> {
        let (Some(kind), Some(relation)) = (self.graph.word(kind), self.graph.word(relation)) else {
            return Vec::new();
        };
        let appearances = objects.into_iter().flat_map(|object| self.graph.appearances(object));
        appearances
            .filter(|it| it.as_what.kind == kind && it.as_what.relation == relation)
            .flat_map(|it| it.on.iter().copied())
            .collect()
    }

    fn arrows_in(&self, kind: &str, expression: &Expression) -> usize {
        match expression {
            Expression::Reference(name) => {
                let definition = self.schema.definitions.get(kind);
                let inner = definition.and_then(|definition| definition.permissions.get(name));
                inner.map_or(0, |inner| self.arrows_in(kind, inner))
            }
            Expression::Arrow { .. } => 1,
            Expression::Union(parts) | Expression::Intersection(parts) | Expression::Exclusion(parts) => {
                parts.iter().map(|part| self.arrows_in(kind, part)).sum()
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{Relationship, SCHEMA, Subject};
    use super::*;

    /// Any relationship the schema allows, over few objects so that they meet often.
    fn relationship(schema: &Schema) -> impl Strategy<Value = Relationship> + use<> {
        use super::super::SubjectForm;
        let mut choices = Vec::new();
        for (kind, definition) in &schema.definitions {
            for (relation, subjects) in &definition.relations {
                for subject in subjects {
                    choices.push((kind.clone(), relation.clone(), subject.clone()));
                }
            }
        }
        (prop::sample::select(choices), 0..3_u8, 0..3_u8, 0..2_u8).prop_map(
            |((kind, relation, allowed), on, with, account)| {
                let subject = match allowed.form {
                    SubjectForm::Object => Subject::object(Object::new(&allowed.kind, &with.to_string())),
                    SubjectForm::Wildcard => Subject::object(Object::new(&allowed.kind, "*")),
                    SubjectForm::Userset(name) => Subject {
                        object: Object::new(&allowed.kind, &with.to_string()),
                        relation: Some(name.as_str().into()),
                    },
                };
                let acting_in = allowed.caveat.map(|_| account.to_string().as_str().into());
                let resource = Object::new(&kind, &on.to_string());
                Relationship { resource, relation: relation.as_str().into(), subject, acting_in }
            },
        )
    }

    pub(in super::super) fn relationships() -> impl Strategy<Value = Vec<Relationship>> {
        prop::collection::vec(relationship(&Schema::parse(SCHEMA).unwrap()), 0..60)
    }

    pub(in super::super) fn everything(schema: &Schema) -> Vec<(String, String)> {
        let names = |definition: &super::super::Definition| {
            definition.permissions.keys().chain(definition.relations.keys()).cloned().collect::<Vec<_>>()
        };
        schema.definitions.iter().flat_map(|(kind, d)| names(d).into_iter().map(|n| (kind.clone(), n))).collect()
    }

    proptest! {
        #[test]
        fn a_lookup_finds_exactly_what_the_checks_allow(edges in relationships(), account in 0..2_u8) {
            let schema = Schema::parse(SCHEMA).unwrap();
            let mut graph = Graph::default();
            edges.into_iter().for_each(|edge| graph.insert(edge));
            let account = account.to_string();
            let context = CheckContext { acting_account: Some(&account) };
            let subject = Object::new("user", "1");
            for (kind, permission) in everything(&schema) {
                let found = schema.lookup(&graph, &kind, &permission, &subject, context).unwrap();
                let allowed: Selectors = (0..3)
                    .map(|id| Object::new(&kind, &id.to_string()))
                    .filter(|object| schema.check(&graph, object, &permission, &subject, context).unwrap())
                    .map(|object| object.id.to_string())
                    .collect();
                prop_assert_eq!(found, allowed, "{}#{}", kind, permission);
            }
        }

        #[test]
        fn what_is_removed_leaves_no_trace(edges in relationships(), more in relationships()) {
            let mut graph = Graph::default();
            edges.iter().cloned().for_each(|edge| graph.insert(edge));
            more.iter().cloned().for_each(|edge| graph.insert(edge));
            for (index, edge) in edges.iter().chain(&more).enumerate() {
                if index % 2 == 0 {
                    graph.remove(&edge.resource, &edge.relation, &edge.subject);
                } else {
                    graph.remove_resource(&edge.resource);
                }
            }
            for edge in edges.iter().chain(&more) {
                graph.remove_resource(&edge.resource);
            }
            prop_assert_eq!(graph.iter().count(), 0);
            for edge in edges.iter().chain(&more) {
                prop_assert_eq!(graph.find(&edge.resource), Node::UNKNOWN);
                prop_assert_eq!(graph.find(&edge.subject.object), Node::UNKNOWN);
            }
        }
    }

    #[test]
    fn a_lookup_gives_up_where_the_check_does() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let user = Object::new("user", "u");
        for (depth, answer) in [(40, Ok(true)), (60, Err(EvaluationError::TooDeep))] {
            let mut graph = Graph::default();
            for number in 0..depth {
                let inner = Object::new("group", &(number + 1).to_string());
                let member = Subject { object: inner, relation: Some("member".into()) };
                graph.insert(membership(number, member));
            }
            graph.insert(membership(depth, Subject::object(user.clone())));
            let context = CheckContext::default();

            let check = schema.check(&graph, &Object::new("group", "0"), "member", &user, context);
            let lookup = schema.lookup(&graph, "group", "member", &user, context);

            assert_eq!(check, answer, "{depth}");
            assert_eq!(lookup.map(|found| found.contains("0")), answer, "{depth}");
        }
    }

    fn membership(group: usize, subject: Subject) -> Relationship {
        let resource = Object::new("group", &group.to_string());
        Relationship { resource, relation: "member".into(), subject, acting_in: None }
    }
}
