use std::collections::HashSet;
use std::sync::Arc;

use super::graph::{Graph, Object};
use super::schema::{Expression, Schema};

/// How deep a check may go before it is refused; a model with deeper nesting than this has a cycle.
const MAX_DEPTH: usize = 50;

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
        let definition = self.definitions.get(&*resource.kind);
        let definition = definition.ok_or_else(|| EvaluationError::UnknownKind(resource.kind.to_string()))?;
        if !definition.has(permission) {
            let (kind, name) = (resource.kind.to_string(), permission.to_owned());
            return Err(EvaluationError::UnknownPermission { kind, name });
        }
        if !self.definitions.contains_key(&*subject.kind) {
            return Err(EvaluationError::UnknownKind(subject.kind.to_string()));
        }
        let mut evaluation = Evaluation { schema: self, graph, subject, context, visited: HashSet::new() };
        evaluation.has(resource, permission, MAX_DEPTH)
    }
}

struct Evaluation<'a> {
    schema: &'a Schema,
    graph: &'a Graph,
    subject: &'a Object,
    context: CheckContext<'a>,
    /// Usersets that were looked into. They are relations (the schema is checked for that), so membership is plain
    /// reachability.
    visited: HashSet<(Object, Arc<str>)>,
}

impl Evaluation<'_> {
    fn has(&mut self, resource: &Object, name: &str, depth: usize) -> Result<bool, EvaluationError> {
        let depth = depth.checked_sub(1).ok_or(EvaluationError::TooDeep)?;
        // What a relationship points at may be of a type that lacks the name; then nobody has it there.
        let Some(definition) = self.schema.definitions.get(&*resource.kind) else { return Ok(false) };
        match definition.permissions.get(name) {
            Some(expression) => self.evaluate(resource, expression, depth),
            None => self.related(resource, name, depth),
        }
    }

    fn related(&mut self, resource: &Object, relation: &str, depth: usize) -> Result<bool, EvaluationError> {
        let Some(edges) = self.graph.of(resource, relation) else { return Ok(false) };
        if edges.names(self.subject, self.context.acting_account) {
            return Ok(true);
        }
        for (object, name) in edges.usersets(self.context.acting_account) {
            // One visit is enough: what it did not find, it will not find on another way either, and a cycle ends here.
            if self.visited.insert((object.clone(), Arc::clone(name))) && self.has(object, name, depth)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn evaluate(&mut self, resource: &Object, expression: &Expression, depth: usize) -> Result<bool, EvaluationError> {
        match expression {
            Expression::Reference(name) => self.has(resource, name, depth),
            Expression::Arrow { relation, target } => {
                let Some(edges) = self.graph.of(resource, relation) else { return Ok(false) };
                for object in edges.arrows(self.context.acting_account) {
                    if self.has(object, target, depth)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Expression::Union(parts) => {
                for part in parts {
                    if self.evaluate(resource, part, depth)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Expression::Intersection(parts) => {
                for part in parts {
                    if !self.evaluate(resource, part, depth)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Expression::Exclusion(parts) => {
                let Some((first, rest)) = parts.split_first() else { return Ok(false) };
                if !self.evaluate(resource, first, depth)? {
                    return Ok(false);
                }
                for part in rest {
                    if self.evaluate(resource, part, depth)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Relationship, SCHEMA, Subject};
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
