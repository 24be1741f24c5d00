use std::collections::HashSet;
use std::sync::Arc;

use super::graph::{Graph, Object, Relationship, Subject};
use super::schema::{Expression, Schema, SubjectForm};

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
        let definition = self.definitions.get(&*resource.kind);
        let definition = definition.ok_or_else(|| EvaluationError::UnknownKind(resource.kind.to_string()))?;
        if !definition.has(permission) {
            let (kind, name) = (resource.kind.to_string(), permission.to_owned());
            return Err(EvaluationError::UnknownPermission { kind, name });
        }
        if !self.definitions.contains_key(&*subject.kind) {
            return Err(EvaluationError::UnknownKind(subject.kind.to_string()));
        }
        let itself = Subject::object(subject.clone());
        let everybody = Subject::object(Object { kind: Arc::clone(&subject.kind), id: "*".into() });
        let evaluation = Evaluation { schema: self, graph, faces: [itself, everybody], context };
        evaluation.has(resource, permission, MAX_DEPTH)
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
    faces: [Subject; 2],
    context: CheckContext<'a>,
}

impl Evaluation<'_> {
    fn has(&self, resource: &Object, name: &str, depth: usize) -> Result<bool, EvaluationError> {
        let depth = depth.checked_sub(1).ok_or(EvaluationError::TooDeep)?;
        // What a relationship points at may be of a type that lacks the name; then nobody has it there.
        let Some(definition) = self.schema.definitions.get(&*resource.kind) else { return Ok(false) };
        match definition.permissions.get(name) {
            Some(expression) => self.evaluate(resource, expression, depth),
            None => self.related(resource, name, depth, &mut HashSet::new()),
        }
    }

    /// Usersets are relations (the schema is checked for that), so membership is plain reachability: what one visit
    /// did not find, no other way leads to, and a cycle ends. That is true within one search only; the next one starts
    /// with nothing visited.
    fn related(
        &self,
        resource: &Object,
        relation: &str,
        depth: usize,
        visited: &mut HashSet<(Object, Arc<str>)>,
    ) -> Result<bool, EvaluationError> {
        let Some(edges) = self.graph.of(resource, relation) else { return Ok(false) };
        let account = self.context.acting_account;
        if self.faces.iter().any(|face| edges.holds(face, account)) {
            return Ok(true);
        }
        for (object, name) in edges.usersets(account) {
            if visited.insert((object.clone(), Arc::clone(name))) {
                let depth = depth.checked_sub(1).ok_or(EvaluationError::TooDeep)?;
                if self.related(object, name, depth, visited)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn evaluate(&self, resource: &Object, expression: &Expression, depth: usize) -> Result<bool, EvaluationError> {
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
    use super::super::SCHEMA;
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
