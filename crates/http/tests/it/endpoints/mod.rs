//! Every operation of the API, what it asks before it does anything, and the tests that go through them all.

mod document;
mod driven;
mod table;

use std::collections::BTreeMap;

use agentex_domain::ports::Clock as _;
use agentex_domain::{AgentId, TaskId};
use axum::Router;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) use self::table::{Ask, Row, Thing, Unseen, table};
use crate::support::{Answer, World, encoded, id, registration, request, text_content};

/// What a request can name.
pub(crate) const PARTS: [&str; 16] = [
    "agent_id",
    "agent_name",
    "deployment_id",
    "history_id",
    "task_id",
    "task_name",
    "message_id",
    "state_id",
    "event_id",
    "tracker_id",
    "span_id",
    "key_id",
    "key_name",
    "schedule_id",
    "schedule_name",
    "fresh",
];

/// What a request names, by part.
#[derive(Clone, Debug)]
pub(crate) struct Address(pub(crate) BTreeMap<&'static str, String>);

impl Address {
    /// The same text for everything.
    pub(crate) fn everywhere(text: &str) -> Self {
        Self(PARTS.iter().map(|part| (*part, text.to_owned())).collect())
    }

    pub(crate) fn part(&self, part: &str) -> &str {
        &self.0[part]
    }

    pub(crate) fn with(mut self, part: &'static str, text: &str) -> Self {
        self.0.insert(part, text.to_owned());
        self
    }

    /// `template` with the parts in it, each written as `write` says.
    fn fill(&self, template: &str, write: impl Fn(&str) -> String) -> String {
        let mut filled = template.to_owned();
        for (part, text) in &self.0 {
            filled = filled.replace(&format!("{{{part}}}"), &write(text));
        }
        filled
    }

    fn fill_json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(&text, str::to_owned)),
            Value::Array(items) => items.into_iter().map(|item| self.fill_json(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (self.fill(&name, str::to_owned), self.fill_json(value)))
                .collect(),
            other => other,
        }
    }
}

impl Row {
    /// The path and query of a request.
    pub(crate) fn target(&self, address: &Address) -> String {
        let path = self.path.replace("{path}", "x").replace("{query_name}", "q");
        let path = path.replace("/schedules/name/{name}", "/schedules/name/{schedule_name}");
        let path = if path.starts_with("/agent_api_keys") {
            path.replace("{id}", "{key_id}").replace("{name}", "{key_name}")
        } else if path.starts_with("/deployment-history") {
            path.replace("{deployment_id}", "{history_id}")
        } else {
            path
        };
        let mut target = address.fill(&path, encoded);
        if !self.query.is_empty() {
            target = format!("{target}?{}", address.fill(self.query, encoded));
        }
        target
    }

    pub(crate) fn request_body(&self, address: &Address) -> Option<String> {
        let body = serde_json::from_str(self.body?).unwrap();
        Some(address.fill_json(body).to_string())
    }

    /// Makes the request as `user`. Of an event stream only the head is read.
    pub(crate) async fn call(&self, world: &World, user: &str, address: &Address) -> Answer {
        let bearer = format!("Bearer {user}");
        let headers = [("authorization", bearer.as_str())];
        let request = request(self.method, &self.target(address), &headers, self.request_body(address));
        let response = world.router().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let streamed = head.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream; charset=utf-8");
        let body = if streamed { Default::default() } else { axum::body::to_bytes(body, usize::MAX).await.unwrap() };
        Answer { status: head.status, headers: head.headers, body }
    }
}

/// Things of alice, one of each kind.
pub(crate) struct Stage {
    pub(crate) address: Address,
}

