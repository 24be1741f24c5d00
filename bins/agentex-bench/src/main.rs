#![doc = include_str!("../README.md")]

mod agent;
mod bare;
mod compare;
mod deployment;
mod groups;
mod http;
mod load;
mod machine;
mod options;
mod page;
mod process;
mod raw;
mod report;
mod stats;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use agentex_testkit::services::{postgres, redis};
use anyhow::{Context as _, ensure};
use clap::Parser as _;

use deployment::Backend;
use groups::Bench;
use machine::Machine;
use options::Options;
use report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<ExitCode> {
    deployment::check_environment()?;
    process::allow_many_files()?;
    let program = program(&options)?;

    // Held to the end, so that every group finds the same ones.
    let (postgres, redis) = tokio::try_join!(postgres::server(), redis::server())?;
    let machine = Machine::describe(postgres.url(), redis.url()).await?.markdown(&options.as_typed());
    let bench = Bench { program, effort: options.effort(), redis_url: redis.url().to_owned() };

    let mut report = Report::default();
    for group in options.groups() {
        for backend in Backend::ALL.into_iter().filter(|backend| options.store.is_none_or(|only| only == *backend)) {
            eprintln!("measuring {} on {backend}", group.name());
            match bench.measure(group, backend).await {
                Ok(lines) => report.add(backend, lines),
                Err(error) => report.fail(format!("{} on {backend}: {error:#}", group.name())),
            }
        }
    }

    let table = report.markdown();
    println!("{machine}\n{table}");
    if !report.is_complete() {
        // Half a table must not replace a whole one.
        return Ok(ExitCode::FAILURE);
    }
    if let Some(file) = &options.out {
        std::fs::write(file, page::page(&machine, &table)).with_context(|| file.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn program(options: &Options) -> anyhow::Result<PathBuf> {
    let program = match &options.server {
        Some(program) => std::path::absolute(program)?,
        None => std::env::current_exe()?.with_file_name("agentex"),
    };
    ensure!(program.is_file(), "there is no server at {}; scripts/bench builds it", program.display());
    Ok(program)
}
