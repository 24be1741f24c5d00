//! Unmodified agents and clients of the public SDK where permissions are on.

use agentex_testkit::fake_provider::{FakeProvider, Reply};
use agentex_testkit::http_client::{Answer, HttpClient};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{answered_event, every_method, streamed_turn};
use crate::support::{Deployment, Sdk, SdkAgent, User};

const ALICE: &str = "alice-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef";

/// The profile `strict`: permissions in the store, users by tokens. Alice and Bob belong to different accounts.
struct Strict {
    deployment: Deployment,
    _tokens: TempDir,
}

impl Strict {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let token = |token, user, account| {
            format!("[[token]]\ntoken = \"{token}\"\nuser_id = \"{user}\"\naccounts = [\"{account}\"]\n")
        };
        let file = folder.path().join("tokens.toml");
        std::fs::write(&file, token(ALICE, "alice", "acme") + &token(BOB, "bob", "umbrella")).unwrap();
        let environment = [("AGENTEX_AUTHZ_BACKEND", "local"), ("AGENTEX_TOKENS_FILE", file.to_str().unwrap())];
        Self { deployment: Deployment::embedded_with(&environment).await, _tokens: folder }
    }

    fn alice(&self) -> User {
        User::with_token(Sdk::Newest, &self.deployment, ALICE)
    }

    fn bob(&self) -> User {
        User::with_token(Sdk::Newest, &self.deployment, BOB)
    }

    /// Alice announces an agent that is to be deployed.
    async fn build(&self, name: &str) -> Build {
        let body = json!({"name": name, "description": "made by Alice"});
        let built = self.alice().http().post("/agents/register-build", &body).await.expect(200);
        assert_eq!(built["status"], "BuildOnly", "{built:#}");
        let text = |member: &str| built[member].as_str().unwrap_or_else(|| panic!("{built:#}")).to_owned();
        Build { id: text("id"), token: text("registration_token") }
    }

    /// The server's URL with a token in its user-info, as an operator would write it.
    fn url_with(&self, token: &str) -> String {
        self.deployment.url().replacen("http://", &format!("http://token:{token}@"), 1)
    }
}

struct Build {
    id: String,
    token: String,
}

/// An identity as pods of the SDK state it.
fn stated(identity: &Value) -> String {
    STANDARD.encode(identity.to_string())
}

/// How HTTP clients send a token in the user-info of a URL.
fn basic(token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("token:{token}")))
}

/// A name and an id that nothing has.
const NO_NAME: &str = "no-such-agent";
const NO_ID: &str = "00000000-0000-4000-8000-000000000000";

/// Makes sure that `user` cannot tell an agent and a task of it from what was never there.
async fn sees_nothing(user: &User, agent: &str, task: &str) {
    let client = user.http();
    let same = |hidden: &Answer, absent: &Answer| {
        assert_eq!((hidden.status, absent.status), (404, 404), "{} {}", hidden.text(), absent.text());
        assert_eq!(hidden.text().replace(agent, NO_NAME).replace(task, NO_ID), absent.text());
    };
    for path in ["/agents/name/NAME", "/tasks/ID", "/messages?task_id=ID"] {
        let hidden = client.get(&path.replace("NAME", agent).replace("ID", task)).await;
        same(&hidden, &client.get(&path.replace("NAME", NO_NAME).replace("ID", NO_ID)).await);
    }
    let call = async |name| {
        let call = json!({"method": "task/create", "params": {}, "id": 1});
        client.post(&format!("/agents/name/{name}/rpc"), &call).await
    };
    same(&call(agent).await, &call(NO_NAME).await);
    for list in ["/agents", "/tasks"] {
        assert_eq!(client.get(list).await.expect(200), json!([]), "{list}");
    }
}

