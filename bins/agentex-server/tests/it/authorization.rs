//! Servers with an authorization backend.

use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::fake_provider::{FakeProvider, Reply};
use agentex_testkit::http_client::HttpClient;
use agentex_testkit::services::postgres::fresh_database;
use agentex_testkit::services::spicedb::spicedb;
use serde_json::json;

use crate::program::{Folder, create_task, register, run, serve_with};

const ALICE: &str = "alice-0123456789abcdef";
const MALLORY: &str = "mallory-0123456789abcdef";

fn tokens(folder: &Folder) -> String {
    let token = |token: &str, user: &str, account: &str| {
        format!("[[token]]\ntoken = \"{token}\"\nuser_id = \"{user}\"\naccounts = [\"{account}\"]\n")
    };
    folder.file("tokens.toml", &(token(ALICE, "alice", "acme") + &token(MALLORY, "mallory", "evil")))
}

fn with(url: &str, token: &str) -> HttpClient {
    HttpClient::new(url).with_header("authorization", &format!("Bearer {token}"))
}

/// What every backend has to bring about: owners reach what is theirs, others do not see it, nobody comes in unknown.
async fn tells_owners_from_others(url: &str) -> String {
    let (alice, mallory, nobody) = (with(url, ALICE), with(url, MALLORY), HttpClient::new(url));
    let agent = FakeAgent::start().await;
    let body = json!({ "name": "x", "description": "d", "acp_url": agent.url(), "acp_type": "sync" });
    assert_eq!(nobody.post("/agents/register", &body).await.status, 401);

    register(&alice, &agent).await;
    let task = create_task(&alice).await;

    assert_eq!(nobody.get(&format!("/tasks/{task}")).await.status, 401);
    assert_eq!(nobody.with_header("x-agent-identity", "anything").get("/tasks").await.status, 401);
    let _ = alice.get(&format!("/tasks/{task}")).await.expect(200);
    assert_eq!(alice.get("/tasks").await.expect(200).as_array().unwrap().len(), 1);
    let hidden = mallory.get(&format!("/tasks/{task}")).await;
    let absent = mallory.get("/tasks/00000000-0000-4000-8000-000000000000").await;
    assert_eq!((hidden.status, absent.status), (404, 404));
    assert_eq!(hidden.text().replace(&task, "ID"), absent.text().replace("00000000-0000-4000-8000-000000000000", "ID"));
    assert_eq!(mallory.get("/tasks").await.expect(200), json!([]));
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_and_one_variable_make_a_server_with_permissions_that_outlive_it() {
    let folder = Folder::new();
    let tokens = tokens(&folder);
    let environment = [("AGENTEX_AUTHZ_BACKEND", "local"), ("AGENTEX_TOKENS_FILE", tokens.as_str())];
    let mut server = serve_with(&folder, &[], &environment).await;
    assert!(
        server.output().contains("authorization: local, profile: strict, authentication: tokens)"),
        "{}",
        server.output()
    );

    let task = tells_owners_from_others(server.url()).await;

    let metrics = HttpClient::new(server.url()).get("/metrics").await.text();
    assert!(metrics.contains(r#"agentex_authz_profile_info{backend="local",profile="strict"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"agentex_authz_decisions_total{"#), "{metrics}");
    server.kill9();
    let mut again = serve_with(&folder, &[], &environment).await;
    let _ = with(again.url(), ALICE).get(&format!("/tasks/{task}")).await.expect(200);
    assert_eq!(with(again.url(), MALLORY).get(&format!("/tasks/{task}")).await.status, 404);
    assert_eq!(again.terminate().await, Some(0));
    assert!(!again.output().contains(ALICE) && !again.output().contains("authorization is disabled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_share_permissions() {
    let database = fresh_database().await;
    let folder = Folder::new();
    let tokens = tokens(&folder);
    let environment = [
        ("AGENTEX_AUTHZ_BACKEND", "local"),
        ("AGENTEX_TOKENS_FILE", tokens.as_str()),
        ("DATABASE_URL", database.url()),
    ];
    let one = serve_with(&folder, &[], &environment).await;
    let two = serve_with(&folder, &[], &environment).await;

    let task = tells_owners_from_others(one.url()).await;

    let _ = with(two.url(), ALICE).get(&format!("/tasks/{task}")).await.expect(200);
    assert_eq!(with(two.url(), MALLORY).get(&format!("/tasks/{task}")).await.status, 404);
}

/// authz §7: 35, 36, 37
#[tokio::test(flavor = "multi_thread")]
async fn the_providers_url_alone_switches_everything_on() {
    let folder = Folder::new();
    let provider = FakeProvider::start().await;
    provider.login(ALICE, json!({ "user_id": "alice", "account_id": "acme" }));
    provider.login(MALLORY, json!({ "user_id": "mallory", "account_id": "evil" }));
    let server = serve_with(&folder, &[], &[("AGENTEX_AUTH_URL", provider.url())]).await;
    assert!(server.output().contains("authorization: http, profile: strict, authentication: provider)"));

    let task = tells_owners_from_others(server.url()).await;

    assert_eq!(provider.owners("task", &task), ["alice"]);
    let refused = with(server.url(), "stranger-0123456789").get("/tasks").await;
    assert_eq!(refused.expect(401), json!({ "detail": "Unauthorized" }));
    provider.on("/v1/authn", Reply::status(500));
    assert_eq!(with(server.url(), "somebody-else-0123456").get("/tasks").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_service_owns_and_keys_still_need_their_agent() {
    let folder = Folder::new();
    let tokens = tokens(&folder);
    let sgp = FakeProvider::start().await;
    let environment =
        [("AGENTEX_AUTHZ_BACKEND", "sgp"), ("AGENTEX_SGP_URL", sgp.url()), ("AGENTEX_TOKENS_FILE", tokens.as_str())];
    let server = serve_with(&folder, &[], &environment).await;

    let task = tells_owners_from_others(server.url()).await;

    assert_eq!(sgp.owners("task", &task), ["alice"]);
    assert!(sgp.calls("/v1/authz/register").is_empty(), "registering is granting there");
    let alice = with(server.url(), ALICE);
    let agent = alice.get("/agents/name/echo").await.expect(200)["id"].as_str().unwrap().to_owned();
    let body = json!({ "agent_id": agent, "name": "k", "api_key_type": "external" });
    let key = alice.post("/agent_api_keys", &body).await.expect(200)["id"].as_str().unwrap().to_owned();
    // Whoever may delete the key by itself, but not change the agent, may not delete it.
    sgp.allow("mallory", "api_key", &key, "read").allow("mallory", "api_key", &key, "delete");
    assert_eq!(with(server.url(), MALLORY).delete(&format!("/agent_api_keys/{key}")).await.status, 403);
    assert_eq!(alice.delete(&format!("/agent_api_keys/{key}")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn spicedb_decides_once_it_has_the_model() {
    let folder = Folder::new();
    let tokens = tokens(&folder);
    let spicedb = spicedb().await;
    let environment = [
        ("AGENTEX_AUTHZ_BACKEND", "spark"),
        ("AGENTEX_SPICEDB_ENDPOINT", spicedb.endpoint()),
        ("AGENTEX_SPICEDB_TOKEN", spicedb.token()),
        ("AGENTEX_TOKENS_FILE", tokens.as_str()),
    ];
    let refused = run(&["serve", "--port", "0", "--data-dir", &folder.data(), "--log", "error"], &environment);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert!(refused.err.contains("SpiceDB does not have the permission model"), "{}", refused.err);
    assert!(!refused.err.contains(spicedb.token()), "{}", refused.err);

    let writing = [&environment[..], &[("AGENTEX_SPICEDB_WRITE_SCHEMA", "true")]].concat();
    let mut server = serve_with(&folder, &[], &writing).await;
    tells_owners_from_others(server.url()).await;
    assert_eq!(server.terminate().await, Some(0));

    let mut expecting = serve_with(&folder, &[], &environment).await;
    assert_eq!(expecting.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_whoever_decides() {
    let folder = Folder::new();
    let (data, tokens) = (folder.data(), tokens(&folder));
    let local = [("AGENTEX_AUTHZ_BACKEND", "local"), ("AGENTEX_TOKENS_FILE", tokens.as_str())];
    let mut server = serve_with(&folder, &[], &local).await;

    let beside = run(&["doctor", "--port", "0", "--data-dir", &data], &local);

    assert_eq!(beside.code, 0, "{beside:?}");
    for line in [
        "ok    authentication: tokens answers",
        "ok    permissions: local decides, profile strict",
        "ok    intents: 0 changes of the graph unfinished, 0 of them failing",
    ] {
        assert!(beside.out.contains(line), "{line} in {}", beside.out);
    }
    assert_eq!(server.terminate().await, Some(0));

    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nowhere}");
    let sick = run(&["doctor", "--port", "0", "--data-dir", &data], &[("AGENTEX_AUTH_URL", url.as_str())]);
    assert_eq!(sick.code, 1);
    for check in ["authentication", "permissions"] {
        assert!(sick.out.lines().any(|line| line.starts_with(&format!("FAIL  {check}: "))), "{check} in {}", sick.out);
    }

    let issuer = [
        ("AGENTEX_AUTHZ_BACKEND", "local"),
        ("AGENTEX_OIDC_ISSUER", url.as_str()),
        ("AGENTEX_OIDC_AUDIENCE", "agentex"),
    ];
    let without_keys = run(&["doctor", "--port", "0", "--data-dir", &data], &issuer);
    assert_eq!(without_keys.code, 1);
    assert!(without_keys.out.contains("FAIL  authentication: "), "{}", without_keys.out);
    assert!(without_keys.out.contains("ok    permissions: "), "{}", without_keys.out);
}
