use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentex::app::RelaySettings;
use agentex::authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use agentex::domain::ports::SystemClock;
use agentex_testkit::tripwire::{Trip, Tripwire};
use async_trait::async_trait;
use futures::future::join_all;

use super::changes::{Call, create_key, create_task, fake_agent, id, made, register, register_build};
use super::world::{Answer, Home, Product, World, principal};

const CLIENTS: usize = 32;

async fn on_sqlite() -> (Home, World) {
    let home = Home::sqlite().await;
    let world = home.place().open().await;
    (home, world)
}

async fn on_spicedb() -> (Home, World) {
    let home = Home::spark().await;
    let world = home.place().open().await;
    (home, world)
}

/// Everybody asks for the same at once, each as a user of its own or all as one.
async fn all_at_once(product: &Product, each_its_own: bool, call: impl Fn() -> Call) -> Vec<Answer> {
    let calls = (0..CLIENTS).map(|client| {
        let user = if each_its_own { format!("user-{client}") } else { "alice".to_owned() };
        let call = call();
        async move { made(product, &user, call).await }
    });
    join_all(calls).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

async fn duplicates_have_one_winner(world: &World) {
    let product = world.product().await;
    let agent = fake_agent().await;

    let agents = all_at_once(&product, true, || register("popular", &agent)).await;
    let builds = all_at_once(&product, true, || register_build("popular-build")).await;
    made(&product, "alice", register("helper", &agent)).await.ok();
    let tasks = all_at_once(&product, false, || create_task("helper", "same")).await;
    let keys = all_at_once(&product, false, || create_key("helper", "same")).await;

    assert_eq!((count(&agents, 200), count(&agents, 404)), (1, CLIENTS - 1), "{agents:?}");
    assert_eq!((count(&builds, 200), count(&builds, 409)), (1, CLIENTS - 1), "{builds:?}");
    assert_eq!((count(&keys, 200), count(&keys, 409)), (1, CLIENTS - 1), "{keys:?}");
    // Whoever asks for a task by name gets it, whoever made it.
    let mut ids: Vec<String> = tasks.into_iter().map(|answer| id(&answer.ok()["result"])).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    // Losers have cleaned up by themselves: no relay has run.
    let audit = world.audit().await;
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(audit.rows, 7, "three agents, two internal keys, a task and a key: {audit}");
    println!("{} clients, {audit}", 4 * CLIENTS);
}

/// authz §7: 163
#[tokio::test(flavor = "multi_thread")]
async fn of_32_clients_one_wins_and_the_losers_leave_no_edges_on_sqlite() {
    let (_home, world) = on_sqlite().await;
    duplicates_have_one_winner(&world).await;
}

/// authz §7: 163
#[tokio::test(flavor = "multi_thread")]
async fn of_32_clients_one_wins_and_the_losers_leave_no_edges_on_spicedb() {
    let (_home, world) = on_spicedb().await;
    duplicates_have_one_winner(&world).await;
}

/// A grant is on its way while the task is deleted, and arrives afterwards.
///
/// authz §7: 217
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_arrives_after_the_delete_is_taken_away_again() {
    let (_home, world) = on_sqlite().await;
    let wire = Tripwire::new(Trip::Hang);
    let product = world.wired(&wire).await;
    let agent = fake_agent().await;
    made(&product, "alice", register("helper", &agent)).await.ok();
    wire.arm_on("before grant task");
    let creating = made(&product, "alice", create_task("helper", "brief"));
    let meanwhile = async {
        wire.tripped().await;
        let answer = product.call("alice", "DELETE", "/tasks/name/brief", None).await;
        wire.release();
        answer
    };

    let (created, deleted) = tokio::join!(creating, meanwhile);

    created.ok();
    deleted.ok();
    let late = world.audit().await;
    assert_eq!((late.orphans.len(), late.intents.len()), (1, 1), "the edge is back, and it is known: {late}");
    let audit = world.settle("a grant that was late").await;
    assert_eq!(audit.rows, 2, "the agent and its key: {audit}");
}

/// An agent is registered anew while the edges of the deleted one are still being removed.
///
/// authz §7: 100, 217
#[tokio::test(flavor = "multi_thread")]
async fn a_revival_waits_for_the_deregistration_that_is_going_on() {
    let (_home, world) = on_sqlite().await;
    let wire = Tripwire::new(Trip::Hang);
    let product = world.wired(&wire).await;
    let agent = fake_agent().await;
    let id = id(&made(&product, "alice", register("phoenix", &agent)).await.ok());
    wire.arm_on("before deregister agent");
    let deleting = made(&product, "alice", Call::delete(format!("/agents/{id}")));
    let meanwhile = async {
        wire.tripped().await;
        let mut reviving = pin!(made(&product, "bob", register("phoenix", &agent)));
        tokio::select! {
            revived = &mut reviving => panic!("it did not wait: {revived:?}"),
            () = wire.passes("before opening the intent of agent", 2) => wire.release(),
        }
        reviving.await
    };

    let (deleted, revived) = tokio::join!(deleting, meanwhile);

    deleted.ok();
    assert_eq!(revived.ok()["id"], id.as_str());
    let audit = world.audit().await;
    assert!(audit.is_clean() && audit.rows == 2, "{audit}");
    let owner = world.stores.owners.find(&ResourceRef::agent(id)).await.unwrap().unwrap();
    assert_eq!(owner.owner.user_id(), Some("bob"));
}

/// The one who deletes is gone before it could remove the edges. Who wants the name is asked to try again until the
/// relay has done it, and then gets it.
///
/// authz §7: 100, 214, 217
#[tokio::test(flavor = "multi_thread")]
async fn a_revival_after_a_crash_in_the_delete_is_refused_until_the_relay_has_cleaned_up() {
    let (_home, world) = on_sqlite().await;
    let wire = Tripwire::new(Trip::Hang);
    let product = world.wired(&wire).await;
    let agent = fake_agent().await;
    let id = id(&made(&product, "alice", register("phoenix", &agent)).await.ok());
    wire.arm_on("before deregister agent");
    tokio::select! {
        answer = made(&product, "alice", Call::delete(format!("/agents/{id}"))) => panic!("{answer:?}"),
        _ = wire.tripped() => {}
    }

    let early = made(&product, "bob", register("phoenix", &agent)).await;
    assert_eq!(early.status, 503, "{early:?}");
    let audit = world.settle("a crash in a delete").await;
    assert_eq!(audit.rows, 0, "{audit}");

    made(&product, "bob", register("phoenix", &agent)).await.ok();
    let audit = world.audit().await;
    assert!(audit.is_clean() && audit.rows == 2, "{audit}");
}

/// A service that fails a third of the writes, half of those after it has made them.
struct Flaky {
    inner: Arc<dyn Authorizer>,
    dice: AtomicU64,
}

impl Flaky {
    fn over(inner: Arc<dyn Authorizer>, seed: u64) -> Arc<Self> {
        Arc::new(Self { inner, dice: AtomicU64::new(seed) })
    }

    async fn write(&self, write: impl Future<Output = Result<(), AuthzError>>) -> Result<(), AuthzError> {
        let outage = || AuthzError::Unavailable("flaky".into());
        match roll(&self.dice) % 6 {
            0 => Err(outage()),
            1 => {
                write.await?;
                Err(outage())
            }
            _ => write.await,
        }
    }
}

/// The next of a sequence of well mixed numbers (SplitMix64).
pub(super) fn roll(state: &AtomicU64) -> u64 {
    let mut mixed = state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[async_trait]
impl Authorizer for Flaky {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        self.inner.check(principal, operation, resource).await
    }

    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        self.inner.check_many(principal, checks).await
    }

    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        self.inner.list_resources(principal, kind, operation).await
    }

    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        self.write(self.inner.register(owner, resource, parent)).await
    }

    async fn deregister(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        self.write(self.inner.deregister(principal, resource)).await
    }

    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.write(self.inner.grant(principal, operation, resource)).await
    }

    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        self.write(self.inner.revoke(principal, operation, resource)).await
    }
}