/// One pod has its token in the URL, the other in the identity it states, and addresses its agent by id.
///
/// authz §7: 101, 102, 85
#[tokio::test(flavor = "multi_thread")]
async fn agents_that_bring_a_registration_token_work_for_their_owner_and_nobody_else() {
    let strict = Strict::start().await;
    let (in_url, in_identity) = tokio::join!(strict.build("sdk-sync"), strict.build("sdk-async"));

    let url = strict.url_with(&in_url.token);
    let identity = stated(&json!({"registration_token": in_identity.token}));
    let of_url = [("AGENTEX_BASE_URL", url.as_str())];
    let of_identity = [("AUTH_PRINCIPAL_B64", identity.as_str()), ("AGENT_ID", in_identity.id.as_str())];
    let (sync, answering_later) = tokio::join!(
        SdkAgent::start_with(Sdk::Newest, "sync_agent.py", "sdk-sync", &strict.deployment, &of_url),
        SdkAgent::start_with(Sdk::Newest, "async_agent.py", "sdk-async", &strict.deployment, &of_identity),
    );

    let (alice, bob) = (strict.alice(), strict.bob());
    for build in [&in_url, &in_identity] {
        let agent = alice.http().get(&format!("/agents/{}", build.id)).await.expect(200);
        assert_eq!(agent["status"], "Ready", "{agent:#}");
    }
    a_token_is_for_one_agent(&strict, &sync, &in_url.token, &answering_later).await;
    let task = streamed_turn(&alice, &sync).await;
    let answered = answered_event(&alice, &answering_later).await;
    every_method(&alice, &sync).await;

    sees_nothing(&bob, "sdk-sync", &task).await;
    sees_nothing(&bob, "sdk-async", &answered).await;
    let refused = bob.refused("sync-turn", &["--agent", "sdk-sync", "--text", "hello"]).await;
    assert_eq!((&refused["type"], &refused["status"]), (&json!("NotFoundError"), &json!(404)), "{refused:#}");
    the_key_goes_before_the_token(&strict, &sync, &in_url.token, &task, &answered).await;
    let log = strict.deployment.servers[0].output();
    for secret in [in_url.token.as_str(), in_identity.token.as_str(), ALICE, BOB] {
        assert!(!log.contains(secret), "secrets are not logged:\n{log}");
    }
}

/// What a pod of the sync agent registers as.
fn registration(name: &str, agent: &SdkAgent) -> Value {
    json!({"name": name, "description": "", "acp_url": agent.url, "acp_type": "sync"})
}

/// The token of `agent` does not lead calls for `other` to it, nor takes a name that is still free.
async fn a_token_is_for_one_agent(strict: &Strict, agent: &SdkAgent, token: &str, other: &SdkAgent) {
    let anybody = HttpClient::new(strict.deployment.url());
    for name in [other.name, NO_NAME] {
        let mut body = registration(name, agent);
        let by_url = anybody.clone().with_header("authorization", &basic(token)).post("/agents/register", &body).await;
        body["principal_context"] = json!({"registration_token": token});
        let by_identity = anybody.post("/agents/register", &body).await;
        for refused in [by_url, by_identity] {
            assert_eq!(refused.expect(401), json!({"detail": "Agent Unauthorized"}), "{name}");
        }
    }
}

/// A client that sends a URL's user-info with every request sends the token beside the agent's key. The key counts, and
/// opens what is the agent's own.
async fn the_key_goes_before_the_token(strict: &Strict, agent: &SdkAgent, token: &str, own: &str, foreign: &str) {
    let pod = HttpClient::new(strict.deployment.url()).with_header("authorization", &basic(token));
    assert_eq!(pod.get("/tasks").await.status, 401, "a token is for registering only");

    let body = registration(agent.name, agent);
    let registered = pod.post("/agents/register", &body).await.expect(200);
    let pod = pod.with_header("x-agent-api-key", registered["agent_api_key"].as_str().unwrap());

    assert_eq!(pod.get(&format!("/tasks/{own}")).await.status, 200);
    assert_eq!(pod.get(&format!("/tasks/{foreign}")).await.status, 404);
    let again = pod.post("/agents/register", &body).await.expect(200);
    assert_eq!(again["agent_api_key"], registered["agent_api_key"]);
}

