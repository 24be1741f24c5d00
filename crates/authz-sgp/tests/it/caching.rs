use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_authz::{Authenticator, Authorizer, Operation, Principal, ResourceRef};
use agentex_authz_sgp::{AuthenticatorOptions, CacheClock, ProviderAuthenticator, WireOptions};
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::{Value, json};

use crate::support::{AUTHN, CHECK, alice_json, authorizer, headers};

const NOW: u64 = 1_700_000_000;

/// A clock that tests move; it began at [`NOW`].
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl CacheClock for Hand {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn unix(&self) -> Duration {
        Duration::from_secs(NOW) + self.monotonic()
    }
}

/// An authenticator on a provider that lets everybody in as `principal`.
struct World {
    provider: FakeProvider,
    authenticator: ProviderAuthenticator,
    clock: Hand,
}

impl World {
    async fn start(principal: Value) -> Self {
        Self::with(principal, |_| {}).await
    }

    async fn with(principal: Value, change: impl FnOnce(&mut AuthenticatorOptions)) -> Self {
        let provider = FakeProvider::start().await;
        provider.on(AUTHN, Reply::json(principal));
        let clock = Hand::default();
        let mut options = AuthenticatorOptions::at(WireOptions::to(provider.url()));
        change(&mut options);
        let authenticator = ProviderAuthenticator::with_clock(options, Arc::new(clock.clone())).unwrap();
        Self { provider, authenticator, clock }
    }

    async fn come(&self, pairs: &[(&str, &str)]) -> Principal {
        self.authenticator.authenticate(&headers(pairs)).await.unwrap().unwrap()
    }

    /// How often the provider was asked.
    fn asked(&self) -> usize {
        self.provider.calls(AUTHN).len()
    }
}

/// Writes down which counters were raised, as `name{label=value,…}`.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<Vec<String>>>);

struct Series(String, Counted);

impl CounterFn for Series {
    fn increment(&self, by: u64) {
        assert_eq!(by, 1);
        self.1.0.lock().unwrap().push(self.0.clone());
    }

    fn absolute(&self, _: u64) {}
}

