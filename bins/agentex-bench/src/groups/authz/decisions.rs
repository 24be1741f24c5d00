//! Decisions in one process, as the example of the authorization crate measures them.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::report::{Line, Target, Unit};

/// What it may take; nearly all of it is making the relationships.
const LIMIT: Duration = Duration::from_secs(180);

pub(super) async fn measure() -> anyhow::Result<Vec<Line>> {
    let example = std::env::current_exe()?.with_file_name("examples").join("local_check");
    ensure!(example.is_file(), "there is no {}; scripts/bench builds it", example.display());
    let run = tokio::process::Command::new(&example).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, run).await.context("the example takes too long")??;
    ensure!(output.status.success(), "the example failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    lines(&text).with_context(|| format!("the example says something else: {text}"))
}

fn lines(text: &str) -> Option<Vec<Line>> {
    let line = |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin));
    let (check, list) = (line("check ")?, line("list of ")?);
    let rate = check.trim_start().split_once("/s")?.0.parse().ok()?;
    let decision = |what: &str, unit, target, value| Line {
        measure: format!("Decision in the process, 1,000,000 tasks, {what}"),
        unit,
        target,
        value,
        raw: None,
    };
    let visible = |which: &str| {
        let measure = format!("Visible tasks in the process, 10,000 of 1,000,000, {which}");
        Some(Line { measure, unit: Unit::Millis, target: None, value: micros(list, which)? / 1e3, raw: None })
    };
    Some(vec![
        decision("one core", Unit::PerSecond, Some(Target::AtLeast(200_000.0)), rate),
        decision("p50", Unit::Micros, None, micros(check, "p50")?),
        decision("p99", Unit::Micros, Some(Target::AtMost(50.0, 50.0)), micros(check, "p99")?),
        visible("p50")?,
        visible("p99")?,
    ])
}

/// The duration after a name, as `Debug` writes it, in microseconds.
fn micros(text: &str, name: &str) -> Option<f64> {
    let (_, rest) = text.split_once(&format!("{name} "))?;
    let duration = rest.split([',', ';']).next()?.trim();
    let unit = duration.find(|character: char| character.is_alphabetic())?;
    let number: f64 = duration[..unit].parse().ok()?;
    let scale = match &duration[unit..] {
        "ns" => 1e-3,
        "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_text_is_understood() {
        let text = "load       3000002 relationships in 4.0s, resident 9 kB, at most 9 kB\n\
                    check      812345/s on one core, p50 500.0ns, p95 1.8µs, p99 2.5µs; 500000 of 1000000 allowed\n\
                    list of 10000 of 1000000: p50 1.5ms, p95 2.0ms, p99 1.0s\n";

        let values: Vec<f64> = lines(text).unwrap().into_iter().map(|line| line.value).collect();

        assert_eq!(values, [812_345.0, 0.5, 2.5, 1.5, 1_000.0]);
        assert!(lines("check      fast\n").is_none());
    }
}
