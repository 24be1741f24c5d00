use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentex_testkit::audit::unmended;
use agentex_testkit::fake_agent::FakeAgent;
use agentex_testkit::http_client::HttpClient;
use agentex_testkit::server_process::ServerProcess;
use agentex_testkit::tls;
use reqwest::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::changes::{Call, create_key, create_schedule, create_task, fake_agent, register, register_build};
use super::races::roll;
use super::world::{Home, Place};
use crate::support::server_binary;

const KILLS: &str = "AGENTEX_CRASH_KILLS";
const SEED: &str = "AGENTEX_CRASH_SEED";
const CLIENTS: u64 = 8;
/// Long enough for the lease of the killed process and a few retries.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

const TOKENS: &str = r#"
[[token]]
token = "alice-0123456789abcdef"
user_id = "alice"
accounts = ["acme"]

[[token]]
token = "builder-0123456789abcdef"
service_account_id = "builder"
accounts = ["acme"]
"#;

/// Most creates that are acknowledged between a start and the next kill.
const MOST_CREATES: u64 = 60;

/// Successful requests of the clients.
#[derive(Default)]
struct Tally {
    creates: watch::Sender<u64>,
    deletes: AtomicU64,
    broken: AtomicU64,
}

impl Tally {
    /// Waits for so many more creates.
    async fn more_creates(&self, count: u64) {
        let mut creates = self.creates.subscribe();
        let enough = *creates.borrow() + count;
        let reached = tokio::time::timeout(SETTLES_WITHIN, creates.wait_for(|creates| *creates >= enough)).await;
        assert!(reached.is_ok(), "the clients get nothing done: {self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let creates = *self.creates.borrow();
        let [deletes, broken] = [&self.deletes, &self.broken].map(|count| count.load(Ordering::Relaxed));
        write!(f, "{creates} creates, {deletes} deletes, {broken} requests broken by a kill")
    }
}

async fn serve(home: &Home, folder: &TempDir) -> ServerProcess {
    let tokens = folder.path().join("tokens.toml");
    std::fs::write(&tokens, TOKENS).unwrap();
    let tokens = tokens.display().to_string();
    let mut environment = vec![
        ("AGENTEX_TOKENS_FILE", tokens),
        ("AGENTEX_AUTHZ_TIMEOUT_MS", "900".to_owned()),
        ("AGENTEX_AUTHZ_INTENT_GRACE_S", "2".to_owned()),
        ("RUST_LOG", "warn".to_owned()),
    ];
    let data = match home.place() {
        Place::Sqlite(file) => file.parent().unwrap().display().to_string(),
        Place::Postgres(_) | Place::Spark { .. } => folder.path().display().to_string(),
    };
    match home.place() {
        Place::Sqlite(_) => environment.push(("AGENTEX_AUTHZ_BACKEND", "local".to_owned())),
        Place::Postgres(url) => {
            environment.extend([("AGENTEX_AUTHZ_BACKEND", "local".to_owned()), ("DATABASE_URL", url)]);
        }
        Place::Spark { database, endpoint, token } => environment.extend([
            ("AGENTEX_AUTHZ_BACKEND", "spark".to_owned()),
            ("DATABASE_URL", database),
            ("AGENTEX_SPICEDB_ENDPOINT", endpoint),
            ("AGENTEX_SPICEDB_TOKEN", token),
        ]),
    }
    let arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", &data];
    ServerProcess::start(server_binary(), arguments, environment).await
}

/// One client: creates and deletes agents, keys, schedules and tasks until it is told to stop or the server is gone.
struct ClientLoop {
    http: Client,
    url: String,
    name: String,
    agent_url: Arc<FakeAgent>,
    dice: AtomicU64,
    tally: Arc<Tally>,
}

impl ClientLoop {
    async fn run(self, stop: Arc<AtomicBool>) {
        for round in 0.. {
            if stop.load(Ordering::Relaxed) || self.round(round).await.is_none() {
                return;
            }
        }
    }

    /// `None`: the server is gone.
    async fn round(&self, round: u64) -> Option<()> {
        let Self { name, .. } = self;
        let agent = format!("agent-{name}-{}", round % 3);
        let call = if self.chance() { register(&agent, &self.agent_url) } else { register_build(&agent) };
        let registered = self.create(call).await?;
        let key = self.create(create_key(&agent, &format!("key-{round}"))).await?;
        let task = self.create(create_task(&agent, &format!("{name}-{round}"))).await?;
        let agent_id = registered["id"].as_str().unwrap_or("none");
        let schedule = self.create(create_schedule(agent_id, &format!("schedule-{round}"))).await?;
        if self.chance() {
            self.delete(&schedule, &format!("/agents/{agent_id}/schedules")).await?;
        }
        if self.chance() {
            self.delete(&task["result"], "/tasks").await?;
        }
        if self.chance() {
            self.delete(&key, "/agent_api_keys").await?;
        }
        if self.chance() {
            self.delete(&registered, "/agents").await?;
        }
        Some(())
    }

