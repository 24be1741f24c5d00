//! An auth provider on a real loopback port: scripted per path, and otherwise a small table of owners.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use crate::fake_agent::Recorded;

/// How long a test waits for a request before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A scriptable auth provider, which also serves as the legacy permission service. It stops when dropped.
///
/// Paths without a script are answered from its own state by their last segment: `authn` knows the credentials that were
/// logged in; `grant` and `register` make owners, `revoke` and `deregister` unmake them, `check` and `search` answer by
/// them. Anybody known may create on `*`. Other paths are 404.
pub struct FakeProvider {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// How the provider answers.
#[derive(Debug, Clone)]
pub struct Reply {
    kind: Kind,
    headers: Vec<(HeaderName, HeaderValue)>,
    held: Option<Hold>,
}

#[derive(Debug, Clone)]
enum Kind {
    Answer(u16, Bytes),
    Disconnect,
}

/// Holds replies back until the test releases them. Clones are the same hold.
#[derive(Debug, Clone)]
pub struct Hold(watch::Sender<bool>);

impl Hold {
    /// One that nothing has passed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets all replies pass, now and later.
    pub fn release(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        // The sender lives as long as this hold.
        let _ = self.0.subscribe().wait_for(|released| *released).await;
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self::new()
    }
}

impl Reply {
    /// Any status with any body, declared as JSON.
    #[must_use]
    pub fn raw(status: u16, body: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Answer(status, body.into()), headers: Vec::new(), held: None }
    }

    /// Status 200 with this JSON.
    #[must_use]
    pub fn json(body: Value) -> Self {
        Self::raw(200, body.to_string())
    }

    /// A status with an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::raw(status, Bytes::new())
    }

    /// A redirect that a POST would follow as a GET (302).
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        let mut reply = Self::status(302);
        reply.headers.push((header::LOCATION, HeaderValue::from_str(to).unwrap()));
        reply
    }

    /// The connection breaks without an answer.
    #[must_use]
    pub fn disconnect() -> Self {
        Self { kind: Kind::Disconnect, headers: Vec::new(), held: None }
    }

    /// The same, but not before the hold is released.
    #[must_use]
    pub fn held(mut self, hold: &Hold) -> Self {
        self.held = Some(hold.clone());
        self
    }

    async fn answer(self) -> Response {
        if let Some(hold) = &self.held {
            hold.pass().await;
        }
        match self.kind {
            Kind::Answer(status, body) => {
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response.headers_mut().extend(self.headers);
                response
            }
            // Ends the connection's task, and says nothing about it.
            Kind::Disconnect => std::panic::resume_unwind(Box::new("the provider breaks the connection")),
        }
    }
}

#[derive(Default)]
struct Script {
    next: HashMap<String, VecDeque<Reply>>,
    always: HashMap<String, Reply>,
    logins: HashMap<String, Value>,
    owners: BTreeMap<(String, String), BTreeSet<String>>,
    allowed: BTreeSet<(String, String, String, String)>,
}

struct Shared {
    script: Mutex<Script>,
    requests: watch::Sender<Vec<Recorded>>,
}

impl FakeProvider {
    /// Starts one on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { script: Mutex::default(), requests: watch::Sender::new(Vec::new()) });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, shared, server }
    }

    /// Where it listens, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers every request for `path` with `reply` from now on.
    pub fn on(&self, path: &str, reply: Reply) -> &Self {
        self.script().always.insert(path.to_owned(), reply);
        self
    }

    /// Answers the next request for `path` with `reply`, before what [`Self::on`] says; several queue up.
    pub fn once(&self, path: &str, reply: Reply) -> &Self {
        self.script().next.entry(path.to_owned()).or_default().push_back(reply);
        self
    }

    /// Authenticates whoever sends `credential` as the whole `authorization` header, as its bearer token, or as
    /// `x-api-key`.
    pub fn login(&self, credential: &str, principal: Value) -> &Self {
        self.script().logins.insert(credential.to_owned(), principal);
        self
    }

    /// Lets `subject` (a user or service account id) perform one operation on a resource it does not own.
    pub fn allow(&self, subject: &str, kind: &str, selector: &str, operation: &str) -> &Self {
        let entry = (subject.to_owned(), kind.to_owned(), selector.to_owned(), operation.to_owned());
        self.script().allowed.insert(entry);
        self
    }

    /// Who owns a resource, in order of their ids.
    #[must_use]
    pub fn owners(&self, kind: &str, selector: &str) -> Vec<String> {
        let script = self.script();
        let owners = script.owners.get(&(kind.to_owned(), selector.to_owned()));
        owners.into_iter().flatten().cloned().collect()
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.borrow().clone()
    }

    /// The requests for one path so far.
    #[must_use]
    pub fn calls(&self, path: &str) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| request.target == path).collect()
    }

    /// Waits for request number `index` for `path`, counted from 0, and returns it.
    ///
    /// # Panics
    /// When it does not come within ten seconds.
    pub async fn call(&self, path: &str, index: usize) -> Recorded {
        let mut requests = self.shared.requests.subscribe();
        let seen = |requests: &Vec<Recorded>| requests.iter().filter(|request| request.target == path).count() > index;
        let arrived = tokio::time::timeout(PATIENCE, requests.wait_for(seen)).await;
        assert!(matches!(arrived, Ok(Ok(_))), "request {index} for {path} did not come");
        self.calls(path).swap_remove(index)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return Reply::status(400).answer().await };
    let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let recorded = Recorded { method: head.method, target, headers: head.headers, body };
    shared.requests.send_modify(|requests| requests.push(recorded.clone()));
    let reply = shared.script.lock().unwrap().choose(&recorded);
    reply.answer().await
}

