//! One server per test: a database in a temporary folder, in-process streams, and an authorizer and an authenticator that
//! do what the test says.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agentex_acp::{AcpClient, AcpOptions};
use agentex_app::{App, AuthorizationSettings, ChatPorts, Keyring, LinkRule, Ports, SecretsKey, Settings};
use agentex_authz::local::{GraphAuthorizer, StoreUse};
use agentex_authz::{
    Authenticator, AuthnError, Authorizer, AuthzError, CredentialHeaders, Decision, NoAuthentication, Operation,
    Principal, ResourceKind, ResourceRef, Scope, Selectors,
};
use agentex_domain::ports::{Probe, ProbeError, Scheduler, WorkflowGateway};
use agentex_http::{HttpOptions, router};
use agentex_inprocess::{InProcessOptions, InProcessScheduler, InProcessStream, SchedulerOptions};
use agentex_sqlite::{SqliteOptions, SqliteStore};
use agentex_testkit::TestClock;
use agentex_testkit::http_client::HttpClient;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::recording::{Calls, Recording};

/// A server and everything a test may want to turn.
pub(crate) struct World {
    pub(crate) app: Arc<App>,
    pub(crate) rules: Rules,
    pub(crate) clock: TestClock,
    pub(crate) streams: Arc<InProcessStream>,
    pub(crate) store: SqliteStore,
    /// Who decides; `None` where authorization is off.
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    /// What it was asked.
    pub(crate) calls: Calls,
    /// Where the database is.
    pub(crate) folder: TempDir,
    router: Router,
}

/// How a server is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) http: HttpOptions,
    pub(crate) settings: Settings,
    /// Whether callers must say who they are.
    pub(crate) authenticated: bool,
    pub(crate) authorization: Authorization,
    /// What secrets are sealed with; without it they are stored in clear.
    pub(crate) secrets_key: Option<SecretsKey>,
    pub(crate) acp: AcpOptions,
    /// The hosts that snapshots can be carried to and from.
    pub(crate) transfer: crate::retention::Hosts,
    pub(crate) probes: Vec<Arc<dyn Probe>>,
    /// The way out to chat applications.
    pub(crate) chat: ChatPorts,
    /// Who finds out who is calling, in place of whoever goes with the authorization.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    /// Who keeps schedules; the store where nobody is named.
    pub(crate) scheduler: Option<Arc<dyn Scheduler>>,
    pub(crate) workflows: Option<Arc<dyn WorkflowGateway>>,
    /// What else is not as usual.
    pub(crate) ports: Option<ChangePorts>,
}

type ChangePorts = Box<dyn FnOnce(&mut Ports)>;

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// The test's [`Rules`], in the compatible profile: pods register without credentials. Callers without any are
    /// `somebody` of `acme`.
    #[default]
    Rules,
    /// The test's [`Rules`], in the strict profile unless the settings say otherwise, with callers as for [`Self::Graph`].
    StrictRules,
    /// Nobody: authorization is off.
    Off,
    /// The permission model over this store, in the strict profile unless the settings say otherwise. Callers say who they
    /// are with `Authorization: Bearer user@account`, or are refused.
    Graph,
}

