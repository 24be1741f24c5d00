//! The way in for outsiders, from a real request to a real agent and back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_acp::AcpOptions;
use agentex_app::{ForwardingSettings, Settings};
use agentex_authz::{Operation, ResourceRef};
use agentex_domain::ports::Clock as _;
use agentex_http::HttpOptions;
use agentex_testkit::fake_agent::{FakeAgent, Recorded};
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

use crate::support::{Answer, Authorization, Setup, World, id};

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

/// api-keys §7: 39
#[tokio::test]
async fn a_get_reaches_the_agents_own_route_and_its_answer_the_caller() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let answer = stage.get("a/some/path?query=value&q=%26", &[("x-agent-api-key", &key)]).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (200, "done".to_owned()));
    let seen = stage.pod.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/some/path?query=value&q=%26"));
}

/// api-keys §7: 40
#[tokio::test]
async fn a_post_arrives_byte_for_byte_and_the_encoding_of_the_path_is_kept() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let body: Vec<u8> = (0..=255).collect();

    let headers = [("x-agent-api-key", key.as_str()), ("content-type", "application/x-odd"), ("x-event", "push")];
    stage.post("a/a%20b/%2Fc//d%C3%A9/", &headers, &body).await;

    let seen = stage.pod.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a%20b/%2Fc//d%C3%A9/"));
    assert_eq!((seen.header("content-type"), seen.header("x-event")), (Some("application/x-odd"), Some("push")));
    assert_eq!(seen.body, body);
}

#[tokio::test]
async fn the_agents_own_url_is_reached_with_a_slash_and_without_one_redirected_to() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    stage.get("a/", &[("x-agent-api-key", &key)]).await;
    let moved = stage.post("a?x=1", &[], "").await;

    assert_eq!(stage.pod.only().target, "/");
    assert_eq!((moved.status.as_u16(), moved.header("location")), (307, Some("/agents/forward/name/a/?x=1")));
}

/// api-keys §7: 41, 44
#[tokio::test]
async fn without_credentials_that_count_here_nothing_is_forwarded() {
    let stage = Stage::open().await;

    for headers in
        [&[][..], &[("authorization", "Bearer t")], &[("authorization", "AgentKey")], &[("x-agent-api-key", "")]]
    {
        refused(&stage.get("a/x", headers).await, 403, "Missing authentication for forward request.");
    }
    assert!(stage.pod.seen().is_empty());
}

/// api-keys §7: 42, 43
/// authz §7: 188, 189
#[tokio::test]
async fn only_a_living_external_key_of_the_agent_opens_it_and_all_others_get_one_answer() {
    for stage in [Stage::open().await, Stage::guarded().await] {
        let key = stage.external().await;
        let other = stage.world.agent("b", "sync", &stage.pod.url).await;
        let foreign = json!({"agent_name": "b", "name": "n"}).to_string();
        let foreign = stage.world.call("POST", "/agent_api_keys", &[ALICE], Some(&foreign)).await.ok();
        let deleted = stage.key("external", "old", None).await;
        let delete = "/agent_api_keys/name/old?agent_name=a";
        assert_eq!(stage.world.call("DELETE", delete, &[ALICE], None).await.status, 200);
        let github = stage.key("github", "acme/w", Some("0123456789abcdef")).await;
        let bad = [
            "nonsense",
            "clé",
            deleted.as_str(),
            github.as_str(),
            foreign["api_key"].as_str().unwrap(),
            stage.agent["agent_api_key"].as_str().unwrap(),
            other["agent_api_key"].as_str().unwrap(),
        ];

        for key in bad {
            refused(&stage.get("a/x", &[("x-agent-api-key", key)]).await, 401, "Unauthorized");
            let scheme = format!("AgentKey {key}");
            refused(&stage.get("a/x", &[("authorization", &scheme)]).await, 401, "Unauthorized");
        }
        assert!(stage.pod.seen().is_empty());

        for value in [format!("agentkey  {key} "), format!("AGENTKEY\t{key}"), format!(" AgentKey {key}")] {
            assert_eq!(stage.get("a/x", &[("authorization", &value)]).await.status, 200, "{value:?}");
        }
        assert_eq!(stage.get("a/x", &[("x-agent-api-key", &key)]).await.status, 200);
    }
}

