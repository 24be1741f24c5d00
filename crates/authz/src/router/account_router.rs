use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::flags::{RolloutFlags, RolloutStore};
use super::known::KnownFlags;
use super::shadow::{Answered, Comparer, Shadow};
use crate::model::Explanation;
use crate::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};

/// How an [`AccountRouter`] treats the flags, and whether it compares the backends.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterSettings {
    /// How long flags are used after the store said them while it fails. Default 60 s.
    pub known_for: Duration,
    /// How long flags are used without asking the store again, so how late a process follows a flag. Default 5 s.
    pub fresh_for: Duration,
    /// How long the store may take to answer before it counts as failing. Default 1 s.
    pub answer_within: Duration,
    /// Accounts whose decisions stay with Spark when their flags are unknown.
    pub cut_over: BTreeSet<String>,
    /// Comparing before the read flag is turned on; off by default.
    pub shadow: Option<Shadow>,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            known_for: Duration::from_secs(60),
            fresh_for: Duration::from_secs(5),
            answer_within: Duration::from_secs(1),
            cut_over: BTreeSet::new(),
            shadow: None,
        }
    }
}

/// Sends each verb to the backend that the principal's account uses for it; the table is that of
/// [the module](crate::router).
///
/// A principal without an account is answered by the legacy backend and writes nothing to Spark.
///
/// While the flags of an account are unknown, decisions come from the legacy backend (from Spark for accounts that are
/// cut over) and lifecycle writes are [`AuthzError::Deferred`]: the caller goes on and repeats them.
///
/// Reading from Spark without writing to it is no state an account may be in: lifecycle writes are then
/// [`AuthzError::Busy`], an error is logged and `agentex_authz_rollout_invalid_total` counts it.
///
/// With [`RouterSettings::shadow`], checks and lists of accounts whose dual-write flag is on and whose read flag is off
/// are also asked of Spark, in the background. `agentex_authz_shadow_total{type, op, outcome}` counts each answer as
/// `match`, `mismatch` or `error`; `agentex_authz_shadow_dropped_total` those left out because too many are under way.
/// Differences are warnings of the target `authz.shadow`. Calls need a tokio runtime.
pub struct AccountRouter {
    legacy: Arc<dyn Authorizer>,
    spark: Arc<dyn Authorizer>,
    flags: KnownFlags,
    cut_over: BTreeSet<String>,
    comparer: Option<Comparer>,
}

impl fmt::Debug for AccountRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRouter")
            .field("cut_over", &self.cut_over.len())
            .field("shadow", &self.comparer.is_some())
            .finish_non_exhaustive()
    }
}

/// Who answers a question.
enum Route<'a> {
    Spark,
    /// With somebody to compare with, if the answer is worth it.
    Legacy(Option<&'a Comparer>),
}

impl AccountRouter {
    /// Routes between `legacy` and `spark` by the flags in `rollout`.
    pub fn new(
        legacy: Arc<dyn Authorizer>,
        spark: Arc<dyn Authorizer>,
        rollout: Arc<dyn RolloutStore>,
        settings: RouterSettings,
    ) -> Self {
        let RouterSettings { known_for, fresh_for, answer_within, cut_over, shadow } = settings;
        let flags = KnownFlags::new(rollout, fresh_for, known_for, answer_within);
        let comparer = shadow.map(|shadow| Comparer::new(Arc::clone(&spark), shadow));
        Self { legacy, spark, flags, cut_over, comparer }
    }

    async fn route(&self, principal: &Principal) -> Route<'_> {
        let Some(account) = principal.account_id() else { return Route::Legacy(None) };
        match self.flags.of(account).await {
            Some(RolloutFlags { read: true, .. }) => Route::Spark,
            // Spark knows nothing of an account that is not written to it: there is nothing to compare.
            Some(RolloutFlags { dual_write, .. }) => Route::Legacy(self.comparer.as_ref().filter(|_| dual_write)),
            None if self.cut_over.contains(account) => Route::Spark,
            None => Route::Legacy(None),
        }
    }

    /// Whether a lifecycle write of `principal` is made to Spark.
    async fn writes(&self, principal: &Principal, verb: &'static str) -> Result<bool, AuthzError> {
        let Some(account) = principal.account_id() else { return Ok(false) };
        let Some(flags) = self.flags.of(account).await else { return Err(AuthzError::Deferred) };
        if !flags.is_valid() {
            metrics::counter!("agentex_authz_rollout_invalid_total").increment(1);
            tracing::error!(account, verb, "the account reads from Spark without dual-write: lifecycle writes refused");
            return Err(AuthzError::Busy("the account's rollout flags contradict each other".into()));
        }
        Ok(flags.dual_write)
    }
}

#[async_trait]
impl Authorizer for AccountRouter {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let comparer = match self.route(principal).await {
            Route::Spark => return self.spark.check(principal, operation, resource).await,
            Route::Legacy(comparer) => comparer,
        };
        let decision = self.legacy.check(principal, operation, resource).await?;
        if let Some(comparer) = comparer {
            let answered = || Answered::Checks(vec![(Check { operation, resource: resource.clone() }, decision)]);
            comparer.compare(principal, answered);
        }
        Ok(decision)
    }

    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        let comparer = match self.route(principal).await {
            Route::Spark => return self.spark.check_many(principal, checks).await,
            Route::Legacy(comparer) => comparer,
        };
        let decisions = self.legacy.check_many(principal, checks).await?;
        if let Some(comparer) = comparer.filter(|_| !checks.is_empty()) {
            let answered = || Answered::Checks(checks.iter().cloned().zip(decisions.iter().copied()).collect());
            comparer.compare(principal, answered);
        }
        Ok(decisions)
    }

    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        let comparer = match self.route(principal).await {
            Route::Spark => return self.spark.list_resources(principal, kind, operation).await,
            Route::Legacy(comparer) => comparer,
        };
        let scope = self.legacy.list_resources(principal, kind, operation).await?;
        if let Some(comparer) = comparer {
            comparer.compare(principal, || Answered::List(kind, operation, scope.clone()));
        }
        Ok(scope)
    }

    async fn explain(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Explanation, AuthzError> {
        match self.route(principal).await {
            Route::Spark => self.spark.explain(principal, operation, resource).await,
            Route::Legacy(_) => self.legacy.explain(principal, operation, resource).await,
        }
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        if self.writes(owner, "register").await? {
            self.spark.register(owner, resource, parent).await?;
        }
        Ok(())
    }

    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        if self.writes(principal, "deregister").await? {
            self.spark.deregister(principal, resource).await?;
        }
        Ok(())
    }

    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.legacy.grant(principal, operation, resource).await
    }

    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.legacy.revoke(principal, operation, resource).await
    }
}