impl Script {
    fn choose(&mut self, request: &Recorded) -> Reply {
        if let Some(reply) = self.next.get_mut(&request.target).and_then(VecDeque::pop_front) {
            return reply;
        }
        if let Some(reply) = self.always.get(&request.target) {
            return reply.clone();
        }
        self.decide(request)
    }

    fn decide(&mut self, request: &Recorded) -> Reply {
        let verb = request.target.rsplit('/').next().unwrap_or_default();
        if verb == "authn" {
            return self.authenticate(request);
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let member = |name: &str| body["principal"][name].as_str();
        let Some(subject) = member("user_id").or_else(|| member("service_account_id")).map(str::to_owned) else {
            return Reply::raw(401, json!({"message": "nobody"}).to_string());
        };
        if verb == "search" {
            return Reply::json(json!({"items": self.visible(
                &subject,
                &text(&body["filter_resource"]),
                &text(&body["filter_operation"]),
            )}));
        }
        let resource = (text(&body["resource"]["type"]), text(&body["resource"]["selector"]));
        let owned = self.owners.get(&resource).is_some_and(|owners| owners.contains(&subject));
        match verb {
            "check" => {
                let operation = text(&body["operation"]);
                let creates = resource.1 == "*" && operation == "create";
                let (kind, selector) = resource;
                if owned || creates || self.allowed.contains(&(subject, kind, selector, operation)) {
                    Reply::json(json!({"success": true}))
                } else {
                    Reply::raw(403, json!({"message": "denied"}).to_string())
                }
            }
            "register" if !owned && self.owners.contains_key(&resource) => {
                Reply::raw(403, json!({"message": "somebody else's"}).to_string())
            }
            "grant" | "register" => {
                self.owners.entry(resource).or_default().insert(subject);
                Reply::json(json!({"success": true}))
            }
            "revoke" => {
                if let Some(owners) = self.owners.get_mut(&resource) {
                    owners.remove(&subject);
                    if owners.is_empty() {
                        self.owners.remove(&resource);
                    }
                }
                Reply::json(json!({"success": true}))
            }
            "deregister" => {
                self.owners.remove(&resource);
                Reply::json(json!({"success": true}))
            }
            _ => Reply::raw(404, json!({"detail": "Not Found"}).to_string()),
        }
    }

    fn authenticate(&self, request: &Recorded) -> Reply {
        let authorization = request.header("authorization");
        let bearer = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let credentials = [request.header("x-api-key"), bearer, authorization];
        match credentials.into_iter().flatten().find_map(|credential| self.logins.get(credential)) {
            Some(principal) => Reply::json(principal.clone()),
            None => Reply::raw(401, json!({"message": "Unauthorized"}).to_string()),
        }
    }

    fn visible(&self, subject: &str, kind: &str, operation: &str) -> BTreeSet<String> {
        let owned =
            self.owners.iter().filter(|((owned_kind, _), owners)| owned_kind == kind && owners.contains(subject));
        let allowed = self.allowed.iter().filter(|(to, on, _, may)| to == subject && on == kind && may == operation);
        let owned = owned.map(|((_, selector), _)| selector.clone());
        owned.chain(allowed.map(|(_, _, selector, _)| selector.clone())).collect()
    }
}
