use std::sync::Arc;

use async_trait::async_trait;

use super::follower::{Follower, StoreUse};
use super::store::{Precondition, RelationshipStore, RelationshipStoreError, Write, Written};
use crate::model::{
    self, EvaluationError, Explanation, Graph, Object, Question, Relationship, SCHEMA, Schema, Subject, account_of,
    definition_of, role_granted_by, subject_of,
};
use crate::{
    Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope, Selectors,
};

/// Decides by the permission model over relationships in a [`RelationshipStore`].
///
/// The relationships are held in memory, so a decision costs no query when this process is the store's only writer and
/// one small one otherwise. A write goes on when its caller stops waiting for it. Calls need a tokio runtime.
///
/// An account without any relationship admits whoever acts in it; the first resource registered in it makes that an
/// explicit relationship. Where the account was given members before that, only they are admitted.
///
/// Registering states an owner, an account and a parent; a resource that has another one already is refused.
pub struct GraphAuthorizer {
    follower: Arc<Follower>,
}

impl GraphAuthorizer {
    /// Loads every relationship of `store`.
    ///
    /// # Errors
    /// As every decision: [`AuthzError::Unavailable`] or [`AuthzError::Service`].
    pub async fn open(store: Arc<dyn RelationshipStore>, store_use: StoreUse) -> Result<Self, AuthzError> {
        let schema = Arc::new(Schema::parse(SCHEMA).expect("a test parses this very text"));
        Ok(Self { follower: Arc::new(Follower::open(schema, store, store_use).await?) })
    }

    async fn write(&self, write: Write) -> Result<(), AuthzError> {
        let follower = Arc::clone(&self.follower);
        let written = tokio::spawn(async move { follower.write(write).await });
        match written.await.map_err(|error| AuthzError::Service(error.into()))?? {
            Written::Changed(_) | Written::Unchanged(_) => Ok(()),
            Written::PreconditionFailed => Err(AuthzError::Refused),
        }
    }
}

impl std::fmt::Debug for GraphAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphAuthorizer").finish_non_exhaustive()
    }
}

#[async_trait]
impl Authorizer for GraphAuthorizer {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let Some(question) = Question::new(principal) else { return Ok(Decision::Deny) };
        let schema = self.follower.schema();
        Ok(self.follower.read(|graph| question.decide(schema, graph, operation, resource)).await??)
    }

    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        let Some(question) = Question::new(principal) else { return Ok(vec![Decision::Deny; checks.len()]) };
        let schema = self.follower.schema();
        let decide = |graph: &Graph| -> Result<Vec<Decision>, EvaluationError> {
            checks.iter().map(|check| question.decide(schema, graph, check.operation, &check.resource)).collect()
        };
        Ok(self.follower.read(decide).await??)
    }

    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        let Some(question) = Question::new(principal) else { return Ok(Scope::Only(Selectors::default())) };
        let schema = self.follower.schema();
        let found = self.follower.read(|graph| question.list(schema, graph, kind, operation)).await??;
        Ok(Scope::Only(found))
    }

    async fn explain(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Explanation, AuthzError> {
        let Some(question) = Question::new(principal) else { return Ok(Explanation::nobody(operation, resource)) };
        let schema = self.follower.schema();
        Ok(self.follower.read(|graph| question.explain(schema, graph, operation, resource)).await??)
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        let subject =
            subject_of(owner).ok_or_else(|| protocol("the owner is not exactly one user or service account"))?;
        let account = account_of(owner).ok_or_else(|| protocol("the owner acts in no account"))?;
        let object = object_of(resource)?;
        let mut edges = vec![edge(&object, "owner", subject), edge(&object, "tenant", Object::new("account", account))];
        if let Some(parent) = parent {
            if parent.kind != ResourceKind::Agent || resource.kind == ResourceKind::Agent {
                return Err(protocol("a parent is an agent, and agents have none"));
            }
            edges.push(edge(&object, "parent_agent", object_of(&parent)?));
        }

        let preconditions = edges.iter().map(free_or_held).collect();
        let admitting = Object::new("account", account);
        if self.follower.read(|graph| !graph.has_relationships(&admitting)).await? {
            edges.extend(model::admission_to(account));
        }
        self.write(Write { preconditions, touch: edges, ..Write::default() }).await
    }

    async fn deregister(&self, _: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.write(Write { clear: vec![object_of(resource)?], ..Write::default() }).await
    }

    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.write(Write { touch: vec![role_edge(principal, operation, resource)?], ..Write::default() }).await
    }

    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.write(Write { remove: vec![role_edge(principal, operation, resource)?], ..Write::default() }).await
    }
}

fn role_edge(principal: &Principal, operation: Operation, resource: &ResourceRef) -> Result<Relationship, AuthzError> {
    let subject = subject_of(principal).ok_or_else(|| protocol("not exactly one user or service account"))?;
    let role = role_granted_by(operation, resource.kind).ok_or_else(|| protocol("no role holds the operation"))?;
    Ok(edge(&object_of(resource)?, role, subject))
}

fn object_of(resource: &ResourceRef) -> Result<Object, AuthzError> {
    if model::is_id(&resource.selector) {
        Ok(Object::new(definition_of(resource.kind), &resource.selector))
    } else {
        Err(protocol("the selector does not name one resource"))
    }
}

fn edge(resource: &Object, relation: &str, subject: Object) -> Relationship {
    let (resource, subject) = (resource.clone(), Subject::object(subject));
    Relationship { resource, relation: relation.into(), subject, acting_in: None }
}

fn free_or_held(edge: &Relationship) -> Precondition {
    Precondition::FreeOrHeldBy {
        resource: edge.resource.clone(),
        relation: edge.relation.to_string(),
        subject: edge.subject.clone(),
    }
}

fn protocol(text: &'static str) -> AuthzError {
    AuthzError::Protocol(text.into())
}

impl From<RelationshipStoreError> for AuthzError {
    fn from(error: RelationshipStoreError) -> Self {
        match error {
            RelationshipStoreError::Unavailable(source) => Self::Unavailable(source),
            RelationshipStoreError::Failed(source) => Self::Service(source),
        }
    }
}

impl From<EvaluationError> for AuthzError {
    fn from(error: EvaluationError) -> Self {
        Self::Protocol(error.into())
    }
}
