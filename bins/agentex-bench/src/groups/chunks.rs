//! Streamed replies through the server.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use super::Bench;
use crate::agent::{InstantAgent, Reply, direct_call};
use crate::compare::CALLERS;
use crate::deployment::{Backend, Deployment};
use crate::http::{self, Connection, Lines};
use crate::load::on_own_thread;
use crate::report::{Line, Unit};
use crate::stats::{median, per_second};

/// Longest time one round of streams may take.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let fragments = bench.effort.fragments;
    let agent = InstantAgent::start(Reply::Fragments(fragments))?;
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let id = deployment.register("bench", "sync", &agent.url()).await?;
    let mut lines = Vec::new();
    for streams in [1, CALLERS] {
        let (mut through, mut direct) = (Vec::new(), Vec::new());
        // The first round only warms up.
        for round in 0..=bench.effort.rounds {
            // A task for each stream: a conversation has one turn at a time.
            let mut requests = Vec::with_capacity(streams);
            for _ in 0..streams {
                let task = deployment.task(&id).await?;
                let content = json!({"type": "text", "author": "user", "content": "go"});
                let params = json!({"task_id": task, "content": content, "stream": true});
                let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params});
                requests.push(http::with_json("POST", &format!("/agents/{id}/rpc"), &body));
            }
            let straight = vec![direct_call("message/send"); streams];
            let rates = (
                stream(agent.address(), straight, fragments).await?,
                stream(deployment.address(), requests, fragments).await?,
            );
            if round > 0 {
                direct.push(rates.0);
                through.push(rates.1);
            }
        }
        let what = if streams == 1 { "one stream".to_owned() } else { format!("{streams} streams") };
        lines.push(Line {
            measure: format!("Streamed reply, {what}, fragments"),
            unit: Unit::PerSecond,
            target: None,
            value: median(through),
            raw: Some(median(direct)),
        });
    }
    deployment.stop().await?;
    Ok(lines)
}

/// Makes all requests at once and reads their answers line by line; answers the fragments per second of all together.
async fn stream(address: SocketAddr, requests: Vec<Bytes>, fragments: usize) -> anyhow::Result<f64> {
    on_own_thread(LIMIT, async move {
        let total = requests.len() * fragments;
        let mut connections = Vec::with_capacity(requests.len());
        for request in requests {
            connections.push((Connection::open(address).await?, request));
        }
        let began = Instant::now();
        let mut running = JoinSet::new();
        for (connection, request) in connections {
            running.spawn(read(connection, request, fragments));
        }
        while let Some(stream) = running.join_next().await {
            stream??;
        }
        Ok(per_second(total, began.elapsed()))
    })
    .await
}

/// Reads one streamed answer to its end, which must be that of a whole reply.
async fn read(mut connection: Connection, request: Bytes, fragments: usize) -> anyhow::Result<()> {
    let mut pieces = connection.begin(&request).await?;
    let (mut lines, mut count, mut last) = (Lines::default(), 0, String::new());
    while let Some(piece) = pieces.next().await? {
        lines.push(&piece, |line| {
            count += 1;
            if count == fragments + 2 || line.starts_with(br#"{"jsonrpc":"2.0","result":null"#) {
                last = http::excerpt(line);
            }
            Ok(())
        })?;
    }
    let whole = count == fragments + 2 && last.contains(r#""type":"done""#);
    ensure!(whole, "a reply ended after {count} lines with {last}");
    Ok(())
}