impl World {
    /// A server without authentication that allows everything.
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        agentex_testkit::tls::install();
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::new(folder.path().join("agentex.db"))).await.unwrap();
        store.migrate().await.unwrap();
        let (rules, clock) = (Rules::default(), TestClock::default());
        let streams = Arc::new(InProcessStream::new(InProcessOptions {
            clock: Arc::new(clock.clone()),
            ..InProcessOptions::default()
        }));
        let (authorizer, authenticator): (Option<Arc<dyn Authorizer>>, Arc<dyn Authenticator>) =
            match (setup.authorization, setup.authenticated) {
                (Authorization::Off, false) => (None, Arc::new(NoAuthentication)),
                (Authorization::Off, true) => (None, Arc::new(Bearer)),
                (Authorization::Rules, false) => (Some(Arc::new(rules.clone())), Arc::new(Somebody)),
                (Authorization::Rules, true) | (Authorization::StrictRules, _) => {
                    (Some(Arc::new(rules.clone())), Arc::new(Bearer))
                }
                (Authorization::Graph, _) => {
                    let graph = GraphAuthorizer::open(store.relationships(), StoreUse::Exclusive).await.unwrap();
                    (Some(Arc::new(graph)), Arc::new(Bearer))
                }
            };
        let authenticator = setup.authenticator.unwrap_or(authenticator);
        let calls = Calls::default();
        let authorizer = authorizer.map(|inner| Arc::new(Recording::of(inner, &calls)) as Arc<dyn Authorizer>);
        let mut settings = setup.settings;
        if setup.authorization == Authorization::Rules {
            settings.authorization = AuthorizationSettings::compat();
            settings.authorization.collapse_authentication_errors = false;
            settings.authorization.task_agent_link = LinkRule::Enforce;
        }
        let agents = Arc::new(AcpClient::new(setup.acp).unwrap());
        let scheduler = setup.scheduler.unwrap_or_else(|| {
            let timers = store.stores().timers;
            Arc::new(InProcessScheduler::new(timers, Arc::new(clock.clone()), SchedulerOptions::default()))
        });
        let mut ports = Ports {
            stores: store.stores(),
            streams: Arc::<InProcessStream>::clone(&streams),
            agent_client: Arc::<AcpClient>::clone(&agents),
            agent_health: Arc::<AcpClient>::clone(&agents),
            forwarder: agents,
            scheduler: Some(scheduler),
            workflows: setup.workflows,
            transfer: Arc::new(setup.transfer.client()),
            chat: setup.chat,
            authorizer: authorizer.clone(),
            authenticator,
            keyring: Keyring::new(setup.secrets_key.as_ref(), "pepper"),
            clock: Arc::new(clock.clone()),
            probes: setup.probes,
        };
        if let Some(change) = setup.ports {
            change(&mut ports);
        }
        let app = Arc::new(App::new(ports, settings));
        let router = router(Arc::clone(&app), setup.http);
        Self { app, rules, clock, streams, store, authorizer, calls, folder, router }
    }

    /// A server with the permission model and the strict profile.
    pub(crate) async fn with_authorization() -> Self {
        Self::with(Setup { authorization: Authorization::Graph, ..Setup::default() }).await
    }

    /// Makes `user` a viewer (`read`), an editor (`update`) or an owner (`delete`) of a resource.
    pub(crate) async fn share(&self, user: &str, operation: Operation, resource: ResourceRef) {
        let authorizer = self.authorizer.as_ref().unwrap();
        authorizer.grant(&principal(user), operation, &resource).await.unwrap();
    }

    /// Takes that back.
    pub(crate) async fn unshare(&self, user: &str, operation: Operation, resource: ResourceRef) {
        let authorizer = self.authorizer.as_ref().unwrap();
        authorizer.revoke(&principal(user), operation, &resource).await.unwrap();
    }

    /// A request of `user`, or `user@account`, where callers say who they are.
    pub(crate) async fn call_as(&self, user: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {user}");
        self.send(request(method, path, &[("authorization", &bearer)], body.map(|body| body.to_string()))).await
    }

    /// The same routes, for a test that adds to them.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[], None)).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, headers, None)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request("DELETE", path, &[], None)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(request("POST", path, &[], Some(body.to_string()))).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(request("PUT", path, &[], Some(body.to_string()))).await
    }

    /// A request with any headers; a body is declared as JSON unless the headers say otherwise.
    pub(crate) async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        self.send(request(method, path, headers, body.map(str::to_owned))).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Serves on a loopback port until the test ends.
    pub(crate) async fn serve(&self) -> HttpClient {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        HttpClient::new(format!("http://{address}"))
    }

    /// Registers an agent and answers the reply.
    pub(crate) async fn agent(&self, name: &str, acp_type: &str, url: &str) -> Value {
        self.post("/agents/register", registration(name, acp_type, url)).await.ok()
    }

    /// Makes a task on a synchronous agent of that name, registering it when needed, and answers the task.
    pub(crate) async fn task(&self, agent: &str) -> Value {
        self.agent(agent, "sync", "http://agent.test:1").await;
        self.task_with(agent, json!({})).await
    }

    pub(crate) async fn task_with(&self, agent: &str, params: Value) -> Value {
        let call = json!({"method": "task/create", "params": params});
        let answer = self.post(&format!("/agents/name/{agent}/rpc"), call).await.ok();
        assert_eq!(answer["error"], Value::Null, "{answer}");
        answer["result"].clone()
    }

    /// Stores a text message of the task and answers it.
    pub(crate) async fn message(&self, task_id: &str, text: &str) -> Value {
        self.post("/messages", json!({"task_id": task_id, "content": text_content(text)})).await.ok()
    }
}

pub(crate) fn registration(name: &str, acp_type: &str, url: &str) -> Value {
    json!({"name": name, "description": format!("the {name} agent"), "acp_url": url, "acp_type": acp_type})
}

pub(crate) fn text_content(text: &str) -> Value {
    json!({"type": "text", "author": "user", "content": text})
}

/// The `id` member.
pub(crate) fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

/// The `id` members of an array.
pub(crate) fn ids(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(id).collect()
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Request<Body> {
    let mut builder = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        builder = builder.header("content-type", "application/json");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.map_or_else(Body::empty, Body::from)).unwrap()
}

/// Text as a query value.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        self.expect(200)
    }

    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }

    /// Checks an error of the usual shape, byte for byte.
    pub(crate) fn refused(&self, status: u16, message: &str) {
        let message = serde_json::to_string(message).unwrap();
        let body = format!(r#"{{"message":{message},"code":{status},"data":null}}"#);
        assert_eq!((self.status.as_u16(), self.text()), (status, body));
    }

    /// Checks that the request was not what the route expects, and answers the text.
    pub(crate) fn invalid(&self) -> String {
        let body = self.expect(422);
        assert_eq!((&body["status_code"], &body["data"]), (&json!(10422), &Value::Null), "{body}");
        assert!(!body["errors"].as_array().unwrap().is_empty(), "{body}");
        body["message"].as_str().unwrap().to_owned()
    }
}