/// api-keys §7: 44, 62
#[tokio::test]
async fn where_callers_are_authenticated_everybody_else_must_be_known_to_the_provider() {
    let stage = Stage::with(Setup { authenticated: true, authorization: Authorization::Off, ..Setup::default() }).await;

    refused(&stage.get("a/x", &[]).await, 401, "Unauthorized");
    refused(&stage.get("a/x", &[("authorization", "Basic dTpw")]).await, 401, "Unauthorized");
    refused(&stage.get("a/x", &[("authorization", "Bearer down")]).await, 503, "Service temporarily unavailable");
    assert!(stage.pod.seen().is_empty());
    assert_eq!(stage.get("a/x", &[ALICE]).await.status, 200);
    let key = stage.external().await;
    assert_eq!(stage.get("a/x", &[("x-agent-api-key", &key)]).await.status, 200);
}

/// api-keys §7: 46
#[tokio::test]
async fn where_nothing_is_hidden_an_agent_that_cannot_be_reached_is_absent_before_anything_else() {
    let stage = Stage::open().await;
    stage.world.post("/agents/register-build", json!({"name": "built", "description": "d"})).await.ok();
    stage.world.agent("gone", "sync", &stage.pod.url).await;
    stage.world.delete("/agents/name/gone").await.ok();

    for name in ["nobody", "built", "gone"] {
        let text = format!("Agent {name} not found or has no ACP URL.");
        for headers in [&[][..], &[("x-agent-api-key", "k")], &[("x-hub-signature-256", "sha256=00")]] {
            refused(&stage.post(&format!("{name}/x"), headers, "{}").await, 404, &text);
        }
    }
    let odd = stage.get("no%20body%00%ff/x", &[]).await;
    assert_eq!(odd.status, 404);
}

/// Nobody learns by trying which agents there are, whatever they try.
///
/// authz §7: 188
#[tokio::test]
async fn where_things_are_hidden_an_unknown_agent_is_refused_like_a_wrong_key() {
    let stage = Stage::guarded().await;
    stage.key("github", "acme/w", Some("github-secret-0123")).await;
    stage.key("slack", "A1", Some("slack-secret-012345")).await;
    let now = stage.seconds(0);
    let hook = json!({"repository": {"full_name": "acme/w"}, "api_app_id": "A1"}).to_string();
    let unknown = json!({"repository": {"full_name": "acme/x"}, "api_app_id": "A2"}).to_string();
    let wrong_slack = slack("wrong", &now, hook.as_bytes());
    let attempts = [
        (vec![("x-agent-api-key", "k")], "{}"),
        (vec![("x-hub-signature-256", "sha256=00")], hook.as_str()),
        (vec![("x-hub-signature-256", "sha256=00")], unknown.as_str()),
        (vec![("x-slack-signature", wrong_slack.as_str()), ("x-slack-request-timestamp", &now)], hook.as_str()),
        (vec![("x-slack-signature", "v0=00"), ("x-slack-request-timestamp", &now)], unknown.as_str()),
        (vec![], "{}"),
    ];

    for (headers, body) in &attempts {
        let known = stage.post("a/x", headers, body).await;
        refused(&known, 401, "Unauthorized");
        let unknown = stage.post("nobody/x", headers, body).await;
        assert_eq!((unknown.status, &unknown.body), (known.status, &known.body), "{headers:?}");
        let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&unknown), names(&known));
    }
    assert!(stage.pod.seen().is_empty());
}

/// An empty secret would verify what anybody can sign.
#[tokio::test]
async fn a_signature_made_with_no_secret_proves_nothing() {
    for stage in [Stage::open().await, Stage::guarded().await] {
        let body = json!({"repository": {"full_name": "acme/w"}}).to_string();
        let signature = github("", body.as_bytes());

        for agent in ["a", "nobody"] {
            let answer = stage.post(&format!("{agent}/x"), &[("x-hub-signature-256", &signature)], &body).await;
            assert!(answer.status.is_client_error(), "{}", answer.text());
        }
        assert!(stage.pod.seen().is_empty());
    }
}

