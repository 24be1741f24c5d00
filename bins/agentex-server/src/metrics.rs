use std::sync::Arc;
use std::time::Duration;

use agentex::http::MetricsText;
use anyhow::Context as _;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// From what a look-up in memory takes to what a caller waits for an agent.
const SECONDS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// How long somebody watches a task: from a second to four hours.
const WATCHED: [f64; 11] = [1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0];

/// How often samples are folded into their buckets, which bounds the memory they take when nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Collects the metrics of the process from now on, and says how to render them. Call it once, inside a runtime.
pub(crate) fn install() -> anyhow::Result<MetricsText> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|recorder| {
            let watched = Matcher::Full("agentex_task_stream_duration_seconds".to_owned());
            recorder.set_buckets_for_metric(watched, &WATCHED)
        })
        .context("metrics cannot be set up")?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).ok().context("metrics are set up already")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(Arc::new(move || handle.render()))
}

/// Serves nothing but `GET /metrics`.
pub(crate) fn router(text: MetricsText) -> Router {
    const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
    Router::new().route("/metrics", get(move || async move { ([(CONTENT_TYPE, FORMAT)], text()) }))
}
