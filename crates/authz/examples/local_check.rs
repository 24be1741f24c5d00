//! What a decision costs in the process: `cargo run --release -p agentex-authz --example local_check`.
//!
//! 1,000,000 tasks of 100 owners in one account, all in memory.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentex_authz::local::{
    Changes, GraphAuthorizer, RelationshipStore, RelationshipStoreError, Revision, StoreUse, Write, Written,
};
use agentex_authz::model::{Object, Relationship, Subject, admission_to};
use agentex_authz::{Authorizer, AuthzError, Operation, Principal, ResourceKind, ResourceRef, Scope};

const TASKS: usize = 1_000_000;
const OWNERS: usize = 100;
const CHECKS: usize = 1_000_000;
const LISTS: usize = 100;

/// Holds what a real store would load and takes no writes.
struct Loaded;

#[async_trait::async_trait]
impl RelationshipStore for Loaded {
    async fn load_each(&self, each: &mut (dyn FnMut(Relationship) + Send)) -> Result<Revision, RelationshipStoreError> {
        let edge = |task: usize, relation: &str, kind: &str, id: &str| Relationship {
            resource: Object::new("task", &task_id(task)),
            relation: relation.into(),
            subject: Subject::object(Object::new(kind, id)),
            acting_in: None,
        };
        admission_to("acme").into_iter().for_each(&mut *each);
        for task in 0..TASKS {
            each(edge(task, "owner", "user", &format!("user-{}", task % OWNERS)));
            each(edge(task, "tenant", "account", "acme"));
            each(edge(task, "parent_agent", "agent", "an-agent"));
        }
        Ok(Revision::default())
    }

    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        Ok(Revision::default())
    }

    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        Ok(Changes::Since { changes: Vec::new(), revision: seen })
    }

    async fn write_all(&self, _: &[Write]) -> Result<Vec<Written>, RelationshipStoreError> {
        Err(RelationshipStoreError::Failed("nothing is written here".into()))
    }
}

fn task_id(index: usize) -> String {
    format!("{index:08x}-0000-4000-8000-000000000000")
}

fn owner(index: usize) -> Principal {
    Principal::from_json(serde_json::json!({"user_id": format!("user-{index}"), "account_id": "acme"}))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AuthzError> {
    let start = Instant::now();
    let authorizer = GraphAuthorizer::open(Arc::new(Loaded), StoreUse::Exclusive).await?;
    println!("load       {} relationships in {:.1?}{}", 3 * TASKS + 2, start.elapsed(), memory());

    let owners: Vec<Principal> = (0..OWNERS).map(owner).collect();
    // A stride that visits the tasks out of order; every other one is asked by its owner.
    let tasks: Vec<usize> = (0..CHECKS).map(|index| index * 7_919 % TASKS).collect();
    let resources: Vec<ResourceRef> = tasks.iter().map(|task| ResourceRef::task(task_id(*task))).collect();
    let mut times = Vec::with_capacity(CHECKS);
    let mut allowed = 0;
    let start = Instant::now();
    for (index, (task, resource)) in tasks.iter().zip(&resources).enumerate() {
        let who = &owners[(task + index % 2) % OWNERS];
        let asked = Instant::now();
        allowed += usize::from(authorizer.check(who, Operation::Update, resource).await?.is_allowed());
        times.push(asked.elapsed());
    }
    let rate = CHECKS as f64 / start.elapsed().as_secs_f64();
    println!("check      {rate:.0}/s on one core, {}; {allowed} of {CHECKS} allowed", percentiles(&mut times));

    let mut times = Vec::with_capacity(LISTS);
    for who in owners.iter().take(LISTS) {
        let asked = Instant::now();
        let scope = black_box(authorizer.list_resources(who, ResourceKind::Task, Operation::Read).await?);
        times.push(asked.elapsed());
        assert!(matches!(scope, Scope::Only(ids) if ids.len() == TASKS / OWNERS));
    }
    println!("list of {} of {TASKS}: {}", TASKS / OWNERS, percentiles(&mut times));
    Ok(())
}

/// What the process holds in memory, where the system says so.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap_or("?");
    format!(", resident {}, at most {}", of("VmRSS:"), of("VmHWM:"))
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    format!("p50 {:.1?}, p95 {:.1?}, p99 {:.1?}", at(50), at(95), at(99))
}
