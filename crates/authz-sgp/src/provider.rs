use std::collections::HashMap;
use std::fmt;

use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use async_trait::async_trait;
use futures::future::try_join_all;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::calls::{About, Calls, identity};
use crate::wire::{SetupError, Wire, WireOptions};

/// How many checks of one [`Authorizer::check_many`] are under way at a time.
const PARALLEL_CHECKS: usize = 16;

/// How an external auth provider is asked about permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderOptions {
    /// Where it is.
    pub wire: WireOptions,
    /// The most ids a list may name; more is an error rather than a part of them. Default 50 000.
    pub max_list_ids: usize,
}

impl ProviderOptions {
    /// The defaults, for the provider behind `wire`.
    #[must_use]
    pub const fn at(wire: WireOptions) -> Self {
        Self { wire, max_list_ids: 50_000 }
    }
}

/// All six verbs at an external auth provider (`/v1/authz/…`).
///
/// A denial is status 403, or a 200 whose object says `success` or `allowed` is `false`. A refused search is an empty
/// scope. Principals that are no JSON object are denied everything without asking.
pub struct ProviderAuthorizer {
    calls: Calls,
    grant: Url,
    revoke: Url,
    register: Url,
    deregister: Url,
}

impl fmt::Debug for ProviderAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderAuthorizer").field("wire", self.calls.wire().options()).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Register<'a> {
    principal: &'a Value,
    resource: &'a ResourceRef,
    /// Present even when there is none.
    parent: Option<&'a ResourceRef>,
}

#[derive(Serialize)]
struct Deregister<'a> {
    principal: &'a Value,
    resource: &'a ResourceRef,
}

impl ProviderAuthorizer {
    /// Makes the adapter; nothing is dialled.
    ///
    /// # Errors
    /// The address is unusable, a limit is zero, or the HTTP library refuses the configuration.
    pub fn new(options: ProviderOptions) -> Result<Self, SetupError> {
        let wire = Wire::new(options.wire)?;
        let [grant, revoke, register, deregister] = [
            wire.endpoint("/v1/authz/grant")?,
            wire.endpoint("/v1/authz/revoke")?,
            wire.endpoint("/v1/authz/register")?,
            wire.endpoint("/v1/authz/deregister")?,
        ];
        let reads = ["/v1/authz/check", "/v1/authz/search"];
        let calls = Calls::new(wire, reads, HashMap::new(), options.max_list_ids)?;
        Ok(Self { calls, grant, revoke, register, deregister })
    }
}

/// Asks `authorizer` several questions side by side, because these services have no call for more than one.
pub(crate) async fn side_by_side(
    authorizer: &dyn Authorizer,
    principal: &Principal,
    checks: &[Check],
) -> Result<Vec<Decision>, AuthzError> {
    let mut decisions = Vec::with_capacity(checks.len());
    for some in checks.chunks(PARALLEL_CHECKS) {
        let asked = some.iter().map(|check| authorizer.check(principal, check.operation, &check.resource));
        decisions.extend(try_join_all(asked).await?);
    }
    Ok(decisions)
}

#[async_trait]
impl Authorizer for ProviderAuthorizer {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        self.calls.check(principal, operation, resource).await
    }

    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        side_by_side(self, principal, checks).await
    }

    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        self.calls.search(principal, kind, operation).await
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        let principal = identity(owner).ok_or(AuthzError::Refused)?;
        let parent = parent.as_ref();
        let about = About { parent, ..About::resource("register", None, resource) };
        self.calls.write(&self.register, about, &Register { principal, resource, parent }).await
    }

    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        let principal = identity(principal).ok_or(AuthzError::Refused)?;
        let about = About::resource("deregister", None, resource);
        self.calls.write(&self.deregister, about, &Deregister { principal, resource }).await
    }

    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.calls.edge(&self.grant, "grant", principal, operation, resource).await
    }

    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.calls.edge(&self.revoke, "revoke", principal, operation, resource).await
    }
}
