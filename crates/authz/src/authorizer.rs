use async_trait::async_trait;

use crate::model::Explanation;
use crate::{Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};

/// Why a permission question has no answer, or a lifecycle write was not made. A denial is not an error but a
/// [`Decision`].
#[derive(Debug, thiserror::Error)]
pub enum AuthzError {
    /// The permission service could not be reached or did not answer in time.
    #[error("authorization service unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service answered that it cannot serve right now.
    #[error("authorization service busy")]
    Busy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service does not accept the principal's own credential any more.
    #[error("authorization service refused the credential")]
    Unauthenticated,
    /// The service itself reported that something behind it failed.
    #[error("authorization gateway error")]
    Gateway(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service failed internally.
    #[error("authorization service error")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer cannot be understood. Treated like an outage: never a permission.
    #[error("authorization answer not understood")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The write was refused, for example because somebody else owns the resource.
    #[error("authorization write refused")]
    Refused,
    /// The write could not be routed now (which backend the account uses is unknown) and was not made. The caller goes
    /// on and repeats it later.
    #[error("authorization write deferred")]
    Deferred,
}

/// One question of a [`Authorizer::check_many`] call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What the principal wants to do.
    pub operation: Operation,
    /// With which resource.
    pub resource: ResourceRef,
}

/// Decides who may do what, and records who owns what.
///
/// Implementations fail closed: when the answer is unknown they return an error, never [`Decision::Allow`]. Writes are
/// idempotent.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Whether `principal` may perform `operation` on `resource`, counting every write already made through this
    /// authorizer.
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError>;

    /// Answers several questions at once, in the order asked; a backend that can, does it in one round trip. An answer
    /// that misses a question is an error.
    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        let mut decisions = Vec::with_capacity(checks.len());
        for check in checks {
            decisions.push(self.check(principal, check.operation, &check.resource).await?);
        }
        Ok(decisions)
    }

    /// Which resources of `kind` the principal may perform `operation` on.
    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError>;

    /// How [`Authorizer::check`] comes to its decision. A backend that cannot tell says only what the decision is.
    async fn explain(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Explanation, AuthzError> {
        let decision = self.check(principal, operation, resource).await?;
        Ok(Explanation::of_decision(operation, resource, decision))
    }

    /// Makes `owner` the owner of a new resource. With a `parent`, permissions that the model derives from the parent
    /// reach the resource. Repeating it for the same owner succeeds; another owner is [`AuthzError::Refused`].
    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError>;

    /// Removes every relationship of the resource. An unknown resource succeeds.
    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError>;

    /// Records an explicit edge from `principal` to `resource`; on the legacy backend `create` means "make owner".
    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError>;

    /// Removes such an edge. An absent edge succeeds.
    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError>;
}