impl Stage {
    /// Makes them, with `name` in their names and an agent that answers at `url`.
    pub(crate) async fn set(world: &World, name: &str, url: &str) -> Self {
        let by_alice = async |method, path: &str, body| world.call_as("alice", method, path, Some(body)).await.ok();
        let (agent_name, task_name, key_name) =
            (format!("agent-{name}"), format!("task {name}"), format!("key {name}"));
        let mut pod = registration(&agent_name, "sync", url);
        pod["registration_metadata"] = json!({"agent_commit": "c", "branch_name": "main"});
        let agent = by_alice("POST", "/agents/register", pod.clone()).await;
        let deployments = format!("/agents/{}/deployments", id(&agent));
        let deployment = by_alice("POST", &deployments, json!({"docker_image": "image:1"})).await;
        pod["registration_metadata"] = json!({"deployment_id": id(&deployment)});
        by_alice("POST", "/agents/register", pod).await;
        let history = format!("/deployment-history?agent_id={}", id(&agent));
        let entry = world.call_as("alice", "GET", &history, None).await.ok()[0].clone();
        let call = json!({"method": "task/create", "params": {"name": task_name}});
        let task = by_alice("POST", &format!("/agents/name/{agent_name}/rpc"), call).await["result"].clone();
        let said = json!({"task_id": id(&task), "content": text_content("first")});
        let message = by_alice("POST", "/messages", said).await;
        let remembered = json!({"task_id": id(&task), "agent_id": id(&agent), "state": {}});
        let state = by_alice("POST", "/states", remembered).await;
        let (told, to) = (TaskId::from(id(&task)), AgentId::from(id(&agent)));
        let event = world.store.stores().events.append(&told, &to, None, world.clock.now()).await.unwrap();
        let trackers = format!("/tracker?task_id={}", id(&task));
        let tracker = world.call_as("alice", "GET", &trackers, None).await.ok()[0].clone();
        let begun =
            json!({"trace_id": "t", "task_id": id(&task), "name": "step", "start_time": "2025-01-02T03:04:05Z"});
        let span = by_alice("POST", "/spans", begun).await;
        let key = by_alice("POST", "/agent_api_keys", json!({"agent_id": id(&agent), "name": key_name})).await;
        let schedule_name = format!("nightly-{name}");
        let recurring = json!({"name": schedule_name, "interval_seconds": 3600, "initial_input": {"content": "hi"}});
        let schedule = by_alice("POST", &format!("/agents/{}/schedules", id(&agent)), recurring).await;
        let parts = [
            ("agent_id", id(&agent)),
            ("agent_name", &agent_name),
            ("deployment_id", id(&deployment)),
            ("history_id", id(&entry)),
            ("task_id", id(&task)),
            ("task_name", &task_name),
            ("message_id", id(&message)),
            ("state_id", id(&state)),
            ("event_id", event.id.as_str()),
            ("tracker_id", id(&tracker)),
            ("span_id", id(&span)),
            ("key_id", id(&key)),
            ("key_name", &key_name),
            ("schedule_id", id(&schedule)),
            ("schedule_name", &schedule_name),
            ("fresh", &format!("fresh-{name}")),
        ];
        Self { address: Address(parts.map(|(part, text)| (part, text.to_owned())).into()) }
    }

    /// The id of a thing of the stage, as permissions know it.
    pub(crate) fn selector(&self, thing: Thing) -> String {
        match thing {
            Thing::Schedule => {
                let (agent, schedule) = (self.address.part("agent_id"), self.address.part("schedule_id"));
                format!("run-schedule::{agent}::{schedule}")
            }
            thing => self.id(thing).to_owned(),
        }
    }

    /// The id of a thing of the stage.
    pub(crate) fn id(&self, thing: Thing) -> &str {
        match thing {
            Thing::Schedule => self.address.part("schedule_id"),
            Thing::Agent => self.address.part("agent_id"),
            Thing::Task => self.address.part("task_id"),
            Thing::Key => self.address.part("key_id"),
            Thing::NewAgent => panic!("the stage has no such thing"),
        }
    }
}

/// An agent that answers everything with a word, and calls thereby with nonsense. It lives as long as the test.
pub(crate) async fn pod() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(|| async { "done" });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Everything a caller can tell two answers by.
pub(crate) fn shown(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "x-request-id" && *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (answer.status.as_u16(), headers, answer.text())
}

/// `text` with every UUID in it replaced by what `stand_in` says.
pub(crate) fn masked(text: &str, stand_in: impl Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.char_indices().map(|(at, _)| at).find(|at| is_uuid(rest.get(*at..*at + 36))) {
        out.push_str(&rest[..start]);
        out.push_str(&stand_in(&rest[start..start + 36]));
        rest = &rest[start + 36..];
    }
    out + rest
}

fn is_uuid(text: Option<&str>) -> bool {
    text.is_some_and(|text| {
        text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    })
}
