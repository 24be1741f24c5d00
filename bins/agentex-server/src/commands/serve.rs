use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use agentex::{Agentex, WorkerHandle};
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::config::{Authorization, Config, Metrics, Store};
use crate::listener::HEAD_LIMIT;
use crate::{listener, metrics, telemetry, wire};

/// Runs the server until it is told to stop and has drained.
pub(crate) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    // First of all, so that a taken port is known before the database is touched.
    let listener = bind(&config.host, config.port).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    telemetry::install(&config.logs)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for note in &config.notes {
        tracing::debug!("{note}");
    }
    let Authorization { backend, authn, profile, .. } = &config.authorization;
    if backend.is_disabled() {
        tracing::warn!("authorization is disabled: whoever reaches this server may do everything");
    } else {
        tracing::info!(backend = backend.name(), profile, authentication = authn.name(), "authorization is on");
    }

    let agentex = start(&config).await?;
    ::metrics::gauge!("agentex_authz_profile_info", "backend" => backend.name(), "profile" => *profile).set(1.0);
    let worker = agentex.worker();
    on_signals(worker.clone())?;
    super::say(&ready(address, &config));

    let draining = worker.shutdown_token();
    let deadline = async {
        draining.cancelled().await;
        let deadline = Instant::now() + config.drain_timeout;
        tokio::time::sleep_until(deadline).await;
    };
    let began_draining = async {
        draining.cancelled().await;
        tracing::info!("draining");
        Instant::now()
    };
    let serving = listener::serve(listener, agentex.router(), HEAD_LIMIT, draining.clone());
    let (answered, began) = tokio::join!(
        async {
            tokio::select! {
                () = serving => true,
                () = deadline => false,
            }
        },
        began_draining
    );

    let left = config.drain_timeout.saturating_sub(began.elapsed());
    let stored = worker.drained(left.max(Duration::from_millis(1))).await.is_ok();
    if answered && stored {
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    } else {
        tracing::warn!(answered, stored, "stopped before everything was finished");
        Ok(ExitCode::FAILURE)
    }
}

async fn bind(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((host, port)).await.with_context(|| format!("cannot listen on {host} port {port}"))
}

/// Opens everything that the configuration names.
async fn start(config: &Config) -> anyhow::Result<Agentex> {
    let mut http = config.http.clone();
    match config.metrics {
        Metrics::Off => {}
        Metrics::WithApi => http.metrics = Some(metrics::install()?),
        Metrics::On(address) => {
            let listener = bind(&address.ip().to_string(), address.port()).await.context("metrics")?;
            tracing::info!(url = %format!("http://{}/metrics", listener.local_addr()?), "serving metrics");
            let router = metrics::router(metrics::install()?);
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
    }
    Ok(wire::builder(config)?.http(http).build().await?)
}

/// The first SIGTERM or SIGINT begins the drain; the second ends the process at once.
pub(crate) fn on_signals(worker: WorkerHandle) -> anyhow::Result<()> {
    let mut signals = signals().context("signals cannot be watched")?;
    tokio::spawn(async move {
        signals.next().await;
        worker.shutdown();
        signals.next().await;
        eprintln!("agentex: stopped at once by a second signal");
        std::process::exit(1);
    });
    Ok(())
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn signals() -> std::io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
}

#[cfg(unix)]
impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
fn signals() -> std::io::Result<Signals> {
    Ok(Signals)
}

#[cfg(not(unix))]
impl Signals {
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The line that scripts wait for.
fn ready(address: SocketAddr, config: &Config) -> String {
    let store = match config.store {
        Store::Sqlite { .. } => "sqlite",
        Store::Postgres { .. } => "postgres",
    };
    let streams = if config.redis.is_some() { "redis" } else { "in-process" };
    let Authorization { backend, authn, profile, .. } = &config.authorization;
    let authorization = if backend.is_disabled() {
        "authorization: disabled".to_owned()
    } else {
        format!("authorization: {}, profile: {profile}, authentication: {}", backend.name(), authn.name())
    };
    format!(
        "agentex {} listening on http://{address} (store: {store}, streams: {streams}, {authorization})",
        env!("CARGO_PKG_VERSION")
    )
}
