//! Logs: one line per event on standard error, without secrets.

mod line;
mod redact;

use std::io::{IsTerminal as _, Write as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;

pub(crate) use redact::redact;

use crate::config::Logs;
use line::Lines;

/// Logs from now on. Call it once.
pub(crate) fn install(logs: &Logs) -> anyhow::Result<()> {
    let json = logs.json.unwrap_or_else(|| !std::io::stderr().is_terminal());
    let filter = EnvFilter::builder().parse(&logs.filter)?;
    let lines = Lines::new(json, logs.labels.clone(), |line: &str| {
        // There is nowhere to report that logs cannot be written.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    });
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(lines))?;
    Ok(())
}
