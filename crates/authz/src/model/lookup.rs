use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::evaluate::{CheckContext, EvaluationError};
use super::graph::{Graph, Object, Subject};
use super::schema::{Expression, Schema};

impl Schema {
    /// Ids of every object of type `kind` on which `subject` has `permission`.
    ///
    /// Candidates are found from the subject's side and then checked one by one, so the answer is exactly what
    /// [`Schema::check`] says of each object.
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
    ) -> Result<BTreeSet<Arc<str>>, EvaluationError> {
        // Asks about an object that cannot exist, for the errors of unknown names.
        self.check(graph, &Object::new(kind, ""), permission, subject, context)?;
        let finding = Finding { schema: self, graph, subjects: graph.faces_of(subject) };
        let mut found = BTreeSet::new();
        for id in finding.candidates(kind, permission) {
            let resource = Object { kind: kind.into(), id };
            if self.check(graph, &resource, permission, subject, context)? {
                found.insert(resource.id);
            }
        }
        Ok(found)
    }
}

impl Graph {
    /// Every subject that stands for `subject` in a relationship: itself, the wildcard of its type, and each userset it
    /// is in, however deep. Caveats are not looked at; the check does that.
    fn faces_of(&self, subject: &Object) -> HashSet<Subject> {
        let wildcard = Subject::object(Object { kind: Arc::clone(&subject.kind), id: "*".into() });
        let mut open = vec![Subject::object(subject.clone()), wildcard];
        let mut faces: HashSet<Subject> = open.iter().cloned().collect();
        while let Some(face) = open.pop() {
            for (object, relation) in self.appearances(&face) {
                let userset = Subject { object: object.clone(), relation: Some(Arc::clone(relation)) };
                if self.appearances(&userset).next().is_some() && faces.insert(userset.clone()) {
                    open.push(userset);
                }
            }
        }
        faces
    }
}

struct Finding<'a> {
    schema: &'a Schema,
    graph: &'a Graph,
    subjects: HashSet<Subject>,
}

impl Finding<'_> {
    /// At least the ids on which the subject has `name`; possibly more.
    fn candidates(&self, kind: &str, name: &str) -> HashSet<Arc<str>> {
        let Some(definition) = self.schema.definitions.get(kind) else { return HashSet::new() };
        match definition.permissions.get(name) {
            Some(expression) => self.of_expression(kind, expression),
            None => self.related(kind, name),
        }
    }

    fn related(&self, kind: &str, relation: &str) -> HashSet<Arc<str>> {
        let places = self.subjects.iter().flat_map(|subject| self.graph.appearances(subject));
        places
            .filter(|(object, of)| &*object.kind == kind && &**of == relation)
            .map(|(object, _)| Arc::clone(&object.id))
            .collect()
    }

    fn of_expression(&self, kind: &str, expression: &Expression) -> HashSet<Arc<str>> {
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

    fn behind(&self, kind: &str, relation: &str, target: &str) -> HashSet<Arc<str>> {
        let subjects = self.schema.definitions.get(kind).and_then(|definition| definition.relations.get(relation));
        let kinds: BTreeSet<&str> = subjects.into_iter().flatten().map(|subject| subject.kind.as_str()).collect();
        let mut found = HashSet::new();
        for behind in kinds {
            for id in self.candidates(behind, target) {
                let object = Object { kind: behind.into(), id };
                found.extend(self.pointing_at(&object, kind, relation));
            }
        }
        found
    }

    /// Ids of the objects of type `kind` whose `relation` leads to `object`, as itself or as a userset of it.
    fn pointing_at(&self, object: &Object, kind: &str, relation: &str) -> HashSet<Arc<str>> {
        let definition = self.schema.definitions.get(&*object.kind);
        let usersets = definition.into_iter().flat_map(|definition| definition.relations.keys());
        let faces = usersets
            .map(|name| Subject { object: object.clone(), relation: Some(name.as_str().into()) })
            .chain([Subject::object(object.clone())]);
        faces
            .flat_map(|face| self.graph.appearances(&face).cloned().collect::<Vec<_>>())
            .filter(|(resource, of)| &*resource.kind == kind && &**of == relation)
            .map(|(resource, _)| resource.id)
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

    use super::super::{Relationship, SCHEMA};
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
                let allowed: BTreeSet<Arc<str>> = (0..3)
                    .map(|id| Object::new(&kind, &id.to_string()))
                    .filter(|object| schema.check(&graph, object, &permission, &subject, context).unwrap())
                    .map(|object| object.id)
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
                prop_assert_eq!(graph.appearances(&edge.subject).count(), 0);
            }
        }
    }
}
