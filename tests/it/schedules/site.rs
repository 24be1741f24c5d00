use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentex::authz::model::Relationship;
use agentex::domain::ports::{
    ScheduleDescription, ScheduleError, Scheduler as _, SystemClock, WorkflowGateway as _, WorkflowState,
};
use agentex::temporal::{Temporal, TemporalOptions, TemporalScheduler};
use agentex_testkit::fake_agent::{FakeAgent, Recorded};
use agentex_testkit::http_client::HttpClient;
use agentex_testkit::server_process::ServerProcess;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::durability::world::Home;
use crate::support::{Deployment, Sdk, User, repository, server_binary};

/// How long anything may take before the test fails: the work of a killed process is taken over after half a minute.
const PATIENCE: Duration = Duration::from_secs(90);
pub(super) const ALICE: &str = "alice-0123456789abcdef";
/// What the graph calls a schedule.
const SCHEDULE: &str = "agent_schedule";

/// Asks until there is an answer.
pub(super) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        // What clocks in other processes do is announced to nobody. The line above ends the wait.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A Temporal, and the queue of the product's own work in it.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    pub(super) address: String,
    pub(super) queue: String,
}

impl Engine {
    pub(super) fn client(&self) -> Temporal {
        agentex_testkit::tls::install();
        Temporal::new(TemporalOptions { address: self.address.clone(), ..TemporalOptions::default() }).unwrap()
    }

    fn scheduler(&self) -> TemporalScheduler {
        TemporalScheduler::new(self.client(), self.queue.clone(), Arc::new(SystemClock))
    }

    /// A schedule as Temporal has it.
    pub(super) async fn described(&self, id: &str) -> ScheduleDescription {
        self.scheduler().describe(id).await.unwrap()
    }

    /// Whether a workflow of that id is running.
    pub(super) async fn is_running(&self, id: &str) -> bool {
        matches!(self.client().describe(id).await, Ok(WorkflowState::Running))
    }

    /// Ends a workflow.
    pub(super) async fn end(&self, id: &str) {
        self.client().terminate(id, "the test is through with it").await.unwrap();
    }

