use std::sync::Arc;
use std::time::Duration;

use agentex::authz::wrap::CircuitOptions;
use agentex::domain::ports::{Clock as _, SystemClock};
use agentex::sgp::{ProviderOptions, WireOptions};
use agentex::{Authorization, AuthorizationLimits};
use agentex_testkit::TestClock;
use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::fake_provider::{FakeProvider, Hold, Reply};
use serde_json::json;

use super::changes::{Call, create_key, create_task, fake_agent, id, made, register, register_build};
use super::world::{ByName, Home, Product, World, patient};

/// A product whose permissions are decided by a service over HTTP that does as it is told.
struct Stage {
    world: World,
    provider: FakeProvider,
    agent: FakeAgent,
    product: Product,
    _home: Home,
}

impl Stage {
    async fn new() -> Self {
        let home = Home::sqlite().await;
        let world = home.place().open().await;
        let (provider, agent) = (FakeProvider::start().await, fake_agent().await);
        let product = Product::with(world.stores.clone(), at(&provider), patient(), Arc::new(SystemClock)).await;
        let stage = Self { world, provider, agent, product, _home: home };
        stage.make(register("helper", &stage.agent)).await;
        stage
    }

    async fn make(&self, call: Call) -> String {
        let created = made(&self.product, "alice", call).await.ok();
        id(created.get("result").unwrap_or(&created))
    }

    /// Every row that lives, with or without an owner.
    async fn rows(&self) -> usize {
        let audit = self.world.audit().await;
        audit.rows + audit.unowned.len()
    }

    async fn unfinished(&self) -> u64 {
        self.world.stores.intents.backlog().await.unwrap().open
    }

    /// The restart, when everything is due and the provider is well again.
    async fn restart_later(&self) {
        let clock = TestClock::at(SystemClock.now());
        clock.advance(Duration::from_secs(7 * 24 * 3600));
        let later = Product::with(self.world.stores.clone(), at(&self.provider), patient(), Arc::new(clock)).await;
        later.quiet().await;
        later.agentex.app().relay.run_due().await.unwrap();
        assert_eq!(self.unfinished().await, 0, "{:?}", self.world.stores.intents.list(10).await);
    }

    /// What was ever registered, as the provider saw it.
    fn registered(&self) -> Vec<(String, String)> {
        let calls = self.provider.calls("/v1/authz/register");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let resources = calls.iter().map(|call| call.json()["resource"].clone());
        resources.map(|resource| (text(&resource["type"]), text(&resource["selector"]))).collect()
    }
}

fn at(provider: &FakeProvider) -> Authorization {
    let wire = WireOptions { total_timeout: Duration::from_millis(1500), ..WireOptions::to(provider.url()) };
    let limits = AuthorizationLimits {
        circuit: CircuitOptions { outages: u32::MAX, ..CircuitOptions::default() },
        ..AuthorizationLimits::default()
    };
    Authorization::provider(ProviderOptions::at(wire), Arc::new(ByName)).limits(limits)
}

/// A service that is down, one that lies, one that is slow: none of these is an answer to a write.
fn no_answers(never: &Hold, elsewhere: &str) -> Vec<(&'static str, Reply)> {
    vec![
        ("gone", Reply::disconnect()),
        ("busy", Reply::status(503)),
        ("broken", Reply::raw(500, "panic")),
        ("a gateway", Reply::status(502)),
        ("another service", Reply::raw(404, json!({"detail": "Not Found"}).to_string())),
        ("talking HTML", Reply::raw(200, "<html>it works</html>")),
        ("failing with a 200", Reply::json(json!({"success": false}))),
        ("redirecting", Reply::redirect(elsewhere)),
        ("silent", Reply::status(200).held(never)),
    ]
}

/// authz §7: 89, 153, 212
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_not_registered_writes_nothing_and_leaves_nothing() {
    let stage = Stage::new().await;
    let rows = stage.rows().await;
    let never = Hold::new();
    let mut cases = 0;
    for (how, reply) in no_answers(&never, stage.provider.url()) {
        let creates =
            [register_build(&format!("build-{cases}")), create_task("helper", "task"), create_key("helper", "key")];
        for call in creates {
            stage.provider.once("/v1/authz/register", reply.clone());

            let answer = made(&stage.product, "alice", call.clone()).await;

            assert!(!answer.is_ok(), "{how}: {} answered {answer:?}", call.path);
            assert_eq!(stage.rows().await, rows, "{how}: {} wrote a row", call.path);
            cases += 1;
        }
    }

    stage.restart_later().await;

    for (kind, selector) in &stage.registered()[2..] {
        assert_eq!(stage.provider.owners(kind, selector), [""; 0], "{kind} {selector}");
    }
    println!("{cases} creates refused, 0 rows, 0 edges");
}

/// authz §7: 213
#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_grant_fails_succeeds_and_is_granted_later() {
    let stage = Stage::new().await;
    let never = Hold::new();
    let mut created = Vec::new();
    for (how, reply) in no_answers(&never, stage.provider.url()) {
        stage.provider.once("/v1/authz/grant", reply);
        created.push((how, stage.make(create_task("helper", how)).await));
    }
    assert_eq!(stage.unfinished().await, created.len() as u64);

    stage.restart_later().await;

    let grants = stage.provider.calls("/v1/authz/grant");
    for (how, task) in created {
        let of_task = grants.iter().filter(|call| call.json()["resource"]["selector"] == task.as_str());
        assert_eq!(of_task.count(), 2, "{how}");
        assert_eq!(stage.provider.owners("task", &task), ["alice"]);
    }
}

/// authz §7: 81, 82, 160, 214
/// agents §13: 39, 40
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_succeeds_whatever_the_service_does_and_is_cleaned_up_later() {
    let stage = Stage::new().await;
    let rows = stage.rows().await;
    let never = Hold::new();
    let mut gone = Vec::new();
    for verb in ["/v1/authz/deregister", "/v1/authz/revoke"] {
        for (how, reply) in no_answers(&never, stage.provider.url()) {
            let name = format!("{}-{}", how.replace(' ', "-").to_lowercase(), verb.len());
            let agent = stage.make(register_build(&name)).await;
            let task = stage.make(create_task("helper", &name)).await;
            let key = stage.make(create_key("helper", &name)).await;
            let deletes = [
                ("agent", agent.clone(), format!("/agents/{agent}")),
                ("task", task.clone(), format!("/tasks/{task}")),
                ("api_key", key.clone(), format!("/agent_api_keys/{key}")),
            ];
            for (kind, id, path) in deletes {
                let before = stage.unfinished().await;
                stage.provider.once(verb, reply.clone());

                let answer = made(&stage.product, "alice", Call::delete(path)).await;

                assert_eq!(answer.status, 200, "{how} at {verb}: {answer:?}");
                assert_eq!(stage.unfinished().await, before + 1, "{how} at {verb}: what is left is kept");
                gone.push((kind, id));
            }
        }
    }
    assert_eq!(stage.rows().await, rows);

    stage.restart_later().await;

    for (kind, id) in &gone {
        assert_eq!(stage.provider.owners(kind, id), [""; 0], "{kind} {id}");
    }
    println!("{} deletes without the service, 0 edges left", gone.len());
}
