use std::collections::HashSet;
use std::time::Duration;

use agentex_domain::TaskId;
use agentex_domain::ports::{CleanOutcome, Clock, JobError, Jobs, Sleeper, SweepConfig};
use futures::StreamExt;

use super::time::later;

/// How often one step of a sweep is tried.
const TRIES: u32 = 3;
/// Pause before the second try; it doubles with the third.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of the tasks of one sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SweepTotals {
    pub(super) cleaned: u64,
    pub(super) skipped: u64,
    /// Of the skipped: those that belong to more than one agent.
    pub(super) skipped_multi_agent: u64,
    pub(super) dry_run: u64,
    pub(super) failed: u64,
    /// Of the cleaned.
    pub(super) messages_deleted: u64,
    pub(super) task_states_deleted: u64,
    pub(super) events_deleted: u64,
}

impl SweepTotals {
    fn add(&mut self, outcome: &CleanOutcome) {
        match outcome.status {
            "cleaned" => self.cleaned += 1,
            "dry_run" => self.dry_run += 1,
            _ => self.skipped += 1,
        }
        self.messages_deleted += outcome.messages_deleted;
        self.task_states_deleted += outcome.task_states_deleted;
        self.events_deleted += outcome.events_deleted;
    }
}

/// The sweep over idle tasks, page by page.
pub(super) struct Sweep<'a> {
    pub(super) jobs: &'a dyn Jobs,
    pub(super) clock: &'a dyn Clock,
    pub(super) sleeper: &'a dyn Sleeper,
}

impl Sweep<'_> {
    pub(super) async fn run(&self) -> Result<SweepTotals, JobError> {
        let mut totals = SweepTotals::default();
        let config = self.trying(|| self.jobs.sweep_config()).await?;
        if !config.enabled {
            return Ok(totals);
        }
        let mut after: Option<TaskId> = None;
        loop {
            let page =
                self.trying(|| self.jobs.sweep_candidates(after.clone(), config.page_size.max(1), &config)).await?;
            // The page goes on behind its last task even if that one is left out.
            let Some(last) = page.last().cloned() else { return Ok(totals) };
            let shared: HashSet<TaskId> =
                self.trying(|| self.jobs.with_many_agents(&page)).await?.into_iter().collect();
            let left_out = page.iter().filter(|task| shared.contains(task)).count() as u64;
            totals.skipped += left_out;
            totals.skipped_multi_agent += left_out;

            let rest = page.into_iter().filter(|task| !shared.contains(task));
            let mut outcomes = futures::stream::iter(rest.map(|task| self.clean(task, &config)))
                .buffer_unordered(config.max_in_flight.max(1) as usize);
            while let Some(outcome) = outcomes.next().await {
                match outcome {
                    Ok(outcome) => totals.add(&outcome),
                    Err(error) => {
                        tracing::warn!(%error, "a task could not be cleaned");
                        totals.failed += 1;
                    }
                }
            }
            after = Some(last);
        }
    }

    async fn clean(&self, task: TaskId, config: &SweepConfig) -> Result<CleanOutcome, JobError> {
        self.trying(|| self.jobs.clean_task(&task, config)).await
    }

    async fn trying<T, F>(&self, step: impl Fn() -> F) -> Result<T, JobError>
    where
        F: Future<Output = Result<T, JobError>>,
    {
        for tried in 0..TRIES - 1 {
            match step().await {
                Ok(done) => return Ok(done),
                Err(error) => tracing::debug!(%error, "a step of the sweep is tried again"),
            }
            self.sleeper.sleep_until(later(self.clock.now(), PAUSE * 2u32.pow(tried))).await;
        }
        step().await
    }
}
