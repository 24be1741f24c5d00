//! Slack, Linear and the directory of configurations on one loopback port, as far as gateways call them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use crate::fake_agent::Recorded;

/// How long a test waits for a request before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A chat application that takes everything until told otherwise, and remembers it. It stops when dropped.
///
/// Slack's Web API is below `/api`, Linear's `/graphql` and `/oauth/token` at the root, beside the directory, which knows
/// the configurations it was taught.
pub struct FakeChat {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    next: Mutex<HashMap<String, VecDeque<Answer>>>,
    configs: Mutex<Vec<Value>>,
    requests: watch::Sender<Vec<Recorded>>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl FakeChat {
    /// Starts one on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            next: Mutex::default(),
            configs: Mutex::default(),
            requests: watch::Sender::new(Vec::new()),
        });
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

    /// Base of Slack's Web API.
    #[must_use]
    pub fn slack_base(&self) -> String {
        format!("{}/api", self.url)
    }

    /// Answers the next request to `path` with this; several queue up.
    pub fn once(&self, path: &str, status: u16, body: Value) -> &Self {
        self.once_with(path, status, &[], body)
    }

    /// The same with headers.
    pub fn once_with(&self, path: &str, status: u16, headers: &[(&str, &str)], body: Value) -> &Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let answer = Answer { status, headers, body };
        self.shared.next.lock().unwrap().entry(path.to_owned()).or_default().push_back(answer);
        self
    }

    /// Makes the directory know a configuration.
    pub fn teach(&self, name: &str, id: &str) -> &Self {
        self.shared.configs.lock().unwrap().push(json!({"name": name, "id": id}));
        self
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.borrow().clone()
    }

    /// The requests to `path` so far, whatever their query.
    #[must_use]
    pub fn to(&self, path: &str) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| goes_to(request, path)).collect()
    }

    /// Waits for request number `index` to `path`, counted from 0, and returns it.
    ///
    /// # Panics
    /// When it does not come within ten seconds.
    pub async fn request(&self, path: &str, index: usize) -> Recorded {
        let mut requests = self.shared.requests.subscribe();
        let arrived =
            requests.wait_for(|requests| requests.iter().filter(|request| goes_to(request, path)).count() > index);
        match tokio::time::timeout(PATIENCE, arrived).await {
            Ok(Ok(_)) => {}
            _ => panic!("request {index} to {path} did not come; so far: {:?}", self.targets()),
        }
        self.to(path).swap_remove(index)
    }

    /// The paths and queries of all requests so far.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }
}

impl Drop for FakeChat {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn goes_to(request: &Recorded, path: &str) -> bool {
    request.target.split('?').next() == Some(path)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let path = head.uri.path().to_owned();
    let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let recorded = Recorded { method: head.method, target, headers: head.headers, body };
    let planned = shared.next.lock().unwrap().get_mut(&path).and_then(VecDeque::pop_front);
    let answer = planned.unwrap_or_else(|| shared.usual(&path));
    shared.requests.send_modify(|requests| requests.push(recorded));
    let mut response = Response::builder().status(answer.status).header("content-type", "application/json");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body.to_string())).unwrap()
}

impl Shared {
    fn usual(&self, path: &str) -> Answer {
        let body = match path {
            "/api/chat.postMessage" => json!({"ok": true, "ts": "900.1"}),
            "/api/assistant.threads.setStatus" | "/api/views.open" => json!({"ok": true}),
            "/oauth/token" => json!({"access_token": "minted", "token_type": "Bearer"}),
            "/graphql" => json!({"data": {"agentActivityCreate": {"success": true}}}),
            "/v5/agent_configs" => json!({"items": *self.configs.lock().unwrap()}),
            _ => return Answer { status: 404, headers: Vec::new(), body: json!({}) },
        };
        Answer { status: 200, headers: Vec::new(), body }
    }
}