impl Counted {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Counter::from_arc(Arc::new(Series(format!("{}{{{}}}", key.name(), labels.join(",")), self.clone())))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

const HIT: &str = "auth_cache_access_total{cache=auth_gateway,result=hit}";
const ABSENT: &str = "auth_cache_access_total{cache=auth_gateway,result=miss_absent}";
const EXPIRED: &str = "auth_cache_access_total{cache=auth_gateway,result=miss_expired}";
const EVICTION: &str = "auth_cache_eviction_total{cache=auth_gateway}";

/// authz §7: 54.
/// conventions §11: 45
#[tokio::test]
async fn the_same_caller_is_authenticated_once_and_authorized_each_time() {
    let world = World::start(alice_json()).await;
    world.provider.on(CHECK, Reply::json(json!({"success": true})));
    let authorizer = authorizer(&world.provider);

    for request_id in ["1", "2"] {
        let principal = world.come(&[("authorization", "Bearer a"), ("x-request-id", request_id)]).await;
        assert!(authorizer.check(&principal, Operation::Read, &ResourceRef::agent("a1")).await.unwrap().is_allowed());
        world.clock.advance(Duration::from_secs(30));
    }

    assert_eq!((world.asked(), world.provider.calls(CHECK).len()), (1, 2));
}

/// authz §7: 55, 62.
#[tokio::test]
async fn an_answer_is_forgotten_after_a_minute() {
    let counted = Counted::default();
    let _recording = metrics::set_default_local_recorder(&counted);
    let world = World::start(alice_json()).await;
    let caller = [("authorization", "Bearer a")];

    world.come(&caller).await;
    assert_eq!(counted.take(), [ABSENT]);
    world.clock.advance(Duration::from_secs(60));
    world.come(&caller).await;
    assert_eq!((counted.take(), world.asked()), (vec![HIT.to_owned()], 1));

    world.clock.advance(Duration::from_millis(1));
    world.come(&caller).await;

    assert_eq!((counted.take(), world.asked()), (vec![EXPIRED.to_owned()], 2));
    world.come(&caller).await;
    assert_eq!((counted.take(), world.asked()), (vec![HIT.to_owned()], 2));
}

/// authz §7: 56.
/// conventions §11: 46
#[tokio::test]
async fn a_principal_with_a_key_inside_is_not_kept() {
    for (api_key, asked) in [(json!("k"), 2), (json!(["k"]), 2), (json!(""), 1), (json!(null), 1)] {
        let world = World::start(json!({"user_id": "alice", "api_key": api_key})).await;

        world.come(&[("x-api-key", "k")]).await;
        world.come(&[("x-api-key", "k")]).await;

        assert_eq!(world.asked(), asked, "{api_key}");
    }
}

/// authz §7: 57.
#[tokio::test]
async fn failures_are_not_kept() {
    let world = World::start(alice_json()).await;
    for reply in [Reply::status(401), Reply::status(500), Reply::raw(200, "null")] {
        world.provider.once(AUTHN, reply);
        assert!(world.authenticator.authenticate(&headers(&[("x-api-key", "k")])).await.is_err());
    }

    assert_eq!(world.come(&[("x-api-key", "k")]).await.as_json(), &alice_json());
    assert_eq!(world.asked(), 4);
}

/// authz §7: 58, 59.
/// conventions §11: 45
#[tokio::test]
async fn callers_that_differ_in_any_telling_header_are_kept_apart() {
    let world = World::start(alice_json()).await;
    let callers: [&[(&str, &str)]; 6] = [
        &[("authorization", "Bearer a")],
        &[("authorization", "Bearer b")],
        &[("authorization", "Bearer a"), ("x-selected-account-id", "one")],
        &[("authorization", "Bearer a"), ("x-selected-account-id", "two")],
        &[("authorization", "Bearer a"), ("x-corp-identity", "one")],
        &[("authorization", "Bearer a"), ("x-corp-identity", "two")],
    ];

    for (index, caller) in callers.into_iter().enumerate() {
        world.provider.on(AUTHN, Reply::json(json!({ "user_id": index.to_string() })));
        assert_eq!(world.come(caller).await.user_id(), Some(index.to_string().as_str()));
    }

    for (index, caller) in callers.into_iter().enumerate() {
        assert_eq!(world.come(caller).await.user_id(), Some(index.to_string().as_str()));
    }
    assert_eq!(world.asked(), callers.len());
}

/// authz §7: 60.
#[tokio::test]
async fn callers_without_credentials_are_asked_about_each_time() {
    let counted = Counted::default();
    let _recording = metrics::set_default_local_recorder(&counted);
    let world = World::start(alice_json()).await;

    world.come(&[("x-forwarded-for", "10.0.0.1")]).await;
    world.come(&[("x-forwarded-for", "10.0.0.1")]).await;

    assert_eq!(world.asked(), 2);
    assert_eq!(counted.take(), Vec::<String>::new());
}

/// authz §7: 61.
#[tokio::test]
async fn only_a_new_caller_in_a_full_cache_evicts_one() {
    let counted = Counted::default();
    let _recording = metrics::set_default_local_recorder(&counted);
    let world = World::start(alice_json()).await;
    let evictions = || counted.take().into_iter().filter(|series| series == EVICTION).count();

    for number in 0..1000 {
        world.come(&[("x-api-key", &number.to_string())]).await;
    }
    assert_eq!(evictions(), 0);

    // Expired, so that it is asked about and stored again.
    world.clock.advance(Duration::from_secs(61));
    world.come(&[("x-api-key", "999")]).await;
    assert_eq!(evictions(), 0);

    world.come(&[("x-api-key", "1000")]).await;
    assert_eq!(evictions(), 1);
}

/// authz §7: 65.
#[tokio::test]
async fn a_metrics_recorder_that_fails_changes_nothing() {
    struct Broken;
    impl Recorder for Broken {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            panic!("the recorder is broken")
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
    let _recording = metrics::set_default_local_recorder(&Broken);
    let world = World::with(alice_json(), |options| options.cache_capacity = 1).await;

    for caller in ["a", "a", "b"] {
        assert_eq!(world.come(&[("x-api-key", caller)]).await.as_json(), &alice_json());
    }

    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn an_answer_is_kept_no_longer_than_it_says_it_is_valid() {
    let world = World::start(json!({"user_id": "alice", "exp": NOW + 10})).await;
    let caller = [("authorization", "Bearer a")];
    world.come(&caller).await;
    world.clock.advance(Duration::from_secs(10));
    world.come(&caller).await;
    assert_eq!(world.asked(), 1);

    world.clock.advance(Duration::from_millis(1));
    world.come(&caller).await;
    world.come(&caller).await;

    assert_eq!(world.asked(), 3, "what has expired is not kept at all");
}

#[tokio::test]
async fn the_expiry_of_a_token_lengthens_nothing() {
    let world = World::start(json!({"user_id": "alice", "exp": NOW + 3600})).await;
    let caller = [("authorization", "Bearer a")];
    world.come(&caller).await;

    world.clock.advance(Duration::from_secs(61));
    world.come(&caller).await;

    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_cache_of_no_entries_keeps_nothing() {
    let world = World::with(alice_json(), |options| options.cache_capacity = 0).await;

    world.come(&[("x-api-key", "k")]).await;
    world.come(&[("x-api-key", "k")]).await;

    assert_eq!(world.asked(), 2);
}
