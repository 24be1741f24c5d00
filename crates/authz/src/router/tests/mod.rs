//! Routing between two recorded backends: a legacy service that knows grants only, and the real model in memory.

mod backends;
mod routes;
mod shadows;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use backends::{Legacy, Recording, Switches};
use serde_json::json;

use super::{AccountRouter, RolloutFlags, RouterSettings, Shadow};
use crate::local::{GraphAuthorizer, MemoryRelationships, StoreUse};
use crate::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef};

const OFF: RolloutFlags = RolloutFlags { dual_write: false, read: false };
const DUAL_WRITE: RolloutFlags = RolloutFlags { dual_write: true, read: false };
const BOTH: RolloutFlags = RolloutFlags { dual_write: true, read: true };
const READ_ONLY: RolloutFlags = RolloutFlags { dual_write: false, read: true };

fn olga() -> Principal {
    Principal::from_json(json!({"user_id": "olga", "account_id": "acme"}))
}

fn task() -> ResourceRef {
    ResourceRef::task("t")
}

/// Every flag is asked for each time, unless a test says otherwise.
fn settings() -> RouterSettings {
    RouterSettings { fresh_for: Duration::ZERO, ..RouterSettings::default() }
}

/// A router for the account `acme`, and what stands behind it.
struct Fixture {
    router: AccountRouter,
    legacy: Arc<Recording>,
    spark: Arc<Recording>,
    rollout: Arc<Switches>,
}

impl Fixture {
    async fn new(flags: RolloutFlags, settings: RouterSettings) -> Self {
        let store = Arc::new(MemoryRelationships::default());
        let model = GraphAuthorizer::open(store, StoreUse::Exclusive).await.unwrap();
        Self::with_spark(Arc::new(model), flags, settings)
    }

    fn with_spark(spark: Arc<dyn Authorizer>, flags: RolloutFlags, settings: RouterSettings) -> Self {
        let (legacy, spark) = (Recording::new(Arc::new(Legacy::default())), Recording::new(spark));
        let rollout = Switches::new(flags);
        let router = AccountRouter::new(legacy.clone(), spark.clone(), rollout.clone(), settings);
        Self { router, legacy, spark, rollout }
    }

    /// What reached the legacy backend and Spark since the last question.
    fn calls(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        (self.legacy.take(), self.spark.take())
    }

    async fn read(&self) -> Decision {
        self.router.check(&olga(), Operation::Read, &task()).await.unwrap()
    }
}

/// Every question, once.
async fn ask_everything(router: &AccountRouter, who: &Principal) {
    let check = Check { operation: Operation::Update, resource: task() };
    let _ = router.check(who, Operation::Read, &task()).await.unwrap();
    let _ = router.check_many(who, &[check]).await.unwrap();
    let _ = router.list_resources(who, ResourceKind::Task, Operation::Read).await.unwrap();
    router.explain(who, Operation::Read, &task()).await.unwrap();
}

const QUESTIONS: [&str; 4] = ["check", "check_many", "list_resources", "explain"];
const NOTHING: [&str; 0] = [];

async fn write_lifecycle(router: &AccountRouter, who: &Principal) -> [Result<(), AuthzError>; 2] {
    [router.register(who, &task(), None).await, router.deregister(who, &task()).await]
}

async fn write_edges(router: &AccountRouter, who: &Principal) {
    router.grant(who, Operation::Create, &task()).await.unwrap();
    router.revoke(who, Operation::Delete, &task()).await.unwrap();
}
