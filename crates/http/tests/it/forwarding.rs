//! The way in for outsiders, from a real request to a real agent and back.

mod credentials;
mod relay;
mod rules;
mod webhooks;

use std::sync::{Arc, Mutex};

use agentex_domain::ports::Clock as _;
use agentex_testkit::fake_agent::Recorded;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use futures::{StreamExt as _, stream};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Notify;

use crate::support::{Answer, Authorization, Setup, World};

const ALICE: (&str, &str) = ("authorization", "Bearer alice");
/// "hello, reader", compressed.
const ZIPPED: [u8; 33] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 203, 72, 205, 201, 201, 215, 81, 40, 74, 77, 76, 73, 45, 2, 0, 199, 156, 35, 229,
    13, 0, 0, 0,
];

/// An agent with routes of its own, that remembers what it was sent.
struct Pod {
    url: String,
    shared: Arc<PodState>,
}

#[derive(Default)]
struct PodState {
    seen: Mutex<Vec<Recorded>>,
    go_on: Notify,
}

impl Pod {
    async fn start() -> Self {
        let shared = Arc::new(PodState::default());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    fn seen(&self) -> Vec<Recorded> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The only request there was.
    fn only(&self) -> Recorded {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

async fn serve(State(pod): State<Arc<PodState>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let target = head.uri.path_and_query().unwrap().to_string();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    pod.seen.lock().unwrap().push(Recorded { method: head.method, target, headers: head.headers, body });
    let answer = Response::builder();
    match path.as_str() {
        "/teapot" => answer
            .status(418)
            .header("x-pod", "1")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("content-type", "text/tea")
            .header("server", "pod")
            .header("date", "never")
            .header("x-hop", "1")
            .header("connection", "x-hop")
            .header("x-agent-api-key", "leaked")
            .body(Body::from("short and stout")),
        "/zip" => answer.header("content-encoding", "gzip").body(Body::from(ZIPPED.to_vec())),
        "/moved" => answer.status(302).header("location", "/elsewhere").body(Body::empty()),
        "/broken" => answer.status(500).body(Body::empty()),
        "/slow" => std::future::pending().await,
        "/drip" => {
            let second = async move {
                pod.go_on.notified().await;
                Ok::<_, std::io::Error>("two\n")
            };
            answer.body(Body::from_stream(stream::iter([Ok("one\n")]).chain(stream::once(second))))
        }
        "/cut" => {
            let cut = async move {
                pod.go_on.notified().await;
                Err(std::io::Error::other("cut"))
            };
            answer.body(Body::from_stream(stream::iter([Ok("one\n")]).chain(stream::once(cut))))
        }
        _ => answer.body(Body::from("done")),
    }
    .unwrap()
}

/// A server and the agent `a`.
struct Stage {
    world: World,
    pod: Pod,
    agent: Value,
}

impl Stage {
    /// Authorization is off and nobody authenticates.
    async fn open() -> Self {
        Self::with(Setup { authorization: Authorization::Off, ..Setup::default() }).await
    }

    /// Authorization is on, and callers say who they are.
    async fn guarded() -> Self {
        Self::with(Setup { authenticated: true, ..Setup::default() }).await
    }

    async fn with(setup: Setup) -> Self {
        let (world, pod) = (World::with(setup).await, Pod::start().await);
        let agent = world.agent("a", "sync", &pod.url).await;
        Self { world, pod, agent }
    }

    async fn key(&self, kind: &str, name: &str, secret: Option<&str>) -> String {
        let body = json!({"agent_name": "a", "name": name, "api_key_type": kind, "api_key": secret});
        let created = self.world.call("POST", "/agent_api_keys", &[ALICE], Some(&body.to_string())).await.ok();
        created["api_key"].as_str().unwrap().to_owned()
    }

    /// An external key of the agent.
    async fn external(&self) -> String {
        self.key("external", "third party", None).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, b"").await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", path, headers, body.as_ref()).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/agents/forward/name/{path}"));
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.world.send(request.body(Body::from(body.to_vec())).unwrap()).await
    }

    /// The clock in seconds, moved by as many.
    fn seconds(&self, offset: i64) -> String {
        (self.world.clock.now().as_micros() / 1_000_000 + offset).to_string()
    }
}

fn refused(answer: &Answer, status: u16, text: &str) {
    let body = format!(r#"{{"detail":{}}}"#, serde_json::to_string(text).unwrap());
    assert_eq!((answer.status.as_u16(), answer.text()), (status, body));
}

fn mac(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn github(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", mac(secret, &[body]))
}

fn slack(secret: &str, timestamp: &str, body: &[u8]) -> String {
    format!("v0={}", mac(secret, &[b"v0:", timestamp.as_bytes(), b":", body]))
}
