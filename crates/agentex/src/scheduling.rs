use std::sync::Arc;
use std::time::Duration;

use agentex_app::{App, AppJobs};
use agentex_domain::ports::{Clock, Jobs, Scheduler, Stores, WorkflowGateway};
use agentex_inprocess::{InProcessScheduler, SchedulerOptions};
#[cfg(feature = "temporal")]
use agentex_temporal::{Temporal, TemporalOptions, TemporalScheduler, Worker};
use tokio_util::sync::CancellationToken;

use crate::BuildError;

/// Pause before what is to be set up at the start is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Who keeps schedules, before anything is set up.
#[derive(Debug)]
pub(crate) enum SchedulerChoice {
    /// The store, and loops in this process.
    InProcess(SchedulerOptions),
    #[cfg(feature = "temporal")]
    Temporal(Box<TemporalOptions>),
}

/// Who keeps schedules and carries them out.
#[derive(Clone)]
pub(crate) enum OpenScheduler {
    InProcess(Arc<InProcessScheduler>),
    #[cfg(feature = "temporal")]
    Temporal {
        temporal: Temporal,
        scheduler: Arc<TemporalScheduler>,
        queue: String,
    },
}

/// What a scheduler is set up with besides its own options.
pub(crate) struct Setting<'a> {
    pub(crate) stores: &'a Stores,
    pub(crate) clock: &'a Arc<dyn Clock>,
    /// Whether agents are asked how they are.
    pub(crate) health_checks: bool,
    /// Queue of the product's own workflows.
    #[cfg_attr(not(feature = "temporal"), expect(dead_code, reason = "the embedded scheduler has no queues"))]
    pub(crate) task_queue: &'a str,
}

impl OpenScheduler {
    /// Sets it up without talking to anybody.
    pub(crate) fn open(choice: SchedulerChoice, setting: &Setting<'_>) -> Result<Self, BuildError> {
        let clock = Arc::clone(setting.clock);
        match choice {
            SchedulerChoice::InProcess(options) => {
                let scheduler = InProcessScheduler::new(Arc::clone(&setting.stores.timers), clock, options);
                let scheduler = if setting.health_checks {
                    scheduler.with_health_checks(Arc::clone(&setting.stores.agent_checks))
                } else {
                    scheduler
                };
                Ok(Self::InProcess(Arc::new(scheduler)))
            }
            #[cfg(feature = "temporal")]
            SchedulerChoice::Temporal(options) => {
                let temporal = Temporal::new(*options).map_err(|error| BuildError::Temporal(error.into()))?;
                let queue = setting.task_queue.to_owned();
                let scheduler = Arc::new(TemporalScheduler::new(temporal.clone(), queue.clone(), clock));
                Ok(Self::Temporal { temporal, scheduler, queue })
            }
        }
    }

    pub(crate) fn port(&self) -> Arc<dyn Scheduler> {
        match self {
            Self::InProcess(scheduler) => Arc::<InProcessScheduler>::clone(scheduler),
            #[cfg(feature = "temporal")]
            Self::Temporal { scheduler, .. } => Arc::<TemporalScheduler>::clone(scheduler),
        }
    }

    pub(crate) fn workflows(&self) -> Option<Arc<dyn WorkflowGateway>> {
        match self {
            Self::InProcess(_) => None,
            #[cfg(feature = "temporal")]
            Self::Temporal { temporal, .. } => Some(Arc::new(temporal.clone())),
        }
    }

    /// Does what comes due until `stop`, then finishes what is under way.
    pub(crate) async fn run(self, app: Arc<App>, stop: CancellationToken) {
        let jobs: Arc<dyn Jobs> = Arc::new(AppJobs::new(Arc::clone(&app)));
        let prepared = prepare(&app, &stop);
        match self {
            Self::InProcess(scheduler) => {
                tokio::join!(scheduler.run(jobs, stop.clone()), prepared);
            }
            #[cfg(feature = "temporal")]
            Self::Temporal { temporal, queue, .. } => {
                let worker = async {
                    if let Err(error) = Worker::new(temporal, queue, jobs).run(stop.clone()).await {
                        tracing::error!(%error, "the Temporal worker has stopped; restart the process");
                    }
                };
                tokio::join!(worker, prepared);
            }
        }
    }
}

/// Makes sure of the schedule of the retention sweep, of the clocks of schedules and of the health checks of agents, as soon
/// as that is possible.
async fn prepare(app: &App, stop: &CancellationToken) {
    loop {
        let outcome = async {
            app.keep_sweep().await?;
            app.schedules.mend().await?;
            app.health_checks.start_all().await
        };
        match outcome.await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "background work is not set up yet; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
}

impl std::fmt::Debug for OpenScheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InProcess(_) => f.write_str("InProcess"),
            #[cfg(feature = "temporal")]
            Self::Temporal { temporal, .. } => temporal.fmt(f),
        }
    }
}
