#![doc = include_str!("../README.md")]

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("a server needs a store: switch the feature `sqlite` or `postgres` on");

mod cli;
mod commands;
mod config;
mod listener;
mod metrics;
mod telemetry;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use config::{Config, Sources};

/// The configuration is not usable; nothing was started.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    // Before anything could make a TLS connection; it can only fail when there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let cli = Cli::parse();
    let sources = Sources {
        flags: cli.flags(),
        file: cli.config.clone(),
        environment: std::env::vars_os().collect(),
        folder: ".".into(),
    };
    match cli.command {
        Command::Worker(_) => match Config::load(&sources) {
            Ok(config) => on_runtime(commands::worker::run(config)),
            Err(problems) => refuse(&problems),
        },
        Command::Openapi => commands::openapi::run(),
        Command::Doctor(_) => on_runtime(commands::doctor::run(Config::load(&sources))),
        Command::Migrate(_) => match Config::load(&sources) {
            Ok(config) => on_runtime(commands::migrate::run(config)),
            Err(problems) => refuse(&problems),
        },
        Command::Authz(authz) => on_runtime(async {
            if let Some(done) = commands::authz::without_configuration(&authz.command).await {
                return done;
            }
            match Config::load(&sources) {
                Ok(config) => commands::authz::run(config, authz.command).await,
                Err(problems) => Ok(refuse(&problems)),
            }
        }),
        Command::Serve(serve) => match Config::load(&sources) {
            Ok(_) if serve.validate => {
                commands::say("configuration ok");
                ExitCode::SUCCESS
            }
            Ok(config) => on_runtime(commands::serve::run(config)),
            Err(problems) => refuse(&problems),
        },
    }
}

fn refuse(problems: &[config::Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}");
    }
    ExitCode::from(BAD_CONFIGURATION)
}

/// Runs a command to its end. A failure is one line on standard error.
fn on_runtime(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("agentex: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(command).unwrap_or_else(|error| {
        // Texts of drivers are not ours, so they are not trusted to leave credentials out.
        eprintln!("agentex: {}", telemetry::redact(&format!("{error:#}")));
        ExitCode::FAILURE
    });
    // Whatever is left has had its time.
    runtime.shutdown_background();
    code
}