/// api-keys §7: 47, 48
/// authz §7: 192
#[tokio::test]
async fn github_webhooks_are_taken_by_their_signature_alone() {
    let stage = Stage::open().await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let post =
        async |body: &[u8], signature: &str| stage.post("a/hook", &[("x-hub-signature-256", signature)], body).await;
    let body = br#"{"action": "opened", "repository": {"id": 1, "full_name": "acme/w"}}"#;

    for (body, status, text) in [
        (&b""[..], 400, "Empty payload in GitHub webhook."),
        (b"{", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"\xff\xfe", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"{\"repository\": \"\xff\"}", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"payload=%7B%7D", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"{}", 400, "GitHub webhook payload missing repository info."),
        (b"[]", 400, "GitHub webhook payload missing repository info."),
        (b"\"x\"", 400, "GitHub webhook payload missing repository info."),
        (br#"{"repository": {}}"#, 400, "GitHub webhook payload missing repository name."),
        (br#"{"repository": 7}"#, 400, "GitHub webhook payload missing repository name."),
        (br#"{"repository": {"full_name": 7}}"#, 400, "GitHub webhook payload missing repository name."),
        (br#"{"repository": {"full_name": "acme/x"}}"#, 404, "No API key found for GitHub repository acme/x."),
        (br#"{"repository": {"full_name": "a\u0000"}}"#, 404, "No API key found for GitHub repository a\0."),
        (body, 401, "Invalid GitHub webhook signature"),
    ] {
        refused(&post(body, &github("wrong", body)).await, status, text);
    }
    let right = github(&secret, body);
    for wrong in ["sha256=", "sha256=é", "x", right.trim_start_matches("sha256="), &right[..right.len() - 2]] {
        refused(&post(body, wrong).await, 401, "Invalid GitHub webhook signature");
    }
    assert!(stage.pod.seen().is_empty());

    assert_eq!(post(body, &right).await.status, 200);
    let seen = stage.pod.only();
    assert_eq!((seen.body.as_ref(), seen.header("x-hub-signature-256")), (&body[..], Some(right.as_str())));
}

/// api-keys §7: 45, 51
#[tokio::test]
async fn the_first_credential_there_is_decides() {
    let stage = Stage::open().await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let body = br#"{"repository": {"full_name": "acme/w"}}"#;
    let signature = github(&secret, body);
    let signed = ("x-hub-signature-256", signature.as_str());

    refused(&stage.post("a/x", &[("x-agent-api-key", "bad"), signed], body).await, 401, "Unauthorized");
    assert_eq!(stage.post("a/x", &[("authorization", "AgentKey"), signed], body).await.status, 200);
    assert_eq!(stage.post("a/x", &[("authorization", "AgentKey  "), signed], body).await.status, 200);
    assert_eq!(stage.post("a/x", &[("authorization", "Bearer t"), signed], body).await.status, 200);
}

/// api-keys §7: 49
#[tokio::test]
async fn a_slack_challenge_is_echoed_as_text_and_never_run() {
    let stage = Stage::open().await;
    let header = [("x-slack-request-timestamp", "1")];

    let body = r#"{"type": "url_verification", "challenge": "<b>3eZbrw"}"#;
    let answer = stage.post("a/events", &header, body).await;
    let number = stage.post("a/events", &header, r#"{"type": "url_verification", "challenge": 7}"#).await;
    let bare = stage.post("a/events", &header, r#"{"challenge": "x"}"#).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (200, "<b>3eZbrw".to_owned()));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    for unsigned in [number, bare] {
        refused(&unsigned, 403, "Missing authentication for forward request.");
    }
    assert!(stage.pod.seen().is_empty());
}

/// api-keys §7: 50
/// authz §7: 192
#[tokio::test]
async fn slack_requests_are_taken_by_their_signature_while_it_is_fresh() {
    let stage = Stage::open().await;
    let secret = stage.key("slack", "A1", Some("slack-secret-012345")).await;
    let body = br#"{"type": "event_callback", "api_app_id": "A1"}"#;
    let post = async |timestamp: Option<&str>, secret: &str, body: &[u8]| {
        let signature = slack(secret, timestamp.unwrap_or_default(), body);
        let mut headers = vec![("x-slack-signature", signature.as_str())];
        headers.extend(timestamp.map(|timestamp| ("x-slack-request-timestamp", timestamp)));
        stage.post("a/events", &headers, body).await
    };
    let clock = stage.seconds(0);
    let now = Some(clock.as_str());

    for (timestamp, body, status, text) in [
        (now, &b"{"[..], 400, "Invalid Slack verification request."),
        (now, b"", 400, "Invalid Slack verification request."),
        (now, b"command=%2Fx", 400, "Invalid Slack verification request."),
        (None, body, 401, "Missing X-Slack-Request-Timestamp header."),
        (Some("abc"), body, 400, "Invalid X-Slack-Request-Timestamp header value."),
        (Some("1.5"), body, 400, "Invalid X-Slack-Request-Timestamp header value."),
        (Some("-9223372036854775808"), body, 400, "Slack webhook request has bad timestamp."),
        (Some(&stage.seconds(-301)), body, 400, "Slack webhook request has bad timestamp."),
        (Some(&stage.seconds(301)), body, 400, "Slack webhook request has bad timestamp."),
        (now, b"{}", 400, "Slack webhook payload missing API app ID."),
        (now, b"[]", 400, "Slack webhook payload missing API app ID."),
        (now, br#"{"api_app_id": "A2"}"#, 404, "No API key found for Slack app A2."),
    ] {
        refused(&post(timestamp, &secret, body).await, status, text);
    }
    refused(&post(now, "wrong", body).await, 401, "Invalid Slack webhook signature");
    let old = slack(&secret, &stage.seconds(-10), body);
    let replayed = [("x-slack-signature", old.as_str()), ("x-slack-request-timestamp", clock.as_str())];
    refused(&stage.post("a/events", &replayed, body).await, 401, "Invalid Slack webhook signature");
    assert!(stage.pod.seen().is_empty());

    for fresh in [-300, 0, 300] {
        assert_eq!(post(Some(&stage.seconds(fresh)), &secret, body).await.status, 200);
    }
    assert!(stage.pod.seen().iter().all(|seen| seen.header("x-slack-signature").is_some()));
}

/// api-keys §7: 52
/// authz §7: 190
#[tokio::test]
async fn a_principal_must_be_allowed_to_execute_the_agent() {
    let world = World::with_authorization().await;
    let pod = Pod::start().await;
    let registration = crate::support::registration("a", "sync", &pod.url);
    let agent = world.call_as("alice", "POST", "/agents/register", Some(registration)).await.ok();
    let stage = Stage { world, pod, agent };
    stage.world.share("bob", Operation::Read, ResourceRef::agent(id(&stage.agent))).await;
    let by = async |user: &str, name: &str| {
        let bearer = format!("Bearer {user}");
        stage.post(&format!("{name}/x"), &[("authorization", &bearer)], "{}").await
    };
    let absent = |name: &str| format!("Agent {name} not found or has no ACP URL.");

    refused(&by("mallory@elsewhere", "a").await, 404, &absent("a"));
    refused(&by("mallory@elsewhere", "nobody").await, 404, &absent("nobody"));
    refused(&by("bob", "a").await, 403, "Forbidden \u{2013} principal lacks permission");
    refused(&by("alice", "nobody").await, 404, &absent("nobody"));
    refused(&stage.get("a/x", &[]).await, 401, "Unauthorized");
    assert!(stage.pod.seen().is_empty());

    assert_eq!(by("alice", "a").await.status, 200);
    assert_eq!(stage.pod.only().header("authorization"), None);
}

/// An outage of the permission service is neither answer, and has the shape of the ingress.
#[tokio::test]
async fn without_a_decision_nothing_is_forwarded() {
    let stage = Stage::guarded().await;
    stage.world.rules.fail(|| agentex_authz::AuthzError::Unavailable("down".into()));

    refused(&stage.get("a/x", &[ALICE]).await, 503, "Service unreachable or timed out");
    assert!(stage.pod.seen().is_empty());
}

/// api-keys §7: 53, 54
/// authz §7: 191
#[tokio::test]
async fn the_agent_sees_no_credentials_but_its_own_key_and_where_the_request_came_from() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let headers = [
        ("x-agent-api-key", key.as_str()),
        ("authorization", "Bearer s3cret"),
        ("cookie", "session=s3cret"),
        ("x-api-key", "s3cret"),
        ("x-acting-user-api-key", "s3cret"),
        ("x-acting-as-agent", "s3cret"),
        ("x-selected-account-id", "s3cret"),
        ("x-agent-identity", "s3cret"),
        ("proxy-authorization", "s3cret"),
        ("connection", "close, x-hop"),
        ("x-hop", "s3cret"),
        ("host", "agents.example"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "abc-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-github-event", "push"),
    ];
    stage.get("a/x", &headers).await;

    let seen = stage.pod.only();
    let shown = format!("{:?}", seen.headers);
    assert!(!shown.contains("s3cret") && !shown.contains(&key), "{shown}");
    assert_eq!(seen.headers.get_all("x-agent-api-key").iter().count(), 1);
    assert_eq!(seen.header("x-agent-api-key"), stage.agent["agent_api_key"].as_str());
    assert_eq!(Some(seen.header("host").unwrap()), stage.pod.url.strip_prefix("http://"));
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "agents.example"),
        ("x-request-id", "abc-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-github-event", "push"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

/// api-keys §7: 55
#[tokio::test]
async fn the_agents_status_headers_and_body_are_relayed() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let answer = stage.get("a/teapot", &[("x-agent-api-key", &key)]).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (418, "short and stout".to_owned()));
    assert_eq!((answer.header("x-pod"), answer.header("content-type")), (Some("1"), Some("text/tea")));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    for absent in ["server", "date", "connection", "x-hop", "x-agent-api-key"] {
        assert_eq!(answer.header(absent), None, "{absent}");
    }
}

/// api-keys §7: 56
#[tokio::test]
async fn a_compressed_answer_stays_as_it_is() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let client = stage.world.serve().await.with_header("x-agent-api-key", &key);

    let answer = client.get("/agents/forward/name/a/zip").await;

    assert_eq!((answer.header("content-encoding"), answer.body.as_ref()), (Some("gzip"), &ZIPPED[..]));
    assert_eq!(answer.header("content-length"), Some(ZIPPED.len().to_string().as_str()));
}

/// The second line is not even sent before the first has been read here.
#[tokio::test]
async fn the_answer_is_passed_on_as_it_comes() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let client = stage.world.serve().await.with_header("x-agent-api-key", &key);

    let mut lines = client.post_for_lines("/agents/forward/name/a/drip", &json!({})).await;

    assert_eq!(lines.next().await.unwrap().as_deref(), Some("one"));
    stage.pod.shared.go_on.notify_one();
    assert_eq!(lines.next().await.unwrap().as_deref(), Some("two"));
    assert_eq!(lines.next().await.unwrap(), None);
}

/// Half an answer must not look like a whole one.
#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_caller_too() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let client = stage.world.serve().await.with_header("x-agent-api-key", &key);

    let mut lines = client.post_for_lines("/agents/forward/name/a/cut", &json!({})).await;

    assert_eq!(lines.next().await.unwrap().as_deref(), Some("one"));
    stage.pod.shared.go_on.notify_one();
    assert!(lines.next().await.is_err());
}

/// api-keys §7: 57
#[tokio::test]
async fn an_agent_that_is_down_or_silent_is_reported_without_its_address() {
    let acp = AcpOptions { forward_timeout: Duration::from_millis(200), ..AcpOptions::default() };
    let stage = Stage::with(Setup { acp, authorization: Authorization::Off, ..Setup::default() }).await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    refused(&stage.get("a/slow", &key).await, 504, "Agent a did not respond in time.");
    let port = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    stage.world.agent("a", "sync", &format!("http://127.0.0.1:{port}")).await;
    refused(&stage.get("a/x", &key).await, 502, "Agent a is unreachable.");
    stage.world.agent("a", "sync", "http://169.254.169.254/latest").await;
    refused(&stage.get("a/x", &key).await, 502, "Agent a is unreachable.");
}

/// api-keys §7: 58
#[tokio::test]
async fn a_redirect_is_relayed_and_not_followed() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let answer = stage.get("a/moved", &[("x-agent-api-key", &key)]).await;

    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("/elsewhere")));
    assert_eq!(stage.pod.only().target, "/moved");
}

