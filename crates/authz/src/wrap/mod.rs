//! Wrappers that make any [`Authorizer`](crate::Authorizer) fit for traffic: each is an authorizer itself, so they nest.
//!
//! From the outside in: [`Recorded`] sees what callers see; [`Bulkhead`] keeps a slow backend from holding every request;
//! [`CircuitBreaker`] stops asking a backend that is down; [`Deadline`], inside it, turns silence into an outage that the
//! breaker can count.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use agentex_authz::wrap::{Bulkhead, CircuitBreaker, CircuitOptions, Deadline, Recorded};
//! use agentex_authz::{AllowAll, Authorizer};
//!
//! let backend: Arc<dyn Authorizer> = Arc::new(AllowAll);
//! let bounded = Arc::new(Deadline::new(backend, Duration::from_secs(5)));
//! let guarded = Arc::new(CircuitBreaker::new(bounded, CircuitOptions::default()));
//! let limited = Arc::new(Bulkhead::new(guarded, 256, Duration::from_millis(100)));
//! let authorizer = Recorded::new(limited, "local");
//! # let _ = authorizer;
//! ```

mod bulkhead;
mod circuit;
mod deadline;
#[cfg(test)]
pub(crate) mod notes;
mod recorded;
#[cfg(test)]
pub(crate) mod scripted;

pub use bulkhead::Bulkhead;
pub use circuit::{CircuitBreaker, CircuitOptions};
pub use deadline::Deadline;
pub use recorded::Recorded;
pub(crate) use recorded::subject_hash;

/// Implements [`Authorizer`](crate::Authorizer) for a wrapper with a field `inner`, by handing the call of every verb to
/// its method `through`.
macro_rules! authorizer_through {
    ($wrapper:ty) => {
        #[async_trait::async_trait]
        impl $crate::Authorizer for $wrapper {
            async fn check(
                &self,
                principal: &$crate::Principal,
                operation: $crate::Operation,
                resource: &$crate::ResourceRef,
            ) -> Result<$crate::Decision, $crate::AuthzError> {
                self.through(self.inner.check(principal, operation, resource)).await
            }

            async fn check_many(
                &self,
                principal: &$crate::Principal,
                checks: &[$crate::Check],
            ) -> Result<Vec<$crate::Decision>, $crate::AuthzError> {
                self.through(self.inner.check_many(principal, checks)).await
            }

            async fn list_resources(
                &self,
                principal: &$crate::Principal,
                kind: $crate::ResourceKind,
                operation: $crate::Operation,
            ) -> Result<$crate::Scope, $crate::AuthzError> {
                self.through(self.inner.list_resources(principal, kind, operation)).await
            }

            async fn explain(
                &self,
                principal: &$crate::Principal,
                operation: $crate::Operation,
                resource: &$crate::ResourceRef,
            ) -> Result<$crate::model::Explanation, $crate::AuthzError> {
                self.through(self.inner.explain(principal, operation, resource)).await
            }

            async fn register(
                &self,
                owner: &$crate::Principal,
                resource: &$crate::ResourceRef,
                parent: Option<$crate::ResourceRef>,
            ) -> Result<(), $crate::AuthzError> {
                self.through(self.inner.register(owner, resource, parent)).await
            }

            async fn deregister(
                &self,
                principal: &$crate::Principal,
                resource: &$crate::ResourceRef,
            ) -> Result<(), $crate::AuthzError> {
                self.through(self.inner.deregister(principal, resource)).await
            }

            async fn grant(
                &self,
                principal: &$crate::Principal,
                operation: $crate::Operation,
                resource: &$crate::ResourceRef,
            ) -> Result<(), $crate::AuthzError> {
                self.through(self.inner.grant(principal, operation, resource)).await
            }

            async fn revoke(
                &self,
                principal: &$crate::Principal,
                operation: $crate::Operation,
                resource: &$crate::ResourceRef,
            ) -> Result<(), $crate::AuthzError> {
                self.through(self.inner.revoke(principal, operation, resource)).await
            }
        }
    };
}
use authorizer_through;
