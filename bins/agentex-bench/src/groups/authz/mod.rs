//! What permissions cost: a decision in the process, a list of what one may see, and calls with and without anybody who
//! decides.

mod calls;
mod decisions;
mod list;
mod rows;

use super::Bench;
use crate::compare::{CALLERS, Figures};
use crate::deployment::Backend;
use crate::report::{Line, Target, Unit};

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    // In memory there is no database to tell apart. With SQLite that is all there is to a decision; servers on one
    // PostgreSQL ask it first whether anything happened, which is in all other rows.
    if backend == Backend::Sqlite {
        lines.extend(decisions::measure().await?);
    }
    lines.extend(list::measure(bench, backend).await?);
    lines.extend(calls::measure(bench, backend).await?);
    Ok(lines)
}

/// Latencies and rate, next to those of the same without authorization.
fn next_to_off(name: &str, on: Figures, off: Figures, p95: Option<Target>) -> Vec<Line> {
    let latency = |which: &str, target, value, raw| Line {
        measure: format!("{name}, {which}"),
        unit: Unit::Millis,
        target,
        value,
        raw: Some(raw),
    };
    vec![
        latency("p50", None, on.p50, off.p50),
        latency("p95", p95, on.p95, off.p95),
        latency("p99", None, on.p99, off.p99),
        Line {
            measure: format!("{name}, {CALLERS} connections"),
            unit: Unit::PerSecond,
            target: None,
            value: on.rate,
            raw: Some(off.rate),
        },
    ]
}