/// api-keys §7: 59
#[tokio::test]
async fn only_get_and_post_are_forwarded() {
    for stage in [Stage::open().await, Stage::guarded().await] {
        for method in ["PUT", "PATCH", "DELETE", "HEAD"] {
            for path in ["a/x", "a/", "a"] {
                let answer = stage.send(method, path, &[], b"").await;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("allow")),
                    (405, Some("GET, POST")),
                    "{method} {path}"
                );
            }
        }
        assert!(stage.pod.seen().is_empty());
    }
}

/// api-keys §7: 60
#[tokio::test]
async fn an_outsider_reaches_neither_the_agents_endpoint_nor_what_lies_beside_it() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    for path in ["api", "api/", "//api", "%61pi", "API", "healthz", "api?x=1"] {
        refused(&stage.post(&format!("a/{path}"), &key, "{}").await, 404, "Not Found");
    }
    for path in ["../api", "x/../api", "x/%2e%2E/api", "x%2f..%2fapi", "x\\..\\api", "x%3Fy", "x%23y", "."] {
        let answer = stage.post(&format!("a/{path}"), &key, "{}").await;
        assert_eq!(answer.status.as_u16(), 400, "{path}: {}", answer.text());
        assert!(answer.json()["detail"].is_string(), "{path}");
    }
    assert!(stage.pod.seen().is_empty());
}