/// authz §7: 101
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_token_does_not_register_and_is_told_nothing() {
    let strict = Strict::start().await;
    let build = strict.build("sdk-sync").await;
    let anybody = HttpClient::new(strict.deployment.url());
    let body = |name| json!({"name": name, "description": "", "acp_url": "http://127.0.0.1:9", "acp_type": "sync"});

    let (code, printed) = SdkAgent::fail_to_start(Sdk::Newest, "sync_agent.py", "sdk-sync", &strict.deployment).await;
    let existing = anybody.post("/agents/register", &body("sdk-sync")).await;
    let unknown = anybody.post("/agents/register", &body(NO_NAME)).await;
    let made_up = anybody.clone().with_header("authorization", &basic("agxr_0123456789abcdef"));
    let made_up = made_up.post("/agents/register", &body("sdk-sync")).await;

    // The SDK's server gives up after three attempts.
    assert_eq!((code, printed.as_str()), (Some(3), ""));
    assert_eq!(existing.status, 401);
    assert!(!existing.text().contains("agent_api_key") && !existing.text().contains(&build.id), "{}", existing.text());
    assert_eq!((unknown.status, unknown.body), (401, existing.body.clone()));
    assert_eq!((made_up.status, made_up.body), (401, existing.body));
    let agent = strict.alice().http().get("/agents/name/sdk-sync").await.expect(200);
    assert_eq!((&agent["id"], &agent["status"]), (&json!(build.id), &json!("BuildOnly")));
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_the_oldest_release_register_with_a_token_in_their_url() {
    let strict = Strict::start().await;
    let build = strict.build("oldest-sync").await;

    let url = strict.url_with(&build.token);
    let environment = [("AGENTEX_BASE_URL", url.as_str())];
    let agent =
        SdkAgent::start_with(Sdk::Oldest, "sync_agent.py", "oldest-sync", &strict.deployment, &environment).await;

    let alice = User::with_token(Sdk::Oldest, &strict.deployment, ALICE);
    let task = streamed_turn(&alice, &agent).await;
    sees_nothing(&strict.bob(), "oldest-sync", &task).await;
}

/// One pod states whom it acts for and is believed, the other states nobody: nothing is recorded of it, and the provider
/// has to know of it in another way.
///
/// authz §7: 35, 41, 46, 91, 93
#[tokio::test(flavor = "multi_thread")]
async fn agents_without_credentials_work_with_a_provider_in_the_compatible_profile() {
    let provider = FakeProvider::start().await;
    let principal = json!({"user_id": "alice", "account_id": "acme", "metadata": {"seat": 7}});
    provider.login(ALICE, principal.clone());
    provider.login(BOB, json!({"user_id": "bob", "account_id": "umbrella"}));
    let environment = [("AGENTEX_AUTH_URL", provider.url()), ("AGENTEX_AUTHZ_PROFILE", "compat")];
    let deployment = Deployment::embedded_with(&environment).await;
    let alice = User::with_token(Sdk::Newest, &deployment, ALICE);

    let identity = stated(&json!({"user_id": "alice", "account_id": "acme"}));
    let for_alice = [("AUTH_PRINCIPAL_B64", identity.as_str())];
    let (sync, answering_later) = tokio::join!(
        SdkAgent::start(Sdk::Newest, "sync_agent.py", "sdk-sync", &deployment),
        SdkAgent::start_with(Sdk::Newest, "async_agent.py", "sdk-async", &deployment, &for_alice),
    );

    // Only Alice's agent was recorded, so she sees it alone.
    let listed = alice.http().get("/agents").await.expect(200);
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|agent| &agent["name"]).collect();
    assert_eq!(names, [&json!("sdk-async")]);
    let owned = listed[0]["id"].as_str().unwrap();
    assert_eq!(recorded(&provider, "register", "agent").len(), 1);
    assert_eq!(provider.owners("agent", owned), ["alice"]);
    assert_eq!(alice.http().get("/agents/name/sdk-sync").await.status, 404);

    let answered = answered_event(&alice, &answering_later).await;
    let free = unowned_agent(&provider, &deployment, sync.name).await;
    provider.allow("alice", "agent", &free, "read").allow("alice", "agent", &free, "execute");
    let streamed = streamed_turn(&alice, &sync).await;

    for (task, agent) in [(&answered, owned), (&streamed, free.as_str())] {
        let resource = json!({"type": "task", "selector": task});
        let parent = json!({"type": "agent", "selector": agent});
        let registered = recorded(&provider, "register", "task");
        assert!(
            registered.contains(&json!({"principal": principal, "resource": resource, "parent": parent})),
            "{registered:#?}"
        );
        let granted = recorded(&provider, "grant", "task");
        assert!(
            granted.contains(&json!({"principal": principal, "resource": resource, "operation": "create"})),
            "{granted:#?}"
        );
        assert_eq!(provider.owners("task", task), ["alice"]);
    }
    let by_key = HttpClient::new(deployment.url()).with_header("x-api-key", ALICE);
    assert_eq!(by_key.get("/tasks").await.expect(200).as_array().unwrap().len(), 2);
    sees_nothing(&User::with_token(Sdk::Newest, &deployment, BOB), "sdk-sync", &streamed).await;
    // Agents called back with their keys, of which the provider heard nothing.
    assert!(provider.calls("/v1/authn").iter().all(|request| request.header("x-agent-api-key").is_none()));
}

/// The id of an agent that the provider was told nothing about, as somebody sees it who may see everything.
async fn unowned_agent(provider: &FakeProvider, deployment: &Deployment, name: &str) -> String {
    const OPERATOR: &str = "operator-0123456789";
    provider.login(OPERATOR, json!({"service_account_id": "operator"}));
    provider.once("/v1/authz/search", Reply::json(json!({"unscoped": true})));
    let listed = User::with_token(Sdk::Newest, deployment, OPERATOR).http().get("/agents").await.expect(200);
    let found = listed.as_array().unwrap().iter().find(|agent| agent["name"] == name);
    found.unwrap_or_else(|| panic!("{listed:#}"))["id"].as_str().unwrap().to_owned()
}

/// The bodies of the provider's calls to `verb` for resources of `kind`.
fn recorded(provider: &FakeProvider, verb: &str, kind: &str) -> Vec<Value> {
    let calls = provider.calls(&format!("/v1/authz/{verb}")).into_iter();
    let bodies = calls.map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
    bodies.filter(|body| body["resource"]["type"] == kind).collect()
}
