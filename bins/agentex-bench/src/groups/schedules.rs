//! Run schedules, kept by the server itself: how late they fire, how fast many are carried out, what making one costs.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use agentex_testkit::server_process::ServerProcess;
use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Timelike as _, Utc};
use serde_json::{Value, json};

use super::Bench;
use crate::agent::{FireLog, Fired, InstantAgent};
use crate::compare::{CALLERS, Work, measure as alone};
use crate::deployment::{Backend, Deployment};
use crate::http::{self, Connection};
use crate::load::{Numbered, UNUSED};
use crate::process::processor_time;
use crate::report::{Line, Target, Unit};
use crate::stats::{count, millis, percentile};

/// Schedules that fire now and then; each fires every [`EVERY`] seconds, as many of them at the same moment as seconds are
/// left over.
const PUNCTUAL: usize = 60;
const EVERY: usize = 20;
/// What the issue asks of the time between an occurrence and the call of the agent, in milliseconds.
const MOST_LATE: f64 = 50.0;
/// What it asks of ten thousand schedules due at one moment, in seconds.
const MOST_DRAINING: f64 = 10.0;
/// A moment that does not come while anything is measured.
const NEVER: &str = "0 0 1 1 * 2099";
/// Schedules made per second, if it goes badly; what is due at one moment is made before it.
const MADE_PER_SECOND: u64 = 250;
/// How long everything that is due may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it is waited for calls of which there must be none.
const AFTERMATH: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn measure(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let mut lines = punctual(bench, backend).await?;
    lines.extend(drained(bench, backend).await?);
    lines.extend(created(bench, backend).await?);
    Ok(lines)
}

/// An idle server with some schedules, each of which fires every now and then.
async fn punctual(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let log = FireLog::default();
    let agent = InstantAgent::noting(&log)?;
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let id = deployment.register("bench", "async", &agent.url()).await?;
    for number in 0..PUNCTUAL {
        let seconds: Vec<String> = (number % EVERY..60).step_by(EVERY).map(|second| second.to_string()).collect();
        let cron = format!("{} * * * * * *", seconds.join(","));
        deployment.call("POST", &path(&id), &schedule(&format!("punctual-{number}"), &cron)).await?;
    }
    tokio::time::sleep(bench.effort.warm_up.max(Duration::from_secs(2))).await;
    log.take();

    tokio::time::sleep(bench.effort.watched).await;

    let (first, told) = occurrences(&log.take())?;
    let seconds = usize::try_from(bench.effort.watched.as_secs())?;
    let expected = PUNCTUAL * seconds / EVERY;
    // The occurrence of the first and of the last moment may lie outside.
    let per_moment = PUNCTUAL / EVERY;
    ensure!(first.len() + 2 * per_moment >= expected, "{} of {expected} occurrences came", first.len());
    deployment.stop().await?;

    let line = |what: &str, percent: f64, late: &mut [Duration], target| Line {
        measure: format!("Run schedule, due to {what}, p{percent}"),
        unit: Unit::Millis,
        target,
        value: percentile(late, percent),
        raw: None,
    };
    let (mut first, mut told) = (late(&first)?, late(&told)?);
    let most = Some(Target::AtMost(MOST_LATE, MOST_LATE));
    Ok(vec![
        line("agent called", 50.0, &mut first, None),
        line("agent called", 99.0, &mut first, most),
        line("input delivered", 50.0, &mut told, None),
        line("input delivered", 99.0, &mut told, most),
    ])
}

