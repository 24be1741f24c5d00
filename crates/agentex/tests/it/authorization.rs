//! Backends as an embedder chooses them.

use std::sync::Arc;
use std::time::Duration;

use agentex::authz::{Authenticator, Decision, Operation, Principal, ResourceRef, StaticToken, StaticTokens};
use agentex::domain::ports::Stores;
use agentex::{Agentex, Authorization, BuildError, Builder, ToolsUse};
use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::http_client::HttpClient;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{folder, register, serve};

const ALICE: &str = "alice-0123456789abcdef";

fn tokens() -> Arc<dyn Authenticator> {
    let alice = StaticToken {
        token: ALICE.to_owned(),
        user_id: Some("alice".to_owned()),
        service_account_id: None,
        accounts: vec!["acme".to_owned()],
    };
    Arc::new(StaticTokens::new([alice]).unwrap())
}

fn alice() -> Principal {
    Principal::from_json(json!({ "user_id": "alice", "account_id": "acme" }))
}

async fn client(agentex: &Agentex) -> HttpClient {
    HttpClient::new(serve(agentex.router()).await).with_header("x-api-key", ALICE)
}

fn create() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "task/create", "params": {} })
}

/// A task of a new agent, both made by alice.
async fn create_task(client: &HttpClient) -> String {
    register(client, &FakeAgent::start().await).await;
    let created = client.post("/agents/name/echo/rpc", &create()).await.expect(200);
    created["result"]["id"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned()
}

fn local(folder: &TempDir) -> Builder {
    Agentex::builder().embedded(folder.path()).authorization(Authorization::local(tokens()))
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_look_on_beside_a_running_server_and_take_its_place_when_it_is_gone() {
    let folder = folder();
    let agentex = local(&folder).build().await.unwrap();
    let task = ResourceRef::task(create_task(&client(&agentex).await).await);

    let beside = local(&folder).open_tools(ToolsUse::Beside).await.unwrap();
    let authorizer = beside.authorizer.clone().unwrap();
    assert_eq!(authorizer.check(&alice(), Operation::Cancel, &task).await.unwrap(), Decision::Allow);
    assert!(authorizer.explain(&alice(), Operation::Cancel, &task).await.unwrap().holds);
    let stranger = Principal::from_json(json!({ "user_id": "mallory", "account_id": "acme" }));
    assert_eq!(authorizer.check(&stranger, Operation::Read, &task).await.unwrap(), Decision::Deny);
    assert!(beside.rollout.is_some() && beside.spark.is_none());
    beside.close().await;
    assert!(matches!(local(&folder).open_tools(ToolsUse::Alone).await, Err(BuildError::InUse { .. })));

    agentex.worker().drained(Duration::from_secs(10)).await.unwrap();
    let alone = local(&folder).open_tools(ToolsUse::Alone).await.unwrap();
    assert_eq!(alone.app.relay.run_due().await.unwrap().driven, 0);
    assert!(matches!(local(&folder).build().await, Err(BuildError::InUse { .. })));
    alone.close().await;
    local(&folder).build().await.unwrap().worker().drained(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_make_no_database_and_migrate_none() {
    let folder = folder();
    for tools_use in [ToolsUse::Beside, ToolsUse::Alone] {
        let refused = local(&folder).open_tools(tools_use).await;
        assert!(matches!(refused, Err(BuildError::NoDatabase { .. })), "{refused:?}");
        assert!(!folder.path().join("agentex.db").exists());
    }
    let unmigrated = Agentex::builder().embedded(folder.path()).migrate_on_start(false).build().await.unwrap();
    unmigrated.worker().drained(Duration::from_secs(10)).await.unwrap();

    let refused = local(&folder).open_tools(ToolsUse::Beside).await;

    assert!(matches!(refused, Err(BuildError::Outdated { pending: 1.., .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn relationships_need_a_place_when_the_store_is_the_embedders_own() {
    let folder = folder();
    let lender = Agentex::builder().embedded(folder.path()).build().await.unwrap();
    let tools = Agentex::builder().embedded(folder.path()).open_tools(ToolsUse::Beside).await.unwrap();
    let own = |stores: Stores| Agentex::builder().stores(stores);

    let nowhere = own(tools.stores.clone()).authorization(Authorization::local(tokens())).build().await;
    assert!(matches!(nowhere, Err(BuildError::Authorization { backend: "local", .. })), "{nowhere:?}");

    let memory = Arc::new(agentex::authz::local::MemoryRelationships::default());
    let somewhere = Authorization::local_in(memory, agentex::authz::local::StoreUse::Exclusive, tokens());
    let agentex = own(tools.stores.clone()).authorization(somewhere).build().await.unwrap();
    let client = client(&agentex).await;
    let task = create_task(&client).await;
    let _ = client.get(&format!("/tasks/{task}")).await.expect(200);

    for agentex in [agentex, lender] {
        agentex.worker().drained(Duration::from_secs(10)).await.unwrap();
    }
}

#[cfg(feature = "sgp")]
mod provider {
    use agentex::AuthorizationLimits;
    use agentex::app::{RelaySettings, Settings};
    use agentex::sgp::{ProviderOptions, WireOptions};
    use agentex_testkit::fake_provider::{FakeProvider, Hold, Reply};

    use super::*;

    fn at(provider: &FakeProvider) -> Authorization {
        Authorization::provider(ProviderOptions::at(WireOptions::to(provider.url())), tokens())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_provider_did_not_take_at_first_is_brought_to_it_in_the_background() {
        let folder = folder();
        let provider = FakeProvider::start().await;
        let soon = Duration::from_millis(10);
        let relay = RelaySettings { interval: soon, first_retry: soon, ..RelaySettings::default() };
        let agentex = Agentex::builder()
            .embedded(folder.path())
            .authorization(at(&provider))
            .settings(Settings { relay, ..Settings::default() })
            .build()
            .await
            .unwrap();
        provider.once("/v1/authz/grant", Reply::status(503));

        register(&client(&agentex).await, &FakeAgent::start().await).await;

        let refused = provider.call("/v1/authz/grant", 0).await.json();
        // The agent's key is granted, too, so the repeated one need not be the next.
        let mut index = 1;
        while provider.call("/v1/authz/grant", index).await.json() != refused {
            index += 1;
        }
        agentex.worker().drained(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backend_that_is_down_is_left_alone_for_a_while() {
        let folder = folder();
        let provider = FakeProvider::start().await;
        let agentex = Agentex::builder().embedded(folder.path()).authorization(at(&provider)).build().await.unwrap();
        let client = client(&agentex).await;
        provider.on("/v1/authz/search", Reply::status(503));

        for _ in 0..8 {
            assert_eq!(client.get("/tasks").await.status, 503);
        }

        assert_eq!(provider.calls("/v1/authz/search").len(), 5);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backend_that_says_nothing_is_an_outage() {
        let folder = folder();
        let (provider, hold) = (FakeProvider::start().await, Hold::new());
        let limits = AuthorizationLimits { timeout: Duration::from_millis(50), ..AuthorizationLimits::default() };
        let agentex = Agentex::builder()
            .embedded(folder.path())
            .authorization(at(&provider).limits(limits))
            .build()
            .await
            .unwrap();
        provider.on("/v1/authz/search", Reply::status(200).held(&hold));

        assert_eq!(client(&agentex).await.get("/tasks").await.status, 503);
        hold.release();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_address_that_cannot_be_called_is_named_without_being_shown() {
        let folder = folder();
        let wire = WireOptions::to("http://u:s3cret@auth");
        let backend = Authorization::provider(ProviderOptions::at(wire), tokens());

        let refused =
            Agentex::builder().embedded(folder.path()).authorization(backend).build().await.map(drop).unwrap_err();

        let debug = format!("{refused:?}");
        let shown = format!("{debug} {:#}", anyhow::Error::from(refused));
        assert!(shown.contains("authorization backend http cannot be used") && !shown.contains("s3cret"), "{shown}");
        // The store was let go of.
        Agentex::builder().embedded(folder.path()).build().await.unwrap();
    }
}

#[cfg(all(feature = "sgp", feature = "spark"))]
mod routed {
    use agentex::authz::router::{RolloutFlags, RouterSettings};
    use agentex::sgp::{SgpOptions, WireOptions};
    use agentex::spark::SparkSettings;
    use agentex::{Routed, SparkOptions};
    use agentex_testkit::fake_provider::FakeProvider;
    use agentex_testkit::services::spicedb::{TestSpiceDb, spicedb};

    use super::*;

    fn builder(folder: &TempDir, sgp: &FakeProvider, spicedb: &TestSpiceDb) -> Builder {
        let settings = SparkSettings::new(spicedb.endpoint()).with_token(spicedb.token());
        let routed = Routed {
            legacy: SgpOptions::at(WireOptions::to(sgp.url())),
            spark: SparkOptions { settings, write_schema: true },
            router: RouterSettings { fresh_for: Duration::ZERO, ..RouterSettings::default() },
            rollout: None,
        };
        Agentex::builder().embedded(folder.path()).authorization(Authorization::routed(routed, tokens()))
    }

    /// authz §7: 193, 194, 195, 198
    #[tokio::test(flavor = "multi_thread")]
    async fn an_account_moves_by_its_flags_in_the_store_and_can_go_back() {
        let (folder, sgp, spicedb) = (folder(), FakeProvider::start().await, spicedb().await);
        let agentex = builder(&folder, &sgp, &spicedb).build().await.unwrap();
        let client = client(&agentex).await;
        let tools = builder(&folder, &sgp, &spicedb).open_tools(ToolsUse::Beside).await.unwrap();
        let (rollout, spark) = (tools.rollout.clone().unwrap(), tools.spark.clone().unwrap());
        let flags = async |dual_write, read| rollout.set("acme", RolloutFlags { dual_write, read }).await.unwrap();
        let in_spark = async |task: &str| {
            spark.check(&alice(), Operation::Read, &ResourceRef::task(task)).await.unwrap() == Decision::Allow
        };
        let new_task = async || {
            let created = client.post("/agents/name/echo/rpc", &create()).await.expect(200);
            created["result"]["id"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned()
        };
        let readable = async |task: &str| client.get(&format!("/tasks/{task}")).await.status == 200;

        let before = create_task(&client).await;
        assert!(!in_spark(&before).await && sgp.owners("task", &before) == ["alice"]);
        assert!(sgp.calls("/v1/authz/register").is_empty());

        flags(true, false).await;
        let both = new_task().await;
        assert!(in_spark(&both).await && sgp.owners("task", &both) == ["alice"]);
        assert!(readable(&before).await && readable(&both).await);

        flags(true, true).await;
        let asked = sgp.calls("/v1/authz/check").len();
        assert!(readable(&both).await && !readable(&before).await, "what was not backfilled is not there yet");
        assert_eq!(sgp.calls("/v1/authz/check").len(), asked);

        flags(true, false).await;
        assert!(readable(&before).await && readable(&both).await);
        tools.close().await;
        agentex.worker().drained(Duration::from_secs(10)).await.unwrap();
    }
}
