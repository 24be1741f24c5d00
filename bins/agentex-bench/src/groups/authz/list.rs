//! A page of the tasks that somebody may see, of whom nearly all are hidden.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::rows::{self, VISIBLE_SHARE};
use super::{Bench, next_to_off};
use crate::compare::{Figures, Work, measure as measure_work};
use crate::deployment::{Authorization, Backend, Data, Deployment};
use crate::http;
use crate::process::resident_mib;
use crate::report::{Line, Target, Unit, grouped};
use crate::stats::millis;

const PAGE: u32 = 50;

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let tasks = bench.effort.tasks;
    let data = prepare(bench, backend).await?;

    let deployment = Deployment::on(data, &bench.program, Authorization::Off).await?;
    let off = figures(bench, &deployment).await?;
    let data = deployment.stop().await?;

    let began = Instant::now();
    let mut deployment = Deployment::on(data, &bench.program, Authorization::Local).await?;
    let starting = millis(began.elapsed());
    let resident = resident_mib(deployment.id())?;
    let number = grouped(tasks.into());
    let mut lines = Vec::new();
    for (user, name) in [
        ("reader", format!("GET /tasks, 50 of {number} tasks, 1 % visible")),
        ("hermit", format!("GET /tasks, 50 of {number} tasks, only the oldest 1 % visible")),
    ] {
        deployment.call_as(user);
        sees_what_is_its_own(&deployment, user, tasks / VISIBLE_SHARE).await?;
        let on = figures(bench, &deployment).await?;
        lines.extend(next_to_off(&name, on, off, Some(Target::AtMostOnPostgres(10.0))));
    }
    deployment.stop().await?;

    let line = |what: &str, unit, value| Line {
        measure: format!("{what}, relationships of {number} tasks"),
        unit,
        target: None,
        value,
        raw: None,
    };
    lines.push(line("Start to ready", Unit::Millis, starting));
    lines.push(line("Resident memory, idle", Unit::Mebibytes, resident));
    Ok(lines)
}

/// A database with an agent made over HTTP and tasks that were not.
async fn prepare(bench: &Bench, backend: Backend) -> anyhow::Result<Data> {
    let data = Data::fresh(backend).await?;
    let deployment = Deployment::on(data, &bench.program, Authorization::Local).await?;
    let agent = deployment.register("bench", "sync", "http://127.0.0.1:1").await?;
    let data = deployment.stop().await?;
    rows::load(&data.place(), &agent, bench.effort.tasks).await.context("tasks cannot be loaded")?;
    Ok(data)
}

async fn figures(bench: &Bench, deployment: &Deployment) -> anyhow::Result<Figures> {
    let target = deployment.target(&http::get(&page(1)), "\"owner\":");
    measure_work(bench.effort, deployment, &Work::Request(target)).await
}

fn page(number: u32) -> String {
    format!("/tasks?limit={PAGE}&page_number={number}")
}

/// Makes sure that the caller sees exactly what it owns, on pages that are full.
async fn sees_what_is_its_own(deployment: &Deployment, user: &str, visible: u32) -> anyhow::Result<()> {
    let last = visible / PAGE;
    for (number, expected) in [(1, PAGE), (last, PAGE), (last + 1, visible % PAGE)] {
        let answer = deployment.call("GET", &page(number), &json!({})).await?;
        let tasks: &Vec<Value> = answer.as_array().context("a list is an array")?;
        let own = tasks.iter().filter(|task| task["task_metadata"]["owner"] == user).count();
        ensure!(
            tasks.len() == own && u32::try_from(own).ok() == Some(expected),
            "page {number} of {user} has {} tasks, {own} of them its own, instead of {expected}",
            tasks.len()
        );
    }
    Ok(())
}
