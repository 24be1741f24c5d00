use std::collections::HashSet;
use std::fmt;

use super::evaluate::{CheckContext, EvaluationError, MAX_DEPTH};
use super::graph::{Graph, Object};
use super::numbers::{Node, NumberHash, Word};
use super::question::{Question, target};
use super::schema::{Expression, Schema};
use crate::{Decision, Operation, ResourceRef};

/// How a decision came about: a statement, whether it is true, and the statements it rests on.
///
/// Shown as an indented tree, one statement a line. It names subjects and objects, so it is for those who administer
/// permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The statement, for example `task:t#read`.
    pub statement: String,
    /// Whether it is true. The first statement's truth is the decision.
    pub holds: bool,
    /// What it rests on. All of it is looked at, so parts that would not have mattered are here, too.
    pub because: Vec<Explanation>,
}

impl Explanation {
    /// The denial of somebody who is not one user or service account in an account.
    #[must_use]
    pub fn nobody(operation: Operation, resource: &ResourceRef) -> Self {
        let reason = "the principal is exactly one user or service account and acts in an account";
        Self::of(format!("nobody may {operation} {resource}"), false, vec![Self::leaf(reason, false)])
    }

    /// A decision whose derivation is not known.
    #[must_use]
    pub fn of_decision(operation: Operation, resource: &ResourceRef, decision: Decision) -> Self {
        Self::leaf(format!("the backend allows {operation} on {resource}"), decision.is_allowed())
    }

    fn of(statement: impl Into<String>, holds: bool, because: Vec<Self>) -> Self {
        Self { statement: statement.into(), holds, because }
    }

    fn leaf(statement: impl Into<String>, holds: bool) -> Self {
        Self::of(statement, holds, Vec::new())
    }

    fn any(statement: impl Into<String>, because: Vec<Self>) -> Self {
        Self::of(statement, because.iter().any(|part| part.holds), because)
    }

    fn all(statement: impl Into<String>, because: Vec<Self>) -> Self {
        Self::of(statement, because.iter().all(|part| part.holds), because)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let sign = if self.holds { "yes" } else { "no " };
        writeln!(f, "{sign} {:indent$}{}", "", self.statement, indent = 2 * depth)?;
        self.because.iter().try_for_each(|part| part.show(f, depth + 1))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, 0)
    }
}

impl Question<'_> {
    /// How [`Question::decide`] comes to its decision.
    ///
    /// # Errors
    /// As [`Schema::check`]; where the check stops at the first answer, this looks at everything, so it may find
    /// relationships that nest too deeply where the check did not get to them.
    pub fn explain(
        &self,
        schema: &Schema,
        graph: &Graph,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Explanation, EvaluationError> {
        let asked = format!("{} acting in {} may {operation} {resource}", self.subject, self.account);
        let because = match target(schema, operation, resource, self.account) {
            None => Explanation::leaf(format!("the model lets somebody {operation} {resource}"), false),
            Some((object, _)) if self.may_found(graph, &object) => {
                Explanation::leaf(format!("{object} has no relationships yet and admits whoever acts in it"), true)
            }
            Some((object, permission)) => schema.explain(graph, &object, permission, &self.subject, self.context())?,
        };
        Ok(Explanation::all(asked, vec![because]))
    }
}

impl Schema {
    /// How [`Schema::check`] comes to its answer about names the schema knows.
    ///
    /// # Errors
    /// As [`Question::explain`].
    pub(crate) fn explain(
        &self,
        graph: &Graph,
        resource: &Object,
        permission: &str,
        subject: &Object,
        context: CheckContext<'_>,
    ) -> Result<Explanation, EvaluationError> {
        let account = context.acting_account.and_then(|account| graph.word(account));
        Explaining { schema: self, graph, faces: graph.faces_of(subject), account }.has(resource, permission, MAX_DEPTH)
    }
}

/// The evaluation of a check once more, without its shortcuts.
struct Explaining<'a> {
    schema: &'a Schema,
    graph: &'a Graph,
    faces: [Node; 2],
    account: Option<Word>,
}

