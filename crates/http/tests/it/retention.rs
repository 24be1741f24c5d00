//! Export, clean and rehydrate.

mod clean;
mod export;
mod hosts;
mod permissions;
mod rehydrate;
mod sweep;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_domain::ports::Clock as _;
use agentex_domain::{AgentId, Event, TaskId};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Answer, Setup, World, id, text_content};

pub(crate) use hosts::{Bucket, Hosts};

pub(crate) fn absent(id: &str) -> String {
    format!("Item with id '{id}' does not exist.")
}

/// A server with one task, which ended, of one agent.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) agent: String,
    pub(crate) task: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let world = World::with(setup).await;
        let agent = world.agent("a", "sync", "http://agent.test:1").await;
        let task = world.task_with("a", json!({"params": {"secret": "of the creator"}})).await;
        let scene = Self { world, agent: id(&agent).to_owned(), task: id(&task).to_owned() };
        scene.end(&scene.task).await;
        scene
    }

    pub(crate) async fn end(&self, task: &str) {
        self.world.post(&format!("/tasks/{task}/fail"), json!({})).await.ok();
    }

    /// Three messages, one second apart, and a state.
    pub(crate) async fn with_contents(self) -> Self {
        for text in ["one", "two", "three"] {
            self.world.clock.advance(Duration::from_secs(1));
            self.world.message(&self.task, text).await;
        }
        let state = json!({"task_id": self.task, "agent_id": self.agent, "state": {"step": 1}});
        self.world.post("/states", state).await.ok();
        self
    }

    pub(crate) async fn event(&self) -> Event {
        let (task, agent) = (TaskId::from(self.task.as_str()), AgentId::from(self.agent.as_str()));
        self.world.store.stores().events.append(&task, &agent, None, self.world.clock.now()).await.unwrap()
    }

    pub(crate) async fn tracker(&self) -> Value {
        self.world.get(&format!("/tracker?task_id={}", self.task)).await.ok()[0].clone()
    }

    pub(crate) fn path(&self, ending: &str) -> String {
        format!("/tasks/{}/{ending}", self.task)
    }

    pub(crate) async fn export(&self) -> Value {
        self.world.get(&self.path("export")).await.ok()
    }

    pub(crate) async fn clean(&self, body: Value) -> Answer {
        self.world.post(&self.path("clean"), body).await
    }

    pub(crate) async fn force(&self) -> Value {
        self.clean(json!({"force": true})).await.ok()
    }

    pub(crate) async fn rehydrate(&self, body: Value) -> Answer {
        self.world.post(&self.path("rehydrate"), body).await
    }

    pub(crate) async fn row(&self) -> Value {
        self.world.get(&format!("/tasks/{}", self.task)).await.ok()
    }

    pub(crate) fn refusal(&self, why: &str) -> String {
        format!("Cannot clean task {}: {why}", self.task)
    }

    /// A message as a snapshot holds it.
    pub(crate) fn message(&self, id: &str) -> Value {
        json!({"id": id, "task_id": self.task, "content": text_content("hi")})
    }
}

/// Everything logged on this thread, one JSON object per line.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn begin(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::fmt().json().with_writer(self.clone()).finish())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The fields of the lines with this message.
    pub(crate) fn fields(&self, message: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].clone());
        lines.filter(|fields| fields["message"] == message).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
