//! Viewers of a task whose agent writes to Redis itself, as agents of the SDK do.

use std::time::{Duration, Instant};

use anyhow::ensure;
use redis::aio::MultiplexedConnection;
use serde_json::json;

use super::Bench;
use super::viewers::{EVENTS_PER_SECOND, Latency, MANY, PATIENCE, PAUSE, fan_out, stream_of, time_for, time_to_last};
use crate::deployment::{Backend, Deployment};
use crate::report::{Line, Target, Unit};
use crate::stats::{median, per_second};
use crate::watch::{self, Order, Viewers};

/// Entries that a burst writes to Redis at once.
const PIPELINE: usize = 100;
/// Entries that the reader the server is compared with takes at once.
const BATCH: usize = 100;
/// What agents keep of a stream, and for how long.
const MAX_LENGTH: usize = 10_000;
const TTL_SECONDS: u64 = 3600;

pub(super) async fn measure(bench: &Bench, bare: Latency) -> anyhow::Result<Vec<Line>> {
    let effort = bench.effort;
    let mut redis = redis::Client::open(bench.redis_url.as_str())?.get_multiplexed_async_connection().await?;
    let deployment = Deployment::start(&bench.program, Backend::Postgres, Some(&bench.redis_url)).await?;
    // Its tasks are watched; it is never called, as it answers within calls of which there are none.
    let agent = deployment.register("bench", "sync", "http://127.0.0.1:1").await?;

    let task = deployment.task(&agent).await?;
    let latency = many(effort.steady_events, &deployment, &mut redis, &task).await?;
    let mut lines = fan_out("fragments over Redis", latency, bare);

    let (mut received, mut read) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let task = deployment.task(&agent).await?;
        received.push(burst(effort.burst_events, &deployment, &mut redis, &task).await?);
        read.push(read_alone(&mut redis, &task, effort.burst_events).await?);
    }
    lines.push(Line {
        measure: "One viewer, fragments over Redis".to_owned(),
        unit: Unit::PerSecond,
        target: Some(Target::AtLeast(EVENTS_PER_SECOND)),
        value: median(received),
        raw: Some(median(read)),
    });
    deployment.stop().await?;
    Ok(lines)
}

/// An entry as agents write it.
fn entry(task: &str) -> String {
    let time = "2025-01-02T03:04:05.123456Z";
    let content = json!({
        "type": "text", "author": "agent", "style": "static", "format": "plain", "content": "", "attachments": null,
    });
    let message = json!({
        "id": "0b0e3d6c5f0a4b579d530000", "task_id": task, "content": content, "streaming_status": "IN_PROGRESS",
        "created_at": time, "updated_at": time,
    });
    let delta = json!({"type": "text", "text_delta": watch::mark()});
    json!({"type": "delta", "index": null, "parent_task_message": message, "delta": delta}).to_string()
}

fn key(task: &str) -> String {
    format!("task:{task}")
}

async fn write(redis: &mut MultiplexedConnection, task: &str, entries: usize) -> anyhow::Result<()> {
    let mut pipeline = redis::pipe();
    for _ in 0..entries {
        let add = pipeline.cmd("XADD").arg(key(task)).arg("MAXLEN").arg("~").arg(MAX_LENGTH);
        add.arg("*").arg("data").arg(entry(task)).ignore();
    }
    pipeline.cmd("EXPIRE").arg(key(task)).arg(TTL_SECONDS).ignore();
    Ok(pipeline.exec_async(redis).await?)
}

async fn many(
    events: usize,
    deployment: &Deployment,
    redis: &mut MultiplexedConnection,
    task: &str,
) -> anyhow::Result<Latency> {
    let (address, limit) = (deployment.address(), time_for(events));
    let mut viewers = Viewers::connect(address, stream_of(task), MANY, events, Order::AsPublished, limit).await?;
    let mut tick = tokio::time::interval(PAUSE);
    for _ in 0..events {
        tick.tick().await;
        write(redis, task, 1).await?;
    }
    Ok(Latency::of(&viewers.seen().await?))
}

/// Events per second that one viewer gets while they are written as fast as Redis takes them.
async fn burst(
    events: usize,
    deployment: &Deployment,
    redis: &mut MultiplexedConnection,
    task: &str,
) -> anyhow::Result<f64> {
    let address = deployment.address();
    let mut viewer = Viewers::connect(address, stream_of(task), 1, events, Order::AsPublished, PATIENCE).await?;
    let began = watch::now();
    let mut left = events;
    while left > 0 {
        let now = left.min(PIPELINE);
        write(redis, task, now).await?;
        left -= now;
    }
    let took: Duration = time_to_last(&viewer.seen().await?, began)?;
    Ok(per_second(events, took))
}

/// Entries per second that a reader of Redis gets who does nothing with them.
async fn read_alone(redis: &mut MultiplexedConnection, task: &str, events: usize) -> anyhow::Result<f64> {
    type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;
    let began = Instant::now();
    let (mut read, mut after) = (0, "-".to_owned());
    loop {
        let entries: Entries =
            redis::cmd("XRANGE").arg(key(task)).arg(&after).arg("+").arg("COUNT").arg(BATCH).query_async(redis).await?;
        let Some((last, _)) = entries.last() else { break };
        after = format!("({last}");
        read += entries.len();
    }
    ensure!(read == events, "Redis holds {read} of {events} entries");
    Ok(per_second(read, began.elapsed()))
}