    fn chance(&self) -> bool {
        roll(&self.dice).is_multiple_of(2)
    }

    async fn create(&self, call: Call) -> Option<Value> {
        let (status, body) = self.send(Method::POST, &call.path, call.body).await?;
        if status == 200 && body.get("error").is_none_or(Value::is_null) {
            self.tally.creates.send_modify(|creates| *creates += 1);
        }
        Some(body)
    }

    async fn delete(&self, created: &Value, under: &str) -> Option<()> {
        let Some(id) = created["id"].as_str() else { return Some(()) };
        let (status, _) = self.send(Method::DELETE, &format!("{under}/{id}"), None).await?;
        if status == 200 {
            self.tally.deletes.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let token = if self.name.ends_with('0') { "builder-0123456789abcdef" } else { "alice-0123456789abcdef" };
        let request = self.http.request(method, format!("{}{path}", self.url)).header("x-api-key", token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = async {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            Some((status, response.json().await.ok()?))
        };
        let answer = answer.await;
        if answer.is_none() {
            self.tally.broken.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

/// Kills the real server at random moments under load, again and again on the same data, and holds rows and edges
/// against each other after each restart, when its relay has nothing left to do.
async fn kills_under_load(home: Home, kills: u64, what: &str) {
    tls::install();
    let folder = tempfile::tempdir().unwrap();
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let dice = AtomicU64::new(seed);
    let (tally, agent) = (Arc::new(Tally::default()), Arc::new(fake_agent().await));
    let mut server = serve(&home, &folder).await;
    let mut most_left = 0;
    for kill in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let client = ClientLoop {
                    http: Client::builder().timeout(Duration::from_secs(30)).build().unwrap(),
                    url: server.url().to_owned(),
                    name: format!("{kill}-{client}"),
                    agent_url: Arc::clone(&agent),
                    dice: AtomicU64::new(roll(&dice)),
                    tally: Arc::clone(&tally),
                };
                tokio::spawn(client.run(Arc::clone(&stop)))
            })
            .collect();
        tally.more_creates(1 + roll(&dice) % MOST_CREATES).await;
        server.kill9();
        stop.store(true, Ordering::Relaxed);
        futures::future::join_all(clients).await;

        let world = home.place().open().await;
        most_left = world.stores.intents.backlog().await.unwrap().open.max(most_left);
        world.close().await;
        server = serve(&home, &folder).await;
        assert_eq!(HttpClient::new(server.url()).get("/readyz").await.status, 200);
        settled(&home, kill).await;
    }
    server.terminate().await;

    let world = home.place().open().await;
    let audit = world.audit().await;
    println!("{what}: {kills} kills (seed {seed}), {tally}, at most {most_left} changes left by a kill; {audit}");
    assert!(audit.is_clean(), "{audit}");
    assert!(*tally.creates.borrow() > kills, "{tally}");
    world.close().await;
}

/// Waits until the restarted server has finished what the killed one began, then compares.
async fn settled(home: &Home, kill: u64) {
    let world = home.place().open().await;
    let begun = Instant::now();
    while world.stores.intents.backlog().await.unwrap().open > 0 || !unmended(&world.stores).await.is_empty() {
        let left = (world.stores.intents.list(10).await.unwrap(), unmended(&world.stores).await);
        assert!(begun.elapsed() < SETTLES_WITHIN, "after kill {kill} the server does not finish {left:#?}");
        // The work is done in another process, which tells nobody when it is done: what it leaves in the store is all there is
        // to see. The line above ends the wait.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.close().await;
    // Opened anew: the graph in memory was loaded before the relay wrote.
    let world = home.place().open().await;
    let audit = world.audit().await;
    assert!(audit.is_clean(), "after kill {kill}: {audit}");
    world.close().await;
}

fn kills(otherwise: u64) -> u64 {
    std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok()).unwrap_or(otherwise)
}

/// authz §7: 212, 213, 214, 217
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_on_sqlite_leaves_rows_and_edges_that_agree() {
    kills_under_load(Home::sqlite().await, kills(4), "SQLite and the local graph").await;
}

/// authz §7: 212, 213, 214, 217
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_on_spicedb_leaves_rows_and_edges_that_agree() {
    kills_under_load(Home::spark().await, kills(3), "PostgreSQL and SpiceDB").await;
}