/// What the authorizer answers. Everything is allowed until a test forbids it.
#[derive(Clone, Default)]
pub(crate) struct Rules(Arc<Mutex<RuleBook>>);

#[derive(Default)]
pub(crate) struct RuleBook {
    denied: HashSet<(Operation, String)>,
    scope: Option<Selectors>,
    only_for: Option<&'static str>,
    outage: Option<fn() -> AuthzError>,
    broken: bool,
}

impl RuleBook {
    fn is_closed_to(&self, by: &Principal) -> bool {
        self.only_for.is_some_and(|user| by.user_id() != Some(user))
    }
}

impl Rules {
    fn book(&self) -> MutexGuard<'_, RuleBook> {
        self.0.lock().unwrap()
    }

    /// Forbids operations on one selector.
    pub(crate) fn deny(&self, selector: &str, operations: &[Operation]) {
        self.book().denied.extend(operations.iter().map(|operation| (*operation, selector.to_owned())));
    }

    /// Hides everything about a resource.
    pub(crate) fn hide(&self, selector: &str) {
        use Operation::{Cancel, Create, Delete, Execute, Read, Update};
        self.deny(selector, &[Create, Read, Update, Delete, Execute, Cancel]);
    }

    /// Lists only these.
    pub(crate) fn show_only(&self, selectors: &[&str]) {
        self.book().scope = Some(selectors.iter().collect());
    }

    /// Denies everything to everybody else.
    pub(crate) fn allow_only(&self, user: &'static str) {
        self.book().only_for = Some(user);
    }

    /// Allows everything again.
    pub(crate) fn reset(&self) {
        *self.book() = RuleBook::default();
    }

    /// Every question ends in this error.
    pub(crate) fn fail(&self, outage: fn() -> AuthzError) {
        self.book().outage = Some(outage);
    }

    /// Asking makes the server panic.
    pub(crate) fn panic(&self) {
        self.book().broken = true;
    }
}

#[async_trait]
impl Authorizer for Rules {
    async fn check(
        &self,
        by: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let (denied, outage, broken) = {
            let book = self.book();
            let denied = book.denied.contains(&(operation, resource.selector.clone())) || book.is_closed_to(by);
            (denied, book.outage, book.broken)
        };
        assert!(!broken, "secret detail of a bug");
        if let Some(outage) = outage {
            return Err(outage());
        }
        Ok(if denied { Decision::Deny } else { Decision::Allow })
    }

    async fn list_resources(&self, by: &Principal, _: ResourceKind, _: Operation) -> Result<Scope, AuthzError> {
        let book = self.book();
        if let Some(outage) = book.outage {
            return Err(outage());
        }
        let scope = if book.is_closed_to(by) { Some(Selectors::default()) } else { book.scope.clone() };
        Ok(scope.map_or(Scope::All, Scope::Only))
    }

    async fn register(&self, _: &Principal, _: &ResourceRef, _: Option<ResourceRef>) -> Result<(), AuthzError> {
        Ok(())
    }

    async fn deregister(&self, _: &Principal, _: &ResourceRef) -> Result<(), AuthzError> {
        Ok(())
    }

    async fn grant(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<(), AuthzError> {
        Ok(())
    }

    async fn revoke(&self, _: &Principal, _: Operation, _: &ResourceRef) -> Result<(), AuthzError> {
        Ok(())
    }
}

/// Everybody is the same.
struct Somebody;

#[async_trait]
impl Authenticator for Somebody {
    async fn authenticate(&self, _: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        Ok(Some(principal("somebody")))
    }
}

/// The principal called `user` or `user@account`; the account is `acme` unless it is named.
pub(crate) fn principal(name: &str) -> Principal {
    let (user, account) = name.split_once('@').unwrap_or((name, "acme"));
    Principal::from_json(json!({"user_id": user, "account_id": account}))
}

/// Takes `Authorization: Bearer <user>` at its word; `down` is an outage.
struct Bearer;

#[async_trait]
impl Authenticator for Bearer {
    async fn authenticate(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        match headers.get("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            None => Err(AuthnError::Refused),
            Some("down") => Err(AuthnError::Unavailable("no route to 10.0.0.8".into())),
            Some(user) => Ok(Some(principal(user))),
        }
    }
}

/// A dependency that answers as told.
pub(crate) struct FixedProbe(pub(crate) &'static str, pub(crate) ProbeAnswer);

pub(crate) enum ProbeAnswer {
    Fine,
    Broken(&'static str),
    Silent,
}

#[async_trait]
impl Probe for FixedProbe {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn probe(&self) -> Result<(), ProbeError> {
        match self.1 {
            ProbeAnswer::Fine => Ok(()),
            ProbeAnswer::Broken(text) => Err(ProbeError(text.to_owned())),
            ProbeAnswer::Silent => std::future::pending().await,
        }
    }
}

/// Settings whose probes give up soon.
pub(crate) fn impatient() -> Settings {
    Settings { probe_timeout: Duration::from_millis(50), ..Settings::default() }
}
