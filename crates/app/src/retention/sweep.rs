use agentex_domain::ports::{CleanOrder, Cleaned, StoreError};
use agentex_domain::{CleanCounts, CleanRules, CleanVerdict, TaskId, Timestamp};
use futures::StreamExt as _;

use super::{Retention, SweepSettings, days_before, refusal_text};
use crate::Error;

/// What a sweep came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Tasks cleaned.
    pub cleaned: u64,
    /// Tasks that would have been, had it not been a dry run.
    pub would_clean: u64,
    /// Tasks left alone, for any reason.
    pub skipped: u64,
    /// Of these, tasks of several agents.
    pub skipped_multi_agent: u64,
    /// Tasks whose clean failed.
    pub failed: u64,
}

/// One page of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweptPage {
    /// What it came to.
    pub report: SweepReport,
    /// The last task looked at, after which the next page begins; `None` when there were no more.
    pub last: Option<TaskId>,
}

/// What became of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swept {
    /// It was cleaned; this went.
    Cleaned(CleanCounts),
    /// It would have been, had it not been a dry run.
    WouldClean,
    /// It was left alone, for this reason.
    Skipped(String),
}

impl SweepReport {
    /// Adds what another page came to.
    pub fn add(&mut self, other: &Self) {
        let Self { cleaned, would_clean, skipped, skipped_multi_agent, failed } = other;
        self.cleaned += cleaned;
        self.would_clean += would_clean;
        self.skipped += skipped;
        self.skipped_multi_agent += skipped_multi_agent;
        self.failed += failed;
    }
}

impl Retention {
    /// Cleans what has been idle for long enough, page by page, until there is no more. Nobody's permissions count: the
    /// server itself does this, so no route may lead here.
    ///
    /// # Errors
    /// The store could not be asked for candidates. Failures of single tasks are counted instead.
    #[tracing::instrument(name = "retention.sweep", skip_all, fields(dry_run = settings.dry_run))]
    pub async fn sweep(&self, settings: &SweepSettings) -> Result<SweepReport, Error> {
        let mut total = SweepReport::default();
        let mut after = None;
        loop {
            let SweptPage { report, last } = self.sweep_page(settings, after).await?;
            total.add(&report);
            after = last;
            if after.is_none() {
                break;
            }
        }
        tracing::info!(
            cleaned = total.cleaned,
            would_clean = total.would_clean,
            skipped = total.skipped,
            skipped_multi_agent = total.skipped_multi_agent,
            failed = total.failed,
            "retention_sweep_completed"
        );
        Ok(total)
    }

    /// One page of a sweep: the candidates after the task `after`, at most `max_in_flight` of them at the same time. Nothing
    /// when sweeping is off.
    ///
    /// # Errors
    /// As [`Retention::sweep`].
    pub async fn sweep_page(&self, settings: &SweepSettings, after: Option<TaskId>) -> Result<SweptPage, Error> {
        if !settings.enabled || settings.agents.is_empty() {
            return Ok(SweptPage::default());
        }
        let now = self.clock.now();
        let idle_since = days_before(now, settings.idle_days.into());
        let limit = settings.page_size.max(1);
        let candidates = self.stores.retention.candidates(&settings.agents, idle_since, after, limit).await?;
        let last = candidates.last().map(|candidate| candidate.task_id.clone());
        let (shared, own): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| candidate.is_shared);
        let shared = shared.len() as u64;
        let mut report = SweepReport { skipped: shared, skipped_multi_agent: shared, ..SweepReport::default() };

        let mut running = futures::stream::iter(own)
            .map(|candidate| async move {
                let swept = self.sweep_task(settings, &candidate.task_id).await;
                (candidate.task_id, swept)
            })
            .buffer_unordered(settings.max_in_flight.max(1));
        while let Some((task_id, swept)) = running.next().await {
            match swept {
                Ok(Swept::Cleaned(_)) => report.cleaned += 1,
                Ok(Swept::WouldClean) => report.would_clean += 1,
                Ok(Swept::Skipped(reason)) => {
                    tracing::debug!(task.id = %task_id, reason, "a task was not cleaned");
                    report.skipped += 1;
                }
                Err(error) => {
                    tracing::warn!(task.id = %task_id, %error, "a task could not be cleaned");
                    report.failed += 1;
                }
            }
        }
        Ok(SweptPage { report, last })
    }

    /// Cleans one task of a sweep, or looks whether it could be. Its idle time counts, always; soft-deleted tasks are cleaned
    /// like others.
    ///
    /// # Errors
    /// The store failed; nothing was changed.
    pub async fn sweep_task(&self, settings: &SweepSettings, task_id: &TaskId) -> Result<Swept, Error> {
        let now = self.clock.now();
        let rules = rules(settings, now);
        if settings.dry_run {
            return Ok(self.preview(task_id, &rules, settings.idle_days.into(), now).await?);
        }
        let order = CleanOrder { rules, extent: self.settings.extent, deleted_too: true, at: now };
        Ok(match self.clean_with(task_id, &order).await? {
            Cleaned::Done { counts, .. } => Swept::Cleaned(counts),
            Cleaned::Before(_) => Swept::Skipped(format!("Task {task_id} is clean already")),
            Cleaned::Refused(refusal) => Swept::Skipped(refusal_text(task_id, refusal, settings.idle_days.into())),
            Cleaned::Absent => Swept::Skipped(format!("Item with id '{task_id}' does not exist.")),
        })
    }

    async fn preview(
        &self,
        task_id: &TaskId,
        rules: &CleanRules,
        idle_days: i64,
        now: Timestamp,
    ) -> Result<Swept, StoreError> {
        let Some(activity) = self.stores.retention.activity(task_id).await? else {
            return Ok(Swept::Skipped(format!("Item with id '{task_id}' does not exist.")));
        };
        Ok(match rules.judge(&activity) {
            CleanVerdict::Allowed(_) => {
                tracing::info!(task.id = %task_id, checked_at = %now, "task_cleanup_dry_run_completed");
                Swept::WouldClean
            }
            CleanVerdict::AlreadyCleaned(_) => Swept::Skipped(format!("Task {task_id} is clean already")),
            CleanVerdict::Refused(refusal) => Swept::Skipped(refusal_text(task_id, refusal, idle_days)),
        })
    }
}

fn rules(settings: &SweepSettings, now: Timestamp) -> CleanRules {
    let stale_days = settings.stale_running_days;
    CleanRules {
        idle_since: Some(days_before(now, settings.idle_days.into())),
        abandoned_since: (stale_days > 0).then(|| days_before(now, stale_days.into())),
    }
}