#[tokio::test]
async fn what_is_reserved_can_be_configured() {
    let forwarding =
        ForwardingSettings { reserved_paths: vec!["private/x".to_owned()], ..ForwardingSettings::default() };
    let settings = Settings { forwarding, ..Settings::default() };
    let stage = Stage::with(Setup { settings, authorization: Authorization::Off, ..Setup::default() }).await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    assert_eq!(stage.get("a/api", &key).await.status, 200);
    assert_eq!(stage.get("a/private", &key).await.status, 200);
    refused(&stage.get("a/private//x/", &key).await, 404, "Not Found");
}

/// api-keys §7: 61
#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_the_agent_is_called() {
    let http = HttpOptions { max_forward_body_bytes: 16, ..HttpOptions::default() };
    let stage = Stage::with(Setup { http, authorization: Authorization::Off, ..Setup::default() }).await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    refused(&stage.post("a/x", &key, [b'x'; 17]).await, 413, "Request body is too large");
    assert!(stage.pod.seen().is_empty());
    assert_eq!(stage.post("a/x", &key, [b'x'; 16]).await.status, 200);
}

#[tokio::test]
async fn a_delivery_that_arrived_is_not_passed_on_again_when_that_is_wanted() {
    let forwarding = ForwardingSettings { ignore_duplicates: true, ..ForwardingSettings::default() };
    let settings = Settings { forwarding, ..Settings::default() };
    let stage = Stage::with(Setup { settings, authorization: Authorization::Off, ..Setup::default() }).await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let body = br#"{"repository": {"full_name": "acme/w"}}"#;
    let signature = github(&secret, body);
    let deliver = async |path: &str, delivery: &str| {
        stage.post(path, &[("x-hub-signature-256", &signature), ("x-github-delivery", delivery)], body).await
    };

    // What the agent failed at may come again.
    assert_eq!(deliver("a/broken", "d1").await.status, 500);
    assert_eq!(deliver("a/hook", "d1").await.text(), "done");
    refused(&deliver("a/hook", "d1").await, 200, "duplicate delivery ignored");
    assert_eq!(deliver("a/hook", "d2").await.text(), "done");
    stage.world.clock.advance(Duration::from_secs(601));
    assert_eq!(deliver("a/hook", "d1").await.text(), "done");
    assert_eq!(stage.pod.seen().len(), 4);
}

