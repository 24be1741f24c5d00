//! The server next to what it is compared with, in alternating rounds, so that a slow moment of the machine meets both.

use std::time::Duration;

use crate::deployment::Deployment;
use crate::load::{Numbered, Target, TaskCycle};
use crate::options::Effort;
use crate::process::processor_time;
use crate::raw::{Raw, Statement};
use crate::stats::{self, Round, median, millis};

/// Callers that load the server at the same time.
pub(crate) const CALLERS: usize = 16;

/// What callers repeat, at the server or at what it is compared with.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// A statement of the driver.
    Driver(Raw, Statement),
    /// A request to something that speaks HTTP.
    Request(Target),
    /// The same with something new in each request.
    Numbered(Numbered),
    /// Creating a task and deleting it.
    Tasks(TaskCycle),
}

impl Work {
    async fn round(&self, callers: usize, length: Duration) -> anyhow::Result<Round> {
        match self {
            Self::Driver(raw, statement) => raw.round(statement, callers, length).await,
            Self::Numbered(numbered) => numbered.round(callers, length).await,
            Self::Request(target) => target.round(callers, length).await,
            Self::Tasks(cycle) => cycle.round(callers, length).await,
        }
    }
}

/// Medians over the rounds. Latencies are those of one caller alone, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) server: Figures,
    pub(crate) baseline: Figures,
    /// Processor time the server took per request under load, in milliseconds.
    pub(crate) processor_ms: f64,
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Requests per second of [`CALLERS`] callers.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

/// Measures `server`, which is work for the deployment, next to `baseline`.
pub(crate) async fn compare(
    effort: Effort,
    deployment: &Deployment,
    server: &Work,
    baseline: &Work,
) -> anyhow::Result<Comparison> {
    let (mut of_server, mut of_baseline, mut processor) = (Series::default(), Series::default(), Vec::new());
    baseline.round(CALLERS, effort.warm_up).await?;
    server.round(CALLERS, effort.warm_up).await?;
    for _ in 0..effort.rounds {
        of_baseline.loaded(&baseline.round(CALLERS, effort.round).await?);

        let before = processor_time(deployment.id())?;
        let round = server.round(CALLERS, effort.round).await?;
        let took = processor_time(deployment.id())?.saturating_sub(before);
        processor.push(millis(took) / stats::count(round.latencies.len()));
        of_server.loaded(&round);

        of_baseline.alone(&mut baseline.round(1, effort.round / 2).await?);
        of_server.alone(&mut server.round(1, effort.round / 2).await?);
        deployment.empty_log()?;
    }
    Ok(Comparison { server: of_server.medians(), baseline: of_baseline.medians(), processor_ms: median(processor) })
}

/// Measures work for the deployment alone, to be compared with what cannot run at the same time.
pub(crate) async fn measure(effort: Effort, deployment: &Deployment, server: &Work) -> anyhow::Result<Figures> {
    let mut series = Series::default();
    server.round(CALLERS, effort.warm_up).await?;
    for _ in 0..effort.rounds {
        series.loaded(&server.round(CALLERS, effort.round).await?);
        series.alone(&mut server.round(1, effort.round / 2).await?);
        deployment.empty_log()?;
    }
    Ok(series.medians())
}

#[derive(Default)]
struct Series {
    rates: Vec<f64>,
    p50s: Vec<f64>,
    p95s: Vec<f64>,
    p99s: Vec<f64>,
}

impl Series {
    fn loaded(&mut self, round: &Round) {
        self.rates.push(round.rate());
    }

    fn alone(&mut self, round: &mut Round) {
        self.p50s.push(round.percentile(50.0));
        self.p95s.push(round.percentile(95.0));
        self.p99s.push(round.percentile(99.0));
    }

    fn medians(self) -> Figures {
        Figures { rate: median(self.rates), p50: median(self.p50s), p95: median(self.p95s), p99: median(self.p99s) }
    }
}
