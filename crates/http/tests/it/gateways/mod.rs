//! Slack and Linear, from their requests through real agents to what they are told.

mod conversations;
mod linear;
mod slack;
mod turns;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_acp::{ChatClients, ChatOptions};
use agentex_app::{ChatPorts, ChatSettings, GatewaySettings, LinearSettings, ReplySettings, Settings, SlackSettings};
use agentex_authz::{Authenticator, AuthnError, CredentialHeaders, Principal};
use agentex_domain::ports::Clock as _;
use agentex_testkit::fake_agent::{FakeAgent, Reply};
use agentex_testkit::fake_chat::FakeChat;
use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Answer, Setup, World, encoded, principal};

const SECRET: &str = "signing secret";
const BOT_KEY: &str = "bot-key-0123456789";
const POST: &str = "/api/chat.postMessage";

/// Knows the bot by its key and account, everybody else as `somebody` of `acme`, and remembers what it was shown.
#[derive(Default)]
struct Door {
    shown: Mutex<Vec<CredentialHeaders>>,
}

#[async_trait]
impl Authenticator for Door {
    async fn authenticate(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        self.shown.lock().unwrap().push(headers.clone());
        match (headers.get("x-api-key"), headers.get("x-bypass")) {
            (Some(BOT_KEY), _) => Ok(Some(principal("bot"))),
            (_, Some(_)) => Ok(Some(principal("somebody"))),
            _ => Err(AuthnError::Refused),
        }
    }
}

/// How a stage differs from the usual one.
struct Plan {
    slack: SlackSettings,
    linear: LinearSettings,
    chat: ChatOptions,
    setup: Setup,
    /// Whether what is said is carried out.
    works: bool,
}

fn chat_settings() -> ChatSettings {
    ChatSettings {
        api_key: Some(BOT_KEY.to_owned()),
        account: Some("acme".to_owned()),
        default_config: Some("config-default".to_owned()),
        create_backoff: Duration::from_millis(1),
        ..ChatSettings::default()
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            slack: SlackSettings {
                signing_secret: SECRET.to_owned(),
                skip_verification: false,
                mcps: vec!["search".to_owned()],
                chat: chat_settings(),
            },
            linear: LinearSettings {
                signing_secret: SECRET.to_owned(),
                skip_verification: false,
                max_age: Duration::from_secs(60),
                chat: chat_settings(),
            },
            chat: ChatOptions {
                slack_bot_token: "xoxb-token".to_owned(),
                linear_client_id: "client".to_owned(),
                linear_client_secret: "client secret".to_owned(),
                ..ChatOptions::default()
            },
            setup: Setup::default(),
            works: true,
        }
    }
}

/// A server whose people chat, with the agents `foo` (answers within the call), `later` (answers later) and
/// `golden-agent` (answers later), all in one process.
struct Stage {
    world: World,
    chat: FakeChat,
    agent: FakeAgent,
    door: Arc<Door>,
}

impl Stage {
    async fn open() -> Self {
        Self::with(|_, _| {}).await
    }

    /// The usual stage, changed by `change`.
    async fn with(change: impl FnOnce(&mut Plan, &FakeChat)) -> Self {
        let (chat, agent, door) = (FakeChat::start().await, FakeAgent::start().await, Arc::new(Door::default()));
        let mut plan = Plan::default();
        plan.chat.slack_api_base = chat.slack_base();
        plan.chat.linear_api_base = chat.url().to_owned();
        change(&mut plan, &chat);
        let Plan { slack, linear, chat: options, setup, works } = plan;
        let clients = ChatClients::new(options).unwrap();
        let replies = ReplySettings {
            poll: Duration::from_millis(50),
            quiet: Duration::from_millis(200),
            deadline: Duration::from_secs(5),
        };
        let gateways = GatewaySettings { slack: Some(slack), linear: Some(linear), replies };
        let world = World::with(Setup {
            settings: Settings { gateways, ..setup.settings },
            authenticator: Some(setup.authenticator.unwrap_or_else(|| Arc::<Door>::clone(&door))),
            chat: ChatPorts {
                slack: Some(Arc::new(clients.slack())),
                linear: Some(Arc::new(clients.linear())),
                directory: Some(Arc::new(clients.directory())),
            },
            ..setup
        })
        .await;
        agent.on("message/send", said(&["the answer"]));
        for (name, acp_type) in [("foo", "sync"), ("later", "async"), ("golden-agent", "agentic")] {
            world
                .call("POST", "/agents/register", &BYPASS, Some(&registration(name, acp_type, agent.url())))
                .await
                .ok();
        }
        if works {
            let (app, stop) = (Arc::clone(&world.app), world.app.shutdown_token());
            tokio::spawn(async move { app.gateways.run(stop).await });
        }
        Self { world, chat, agent, door }
    }

