use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_domain::ports::{
    AgentHealth, CleanOutcome, JobError, Jobs, NewSchedule, RunOutcome, ScheduleDescription, Scheduler, Stores,
    SweepConfig,
};
use agentex_domain::{AgentId, RunScheduleId, RunTrigger, ScheduledAction, TaskId, Timestamp, Timing};
use agentex_inprocess::{InProcessScheduler, SchedulerOptions};
use agentex_postgres::{PgOptions, PgStore};
use agentex_sqlite::{SqliteOptions, SqliteStore};
use agentex_testkit::TestClock;
use agentex_testkit::services::postgres::{TestDatabase, fresh_database};
use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One call of [`Jobs::scheduled_run`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) schedule: String,
    pub(super) fire_id: String,
    pub(super) trigger: RunTrigger,
}

/// What the work on a schedule comes to.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    Succeed,
    Fail,
    Panic,
    /// Goes on until the token is cancelled.
    Hang(CancellationToken),
}

/// Jobs that do what the test says and tell the test of each call.
pub(super) struct TestJobs {
    calls: mpsc::UnboundedSender<Call>,
    behaviours: Mutex<HashMap<String, Behaviour>>,
}

impl TestJobs {
    pub(super) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Call>) {
        let (calls, told) = mpsc::unbounded_channel();
        (Arc::new(Self { calls, behaviours: Mutex::default() }), told)
    }

    pub(super) fn set(&self, schedule: &str, behaviour: Behaviour) {
        self.behaviours.lock().unwrap().insert(schedule.to_owned(), behaviour);
    }
}

fn failure(message: &str) -> JobError {
    JobError { message: message.to_owned(), source: None }
}

#[async_trait]
impl Jobs for TestJobs {
    async fn scheduled_run(
        &self,
        schedule: &RunScheduleId,
        fire_id: &str,
        trigger: RunTrigger,
    ) -> Result<RunOutcome, JobError> {
        let behaviour = self.behaviours.lock().unwrap().get(schedule.as_str()).cloned();
        let call = Call { schedule: schedule.to_string(), fire_id: fire_id.to_owned(), trigger };
        let _ = self.calls.send(call);
        match behaviour.unwrap_or(Behaviour::Succeed) {
            Behaviour::Succeed => {}
            Behaviour::Fail => return Err(failure("not now")),
            Behaviour::Panic => panic!("as the test says"),
            Behaviour::Hang(until) => until.cancelled().await,
        }
        Ok(RunOutcome::Launched { task_id: TaskId::generate(), method: "event/send" })
    }

    async fn check_agent(&self, _: &AgentId) -> Result<AgentHealth, JobError> {
        Ok(AgentHealth::Healthy)
    }

    async fn set_agent_health(&self, _: &AgentId, _: bool) -> Result<(), JobError> {
        Ok(())
    }

    async fn sweep_config(&self) -> Result<SweepConfig, JobError> {
        Err(failure("no sweep here"))
    }

    async fn sweep_candidates(&self, _: Option<TaskId>, _: u32, _: &SweepConfig) -> Result<Vec<TaskId>, JobError> {
        Err(failure("no sweep here"))
    }

    async fn with_many_agents(&self, _: &[TaskId]) -> Result<Vec<TaskId>, JobError> {
        Err(failure("no sweep here"))
    }

    async fn clean_task(&self, _: &TaskId, _: &SweepConfig) -> Result<CleanOutcome, JobError> {
        Err(failure("no sweep here"))
    }
}

/// A store and a clock.
pub(super) struct World {
    pub(super) clock: TestClock,
    pub(super) stores: Stores,
    _place: Place,
}

enum Place {
    File(#[expect(dead_code, reason = "held for its drop")] TempDir),
    Database(#[expect(dead_code, reason = "held for its drop")] TestDatabase),
}

/// A whole hour.
pub(super) fn noon() -> Timestamp {
    Timestamp::parse("2026-03-02T12:00:00Z").unwrap()
}

impl World {
    pub(super) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::new(folder.path().join("agentex.db"))).await.unwrap();
        store.migrate().await.unwrap();
        Self { clock: TestClock::at(noon()), stores: store.stores(), _place: Place::File(folder) }
    }

