//! Schedules without an engine: timers and fires in the store, and loops that carry them out.

mod checks;
mod fires;
mod held;
mod options;
mod sweep;
mod time;
mod worker;

use std::sync::Arc;

use agentex_domain::ports::{
    AgentCheckRepository, BoxError, Clock, FireNow, Jobs, NewSchedule, ScheduleDescription, ScheduleEntry,
    ScheduleError, ScheduleListing, Scheduler, Sleeper, StoreError, TimerRepository,
};
use agentex_domain::{Fire, RunScheduleId, RunTrigger, ScheduledAction, Timer, TimerAction, Timestamp};
use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::options::SchedulerOptions;
use self::time::TimerSleeper;

/// How often a change is made again that met another one.
const CHANGES: u32 = 32;

/// Keeps schedules in the store. Any process with the same store may make and change them; those that call
/// [`InProcessScheduler::run`] carry them out, each occurrence once.
pub struct InProcessScheduler {
    timers: Arc<dyn TimerRepository>,
    checks: Option<Arc<dyn AgentCheckRepository>>,
    clock: Arc<dyn Clock>,
    sleeper: Arc<dyn Sleeper>,
    options: SchedulerOptions,
    /// Told of everything that may be due earlier than what is waited for.
    wake: Notify,
}

impl InProcessScheduler {
    /// A scheduler on these timers, without health checks.
    #[must_use]
    pub fn new(timers: Arc<dyn TimerRepository>, clock: Arc<dyn Clock>, options: SchedulerOptions) -> Self {
        let sleeper = Arc::new(TimerSleeper(Arc::clone(&clock)));
        Self { timers, checks: None, clock, sleeper, options, wake: Notify::new() }
    }

    /// Also asks agents how they are while it runs.
    #[must_use]
    pub fn with_health_checks(self, checks: Arc<dyn AgentCheckRepository>) -> Self {
        Self { checks: Some(checks), ..self }
    }

    /// Waits by `sleeper` instead of the machine's timers; it must go with the clock.
    #[must_use]
    pub fn with_sleeper(self, sleeper: Arc<dyn Sleeper>) -> Self {
        Self { sleeper, ..self }
    }

    /// Carries out what is due until `shutdown`, then lets running fires end, for a while, and gives the others back. To be
    /// called once per process at a time. Dropping it stops everything at once; what was running is taken up by another
    /// process, or by the next call, when its lease has ended.
    pub async fn run(&self, jobs: Arc<dyn Jobs>, shutdown: CancellationToken) {
        let checks = async {
            if let Some(checks) = &self.checks {
                self.check_agents(&**checks, &*jobs, &shutdown).await;
            }
        };
        tokio::join!(self.carry_out_fires(&jobs, &shutdown), checks);
    }

    /// Reads, edits and writes one timer until nobody else has changed it in between.
    async fn change(
        &self,
        id: &str,
        edit: impl Fn(&mut Timer, Timestamp) -> Result<(), ScheduleError> + Send,
    ) -> Result<(), ScheduleError> {
        for _ in 0..CHANGES {
            let mut timer = self.timers.find(id).await.map_err(unread)?.ok_or(ScheduleError::NotFound)?;
            edit(&mut timer, self.clock.now())?;
            if self.timers.replace(&timer).await.map_err(unwritten)? {
                self.wake.notify_one();
                return Ok(());
            }
        }
        Err(ScheduleError::Unavailable("the schedule is changed by too many at the same time".into()))
    }

    fn action_of(schedule: &NewSchedule) -> Result<TimerAction, ScheduleError> {
        schedule.timing.check().map_err(|problem| ScheduleError::Invalid(format!("{}: {problem}", problem.field())))?;
        match &schedule.action {
            ScheduledAction::Run(row) => Ok(TimerAction::Run(row.clone())),
            ScheduledAction::RetentionSweep => Ok(TimerAction::RetentionSweep),
            ScheduledAction::Workflow(_) => {
                Err(ScheduleError::Unavailable("workflows need a workflow engine, and there is none".into()))
            }
        }
    }
}

#[async_trait]
impl Scheduler for InProcessScheduler {
    fn starts_workflows(&self) -> bool {
        false
    }

    async fn create(&self, schedule: &NewSchedule) -> Result<(), ScheduleError> {
        let action = Self::action_of(schedule)?;
        let NewSchedule { id, timing, action: _, paused, definition } = schedule;
        let now = self.clock.now();
        let mut timer = Timer {
            id: id.clone(),
            timing: timing.clone(),
            action,
            paused: *paused,
            note: None,
            definition: definition.clone(),
            skipped: Vec::new(),
            next_at: None,
            actions_taken: 0,
            missed: 0,
            last_action_at: None,
            created_at: now,
            version: 1,
        };
        timer.look_ahead(now);
        self.timers.insert(&timer).await.map_err(unwritten)?;
        self.wake.notify_one();
        Ok(())
    }

