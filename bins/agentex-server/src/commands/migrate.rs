use std::process::ExitCode;

use crate::config::Config;
use crate::{telemetry, wire};

/// Brings the schema up to date and says how many migrations that took.
pub(crate) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::install(&config.logs)?;
    let applied = wire::builder(&config)?.migrate().await?;
    super::say(&match applied {
        0 => "the schema is up to date".to_owned(),
        1 => "1 migration applied".to_owned(),
        more => format!("{more} migrations applied"),
    });
    Ok(ExitCode::SUCCESS)
}
