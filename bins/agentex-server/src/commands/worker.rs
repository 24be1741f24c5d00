use std::process::ExitCode;
use std::time::Duration;

use crate::commands::serve::on_signals;
use crate::config::Config;
use crate::{telemetry, wire};

/// The configuration names no Temporal; nothing was started.
const NOT_CONFIGURED: u8 = 2;

/// Does background work until it is told to stop and has finished what was under way.
pub(crate) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    if config.temporal.is_none() {
        eprintln!(
            "agentex: Temporal is not properly configured: set TEMPORAL_ADDRESS, or let agentex serve do the work"
        );
        return Ok(ExitCode::from(NOT_CONFIGURED));
    }
    telemetry::install(&config.logs)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let agentex = wire::builder(&config)?.background_work(true).build().await?;
    let worker = agentex.worker();
    on_signals(worker.clone())?;
    super::say(&format!(
        "agentex {} working on queue {}",
        env!("CARGO_PKG_VERSION"),
        config.settings.schedules.task_queue
    ));

    worker.shutdown_token().cancelled().await;
    tracing::info!("draining");
    if worker.drained(config.drain_timeout.max(Duration::from_millis(1))).await.is_ok() {
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    } else {
        tracing::warn!("stopped before everything was finished");
        Ok(ExitCode::FAILURE)
    }
}
