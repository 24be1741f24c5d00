use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::wrap::subject_hash;
use crate::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, Scope, Selectors};

/// Comparisons under way at a time; one more is left out, so that a slow Spark costs no memory.
const IN_FLIGHT: usize = 64;

/// Asks Spark beside the legacy backend and counts where they differ. Callers get the legacy answer and never wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shadow {
    /// The share of checks and lists that are compared, from 0 to 1.
    pub sample: f64,
    /// How long Spark may take before the comparison counts as an error.
    pub deadline: Duration,
}

/// What the legacy backend answered.
pub(super) enum Answered {
    Checks(Vec<(Check, Decision)>),
    List(ResourceKind, Operation, Scope),
}

/// Compares in the background.
pub(super) struct Comparer {
    spark: Arc<dyn Authorizer>,
    shadow: Shadow,
    asked: AtomicU64,
    slots: Arc<Semaphore>,
}

impl Comparer {
    pub(super) fn new(spark: Arc<dyn Authorizer>, shadow: Shadow) -> Self {
        Self { spark, shadow, asked: AtomicU64::new(0), slots: Arc::new(Semaphore::new(IN_FLIGHT)) }
    }

    /// Compares `answered` with what Spark says, if this call is one of the sample. `answered` is made only then.
    pub(super) fn compare(&self, principal: &Principal, answered: impl FnOnce() -> Answered) {
        if !self.samples() {
            return;
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            metrics::counter!("agentex_authz_shadow_dropped_total").increment(1);
            return;
        };
        let (spark, deadline, principal, answered) =
            (Arc::clone(&self.spark), self.shadow.deadline, principal.clone(), answered());
        tokio::spawn(async move {
            let _slot = slot;
            match answered {
                Answered::Checks(answers) => compare_checks(&*spark, deadline, &principal, &answers).await,
                Answered::List(kind, operation, scope) => {
                    compare_list(&*spark, deadline, &principal, kind, operation, &scope).await;
                }
            }
        });
    }

    fn samples(&self) -> bool {
        // Scattered, not every n-th: calls come in patterns, and a stride could always meet the same kind of call.
        let drawn = scatter(self.asked.fetch_add(1, Ordering::Relaxed)) as f64 / u64::MAX as f64;
        drawn < self.shadow.sample
    }
}

/// A number that looks random, the same for the same `index` (SplitMix64).
const fn scatter(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

async fn compare_checks(
    spark: &dyn Authorizer,
    deadline: Duration,
    principal: &Principal,
    answers: &[(Check, Decision)],
) {
    let checks: Vec<Check> = answers.iter().map(|(check, _)| check.clone()).collect();
    let answer = within(deadline, spark.check_many(principal, &checks)).await;
    let decisions = answer.and_then(|decisions| {
        let complete = decisions.len() == checks.len();
        if complete { Ok(decisions) } else { Err(AuthzError::Protocol("not every check was answered".into())) }
    });
    let decisions = match decisions {
        Ok(decisions) => decisions,
        Err(error) => {
            failed(&error);
            checks.iter().for_each(|check| count(check.resource.kind, check.operation, "error"));
            return;
        }
    };
    for ((Check { operation, resource }, legacy), spark) in answers.iter().zip(decisions) {
        if *legacy == spark {
            count(resource.kind, *operation, "match");
            continue;
        }
        count(resource.kind, *operation, "mismatch");
        tracing::warn!(
            target: "authz.shadow",
            subject = subject_hash(principal),
            account = principal.account_id(),
            resource.type = resource.kind.as_str(),
            resource.selector = resource.selector,
            operation = operation.as_str(),
            legacy = legacy.is_allowed(),
            spark = spark.is_allowed(),
            "the backends decide differently"
        );
    }
}

async fn compare_list(
    spark: &dyn Authorizer,
    deadline: Duration,
    principal: &Principal,
    kind: ResourceKind,
    operation: Operation,
    legacy: &Scope,
) {
    let spark = match within(deadline, spark.list_resources(principal, kind, operation)).await {
        Ok(scope) => scope,
        Err(error) => {
            failed(&error);
            count(kind, operation, "error");
            return;
        }
    };
    if *legacy == spark {
        count(kind, operation, "match");
        return;
    }
    count(kind, operation, "mismatch");
    let only = |one: &Scope, other: &Scope| ids(one).zip(ids(other)).map(|(one, other)| missing(one, other));
    tracing::warn!(
        target: "authz.shadow",
        subject = subject_hash(principal),
        account = principal.account_id(),
        resource.type = kind.as_str(),
        operation = operation.as_str(),
        only_legacy = only(legacy, &spark),
        only_spark = only(&spark, legacy),
        "the backends list differently"
    );
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, AuthzError>>) -> Result<T, AuthzError> {
    timeout(deadline, call).await.unwrap_or_else(|elapsed| Err(AuthzError::Unavailable(elapsed.into())))
}

fn failed(error: &AuthzError) {
    let error: &dyn std::error::Error = error;
    tracing::debug!(target: "authz.shadow", error, "there is nothing to compare with");
}

/// How many of `one` are not among `other`.
fn missing(one: &Selectors, other: &Selectors) -> usize {
    one.iter().filter(|id| !other.contains(id)).count()
}

const fn ids(scope: &Scope) -> Option<&Selectors> {
    match scope {
        Scope::All => None,
        Scope::Only(ids) => Some(ids),
    }
}

fn count(kind: ResourceKind, operation: Operation, outcome: &'static str) {
    metrics::counter!(
        "agentex_authz_shadow_total", "type" => kind.as_str(), "op" => operation.as_str(), "outcome" => outcome
    )
    .increment(1);
}