impl Explaining<'_> {
    fn has(&self, resource: &Object, name: &str, depth: usize) -> Result<Explanation, EvaluationError> {
        let depth = depth.checked_sub(1).ok_or(EvaluationError::TooDeep)?;
        let definition = self.schema.definitions.get(&*resource.kind);
        match definition.and_then(|definition| definition.permissions.get(name)) {
            Some(expression) => {
                let statement = format!("{resource}#{name} = {expression}");
                let part = self.evaluate(resource, expression, depth)?;
                // An operator says no more than the permission it makes.
                let because = if matches!(expression, Expression::Reference(_) | Expression::Arrow { .. }) {
                    vec![part.clone()]
                } else {
                    part.because
                };
                Ok(Explanation::of(statement, part.holds, because))
            }
            None => self.related(resource, name, depth, &mut HashSet::default()),
        }
    }

    fn related(
        &self,
        resource: &Object,
        relation: &str,
        depth: usize,
        visited: &mut HashSet<(Node, Word), NumberHash>,
    ) -> Result<Explanation, EvaluationError> {
        let place = format!("{resource}#{relation}");
        let Some(relation) = self.graph.word(relation) else { return Ok(Explanation::leaf(place, false)) };
        let edges = self.graph.edges(self.graph.find(resource));
        let mut because = Vec::new();
        for edge in self.faces.iter().filter_map(|face| edges.with(relation, *face)) {
            let limit = edge.caveat.map(|account| format!(" for those acting in {}", self.graph.text(account)));
            let statement = format!("{place}@{}{}", self.graph.subject(&edge), limit.unwrap_or_default());
            because.push(Explanation::leaf(statement, edge.counts(self.account)));
        }
        for (edge, name) in edges.usersets(relation) {
            if edge.counts(self.account) && visited.insert((edge.with, name)) {
                let depth = depth.checked_sub(1).ok_or(EvaluationError::TooDeep)?;
                let (group, name) = (self.graph.object(edge.with), self.graph.text(name));
                because.push(self.related(&group, name, depth, visited)?);
            }
        }
        Ok(Explanation::any(place, because))
    }

    fn evaluate(
        &self,
        resource: &Object,
        expression: &Expression,
        depth: usize,
    ) -> Result<Explanation, EvaluationError> {
        let parts = |parts: &[Expression]| -> Result<Vec<Explanation>, EvaluationError> {
            parts.iter().map(|part| self.evaluate(resource, part, depth)).collect()
        };
        match expression {
            Expression::Reference(name) => self.has(resource, name, depth),
            Expression::Arrow { relation, target } => {
                let word = self.graph.word(relation);
                let from = self.graph.find(resource);
                let objects = word.into_iter().flat_map(|word| self.graph.arrows(from, word, self.account));
                let behind: Result<_, _> =
                    objects.map(|object| self.has(&self.graph.object(object), target, depth)).collect();
                Ok(Explanation::any(format!("{resource}#{relation}->{target}"), behind?))
            }
            Expression::Union(of) => Ok(Explanation::any(format!("any of {expression}"), parts(of)?)),
            Expression::Intersection(of) => Ok(Explanation::all(format!("all of {expression}"), parts(of)?)),
            Expression::Exclusion(of) => {
                let parts = parts(of)?;
                let holds =
                    parts.split_first().is_some_and(|(first, rest)| first.holds && rest.iter().all(|part| !part.holds));
                Ok(Explanation::of(format!("{expression}"), holds, parts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::SCHEMA;
    use super::super::lookup::tests::{everything, relationships};
    use super::super::{Relationship, Subject, admission_to};
    use super::*;
    use crate::Principal;

    proptest! {
        #[test]
        fn an_explanation_says_what_the_check_says(edges in relationships(), account in 0..2_u8) {
            let schema = Schema::parse(SCHEMA).unwrap();
            let mut graph = Graph::default();
            edges.into_iter().for_each(|edge| graph.insert(edge));
            let account = account.to_string();
            let context = CheckContext { acting_account: Some(&account) };
            let subject = Object::new("user", "1");
            for (kind, permission) in everything(&schema) {
                let object = Object::new(&kind, "1");
                let check = schema.check(&graph, &object, &permission, &subject, context);
                let explained = schema.explain(&graph, &object, &permission, &subject, context);
                prop_assert_eq!(explained.map(|it| it.holds), check, "{}#{}", kind, permission);
            }
        }
    }

    #[test]
    fn the_derivation_is_shown_relation_by_relation() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let mut graph = Graph::default();
        let edge = |relation: &str, subject| {
            let (resource, subject) = (Object::new("task", "t"), Subject::object(subject));
            Relationship { resource, relation: relation.into(), subject, acting_in: None }
        };
        graph.insert(edge("tenant", Object::new("account", "acme")));
        graph.insert(edge("editor", Object::new("user", "eve")));
        admission_to("acme").into_iter().for_each(|edge| graph.insert(edge));
        let eve = Principal::from_json(json!({"user_id": "eve", "account_id": "acme"}));
        let question = Question::new(&eve).unwrap();

        let shown = question.explain(&schema, &graph, Operation::Cancel, &ResourceRef::task("t")).unwrap().to_string();

        assert_eq!(
            shown,
            "no  user:eve acting in acme may cancel task:t\n\
             no    task:t#cancel = owner & internal_tenant_gate\n\
             no      task:t#owner\n\
             yes     task:t#internal_tenant_gate = tenant->belongs\n\
             yes       task:t#tenant->belongs\n\
             yes         account:acme#belongs = member + admin\n\
             yes           account:acme#member\n\
             yes             account:acme#member@user:* for those acting in acme\n\
             no            account:acme#admin\n"
        );
    }

    #[test]
    fn what_nobody_can_have_is_explained_too() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let eve = Principal::from_json(json!({"user_id": "eve", "account_id": "acme"}));
        let question = Question::new(&eve).unwrap();
        let explain = |operation, resource: &ResourceRef| {
            question.explain(&schema, &Graph::default(), operation, resource).unwrap()
        };

        assert!(!explain(Operation::Cancel, &ResourceRef::api_key("k")).holds);
        assert!(explain(Operation::Create, &ResourceRef::any(crate::ResourceKind::Task)).holds, "a new account");
        assert!(!Explanation::nobody(Operation::Read, &ResourceRef::task("t")).holds);
    }
}