/// Many schedules due at one moment: carried out by one process over a file, by two over PostgreSQL.
async fn drained(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let many = bench.effort.due_at_once;
    let log = FireLog::default();
    let agent = InstantAgent::noting(&log)?;
    let redis = (backend == Backend::Postgres).then_some(bench.redis_url.as_str());
    let deployment = Deployment::start(&bench.program, backend, redis).await?;
    let mut replica = match redis {
        Some(redis) => Some(deployment.replica(&bench.program, redis).await),
        None => None,
    };
    let id = deployment.register("bench", "async", &agent.url()).await?;

    let making = Duration::from_secs(3 + many as u64 / MADE_PER_SECOND);
    let due = whole_second(SystemTime::now() + making);
    let cron = {
        let due = DateTime::<Utc>::from(due);
        format!("{} {} {} * * * *", due.second(), due.minute(), due.hour())
    };
    make(&deployment, &id, many, &cron).await?;
    let left = due.duration_since(SystemTime::now()).context("making the schedules took longer than was thought")?;
    let processor = |replica: &Option<ServerProcess>| {
        let second = replica.as_ref().map_or(Ok(Duration::ZERO), |replica| processor_time(replica.id()));
        anyhow::Ok(processor_time(deployment.id())? + second?)
    };
    tokio::time::sleep(left.saturating_sub(Duration::from_millis(500))).await;
    let before = processor(&replica)?;

    let deadline = due + PATIENCE;
    while log.len() < 2 * many {
        if SystemTime::now() > deadline {
            bail!("{} of {} calls came in {} s", log.len(), 2 * many, PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let took = processor(&replica)?.saturating_sub(before);
    tokio::time::sleep(AFTERMATH).await;

    let fired = log.take();
    let (first, told) = occurrences(&fired)?;
    ensure!((first.len(), told.len()) == (many, many), "{} and {} of {many} came", first.len(), told.len());
    let last = told.values().max().context("nothing came")?;
    if let Some(replica) = &mut replica {
        ensure!(replica.terminate().await == Some(0), "the second server did not end well");
    }
    deployment.stop().await?;
    let grouped = if many < 1_000 { many.to_string() } else { format!("{},{:03}", many / 1_000, many % 1_000) };
    Ok(vec![
        Line {
            measure: format!("{grouped} run schedules due at one moment, last input delivered after"),
            unit: Unit::Seconds,
            target: Some(Target::AtMostOnPostgres(MOST_DRAINING)),
            value: last.duration_since(due)?.as_secs_f64(),
            raw: None,
        },
        Line {
            measure: format!("{grouped} run schedules due at one moment, processor time per run"),
            unit: Unit::Millis,
            target: None,
            value: millis(took) / count(many),
            raw: None,
        },
    ])
}

async fn created(bench: &Bench, backend: Backend) -> anyhow::Result<Vec<Line>> {
    let deployment = Deployment::start(&bench.program, backend, None).await?;
    let id = deployment.register("bench", "async", "http://127.0.0.1:1").await?;
    let request = http::with_json("POST", &path(&id), &schedule(UNUSED, NEVER));
    let work = Work::Numbered(Numbered::new(deployment.target(&request, "\"agent_run\"")));
    let figures = alone(bench.effort, &deployment, &work).await?;
    deployment.stop().await?;
    let line = |what: String, unit, value| Line {
        measure: format!("POST /agents/{{id}}/schedules, {what}"),
        unit,
        target: None,
        value,
        raw: None,
    };
    Ok(vec![
        line(format!("{CALLERS} connections"), Unit::PerSecond, figures.rate),
        line("one connection, p50".to_owned(), Unit::Millis, figures.p50),
        line("one connection, p99".to_owned(), Unit::Millis, figures.p99),
    ])
}

fn path(agent: &str) -> String {
    format!("/agents/{agent}/schedules")
}

fn schedule(name: &str, cron: &str) -> Value {
    json!({
        "name": name, "cron_expression": cron, "timezone": "UTC",
        "initial_input": {"content": "The quick brown fox jumps over the lazy dog."},
    })
}

/// Makes so many schedules with this cadence.
async fn make(deployment: &Deployment, agent: &str, many: usize, cron: &str) -> anyhow::Result<()> {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let numbers = (caller..many).step_by(CALLERS);
        let requests: Vec<_> = numbers
            .map(|number| http::with_json("POST", &path(agent), &schedule(&format!("many-{number}"), cron)))
            .collect();
        let mut connection = Connection::open(deployment.address()).await?;
        callers.spawn(async move {
            for request in requests {
                connection.exchange(&request).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

fn whole_second(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

type Moments = HashMap<String, SystemTime>;

/// When each occurrence created its task, and when it told it the input. Each does either once.
fn occurrences(fired: &[Fired]) -> anyhow::Result<(Moments, Moments)> {
    let (mut first, mut told) = (Moments::new(), Moments::new());
    for Fired { fire_id, is_input, at } in fired {
        let moments = if *is_input { &mut told } else { &mut first };
        ensure!(moments.insert(fire_id.clone(), *at).is_none(), "{fire_id} came twice");
    }
    Ok((first, told))
}

/// How long after its moment each came.
fn late(moments: &Moments) -> anyhow::Result<Vec<Duration>> {
    let late = moments.iter().map(|(fire_id, at)| {
        let (_, nominal) = fire_id.rsplit_once("-run-").with_context(|| format!("{fire_id} names no moment"))?;
        let nominal: SystemTime = DateTime::parse_from_rfc3339(nominal)?.into();
        at.duration_since(nominal).with_context(|| format!("{fire_id} came too early"))
    });
    late.collect()
}
