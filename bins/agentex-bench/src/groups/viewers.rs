//! Viewers of a task whose changes come through the server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Bench, redis_viewers};
use crate::bare::BareFanOut;
use crate::compare::CALLERS;
use crate::deployment::{Backend, Deployment};
use crate::http::{self, Connection};
use crate::options::Effort;
use crate::process::resident_mib;
use crate::report::{Line, Target, Unit};
use crate::stats::{median, per_second, percentile};
use crate::watch::{self, Order, Seen, Viewers};

/// Viewers of one task.
pub(super) const MANY: usize = 1_000;
/// From one event to the next when there are many viewers.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// What connecting many viewers and slow moments may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Events that a viewer should get per second, at least.
pub(super) const EVENTS_PER_SECOND: f64 = 5_000.0;

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let effort = bench.effort;
    let bare = bare(effort).await?;
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let agent = deployment.register("bench", "sync", "http://127.0.0.1:1").await?;

    let (latency, memory) = many(effort, &deployment, &deployment.task(&agent).await?).await?;
    let mut lines = fan_out("task updates", latency, bare);
    lines.push(Line {
        measure: format!("Resident memory with {} viewers", many_text()),
        unit: Unit::Mebibytes,
        target: None,
        value: memory,
        raw: None,
    });

    let (mut live, mut stored, mut replayed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let task = deployment.task(&agent).await?;
        let burst = burst(&deployment, &task, effort.burst_events / 5).await?;
        live.push(burst.live);
        stored.push(burst.stored);
        replayed.push(burst.replayed);
        deployment.empty_log()?;
    }
    lines.push(Line {
        measure: "One viewer, task updates as fast as they are stored".to_owned(),
        unit: Unit::PerSecond,
        target: None,
        value: median(live),
        raw: Some(median(stored)),
    });
    lines.push(Line {
        measure: "One viewer that comes back to retained events".to_owned(),
        unit: Unit::PerSecond,
        target: Some(Target::AtLeast(EVENTS_PER_SECOND)),
        value: median(replayed),
        raw: None,
    });
    deployment.stop().await?;

    if backend == Backend::Postgres {
        lines.extend(redis_viewers::measure(bench, bare).await?);
    }
    Ok(lines)
}

/// Latencies from published to received, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    p50: f64,
    p99: f64,
}

impl Latency {
    pub(super) fn of(seen: &[Seen]) -> Self {
        let mut samples: Vec<Duration> = seen.iter().map(|seen| seen.received - seen.published).collect();
        Self { p50: percentile(&mut samples, 50.0), p99: percentile(&mut samples, 99.0) }
    }
}

/// The rows of many viewers.
pub(super) fn fan_out(of_what: &str, latency: Latency, bare: Latency) -> Vec<Line> {
    let line = |which: &str, value, raw, target| Line {
        measure: format!("{} viewers, {of_what}, published to received, {which}", many_text()),
        unit: Unit::Millis,
        target,
        value,
        raw: Some(raw),
    };
    vec![line("p50", latency.p50, bare.p50, None), line("p99", latency.p99, bare.p99, Some(Target::AtMost(10.0, 10.0)))]
}

fn many_text() -> String {
    format!("{},{:03}", MANY / 1000, MANY % 1000)
}

pub(super) fn time_for(events: usize) -> Duration {
    PAUSE * u32::try_from(events).unwrap_or(u32::MAX) + PATIENCE
}

pub(super) fn stream_of(task: &str) -> String {
    format!("/tasks/{task}/stream")
}

/// The same viewers on a loop that writes to their connections.
async fn bare(effort: Effort) -> anyhow::Result<Latency> {
    let events = effort.steady_events;
    let bare = BareFanOut::listen()?;
    let address = bare.address();
    bare.run(MANY, events, PAUSE, || updated(&"0".repeat(36)).to_string());
    let mut viewers =
        Viewers::connect(address, "/".to_owned(), MANY, events, Order::AsPublished, time_for(events)).await?;
    Ok(Latency::of(&viewers.seen().await?))
}

/// An event of about the length of the server's.
fn updated(task: &str) -> serde_json::Value {
    let time = "2025-01-02T03:04:05.123456Z";
    json!({"type": "task_updated", "task": {
        "id": task, "name": null, "status": "RUNNING", "status_reason": "Task created, forwarding to ACP server",
        "created_at": time, "updated_at": time, "cleaned_at": null, "params": null,
        "task_metadata": {"mark": watch::mark()},
    }})
}

/// Steady updates of one task with many viewers; also the server's memory meanwhile.
async fn many(effort: Effort, deployment: &Deployment, task: &str) -> anyhow::Result<(Latency, f64)> {
    let events = effort.steady_events;
    let limit = time_for(events);
    let mut viewers =
        Viewers::connect(deployment.address(), stream_of(task), MANY, events, Order::AsPublished, limit).await?;
    let mut connection = Connection::open(deployment.address()).await?;
    let mut tick = tokio::time::interval(PAUSE);
    for _ in 0..events {
        tick.tick().await;
        connection.exchange(&update(task)).await?;
    }
    let memory = resident_mib(deployment.id())?;
    Ok((Latency::of(&viewers.seen().await?), memory))
}

/// A change of the task that its viewers are told.
fn update(task: &str) -> bytes::Bytes {
    http::with_json("PUT", &format!("/tasks/{task}"), &json!({"task_metadata": {"mark": watch::mark()}}))
}

/// Events per second.
struct Burst {
    /// Received while they were made.
    live: f64,
    /// Made.
    stored: f64,
    /// Received by a viewer that came afterwards.
    replayed: f64,
}

async fn burst(deployment: &Deployment, task: &str, events: usize) -> anyhow::Result<Burst> {
    let address = deployment.address();
    let each = events.div_ceil(CALLERS);
    let events = each * CALLERS;

    let mut viewer = Viewers::connect(address, stream_of(task), 1, events, Order::Any, PATIENCE).await?;
    let began = watch::now();
    let stored_in = store(address, task, each).await?;
    let live = time_to_last(&viewer.seen().await?, began)?;

    let from_the_start = format!("{}?last_event_id=0-0", stream_of(task));
    let began = watch::now();
    let mut viewer = Viewers::connect(address, from_the_start, 1, events, Order::Any, PATIENCE).await?;
    let replayed = time_to_last(&viewer.seen().await?, began)?;
    Ok(Burst {
        live: per_second(events, live),
        stored: per_second(events, stored_in),
        replayed: per_second(events, replayed),
    })
}

/// From `began` to the last event received.
pub(super) fn time_to_last(seen: &[Seen], began: Duration) -> anyhow::Result<Duration> {
    let last = seen.iter().map(|seen| seen.received).max().context("nothing was received")?;
    ensure!(last > began, "events were received before they were sent");
    Ok(last - began)
}

/// Has several callers change the task, each `each` times, and answers how long that took.
async fn store(address: SocketAddr, task: &str, each: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let task = task.to_owned();
        callers.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for _ in 0..each {
                connection.exchange(&update(&task)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(began.elapsed())
}