#[tokio::test]
async fn a_delivery_is_passed_on_as_often_as_it_comes_unless_told_otherwise() {
    let stage = Stage::open().await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let body = br#"{"repository": {"full_name": "acme/w"}}"#;
    let signature = github(&secret, body);

    for _ in 0..2 {
        let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", "d")];
        assert_eq!(stage.post("a/hook", &headers, body).await.text(), "done");
    }
}

/// Calls of agents, not forwarded requests: only what a principal brought is handed on in its name.
///
/// authz §7: 185
#[tokio::test]
async fn an_agent_or_nobody_in_particular_has_no_credential_to_delegate() {
    let call = json!({"method": "task/create", "params": {}}).to_string();
    let setup = |authenticated| Setup { authenticated, authorization: Authorization::Off, ..Setup::default() };
    let acting = |seen: &Recorded| {
        let names = seen.headers.keys().map(ToString::to_string);
        names.filter(|name| name.starts_with("x-acting-")).collect::<Vec<_>>()
    };
    let brought = [("x-api-key", "k"), ("cookie", "_identityJwt=j"), ALICE];
    for (authenticated, as_agent, expected) in
        [(false, false, &[][..]), (true, true, &[]), (true, false, &["x-acting-user-api-key"])]
    {
        let (world, agent) = (World::with(setup(authenticated)).await, FakeAgent::start().await);
        let registered = world.agent("a", "async", agent.url()).await;
        let mut headers = brought.to_vec();
        if as_agent {
            headers.push(("x-agent-api-key", registered["agent_api_key"].as_str().unwrap()));
        }

        world.call("POST", "/agents/name/a/rpc", &headers, Some(&call)).await.ok();

        assert_eq!(acting(&agent.call(0).await), expected, "{authenticated} {as_agent}");
    }
}