/// Clients that delete and revive the same few agents while grants and deregistrations of these fail, are repeated by
/// two relays, and are overtaken. What was created with success and not deleted stays readable all the time.
async fn relays_never_touch_what_lives(world: &World, rounds: usize) {
    const POOL: usize = 3;
    let eager = RelaySettings {
        interval: Duration::from_millis(20),
        grace: Duration::from_secs(2),
        first_retry: Duration::from_millis(10),
        longest_retry: Duration::from_millis(100),
        ..RelaySettings::default()
    };
    let product = async |seed| {
        let authorizer = Flaky::over(Arc::clone(&world.authorizer), seed);
        Product::over(world.stores.clone(), authorizer, eager.clone(), Arc::new(SystemClock)).await
    };
    let products = [product(1).await, product(2).await];
    let agent = fake_agent().await;
    while !made(&products[0], "alice", register("home", &agent)).await.is_ok() {}

    let clients = (0..6).map(|client| {
        let (product, agent, authorizer) = (&products[client % 2], &agent, &world.authorizer);
        let dice = AtomicU64::new(100 + client as u64);
        async move {
            let mut kept: Vec<ResourceRef> = Vec::new();
            for round in 0..rounds {
                let name = format!("shared-{}", roll(&dice) as usize % POOL);
                let registered = made(product, "alice", register(&name, agent)).await;
                let key = made(product, "alice", create_key(&name, &format!("key-{client}-{round}"))).await;
                let task = made(product, "alice", create_task("home", &format!("task-{client}-{round}"))).await;
                if task.is_ok() {
                    kept.push(ResourceRef::task(id(&task.body["result"])));
                }
                let doomed = made(product, "alice", create_task("home", &format!("doomed-{client}-{round}"))).await;
                if doomed.is_ok() {
                    let call = Call::delete(format!("/tasks/{}", id(&doomed.body["result"])));
                    made(product, "alice", call).await.ok();
                }
                if key.is_ok() && roll(&dice).is_multiple_of(2) {
                    let gone = made(product, "alice", Call::delete(format!("/agent_api_keys/{}", id(&key.body)))).await;
                    // Somebody may have deleted the agent, and with it the key.
                    assert!(matches!(gone.status, 200 | 404), "{gone:?}");
                }
                if registered.is_ok() && roll(&dice).is_multiple_of(2) {
                    let call = Call::delete(format!("/agents/{}", id(&registered.body)));
                    let gone = made(product, "alice", call).await;
                    assert!(matches!(gone.status, 200 | 404), "{gone:?}");
                }
                let checks: Vec<Check> =
                    kept.iter().map(|task| Check { operation: Operation::Read, resource: task.clone() }).collect();
                let decisions = authorizer.check_many(&principal("alice"), &checks).await.unwrap();
                assert!(decisions.iter().all(|decision| decision.is_allowed()), "a live task lost its edges");
            }
            kept.len()
        }
    });
    let kept: usize = join_all(clients).await.into_iter().sum();

    for product in &products {
        product.quiet().await;
    }
    let audit = world.settle("two relays, six clients and a flaky service").await;
    assert!(kept > rounds, "only {kept} creates came through");
    println!("{kept} tasks kept, {audit}");
}

/// authz §7: 217
#[tokio::test(flavor = "multi_thread")]
async fn two_relays_and_a_flaky_service_take_nothing_from_a_live_row_on_sqlite() {
    let (_home, world) = on_sqlite().await;
    relays_never_touch_what_lives(&world, 6).await;
}

/// authz §7: 217
#[tokio::test(flavor = "multi_thread")]
async fn two_relays_and_a_flaky_service_take_nothing_from_a_live_row_on_spicedb() {
    let (_home, world) = on_spicedb().await;
    relays_never_touch_what_lives(&world, 4).await;
}
