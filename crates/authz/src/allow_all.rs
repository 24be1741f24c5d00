use async_trait::async_trait;

use crate::{Authorizer, AuthzError, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};

/// Authorization switched off: every check passes, every list is whole, writes do nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

#[async_trait]
impl Authorizer for AllowAll {
    async fn check(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<Decision, AuthzError> {
        Ok(Decision::Allow)
    }

    async fn list_resources(&self, _: &Principal, _: ResourceKind, _: Operation) -> Result<Scope, AuthzError> {
        Ok(Scope::All)
    }

    async fn register(&self, _: &Principal, _: &ResourceRef, _: Option<ResourceRef>) -> Result<(), AuthzError> {
        Ok(())
    }

    async fn deregister(&self, _: &Principal, _: &ResourceRef) -> Result<(), AuthzError> {
        Ok(())
    }

    async fn grant(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<(), AuthzError> {
        Ok(())
    }

    async fn revoke(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<(), AuthzError> {
        Ok(())
    }
}
