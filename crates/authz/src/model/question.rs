use super::evaluate::{CheckContext, EvaluationError};
use super::graph::{Graph, Object};
use super::schema::Schema;
use super::vocabulary::{account_of, creation_permission, definition_of, is_id, subject_of};
use crate::{Decision, Operation, Principal, ResourceKind, ResourceRef, Selectors};

/// Somebody who acts in an account and wants to know what it may do: the port's questions, asked of a graph.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub(crate) subject: Object,
    pub(crate) account: &'a str,
}

impl<'a> Question<'a> {
    /// `None` for a principal that is not exactly one user or service account in an account: it may do nothing.
    #[must_use]
    pub fn new(principal: &'a Principal) -> Option<Self> {
        Some(Self { subject: subject_of(principal)?, account: account_of(principal)? })
    }

    /// Whether the operation is allowed. An operation that the kind does not have is denied.
    ///
    /// # Errors
    /// As [`Schema::check`].
    pub fn decide(
        &self,
        schema: &Schema,
        graph: &Graph,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, EvaluationError> {
        let allowed = match target(schema, operation, resource, self.account) {
            None => false,
            Some((object, _)) if self.may_found(graph, &object) => true,
            Some((object, permission)) => schema.check(graph, &object, permission, &self.subject, self.context())?,
        };
        Ok(if allowed { Decision::Allow } else { Decision::Deny })
    }

    /// Ids of the resources of `kind` on which the operation is allowed.
    ///
    /// # Errors
    /// As [`Schema::lookup`].
    pub fn list(
        &self,
        schema: &Schema,
        graph: &Graph,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Selectors, EvaluationError> {
        let (definition, permission) = (definition_of(kind), operation.as_str());
        if !schema.has_permission(definition, permission) {
            return Ok(Selectors::default());
        }
        schema.lookup(graph, definition, permission, &self.subject, self.context())
    }

    /// Nobody has said yet who belongs to the account, so whoever acts in it does. Without this the first resource,
    /// whose registration says so, could never be created.
    pub(crate) fn may_found(&self, graph: &Graph, object: &Object) -> bool {
        &*object.kind == "account" && &*object.id == self.account && !graph.has_relationships(object)
    }

    pub(crate) const fn context(&self) -> CheckContext<'a> {
        CheckContext { acting_account: Some(self.account) }
    }
}

/// The object and the permission that a question is about; `None` when nobody can have what is asked for.
pub(crate) fn target(
    schema: &Schema,
    operation: Operation,
    resource: &ResourceRef,
    account: &str,
) -> Option<(Object, &'static str)> {
    if resource.selector == "*" {
        let permission = creation_permission(resource.kind).filter(|_| operation == Operation::Create)?;
        return Some((Object::new("account", account), permission));
    }
    let (definition, permission) = (definition_of(resource.kind), operation.as_str());
    let exists = is_id(&resource.selector) && schema.has_permission(definition, permission);
    exists.then(|| (Object::new(definition, &resource.selector), permission))
}
