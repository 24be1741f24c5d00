use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use agentex_domain::ports::{Clock, JobError, Jobs, Sleeper, TimerRepository};
use agentex_domain::{ClaimedFire, Fire, TimerAction};
use futures::FutureExt;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::SchedulerOptions;
use super::held::Holding;
use super::sweep::Sweep;
use super::time::later;

/// A fire whose work is done; it is held until its end is stored.
pub(super) struct Ended {
    /// Why it was given up, if it was.
    pub(super) error: Option<String>,
    pub(super) holding: Holding,
}

/// Carries out single fires.
pub(super) struct Worker {
    pub(super) timers: Arc<dyn TimerRepository>,
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sleeper: Arc<dyn Sleeper>,
    pub(super) options: SchedulerOptions,
    pub(super) ended: mpsc::Sender<Ended>,
}

impl Worker {
    /// Does what the fire says, and sees to it that it ends, comes again, or is left to whoever holds it now.
    pub(super) async fn carry_out(&self, claimed: ClaimedFire, holding: Holding) {
        let span = tracing::info_span!("schedule.fire", fire.id = %claimed.fire.id, attempt = claimed.attempt);
        self.attempt(claimed, holding).instrument(span).await;
    }

    async fn attempt(&self, claimed: ClaimedFire, holding: Holding) {
        let ClaimedFire { fire, attempt, .. } = claimed;
        // Whoever began it the last time it was allowed to did not live to see the end.
        let outcome = if attempt > self.options.attempts {
            Err(failure("every attempt was broken off"))
        } else {
            tokio::select! {
                () = holding.stopped.cancelled() => {
                    tracing::warn!("another process has taken the fire");
                    return;
                }
                outcome = AssertUnwindSafe(self.act(&fire)).catch_unwind() => {
                    outcome.unwrap_or_else(|_| Err(failure("the work on it panicked")))
                }
                () = self.too_long(&fire) => Err(failure("it took too long")),
            }
        };
        match outcome {
            Ok(()) => self.end(holding, None).await,
            Err(error) if attempt >= self.options.attempts => {
                tracing::error!(%error, "fire given up");
                self.end(holding, Some(error.message)).await;
            }
            Err(error) => {
                tracing::warn!(%error, "fire is tried again later");
                let due_at = later(self.clock.now(), self.options.pause_after(attempt));
                // Let go of first, so that whoever claims it next, be it this process, begins it.
                let lease = holding.lease();
                drop(holding);
                // When the store does not take it, the fire comes again at the end of its lease.
                if let Err(error) = self.timers.retry(&lease, due_at, &error.message).await {
                    tracing::warn!(%error, "the retry is not stored");
                }
            }
        }
    }

    async fn act(&self, fire: &Fire) -> Result<(), JobError> {
        match &fire.action {
            TimerAction::Run(schedule) => {
                let outcome = self.jobs.scheduled_run(schedule, &fire.id, fire.trigger).await?;
                tracing::debug!(?outcome, "fired");
            }
            TimerAction::RetentionSweep => {
                let sweep = Sweep { jobs: &*self.jobs, clock: &*self.clock, sleeper: &*self.sleeper };
                let totals = sweep.run().await?;
                tracing::info!(?totals, "retention sweep done");
            }
        }
        Ok(())
    }

    /// Sweeps take as long as there is something to clean.
    async fn too_long(&self, fire: &Fire) {
        match &fire.action {
            TimerAction::Run(_) => {
                let deadline = later(self.clock.now(), self.options.attempt_timeout);
                self.sleeper.sleep_until(deadline).await;
            }
            TimerAction::RetentionSweep => std::future::pending().await,
        }
    }

    async fn end(&self, holding: Holding, error: Option<String>) {
        holding.end();
        // Nobody takes it any more when the scheduler has been dropped; then nobody waits for it either.
        let _ = self.ended.send(Ended { error, holding }).await;
    }
}

fn failure(message: &str) -> JobError {
    JobError { message: message.to_owned(), source: None }
}