    pub(super) async fn postgres() -> Self {
        let database = fresh_database().await;
        let options = PgOptions { max_connections: 8, min_connections: 0, ..PgOptions::new(database.url()) };
        let store = PgStore::connect(options).await.unwrap();
        store.migrate().await.unwrap();
        Self { clock: TestClock::at(noon()), stores: store.stores(), _place: Place::Database(database) }
    }

    pub(super) fn scheduler(&self, options: SchedulerOptions) -> Arc<InProcessScheduler> {
        let (timers, clock) = (Arc::clone(&self.stores.timers), Arc::new(self.clock.clone()));
        let scheduler = InProcessScheduler::new(timers, clock.clone(), options);
        Arc::new(scheduler.with_sleeper(clock).with_health_checks(Arc::clone(&self.stores.agent_checks)))
    }

    /// A scheduler that runs, with jobs of its own.
    pub(super) fn replica(&self) -> Replica {
        self.replica_with(SchedulerOptions::default())
    }

    pub(super) fn replica_with(&self, options: SchedulerOptions) -> Replica {
        let (jobs, calls) = TestJobs::new();
        Replica::start(self.scheduler(options), jobs, calls)
    }

    /// Moves the clock, by less than a lease, and returns when every lease has been made longer and nothing else is due soon.
    pub(super) async fn step(&self, by: Duration) {
        let soon = self.clock.advance(by).plus_millis(15_000);
        until(async || self.stores.timers.next_due().await.unwrap().is_none_or(|due| due >= soon)).await;
    }

    /// Returns when no fire is unfinished.
    pub(super) async fn settled(&self) {
        let far = self.clock.advance(Duration::ZERO).plus_millis(1_000 * 86_400_000);
        until(async || self.unfinished(far).await == 0).await;
    }

    /// How many fires have not ended.
    async fn unfinished(&self, far: Timestamp) -> usize {
        // Retries and leases lie less than a day ahead; occurrences of timers may, too, so they are counted by hand.
        let timers = self.stores.timers.list("", None, 10_000).await.unwrap();
        let next_occurrence = timers.iter().filter_map(|timer| timer.next_at).min();
        match self.stores.timers.next_due().await.unwrap() {
            Some(due) if Some(due) != next_occurrence && due < far => 1,
            _ => 0,
        }
    }
}

/// One process.
pub(super) struct Replica {
    pub(super) scheduler: Arc<InProcessScheduler>,
    pub(super) jobs: Arc<TestJobs>,
    pub(super) calls: mpsc::UnboundedReceiver<Call>,
    pub(super) shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Replica {
    fn start(scheduler: Arc<InProcessScheduler>, jobs: Arc<TestJobs>, calls: mpsc::UnboundedReceiver<Call>) -> Self {
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let (scheduler, jobs, shutdown) = (Arc::clone(&scheduler), Arc::clone(&jobs), shutdown.clone());
            async move { scheduler.run(jobs, shutdown).await }
        });
        Self { scheduler, jobs, calls, shutdown, running }
    }

    pub(super) async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    /// The calls so far.
    pub(super) fn told(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.calls.try_recv().ok()).collect()
    }

    pub(super) async fn describe(&self, id: &str) -> ScheduleDescription {
        self.scheduler.describe(id).await.unwrap()
    }

    /// Shuts down in order.
    pub(super) async fn stop(self) -> mpsc::UnboundedReceiver<Call> {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.calls
    }

    /// Ends as if the process had been killed.
    pub(super) async fn kill(self) -> mpsc::UnboundedReceiver<Call> {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
        self.calls
    }
}

/// A schedule of the row with the same id, at every multiple of so many seconds.
pub(super) fn every(seconds: u32, id: &str) -> NewSchedule {
    NewSchedule {
        id: id.to_owned(),
        timing: Timing { intervals_seconds: vec![seconds], ..Timing::default() },
        action: ScheduledAction::Run(id.into()),
        paused: false,
        definition: None,
    }
}

/// Returns when `condition` holds; the test runner ends what waits for ever.
pub(super) async fn until(condition: impl AsyncFn() -> bool) {
    while !condition().await {
        tokio::task::yield_now().await;
    }
}