    /// Whether Temporal has a schedule of that id.
    pub(super) async fn has_clock(&self, id: &str) -> bool {
        match self.scheduler().describe(id).await {
            Ok(_) => true,
            Err(ScheduleError::NotFound) => false,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The product in the strict profile, with permissions in the store and users by tokens: servers on one database, and workers.
pub(super) struct Site {
    pub(super) deployment: Deployment,
    pub(super) workers: Vec<ServerProcess>,
    pub(super) home: Home,
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Site {
    /// Nothing but the program.
    pub(super) async fn embedded() -> Self {
        Self::start(Home::sqlite().await, None, 1, 0).await
    }

    /// Servers on one PostgreSQL.
    pub(super) async fn replicas(count: usize) -> Self {
        Self::start(Home::postgres().await, None, count, 0).await
    }

    /// PostgreSQL and Temporal, and so many workers; with none, the server works itself.
    pub(super) async fn on_temporal(engine: &Engine, workers: usize) -> Self {
        Self::start(Home::postgres().await, Some(engine), 1, workers).await
    }

    async fn start(home: Home, engine: Option<&Engine>, servers: usize, workers: usize) -> Self {
        let mut settings = Vec::new();
        if let Some(Engine { address, queue }) = engine {
            settings.extend([("TEMPORAL_ADDRESS", address.as_str()), ("AGENTEX_SERVER_TASK_QUEUE", queue.as_str())]);
        }
        Self::with(home, &settings, servers, workers).await
    }

    /// The same with settings.
    pub(super) async fn with(home: Home, settings: &[(&str, &str)], servers: usize, workers: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let tokens = folder.path().join("tokens.toml");
        let alice = format!("[[token]]\ntoken = \"{ALICE}\"\nuser_id = \"alice\"\naccounts = [\"acme\"]\n");
        std::fs::write(&tokens, alice).unwrap();
        let works = if workers == 0 { "true" } else { "false" };
        let mut environment = vec![
            ("AGENTEX_AUTHZ_BACKEND", "local"),
            ("AGENTEX_TOKENS_FILE", tokens.to_str().unwrap()),
            ("AGENTEX_AUTHZ_INTENT_GRACE_S", "12"),
            ("AGENTEX_BACKGROUND_WORK", works),
            ("RUST_LOG", "warn"),
        ];
        if let Home::Postgres(database) = &home {
            environment.push(("DATABASE_URL", database.url()));
        }
        environment.extend_from_slice(settings);
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>();
        let deployment = Deployment::of(Vec::new());
        let mut site = Self { deployment, workers: Vec::new(), home, folder, environment };
        site.start_servers(servers).await;
        site.start_workers(workers).await;
        site
    }

    fn data(&self) -> String {
        match &self.home {
            Home::Sqlite(folder) => folder.path(),
            Home::Postgres(_) | Home::Spark(..) => self.folder.path(),
        }
        .display()
        .to_string()
    }

    pub(super) async fn start_servers(&mut self, count: usize) {
        for _ in 0..count {
            let data = self.data();
            let arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", &data];
            let server = ServerProcess::start(server_binary(), arguments, self.environment.clone()).await;
            self.deployment.servers.push(server);
        }
    }

    pub(super) async fn start_workers(&mut self, count: usize) {
        for _ in 0..count {
            let worker = ServerProcess::start_worker(server_binary(), ["worker"], self.environment.clone()).await;
            self.workers.push(worker);
        }
    }

    /// Another value of a setting, for those that are started from now on.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Kills everything as a crash would, and starts as much again.
    pub(super) async fn kill_and_restart(&mut self) {
        let (servers, workers) = (self.deployment.servers.len(), self.workers.len());
        for mut process in self.deployment.servers.drain(..).chain(self.workers.drain(..)) {
            process.kill9();
        }
        self.start_servers(servers).await;
        self.start_workers(workers).await;
    }

    pub(super) fn alice(&self) -> HttpClient {
        self.sdk().http()
    }

    /// What Alice gets for a request that succeeds.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        self.alice().post(path, body).await.expect(200)
    }

    /// What Alice gets for a request that succeeds.
    pub(super) async fn delete(&self, path: &str) -> Value {
        self.alice().delete(path).await.expect(200)
    }

    /// Alice with the newest SDK.
    pub(super) fn sdk(&self) -> User {
        User::with_token(Sdk::Newest, &self.deployment, ALICE)
    }

    /// An agent of Alice's, and its id.
    pub(super) async fn agent(&self, acp_type: &str) -> (FakeAgent, String) {
        let agent = FakeAgent::start().await;
        let body = json!({"name": "clockwork", "description": "", "acp_url": agent.url(), "acp_type": acp_type});
        let registered = self.alice().post("/agents/register", &body).await.expect(200);
        (agent, registered["id"].as_str().unwrap().to_owned())
    }

    /// Tasks that schedules have made, oldest first.
    pub(super) async fn tasks(&self) -> Vec<Value> {
        let tasks = self.alice().get("/tasks?limit=1000&order_by=created_at&order_direction=asc").await.expect(200);
        tasks.as_array().unwrap().clone()
    }

    /// What the graph has about schedules.
    pub(super) async fn schedule_edges(&self) -> Vec<Relationship> {
        let world = self.home.place().open().await;
        let all = world.relationships().await;
        world.close().await;
        all.into_iter().filter(|edge| *edge.resource.kind == *SCHEDULE).collect()
    }

    /// Holds rows and edges against each other, once nothing is unfinished.
    ///
    /// # Panics
    /// When they do not agree.
    pub(super) async fn rows_and_edges_agree(&self) {
        until("the end of what is unfinished", async || {
            let world = self.home.place().open().await;
            let open = world.stores.intents.backlog().await.unwrap().open;
            world.close().await;
            (open == 0).then_some(())
        })
        .await;
        // Opened anew: the graph in memory was loaded before the relay wrote.
        let world = self.home.place().open().await;
        let audit = world.audit().await;
        world.close().await;
        assert!(audit.is_clean(), "{audit}");
    }
}

/// Whether a task was told its first input.
pub(super) fn is_delivered(task: &Value) -> bool {
    task["task_metadata"]["scheduled_input_delivered"] == true
}

/// The calls of a method for a task.
pub(super) fn calls(agent: &FakeAgent, method: &str, task: &Value) -> Vec<Recorded> {
    let calls = agent.calls().into_iter();
    calls.filter(|call| call.rpc_method() == method && call.params()["task"]["id"] == task["id"]).collect()
}

/// Somebody else's worker, whose workflows are noted down. Ends with the value.
pub(super) struct Workflows {
    pub(super) queue: String,
    notes: Arc<Mutex<Vec<Value>>>,
    _process: Child,
}

impl Workflows {
    pub(super) async fn start(engine: &Engine) -> Self {
        let queue = format!("{}-others", engine.queue);
        let mut process = Sdk::Newest
            .python()
            .arg(repository().join("tests/sdk/workflows.py"))
            .args(["--address", &engine.address, "--queue", &queue])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        assert!(matches!(&ready, Ok(Ok(Some(line))) if line == "READY"), "{ready:?}");
        let notes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&notes);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                noted.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { queue, notes, _process: process }
    }

    /// What was begun so far.
    pub(super) fn notes(&self) -> Vec<Value> {
        self.notes.lock().unwrap().clone()
    }
}
