use std::time::Duration;

use agentex_domain::Intent;
use agentex_domain::ports::Backlog;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{AT_ONCE, Lifecycle};
use crate::Error;

/// How many intents are taken at once.
const BATCH: u32 = 64;

/// Finishes what crashes, outages and vanished callers left of changes of the authorization graph.
///
/// Any number of processes may run one: each intent is leased by the one that drives it.
#[derive(Clone)]
pub struct IntentRelay {
    lifecycle: Lifecycle,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Intents that were driven, whether they could be finished or not.
    pub driven: usize,
}

impl IntentRelay {
    pub(crate) const fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle }
    }

    /// Drives every intent that is due now, each once.
    ///
    /// # Errors
    /// The store failed. What the authorizer does not accept is kept for later and no error.
    pub async fn run_due(&self) -> Result<Relayed, Error> {
        let Some(engine) = &self.lifecycle.engine else { return Ok(Relayed::default()) };
        let now = engine.now();
        let mut relayed = Relayed::default();
        loop {
            let claimed = engine.intents.claim(now, engine.lease(), BATCH).await?;
            let last = claimed.len() < BATCH as usize;
            relayed.driven += claimed.len();
            futures::stream::iter(claimed).for_each_concurrent(AT_ONCE, |intent| engine.drive(intent)).await;
            if last {
                return Ok(relayed);
            }
        }
    }

    /// Drives what is due, again and again, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(engine) = &self.lifecycle.engine else { return };
        let mut pauses = tokio::time::interval(engine.settings.interval.max(Duration::from_millis(10)));
        pauses.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = pauses.tick() => {}
            }
            // A pass in progress is finished: what it has claimed would otherwise wait for its lease to end.
            if let Err(error) = self.run_due().await {
                tracing::warn!(%error, "unfinished changes of the authorization graph could not be read");
            }
            if let Ok(backlog) = engine.intents.backlog().await {
                publish(backlog, engine.now());
            }
        }
    }

    /// How much is unfinished.
    ///
    /// # Errors
    /// The store failed.
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        match &self.lifecycle.engine {
            Some(engine) => Ok(engine.intents.backlog().await?),
            None => Ok(Backlog::default()),
        }
    }

    /// Up to `limit` unfinished changes, oldest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn unfinished(&self, limit: u32) -> Result<Vec<Intent>, Error> {
        match &self.lifecycle.engine {
            Some(engine) => Ok(engine.intents.list(limit).await?),
            None => Ok(Vec::new()),
        }
    }
}

impl std::fmt::Debug for IntentRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntentRelay").field("enabled", &self.lifecycle.is_enabled()).finish_non_exhaustive()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn publish(backlog: Backlog, now: agentex_domain::Timestamp) {
    metrics::gauge!("agentex_authz_intents").set(backlog.open as f64);
    metrics::gauge!("agentex_authz_intents_failing").set(backlog.failing as f64);
    let lag = backlog.oldest.map_or(0, |oldest| now.as_micros().saturating_sub(oldest.as_micros()).max(0));
    metrics::gauge!("agentex_authz_intent_lag_seconds").set(lag as f64 / 1e6);
}