    async fn describe(&self, id: &str) -> Result<ScheduleDescription, ScheduleError> {
        let timer = self.timers.find(id).await.map_err(unread)?.ok_or(ScheduleError::NotFound)?;
        let now = self.clock.now();
        let next_action_times = timer.timing.upcoming(now, &timer.skipped);
        let skipped_action_times = timer.skipped.iter().copied().filter(|at| *at > now).collect();
        let Timer {
            timing, action, paused, note, definition, actions_taken, missed, last_action_at, created_at, ..
        } = timer;
        Ok(ScheduleDescription {
            timing,
            action: Some(match action {
                TimerAction::Run(row) => ScheduledAction::Run(row),
                TimerAction::RetentionSweep => ScheduledAction::RetentionSweep,
            }),
            paused,
            note,
            next_action_times,
            skipped_action_times,
            last_action_time: last_action_at,
            actions_taken,
            actions_missed: missed,
            created_at: Some(created_at),
            definition,
        })
    }

    async fn list(
        &self,
        prefix: &str,
        only: Option<Arc<[String]>>,
        limit: u32,
    ) -> Result<ScheduleListing, ScheduleError> {
        let timers = self.timers.list(prefix, only, limit).await.map_err(unread)?;
        let now = self.clock.now();
        let entries = timers.into_iter().map(|timer| ScheduleEntry {
            next_action_time: timer.timing.next_after(now, &timer.skipped),
            id: timer.id,
            paused: timer.paused,
            workflow_name: None,
        });
        Ok(ScheduleListing { entries: entries.collect(), truncated: false })
    }

    async fn update(&self, schedule: &NewSchedule) -> Result<(), ScheduleError> {
        let action = Self::action_of(schedule)?;
        self.change(&schedule.id, |timer, now| {
            // An occurrence that is due this very moment is not lost over a change of something else.
            let same_times = timer.timing == schedule.timing && timer.paused == schedule.paused;
            timer.timing.clone_from(&schedule.timing);
            timer.action.clone_from(&action);
            timer.definition.clone_from(&schedule.definition);
            timer.paused = schedule.paused;
            if !same_times {
                timer.look_ahead(now);
            }
            Ok(())
        })
        .await
    }

    async fn pause(&self, id: &str, note: &str) -> Result<(), ScheduleError> {
        self.change(id, |timer, now| {
            timer.note = Some(note.to_owned());
            if !timer.paused {
                timer.paused = true;
                timer.look_ahead(now);
            }
            Ok(())
        })
        .await
    }

    async fn resume(&self, id: &str, note: &str) -> Result<(), ScheduleError> {
        self.change(id, |timer, now| {
            timer.note = Some(note.to_owned());
            if timer.paused {
                timer.paused = false;
                timer.look_ahead(now);
            }
            Ok(())
        })
        .await
    }

    async fn trigger(&self, id: &str) -> Result<(), ScheduleError> {
        let timer = self.timers.find(id).await.map_err(unread)?.ok_or(ScheduleError::NotFound)?;
        let now = self.clock.now();
        let fire = Fire {
            id: Fire::manual_id(id, now),
            timer_id: Some(timer.id),
            action: timer.action,
            trigger: RunTrigger::Manual,
            nominal_at: now,
        };
        match self.timers.fire_now(&fire, now).await.map_err(unwritten)? {
            FireNow::NoTimer => return Err(ScheduleError::NotFound),
            FireNow::Stored | FireNow::Known => self.wake.notify_one(),
        }
        Ok(())
    }

    async fn skip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError> {
        self.change(id, |timer, now| {
            if at <= now {
                return Err(ScheduleError::Past);
            }
            if !timer.timing.upcoming(now, &timer.skipped).contains(&at) {
                return Err(ScheduleError::NotUpcoming);
            }
            timer.set_skipped(at, true, now);
            Ok(())
        })
        .await
    }

    async fn unskip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError> {
        self.change(id, |timer, now| {
            if at <= now {
                return Err(ScheduleError::Past);
            }
            if !timer.skipped.contains(&at) {
                return Err(ScheduleError::NotSkipped);
            }
            timer.set_skipped(at, false, now);
            Ok(())
        })
        .await
    }

    async fn delete(&self, id: &str) -> Result<(), ScheduleError> {
        if self.timers.delete(id).await.map_err(unwritten)? { Ok(()) } else { Err(ScheduleError::NotFound) }
    }

    async fn run_now(&self, schedule: &RunScheduleId, fire_id: &str) -> Result<(), ScheduleError> {
        let now = self.clock.now();
        let fire = Fire {
            id: fire_id.to_owned(),
            timer_id: None,
            action: TimerAction::Run(schedule.clone()),
            trigger: RunTrigger::Manual,
            nominal_at: now,
        };
        self.timers.fire_now(&fire, now).await.map_err(unwritten)?;
        self.wake.notify_one();
        Ok(())
    }
}

/// A read that failed changed nothing.
fn unread(error: StoreError) -> ScheduleError {
    match error {
        StoreError::Unavailable(source) => ScheduleError::Unavailable(source),
        other => failed(other),
    }
}

/// A write that was not answered may have been done.
fn unwritten(error: StoreError) -> ScheduleError {
    match error {
        StoreError::Duplicate { .. } => ScheduleError::AlreadyExists,
        StoreError::Unavailable(source) => ScheduleError::Unknown(source),
        other => failed(other),
    }
}

fn failed(error: StoreError) -> ScheduleError {
    let source: BoxError = error.into();
    ScheduleError::Failed(source)
}
