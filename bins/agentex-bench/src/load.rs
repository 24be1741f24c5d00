//! Callers that send one request after the other, as fast as they are answered.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::http::{self, Connection};
use crate::stats::Round;

/// What one round may take beyond its length before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a caller of an HTTP server repeats on its connection.
trait Exchange: Clone + Send + 'static {
    fn address(&self) -> SocketAddr;

    /// Does it once and says how long the answers took. What they say is looked at afterwards.
    fn perform(&self, connection: &mut Connection) -> impl Future<Output = anyhow::Result<Duration>> + Send;
}

/// The request that callers of an HTTP server repeat.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) request: Bytes,
    /// Part of every good answer.
    pub(crate) expected: &'static str,
}

impl Exchange for Target {
    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn perform(&self, connection: &mut Connection) -> anyhow::Result<Duration> {
        let sent = Instant::now();
        let answer = connection.exchange(&self.request).await?;
        let took = sent.elapsed();
        let good = http::find(&answer, self.expected.as_bytes()).is_some();
        ensure!(good, "an answer is not as expected: {}", http::excerpt(&answer));
        Ok(took)
    }
}

/// Stands in a request for a text that no request had before.
pub(crate) const UNUSED: &str = "new-000000000000";

/// A request that is a little different each time: every [`UNUSED`] in it becomes a text of the same length, and of its own.
#[derive(Debug, Clone)]
pub(crate) struct Numbered {
    target: Target,
    places: Vec<usize>,
    next: Arc<AtomicU64>,
}

impl Numbered {
    pub(crate) fn new(target: Target) -> Self {
        let mut places = Vec::new();
        let mut from = 0;
        while let Some(place) = http::find(&target.request[from..], UNUSED.as_bytes()) {
            places.push(from + place);
            from += place + UNUSED.len();
        }
        Self { target, places, next: Arc::default() }
    }

    /// Repeats the request, as [`Target::round`] does.
    pub(crate) async fn round(&self, callers: usize, length: Duration) -> anyhow::Result<Round> {
        exchange(self, callers, length).await
    }
}

impl Exchange for Numbered {
    fn address(&self) -> SocketAddr {
        self.target.address
    }

    async fn perform(&self, connection: &mut Connection) -> anyhow::Result<Duration> {
        if self.places.is_empty() {
            return self.target.perform(connection).await;
        }
        let text = format!("new-{:012}", self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let mut request = self.target.request.to_vec();
        for place in &self.places {
            request[*place..place + UNUSED.len()].copy_from_slice(text.as_bytes());
        }
        Target { request: request.into(), ..self.target.clone() }.perform(connection).await
    }
}

/// Tasks that are created by a call and deleted again; both together count as one request.
#[derive(Debug, Clone)]
pub(crate) struct TaskCycle {
    pub(crate) address: SocketAddr,
    /// Creates a task.
    pub(crate) create: Bytes,
    /// The bearer token the task is deleted with.
    pub(crate) token: Option<String>,
}

#[derive(Deserialize)]
struct Created<'a> {
    #[serde(borrow)]
    result: CreatedTask<'a>,
}

#[derive(Deserialize)]
struct CreatedTask<'a> {
    id: &'a str,
}

impl Exchange for TaskCycle {
    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn perform(&self, connection: &mut Connection) -> anyhow::Result<Duration> {
        let sent = Instant::now();
        let answer = connection.exchange(&self.create).await?;
        let creating = sent.elapsed();
        let created: Created<'_> =
            serde_json::from_slice(&answer).with_context(|| format!("no task: {}", http::excerpt(&answer)))?;
        let id = created.result.id;
        let mut delete = http::without_body("DELETE", &format!("/tasks/{id}"));
        if let Some(token) = &self.token {
            delete = http::with_token(&delete, token);
        }

        let sent = Instant::now();
        let answer = connection.exchange(&delete).await?;
        let took = creating + sent.elapsed();
        let good = http::find(&answer, id.as_bytes()).is_some();
        ensure!(good, "an answer is not as expected: {}", http::excerpt(&answer));
        Ok(took)
    }
}

impl TaskCycle {
    /// Creates and deletes tasks, as [`Target::round`] repeats a request.
    pub(crate) async fn round(&self, callers: usize, length: Duration) -> anyhow::Result<Round> {
        exchange(self, callers, length).await
    }
}

impl Target {
    /// Repeats the request on `callers` kept connections for about `length`, from one thread: with several to switch
    /// between, the load would take more from the server than it has to.
    pub(crate) async fn round(&self, callers: usize, length: Duration) -> anyhow::Result<Round> {
        exchange(self, callers, length).await
    }
}

async fn exchange(exchange: &impl Exchange, callers: usize, length: Duration) -> anyhow::Result<Round> {
    let exchange = exchange.clone();
    on_own_thread(length + PATIENCE, async move {
        let start = Arc::new(Barrier::new(callers));
        let mut running = JoinSet::new();
        for _ in 0..callers {
            let mut connection = Connection::open(exchange.address()).await?;
            let (exchange, start) = (exchange.clone(), Arc::clone(&start));
            running.spawn(async move {
                start.wait().await;
                let began = Instant::now();
                let mut latencies = Vec::new();
                while began.elapsed() < length {
                    latencies.push(exchange.perform(&mut connection).await?);
                }
                anyhow::Ok(latencies)
            });
        }
        gather(running).await
    })
    .await
}

/// A call of something else than an HTTP server.
pub(crate) type Call = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Repeats `call` in `callers` tasks of this runtime for about `length`.
pub(crate) async fn round(
    callers: usize,
    length: Duration,
    call: impl Fn() -> Call + Clone + Send + 'static,
) -> anyhow::Result<Round> {
    let start = Arc::new(Barrier::new(callers));
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (call, start) = (call.clone(), Arc::clone(&start));
        running.spawn(async move {
            start.wait().await;
            let began = Instant::now();
            let mut latencies = Vec::new();
            while began.elapsed() < length {
                let sent = Instant::now();
                call().await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    tokio::time::timeout(length + PATIENCE, gather(running)).await.context("a round did not end")?
}

async fn gather(mut running: JoinSet<anyhow::Result<Vec<Duration>>>) -> anyhow::Result<Round> {
    let began = Instant::now();
    let mut latencies = Vec::new();
    while let Some(caller) = running.join_next().await {
        latencies.extend(caller??);
    }
    Ok(Round::new(began, latencies))
}

/// Runs `work` on a new thread with a runtime of its own, for at most `limit`.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("a runtime cannot be made")
            .and_then(|runtime| {
                runtime.block_on(async { tokio::time::timeout(limit, work).await.context("it took too long")? })
            });
        // Nobody waits any more when the whole run was given up.
        let _ = done.send(outcome);
    });
    outcome.await.context("a thread of the load ended early")?
}
