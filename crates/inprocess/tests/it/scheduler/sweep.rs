use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_domain::ports::{
    AgentHealth, CleanOutcome, JobError, Jobs, NewSchedule, RunOutcome, Scheduler, SweepConfig,
};
use agentex_domain::{AgentId, RunScheduleId, RunTrigger, ScheduledAction, TaskId};
use agentex_inprocess::SchedulerOptions;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::world::{World, every};

/// Tasks to sweep, by number; and what was asked.
struct Sweeping {
    config: SweepConfig,
    tasks: Vec<TaskId>,
    shared: BTreeSet<TaskId>,
    /// Cannot be cleaned, however often it is tried.
    broken: BTreeSet<TaskId>,
    pages: Mutex<Vec<(Option<TaskId>, u32)>>,
    cleaned: Mutex<Vec<TaskId>>,
    seen: Mutex<Vec<SweepConfig>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    done: CancellationToken,
}

fn task(number: usize) -> TaskId {
    TaskId::from(format!("task-{number:04}"))
}

fn sweeping(tasks: usize) -> Sweeping {
    Sweeping {
        config: SweepConfig {
            enabled: true,
            agent_names: vec!["worker".into()],
            idle_days: 7,
            page_size: 10,
            max_in_flight: 3,
            dry_run: true,
            stale_running_days: 2,
        },
        tasks: (0..tasks).map(task).collect(),
        shared: BTreeSet::new(),
        broken: BTreeSet::new(),
        pages: Mutex::default(),
        cleaned: Mutex::default(),
        seen: Mutex::default(),
        in_flight: AtomicUsize::new(0),
        most_in_flight: AtomicUsize::new(0),
        done: CancellationToken::new(),
    }
}

fn broken() -> JobError {
    JobError { message: "the store is away".into(), source: None }
}

#[async_trait]
impl Jobs for Sweeping {
    async fn scheduled_run(&self, _: &RunScheduleId, _: &str, _: RunTrigger) -> Result<RunOutcome, JobError> {
        Err(broken())
    }

    async fn check_agent(&self, _: &AgentId) -> Result<AgentHealth, JobError> {
        Ok(AgentHealth::Gone)
    }

    async fn set_agent_health(&self, _: &AgentId, _: bool) -> Result<(), JobError> {
        Ok(())
    }

    async fn sweep_config(&self) -> Result<SweepConfig, JobError> {
        if !self.config.enabled {
            self.done.cancel();
        }
        Ok(self.config.clone())
    }

    async fn sweep_candidates(
        &self,
        after: Option<TaskId>,
        limit: u32,
        config: &SweepConfig,
    ) -> Result<Vec<TaskId>, JobError> {
        self.seen.lock().unwrap().push(config.clone());
        self.pages.lock().unwrap().push((after.clone(), limit));
        let rest = self.tasks.iter().filter(|task| after.as_ref().is_none_or(|after| *task > after));
        let page: Vec<TaskId> = rest.take(limit as usize).cloned().collect();
        if page.is_empty() {
            self.done.cancel();
        }
        Ok(page)
    }

    async fn with_many_agents(&self, tasks: &[TaskId]) -> Result<Vec<TaskId>, JobError> {
        Ok(tasks.iter().filter(|task| self.shared.contains(task)).cloned().collect())
    }

    async fn clean_task(&self, task: &TaskId, config: &SweepConfig) -> Result<CleanOutcome, JobError> {
        self.seen.lock().unwrap().push(config.clone());
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.cleaned.lock().unwrap().push(task.clone());
        if self.broken.contains(task) {
            return Err(broken());
        }
        Ok(CleanOutcome {
            task_id: task.clone(),
            status: "dry_run",
            reason: None,
            messages_deleted: 0,
            task_states_deleted: 0,
            events_deleted: 0,
        })
    }
}

/// One sweep by the schedule of the sweep.
async fn sweep(jobs: Sweeping) -> Sweeping {
    let world = World::sqlite().await;
    let scheduler = world.scheduler(SchedulerOptions::default());
    let sweep = NewSchedule { action: ScheduledAction::RetentionSweep, ..every(3_600, "retention-cleanup-sweep") };
    scheduler.create(&sweep).await.unwrap();
    let (jobs, shutdown) = (Arc::new(jobs), CancellationToken::new());
    let running = tokio::spawn({
        let (jobs, shutdown) = (Arc::clone(&jobs), shutdown.clone());
        async move { scheduler.run(jobs, shutdown).await }
    });
    world.clock.advance(Duration::from_secs(3_600));
    // Pauses between tries pass, too.
    while !jobs.done.is_cancelled() {
        world.step(Duration::from_millis(100)).await;
    }
    world.settled().await;
    shutdown.cancel();
    running.await.unwrap();
    Arc::into_inner(jobs).unwrap()
}

/// temporal §7: 15, 18
#[tokio::test]
async fn a_sweep_goes_through_all_pages_with_one_configuration() {
    let mut jobs = sweeping(25);
    // The last of a page may be left out; the next page begins behind it all the same.
    jobs.shared.insert(task(9));

    let jobs = sweep(jobs).await;

    let pages = jobs.pages.into_inner().unwrap();
    assert_eq!(pages, [(None, 10), (Some(task(9)), 10), (Some(task(19)), 10), (Some(task(24)), 10)]);
    assert!(jobs.seen.into_inner().unwrap().iter().all(|seen| *seen == jobs.config));
    let cleaned: BTreeSet<TaskId> = jobs.cleaned.into_inner().unwrap().into_iter().collect();
    assert_eq!(cleaned, (0..25).filter(|number| *number != 9).map(task).collect());
}

/// temporal §7: 16
#[tokio::test]
async fn tasks_of_several_agents_are_left_alone() {
    let mut jobs = sweeping(3);
    jobs.shared.insert(task(1));

    let jobs = sweep(jobs).await;

    let cleaned: BTreeSet<TaskId> = jobs.cleaned.into_inner().unwrap().into_iter().collect();
    assert_eq!(cleaned, [task(0), task(2)].into());
}

#[tokio::test]
async fn no_more_tasks_than_allowed_are_cleaned_at_the_same_time() {
    let jobs = sweep(sweeping(40)).await;

    assert_eq!(jobs.most_in_flight.into_inner(), 3);
}

/// temporal §7: 17, 19
#[tokio::test]
async fn a_task_that_cannot_be_cleaned_is_tried_three_times_and_does_not_stop_the_sweep() {
    let mut jobs = sweeping(3);
    jobs.broken.insert(task(0));

    let jobs = sweep(jobs).await;

    let cleaned = jobs.cleaned.into_inner().unwrap();
    let times = |number: usize| cleaned.iter().filter(|cleaned| **cleaned == task(number)).count();
    assert_eq!([times(0), times(1), times(2)], [3, 1, 1]);
}

/// temporal §7: 14
#[tokio::test]
async fn a_sweep_that_is_switched_off_looks_for_nothing() {
    let mut jobs = sweeping(3);
    jobs.config.enabled = false;

    let jobs = sweep(jobs).await;

    assert_eq!(jobs.pages.into_inner().unwrap(), []);
}
