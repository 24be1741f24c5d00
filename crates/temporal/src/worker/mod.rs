//! The worker: the product's workflows and activities on its own queue.

mod activities;
mod arguments;
mod health;
#[cfg(test)]
mod replays;
mod retention;
mod scheduled_run;

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use agentex_domain::ports::Jobs;
use temporalio_client::{Client, ClientOptions, RetryOptions};
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::{Runtime, Worker as SdkWorker, WorkerOptions as SdkOptions};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::Temporal;
use crate::connection::{connect, with_causes};

use activities::Activities;
pub(crate) use health::HealthCheckWorkflow;
pub(crate) use retention::{RetentionCleanupSweepWorkflow, RetentionCleanupTaskWorkflow};
pub(crate) use scheduled_run::ScheduledAgentRunWorkflow;

/// Activities at the same time.
const ACTIVITIES: usize = 50;
/// Workflow tasks at the same time; one worker alone serves all workflows of its queue.
const WORKFLOW_TASKS: usize = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a [`Worker`] works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Between two health checks of one agent. Workers of one queue should agree.
    pub health_interval: Duration,
    /// How long activities under way may go on after the worker is told to stop; then they are given up, and done again
    /// by another worker.
    pub drain: Duration,
    /// Workflows kept in memory between their tasks; 0: each task replays the whole history.
    pub cached_workflows: usize,
}

impl Default for WorkerOptions {
    /// Thirty seconds, twenty seconds, a thousand workflows.
    fn default() -> Self {
        Self { health_interval: Duration::from_secs(30), drain: Duration::from_secs(20), cached_workflows: 1000 }
    }
}

/// Does the product's work that Temporal hands out: health checks, retention sweeps and scheduled runs.
///
/// Type names, activity names, arguments and results are those other implementations of the API use, so that workers of
/// both kinds may share a queue.
pub struct Worker {
    temporal: Temporal,
    queue: String,
    jobs: Arc<dyn Jobs>,
    options: WorkerOptions,
}

/// Why a worker could not begin at all.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The machine gave it no thread.
    #[error("the worker has no thread")]
    Thread(#[source] std::io::Error),
    /// The client library refuses what it is given.
    #[error("the worker cannot be set up: {0}")]
    Setup(String),
    /// Its thread ended without a word.
    #[error("the worker's thread is gone")]
    Gone,
}

impl Worker {
    /// A worker that listens to `queue`.
    #[must_use]
    pub fn new(temporal: Temporal, queue: impl Into<String>, jobs: Arc<dyn Jobs>) -> Self {
        Self { temporal, queue: queue.into(), jobs, options: WorkerOptions::default() }
    }

    /// With other options.
    #[must_use]
    pub fn with_options(mut self, options: WorkerOptions) -> Self {
        self.options = options;
        self
    }

    /// Works until `shutdown`, then finishes what is under way. Waits for Temporal as long as it is away.
    ///
    /// Workflows run on a thread of their own; jobs on the runtime this is called on. Dropping the future stops the worker,
    /// too, without waiting for it.
    ///
    /// # Errors
    /// It could not begin.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        // Drivers of pooled connections belong to the runtime they were made on, so jobs must not run elsewhere.
        let jobs_runtime = Handle::current();
        let stop = shutdown.child_token();
        let _stop_on_drop = stop.clone().drop_guard();
        let (done, outcome) = oneshot::channel();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = match runtime {
                Ok(runtime) => runtime.block_on(self.serve(jobs_runtime, stop)),
                Err(error) => Err(WorkerError::Thread(error)),
            };
            // Nobody may be waiting any more.
            let _ = done.send(result);
        };
        thread::Builder::new().name("temporal-worker".to_owned()).spawn(body).map_err(WorkerError::Thread)?;
        outcome.await.unwrap_or(Err(WorkerError::Gone))
    }

    async fn serve(self, jobs_runtime: Handle, stop: CancellationToken) -> Result<(), WorkerError> {
        let runtime = Runtime::from_current_tokio(Default::default()).map_err(|error| setup(&error))?;
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let Some(client) = self.connected(&stop).await? else { break };
            let activities = Activities::new(Arc::clone(&self.jobs), jobs_runtime.clone());
            let mut worker =
                SdkWorker::new(&runtime, client, self.sdk_options(activities)?).map_err(|error| setup(&error))?;
            let begin_stop = worker.shutdown_handle();
            let began = tokio::time::Instant::now();
            let outcome = {
                let mut run = Box::pin(worker.run());
                tokio::select! {
                    outcome = &mut run => outcome,
                    () = stop.cancelled() => {
                        begin_stop();
                        run.await
                    }
                }
            };
            if stop.is_cancelled() {
                break;
            }
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let why = outcome.err().map(|error| with_causes(&error)).unwrap_or_default();
            tracing::warn!(why, "the Temporal worker stopped and begins again");
            wait(&mut pause, &stop).await;
        }
        Ok(())
    }

    /// A connection of its own: its long polls would hold up the calls of requests. `None`: told to stop.
    async fn connected(&self, stop: &CancellationToken) -> Result<Option<Client>, WorkerError> {
        let options = self.temporal.options();
        let connection_options = options.to_connection(RetryOptions::default()).map_err(|error| setup(&error))?;
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = connect(connection_options.clone(), options.connect_timeout);
            let attempt = tokio::select! {
                attempt = attempt => attempt,
                () = stop.cancelled() => return Ok(None),
            };
            match attempt {
                Ok(connection) => {
                    let client = Client::new(connection, ClientOptions::new(options.namespace.clone()).build());
                    return client.map(Some).map_err(|error| setup(&error));
                }
                Err(why) => tracing::warn!(why, "the Temporal worker waits for Temporal"),
            }
            wait(&mut pause, stop).await;
            if stop.is_cancelled() {
                return Ok(None);
            }
        }
    }

    fn sdk_options(&self, activities: Activities) -> Result<SdkOptions, WorkerError> {
        let interval = self.options.health_interval;
        let tuner = TunerHolder::builder()
            .workflow_task_slot_supplier(FixedSizeSlotSupplier::new(WORKFLOW_TASKS))
            .activity_task_slot_supplier(FixedSizeSlotSupplier::new(ACTIVITIES))
            .local_activity_task_slot_supplier(FixedSizeSlotSupplier::new(ACTIVITIES))
            .nexus_task_slot_supplier(FixedSizeSlotSupplier::new(1))
            .build();
        let options = SdkOptions::new(self.queue.clone())
            .max_cached_workflows(self.options.cached_workflows)
            .graceful_shutdown_period(self.options.drain)
            .tuner(tuner)
            .register_activities(activities)
            .register_workflow::<RetentionCleanupSweepWorkflow>()
            .and_then(|options| options.register_workflow::<RetentionCleanupTaskWorkflow>())
            .and_then(|options| options.register_workflow::<ScheduledAgentRunWorkflow>())
            .and_then(|options| {
                options
                    .register_workflow_with_factory::<HealthCheckWorkflow, _>(move || HealthCheckWorkflow { interval })
            })
            .map_err(|error| setup(&error))?;
        Ok(options.build())
    }
}

async fn wait(pause: &mut Duration, stop: &CancellationToken) {
    // A stop while waiting is seen by the caller.
    let _ = tokio::time::timeout(*pause, stop.cancelled()).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

fn setup(error: &(dyn std::error::Error + 'static)) -> WorkerError {
    WorkerError::Setup(with_causes(error))
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("temporal", &self.temporal)
            .field("queue", &self.queue)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
