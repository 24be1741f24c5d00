use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use async_trait::async_trait;
use url::Url;

use crate::calls::Calls;
use crate::provider::side_by_side;
use crate::wire::{SetupError, Wire, WireOptions};

/// How the legacy service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgpOptions {
    /// Where it is.
    pub wire: WireOptions,
    /// Where its calls are. Default: those of the provider contract.
    pub paths: SgpPaths,
    /// What it calls our operations; one that is missing is sent under our name. Default empty.
    pub operation_names: HashMap<Operation, String>,
    /// What registering and deregistering do. Default [`SgpRegister::Alias`].
    pub register: SgpRegister,
    /// The most ids a list may name; more is an error rather than a part of them. Default 50 000.
    pub max_list_ids: usize,
}

impl SgpOptions {
    /// The defaults, for the service behind `wire`.
    #[must_use]
    pub fn at(wire: WireOptions) -> Self {
        Self {
            wire,
            paths: SgpPaths::default(),
            operation_names: HashMap::new(),
            register: SgpRegister::Alias,
            max_list_ids: 50_000,
        }
    }
}

/// Paths of the four calls on the legacy service, each beginning with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgpPaths {
    /// Default `/v1/authz/check`.
    pub check: String,
    /// Default `/v1/authz/search`.
    pub search: String,
    /// Default `/v1/authz/grant`.
    pub grant: String,
    /// Default `/v1/authz/revoke`.
    pub revoke: String,
}

impl Default for SgpPaths {
    fn default() -> Self {
        Self {
            check: "/v1/authz/check".to_owned(),
            search: "/v1/authz/search".to_owned(),
            grant: "/v1/authz/grant".to_owned(),
            revoke: "/v1/authz/revoke".to_owned(),
        }
    }
}

/// What the lifecycle verbs do at a service that knows no parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SgpRegister {
    /// Registering makes the principal owner, as a grant of `create` does; deregistering revokes it.
    #[default]
    Alias,
    /// They do nothing and succeed; ownership comes from grants and revokes alone.
    Noop,
}

/// Says which agent a resource belongs to, because the legacy service does not know.
#[async_trait]
pub trait ParentLookup: Send + Sync {
    /// The agent `resource` belongs to; `None` when there is no such resource.
    ///
    /// # Errors
    /// Whatever kept the store from answering; the check then fails as unavailable.
    async fn parent_of(
        &self,
        resource: &ResourceRef,
    ) -> Result<Option<ResourceRef>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Ownership at the legacy service.
///
/// It cannot express that changing or deleting an agent's key also needs `update` on the agent, so those two checks ask
/// twice; a key whose agent is unknown is denied. Lists are not narrowed by the second factor: they are meant for `read`.
/// Parents given to `register` are ignored.
pub struct SgpAuthorizer {
    calls: Calls,
    grant: Url,
    revoke: Url,
    register: SgpRegister,
    parents: Arc<dyn ParentLookup>,
}

impl fmt::Debug for SgpAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SgpAuthorizer")
            .field("wire", self.calls.wire().options())
            .field("register", &self.register)
            .finish_non_exhaustive()
    }
}

impl SgpAuthorizer {
    /// Makes the adapter; nothing is dialled.
    ///
    /// # Errors
    /// The address or a path is unusable, a limit is zero, or the HTTP library refuses the configuration.
    pub fn new(options: SgpOptions, parents: Arc<dyn ParentLookup>) -> Result<Self, SetupError> {
        let SgpOptions { wire, paths, operation_names, register, max_list_ids } = options;
        let wire = Wire::new(wire)?;
        let (grant, revoke) = (wire.endpoint(&paths.grant)?, wire.endpoint(&paths.revoke)?);
        let calls = Calls::new(wire, [&paths.check, &paths.search], operation_names, max_list_ids)?;
        Ok(Self { calls, grant, revoke, register, parents })
    }
}

#[async_trait]
impl Authorizer for SgpAuthorizer {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let decision = self.calls.check(principal, operation, resource).await?;
        let second_factor =
            resource.kind == ResourceKind::ApiKey && matches!(operation, Operation::Update | Operation::Delete);
        if decision == Decision::Deny || !second_factor {
            return Ok(decision);
        }
        let Some(agent) = self.parents.parent_of(resource).await.map_err(AuthzError::Unavailable)? else {
            return Ok(Decision::Deny);
        };
        self.calls.check(principal, Operation::Update, &agent).await
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
        _parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        match self.register {
            SgpRegister::Alias => self.grant(owner, Operation::Create, resource).await,
            SgpRegister::Noop => Ok(()),
        }
    }

    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        match self.register {
            SgpRegister::Alias => self.revoke(principal, Operation::Delete, resource).await,
            SgpRegister::Noop => Ok(()),
        }
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
