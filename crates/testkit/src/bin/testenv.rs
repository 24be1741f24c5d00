//! Starts the services that tests need once, runs a command with their URLs in the environment, and stops them.

use std::process::ExitCode;

use agentex_testkit::services::{postgres, redis, spicedb, temporal};
use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: testenv run [--] COMMAND [ARGUMENT…]";

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!(arguments.first().is_some_and(|word| word == "run"), USAGE);
    arguments.remove(0);
    if arguments.first().is_some_and(|word| word == "--") {
        arguments.remove(0);
    }
    let (program, arguments) = arguments.split_first().context(USAGE)?;

    // Before anything is started, so that a signal always finds somebody who cleans up.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let services =
        async { tokio::try_join!(postgres::server(), redis::server(), spicedb::server(), temporal::server()) };
    let (postgres, redis, spicedb, temporal) = tokio::select! {
        services = services => services?,
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
    };

    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env(postgres::URL_VARIABLE, postgres.url())
        .env(redis::URL_VARIABLE, redis.url())
        .env(spicedb::ENDPOINT_VARIABLE, spicedb.endpoint())
        .env(temporal::ADDRESS_VARIABLE, temporal.address())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    loop {
        tokio::select! {
            status = child.wait() => {
                let code = status?.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            _ = terminate.recv() => pass_on(&child),
            // A terminal interrupts the command by itself; the services stop after it.
            _ = interrupt.recv() => {}
        }
    }
}

fn pass_on(child: &tokio::process::Child) {
    use rustix::process::{Pid, Signal, kill_process};

    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // It may have ended just now, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}
