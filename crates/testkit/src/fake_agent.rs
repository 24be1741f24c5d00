//! An agent on a real loopback port that does what the test told it, and remembers what it was asked.

mod gate;
mod reply;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use gate::Gate;
pub use reply::{Reply, Step};

/// How long a test waits for the agent to be called before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A scriptable agent. It serves `GET /healthz` and `POST /api`, answers 404 to the rest, and stops when dropped.
///
/// Until told otherwise it accepts the four asynchronous methods and knows no other.
pub struct FakeAgent {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The HTTP method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Recorded {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON-RPC method; empty when there is none.
    #[must_use]
    pub fn rpc_method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    /// The JSON-RPC parameters.
    #[must_use]
    pub fn params(&self) -> Value {
        self.json()["params"].clone()
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

struct Shared {
    script: Mutex<Script>,
    requests: watch::Sender<Vec<Recorded>>,
    abandoned: watch::Sender<usize>,
}

struct Script {
    next: HashMap<String, VecDeque<Reply>>,
    always: HashMap<String, Reply>,
    otherwise: Option<Reply>,
    health: (u16, Value),
    key: Option<String>,
}

impl FakeAgent {
    /// Starts one on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let script = Script {
            next: HashMap::new(),
            always: ["task/create", "event/send", "task/cancel", "task/interrupt"]
                .map(|method| (method.to_owned(), Reply::accepted()))
                .into(),
            otherwise: None,
            health: (200, json!({"status": "healthy"})),
            key: None,
        };
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            requests: watch::Sender::new(Vec::new()),
            abandoned: watch::Sender::new(0),
        });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, shared, server }
    }

    /// Where it listens, without a slash at the end: its `acp_url`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers every call of this JSON-RPC method with `reply` from now on.
    pub fn on(&self, method: &str, reply: Reply) -> &Self {
        self.script().always.insert(method.to_owned(), reply);
        self
    }

    /// Answers the next call of this method with `reply`, before what [`Self::on`] says; several queue up.
    pub fn once(&self, method: &str, reply: Reply) -> &Self {
        self.script().next.entry(method.to_owned()).or_default().push_back(reply);
        self
    }

    /// Answers calls of all other methods with `reply`, bodies that are not JSON-RPC included.
    pub fn otherwise(&self, reply: Reply) -> &Self {
        self.script().otherwise = Some(reply);
        self
    }

    /// Refuses calls whose `x-agent-api-key` is another one, as agents do once they have registered.
    pub fn require_key(&self, key: &str) -> &Self {
        self.script().key = Some(key.to_owned());
        self
    }

    /// What `GET /healthz` answers.
    pub fn health(&self, status: u16, body: Value) -> &Self {
        self.script().health = (status, body);
        self
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.borrow().clone()
    }

    /// The calls (`POST /api`) so far, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Recorded> {
        self.requests().into_iter().filter(is_call).collect()
    }

    /// The JSON-RPC methods of the calls so far.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        self.calls().iter().map(Recorded::rpc_method).collect()
    }

    /// Waits for call number `index`, counted from 0, and returns it.
    ///
    /// # Panics
    /// When it does not come within ten seconds.
    pub async fn call(&self, index: usize) -> Recorded {
        let mut requests = self.shared.requests.subscribe();
        let arrived = requests.wait_for(|requests| requests.iter().filter(|request| is_call(request)).count() > index);
        match tokio::time::timeout(PATIENCE, arrived).await {
            Ok(Ok(_)) => {}
            _ => panic!("call {index} did not come; so far: {:?}", self.methods()),
        }
        self.calls().swap_remove(index)
    }

    /// How many calls were given up by the caller before the agent had answered in full.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        *self.shared.abandoned.borrow()
    }

    /// Waits until the caller has closed the connection of `count` unfinished calls.
    ///
    /// # Panics
    /// When that does not happen within ten seconds.
    pub async fn wait_abandoned(&self, count: usize) {
        let mut abandoned = self.shared.abandoned.subscribe();
        match tokio::time::timeout(PATIENCE, abandoned.wait_for(|seen| *seen >= count)).await {
            Ok(Ok(_)) => {}
            _ => panic!("{} calls were given up, not {count}", self.abandoned()),
        }
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn is_call(request: &Recorded) -> bool {
    request.method == Method::POST && request.target == "/api"
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return plain(400) };
    let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let recorded = Recorded { method: head.method, target, headers: head.headers, body };
    shared.requests.send_modify(|requests| requests.push(recorded.clone()));

    if recorded.method == Method::GET && recorded.target == "/healthz" {
        let (status, body) = shared.script.lock().unwrap().health.clone();
        return reply::json(status, &body);
    }
    if !is_call(&recorded) {
        return plain(404);
    }
    let rpc: Value = serde_json::from_slice(&recorded.body).unwrap_or_default();
    let reply = shared.choose(&recorded, &rpc);
    let watch = Watch { abandoned: shared.abandoned.clone(), finished: false };
    reply.answer(rpc["id"].clone(), watch).await
}

fn plain(status: u16) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

impl Shared {
    fn choose(&self, recorded: &Recorded, rpc: &Value) -> Reply {
        let mut script = self.script.lock().unwrap();
        if script.key.as_deref().is_some_and(|key| recorded.header("x-agent-api-key") != Some(key)) {
            return Reply::error(-32601, "Unauthorized");
        }
        let method = rpc["method"].as_str().unwrap_or_default();
        if let Some(reply) = script.next.get_mut(method).and_then(VecDeque::pop_front) {
            return reply;
        }
        let chosen = script.always.get(method).or(script.otherwise.as_ref());
        chosen.cloned().unwrap_or_else(|| Reply::error(-32601, &format!("Method {method} not found")))
    }
}

/// Lives as long as a call is being answered; tells when it is dropped before its end, which is how the server sees that
/// the caller went away.
struct Watch {
    abandoned: watch::Sender<usize>,
    finished: bool,
}

impl Watch {
    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.finished {
            self.abandoned.send_modify(|count| *count += 1);
        }
    }
}
