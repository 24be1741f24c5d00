//! The schedule of the regular clean of idle tasks: it follows the settings.

use agentex_domain::ports::{NewSchedule, ScheduleError, Scheduler};
use agentex_domain::{ScheduledAction, Timing};

use super::{Schedules, failure, names};
use crate::{Error, SweepSettings};

/// How often it is looked again at what another process has changed meanwhile.
const LOOKS: u32 = 3;

impl Schedules {
    /// Makes the schedule of the sweep what the settings say: there, by their cron expression, or gone. One that is as it
    /// should be is not touched, and one that somebody has paused stays paused.
    pub(crate) async fn keep_sweep(&self, settings: &SweepSettings) -> Result<(), Error> {
        let kept = match (&self.scheduler, settings.enabled) {
            (Some(scheduler), true) => keep(&**scheduler, &settings.cron).await,
            (Some(scheduler), false) => forget(&**scheduler).await,
            (None, true) => return Err(failure::NOT_CONNECTED),
            (None, false) => Ok(()),
        };
        kept.map_err(|error| failure::of(if settings.enabled { "update" } else { "delete" }, names::SWEEP, error))
    }
}

async fn keep(scheduler: &dyn Scheduler, cron: &str) -> Result<(), ScheduleError> {
    let mut wanted = NewSchedule {
        id: names::SWEEP.to_owned(),
        timing: Timing { cron_expressions: vec![cron.to_owned()], ..Timing::default() },
        action: ScheduledAction::RetentionSweep,
        paused: false,
        definition: None,
    };
    let mut outcome = Ok(());
    for _ in 0..LOOKS {
        outcome = match scheduler.describe(names::SWEEP).await {
            Ok(found) if found.timing == wanted.timing && found.action.as_ref() == Some(&wanted.action) => {
                return Ok(());
            }
            Ok(found) => {
                wanted.paused = found.paused;
                scheduler.update(&wanted).await
            }
            Err(ScheduleError::NotFound) => scheduler.create(&wanted).await,
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(()) => {
                tracing::info!(schedule.id = names::SWEEP, cron, "the retention sweep has a new schedule");
                return Ok(());
            }
            // Somebody else came first.
            Err(ScheduleError::AlreadyExists | ScheduleError::NotFound) => {}
            Err(_) => break,
        }
    }
    outcome
}

async fn forget(scheduler: &dyn Scheduler) -> Result<(), ScheduleError> {
    match scheduler.delete(names::SWEEP).await {
        Ok(()) => {
            tracing::info!(schedule.id = names::SWEEP, "the retention sweep is off and its schedule is gone");
            Ok(())
        }
        Err(ScheduleError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use agentex_domain::ports::{MockScheduler, ScheduleDescription};

    use super::*;

    const NIGHTLY: &str = "0 4 * * *";

    fn found(cron: &str, paused: bool) -> ScheduleDescription {
        ScheduleDescription {
            timing: Timing { cron_expressions: vec![cron.to_owned()], ..Timing::default() },
            action: Some(ScheduledAction::RetentionSweep),
            paused,
            note: None,
            next_action_times: Vec::new(),
            skipped_action_times: Vec::new(),
            last_action_time: None,
            actions_taken: 0,
            actions_missed: 0,
            created_at: None,
            definition: None,
        }
    }

    /// temporal §7: 13
    #[tokio::test]
    async fn a_schedule_that_is_as_it_should_be_is_not_touched() {
        for paused in [false, true] {
            // Whatever else it is asked for panics.
            let mut scheduler = MockScheduler::new();
            scheduler.expect_describe().once().returning(move |_| Ok(found(NIGHTLY, paused)));

            keep(&scheduler, NIGHTLY).await.unwrap();
        }
    }

    #[tokio::test]
    async fn another_cron_expression_reaches_the_schedule_and_a_pause_stays() {
        for paused in [false, true] {
            let mut scheduler = MockScheduler::new();
            scheduler.expect_describe().once().returning(move |_| Ok(found("0 5 * * *", paused)));
            scheduler
                .expect_update()
                .once()
                .withf(move |new| new.timing.cron_expressions == [NIGHTLY] && new.paused == paused)
                .returning(|_| Ok(()));

            keep(&scheduler, NIGHTLY).await.unwrap();
        }
    }

    #[tokio::test]
    async fn of_two_processes_that_make_it_at_once_the_later_finds_it_made() {
        let mut scheduler = MockScheduler::new();
        let mut looks = 0;
        scheduler.expect_describe().times(2).returning(move |_| {
            looks += 1;
            if looks == 1 { Err(ScheduleError::NotFound) } else { Ok(found(NIGHTLY, false)) }
        });
        scheduler.expect_create().once().returning(|_| Err(ScheduleError::AlreadyExists));

        keep(&scheduler, NIGHTLY).await.unwrap();
    }

    #[tokio::test]
    async fn switching_it_off_removes_the_schedule_and_none_is_no_error() {
        for there in [true, false] {
            let mut scheduler = MockScheduler::new();
            let answer = move |_: &str| if there { Ok(()) } else { Err(ScheduleError::NotFound) };
            scheduler.expect_delete().once().returning(answer);

            forget(&scheduler).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_scheduler_that_does_not_answer_is_asked_once_and_told_about() {
        let mut scheduler = MockScheduler::new();
        scheduler.expect_describe().once().returning(|_| Err(ScheduleError::Unavailable("down".into())));

        assert!(matches!(keep(&scheduler, NIGHTLY).await, Err(ScheduleError::Unavailable(_))));
    }
}