    /// The clock in seconds, moved by as many.
    fn seconds(&self, offset: i64) -> i64 {
        self.world.clock.now().as_micros() / 1_000_000 + offset
    }

    /// A request of Slack, signed now.
    async fn slack(&self, path: &str, body: &str) -> Answer {
        let at = self.seconds(0).to_string();
        let signature = slack_signature(SECRET, &at, body);
        self.slack_as(path, Some(at.as_bytes()), Some(signature.as_bytes()), body).await
    }

    async fn slack_as(&self, path: &str, at: Option<&[u8]>, signature: Option<&[u8]>, body: &str) -> Answer {
        let mut request = Request::builder().method("POST").uri(path);
        for (name, value) in [("x-slack-request-timestamp", at), ("x-slack-signature", signature)] {
            if let Some(value) = value {
                request = request.header(name, HeaderValue::from_bytes(value).unwrap());
            }
        }
        self.world.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// An event of Slack, which must be taken.
    async fn event(&self, event: &Value) {
        let answer = self.slack("/slack/events", &event.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"ok":true}"#));
    }

    /// A delivery of Linear, signed and sent now.
    async fn linear(&self, delivery: Option<&str>, payload: &Value) -> Answer {
        let mut payload = payload.clone();
        payload["webhookTimestamp"] = json!(self.seconds(0) * 1000);
        let body = payload.to_string();
        self.linear_as(delivery, Some(mac(SECRET, body.as_bytes()).as_bytes()), &body).await
    }

    async fn linear_as(&self, delivery: Option<&str>, signature: Option<&[u8]>, body: &str) -> Answer {
        let mut request = Request::builder().method("POST").uri("/linear/events");
        if let Some(delivery) = delivery {
            request = request.header("linear-delivery", delivery);
        }
        if let Some(signature) = signature {
            request = request.header("linear-signature", HeaderValue::from_bytes(signature).unwrap());
        }
        self.world.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn get(&self, path: &str) -> Value {
        self.world.get_with(path, &BYPASS).await.ok()
    }

    /// The agent says something in a task.
    async fn say(&self, task: &str, text: &str) {
        let content = json!({"type": "text", "author": "agent", "content": text});
        let body = json!({"task_id": task, "content": content});
        self.world.call("POST", "/messages", &BYPASS, Some(&body.to_string())).await.ok();
    }

    /// Carries out everything that waits, where nobody else does.
    async fn run_due(&self) -> usize {
        self.world.app.gateways.run_due().await.unwrap()
    }

    /// What was posted to Slack so far.
    fn posted(&self) -> Vec<String> {
        self.chat.to(POST).iter().map(|request| request.json()["text"].as_str().unwrap().to_owned()).collect()
    }

    /// The id of the task an agent was called about.
    async fn task_of_call(&self, index: usize) -> String {
        self.agent.call(index).await.params()["task"]["id"].as_str().unwrap().to_owned()
    }
}

const BYPASS: [(&str, &str); 1] = [("x-bypass", "1")];

fn registration(name: &str, acp_type: &str, url: &str) -> String {
    crate::support::registration(name, acp_type, url).to_string()
}

/// An answer within the call: these texts.
fn said(texts: &[&str]) -> Reply {
    Reply::updates(texts.iter().zip(0..).map(|(text, index)| {
        json!({"type": "full", "index": index,
            "content": {"type": "text", "author": "agent", "content": text, "format": "markdown", "style": "static"}})
    }))
}

/// Somebody mentions the bot in a channel.
fn mention(event_id: &str, ts: &str, text: &str) -> Value {
    json!({"type": "event_callback", "team_id": "T1", "event_id": event_id,
        "event": {"type": "app_mention", "channel": "C1", "user": "U7", "ts": ts, "text": text}})
}

/// The same event, one member of it changed.
fn changed(event: &Value, name: &str, value: Value) -> Value {
    let mut event = event.clone();
    event["event"][name] = value;
    event
}

fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

fn slack_signature(secret: &str, at: &str, body: &str) -> String {
    format!("v0={}", mac(secret, format!("v0:{at}:{body}").as_bytes()))
}

fn mac(secret: &str, text: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(text).finalize();
    mac.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
