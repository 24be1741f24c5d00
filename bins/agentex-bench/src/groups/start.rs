//! From the start of the program to the line that says that it is ready.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::Bench;
use crate::deployment::{Backend, Data};
use crate::http;
use crate::report::{Line, Target, Unit};
use crate::stats::{median, millis};

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let program = &bench.program;
    let (mut fresh, mut existing, mut version) = (Vec::new(), Vec::new(), Vec::new());
    // The first start only brings the program into memory.
    for round in 0..=bench.effort.starts {
        let data = Data::fresh(backend).await?;
        let took = (start(&data, program).await?, start(&data, program).await?, print_version(program).await?);
        if round > 0 {
            fresh.push(took.0);
            existing.push(took.1);
            version.push(took.2);
        }
    }
    let version = median(version);
    let line = |what: &str, value| Line {
        measure: format!("Start to ready, {what}"),
        unit: Unit::Millis,
        target: Some(Target::AtMost(100.0, 300.0)),
        value,
        raw: Some(version),
    };
    Ok(vec![line("empty store", median(fresh)), line("existing store", median(existing))])
}

/// Starts a server, sees that it is ready indeed, and stops it. Answers the time to its line in milliseconds.
async fn start(data: &Data, program: &Path) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut server = data.start(program).await;
    let took = began.elapsed();
    let address = server.url().strip_prefix("http://").context("the server has no http URL")?.parse()?;
    let ready = http::call(address, &http::get("/readyz")).await?;
    ensure!(ready["status"] == "ok", "the server is not ready: {ready}");
    let code = server.terminate().await;
    ensure!(code == Some(0), "the server ended with {code:?}:\n{}", server.output());
    Ok(millis(took))
}

/// The least that running the program takes, in milliseconds.
async fn print_version(program: &Path) -> anyhow::Result<f64> {
    let began = Instant::now();
    let output = tokio::process::Command::new(program).arg("--version").kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "--version failed");
    Ok(millis(began.elapsed()))
}
