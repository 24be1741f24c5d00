use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentex_domain::ports::{
    AgentHealth, CleanOutcome, JobError, Jobs, RunOutcome, StartWorkflow, SweepConfig, SystemClock, WorkflowGateway,
    WorkflowState,
};
use agentex_domain::{AgentId, RunScheduleId, RunTrigger, TaskId};
use agentex_temporal::{Temporal, TemporalOptions, TemporalScheduler, Worker, WorkerError, WorkerOptions};
use agentex_testkit::services::temporal::{TestTemporal, temporal};
use async_trait::async_trait;
use serde_json::Value;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, UntypedWorkflow, WorkflowExecutionInfo,
    WorkflowGetResultOptions, WorkflowHandle,
};
use temporalio_common::data_converters::PayloadConverter;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn connect(address: &str) -> Temporal {
    Temporal::new(TemporalOptions { address: address.to_owned(), ..TemporalOptions::default() }).unwrap()
}

/// The client library itself, to see what is really there.
pub(crate) async fn raw(address: &str) -> Client {
    let options = ConnectionOptions::new(format!("http://{address}").parse::<url::Url>().unwrap()).build();
    let connection = Connection::connect(options).await.unwrap();
    Client::new(connection, ClientOptions::new("default").build()).unwrap()
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        // Temporal is another process, whose listings follow its writes later and announce nothing. The line above ends the
        // wait.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn result_of(client: &Client, id: &str) -> Result<Value, String> {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(id);
    let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default())).await;
    let value = result.unwrap_or_else(|_| panic!("{id} does not end")).map_err(|error| format!("{error:?}"))?;
    Ok(value.to_value(&PayloadConverter::serde_json()))
}

/// A Temporal, a queue of one's own, and a worker that listens to it until the test ends.
pub(crate) struct Stage {
    pub(crate) server: TestTemporal,
    pub(crate) temporal: Temporal,
    pub(crate) jobs: Arc<FakeJobs>,
    pub(crate) worker: RunningWorker,
}

pub(crate) struct RunningWorker {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), WorkerError>>,
}

pub(crate) fn quick() -> WorkerOptions {
    WorkerOptions {
        health_interval: Duration::from_millis(20),
        drain: Duration::from_secs(2),
        ..WorkerOptions::default()
    }
}

pub(crate) fn start_worker(
    temporal: &Temporal,
    queue: &str,
    jobs: Arc<dyn Jobs>,
    options: WorkerOptions,
) -> RunningWorker {
    let stop = CancellationToken::new();
    let worker = Worker::new(temporal.clone(), queue, jobs).with_options(options);
    RunningWorker { task: tokio::spawn(worker.run(stop.clone())), stop }
}

impl Stage {
    pub(crate) async fn new(jobs: FakeJobs) -> Self {
        Self::with(jobs, quick()).await
    }

    pub(crate) async fn with(jobs: FakeJobs, options: WorkerOptions) -> Self {
        let server = temporal().await;
        let temporal = connect(server.address());
        let jobs = Arc::new(jobs);
        let worker = start_worker(&temporal, server.unique(), Arc::clone(&jobs) as Arc<dyn Jobs>, options);
        Self { server, temporal, jobs, worker }
    }

    pub(crate) fn queue(&self) -> &str {
        self.server.unique()
    }

    pub(crate) fn scheduler(&self) -> TemporalScheduler {
        TemporalScheduler::new(self.temporal.clone(), self.queue(), Arc::new(SystemClock))
    }

    pub(crate) async fn start(&self, workflow_type: &str, id: &str, arguments: Vec<Value>) {
        let workflow = StartWorkflow {
            workflow_type: workflow_type.to_owned(),
            id: id.to_owned(),
            arguments,
            task_queue: self.queue().to_owned(),
        };
        self.temporal.start(&workflow).await.unwrap();
    }

    pub(crate) async fn ended(&self, id: &str) -> WorkflowState {
        let ask = || async move {
            let state = self.temporal.describe(id).await.unwrap();
            (state != WorkflowState::Running).then_some(state)
        };
        eventually("the end of the workflow", ask).await
    }

    /// Keeps the history for the replay tests, when asked to.
    pub(crate) async fn record(&self, id: &str, name: &str) {
        record(self.server.address(), id, name).await;
    }

    pub(crate) async fn result(&self, id: &str) -> Result<Value, String> {
        result_of(&raw(self.server.address()).await, id).await
    }
}

/// What a fake job answers, in order; the last answer stays.
pub(crate) type Answers<T> = Mutex<VecDeque<T>>;

pub(crate) fn answers<T>(answers: impl IntoIterator<Item = T>) -> Answers<T> {
    Mutex::new(answers.into_iter().collect())
}

fn next<T: Clone>(answers: &Answers<T>) -> Option<T> {
    let mut answers = answers.lock().unwrap();
    if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
}

/// Jobs that remember what they were asked and answer what they were told to. `None` is a failure.
#[derive(Default)]
pub(crate) struct FakeJobs {
    pub(crate) health: Answers<Option<AgentHealth>>,
    pub(crate) run: Answers<Option<RunOutcome>>,
    pub(crate) config: Option<SweepConfig>,
    /// All tasks a sweep may find, in order.
    pub(crate) tasks: Vec<String>,
    pub(crate) shared_tasks: Vec<String>,
    /// What cleaning each task comes to; those not named are cleaned.
    pub(crate) cleaned: Vec<(String, Option<&'static str>)>,
    /// Held while a run is under way.
    pub(crate) gate: Option<Arc<tokio::sync::Semaphore>>,
    pub(crate) calls: Mutex<Vec<Call>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Run(RunScheduleId, String, RunTrigger),
    Check(AgentId),
    SetHealth(AgentId, bool),
    LoadConfig,
    Find { after: Option<TaskId>, limit: u32, idle_days: u32, agent_names: Vec<String> },
    FindShared(usize),
    Clean { task: TaskId, idle_days: u32, dry_run: bool, stale_running_days: u32 },
}

impl FakeJobs {
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Call) -> bool) -> usize {
        self.calls().iter().filter(|call| wanted(call)).count()
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

fn failed() -> JobError {
    JobError { message: "the database is away".to_owned(), source: None }
}

#[async_trait]
impl Jobs for FakeJobs {
    async fn scheduled_run(
        &self,
        schedule: &RunScheduleId,
        fire_id: &str,
        trigger: RunTrigger,
    ) -> Result<RunOutcome, JobError> {
        self.note(Call::Run(schedule.clone(), fire_id.to_owned(), trigger));
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        next(&self.run).flatten().ok_or_else(failed)
    }

    async fn check_agent(&self, agent: &AgentId) -> Result<AgentHealth, JobError> {
        self.note(Call::Check(agent.clone()));
        next(&self.health).flatten().ok_or_else(failed)
    }

    async fn set_agent_health(&self, agent: &AgentId, healthy: bool) -> Result<(), JobError> {
        self.note(Call::SetHealth(agent.clone(), healthy));
        Ok(())
    }

    async fn sweep_config(&self) -> Result<SweepConfig, JobError> {
        self.note(Call::LoadConfig);
        self.config.clone().ok_or_else(failed)
    }

    async fn sweep_candidates(
        &self,
        after: Option<TaskId>,
        limit: u32,
        config: &SweepConfig,
    ) -> Result<Vec<TaskId>, JobError> {
        let SweepConfig { idle_days, agent_names, .. } = config.clone();
        self.note(Call::Find { after: after.clone(), limit, idle_days, agent_names });
        let later = self.tasks.iter().filter(|task| after.as_ref().is_none_or(|after| task.as_str() > after.as_str()));
        Ok(later.take(limit as usize).map(|task| TaskId::from(task.as_str())).collect())
    }

    async fn with_many_agents(&self, tasks: &[TaskId]) -> Result<Vec<TaskId>, JobError> {
        self.note(Call::FindShared(tasks.len()));
        Ok(tasks.iter().filter(|task| self.shared_tasks.contains(&task.to_string())).cloned().collect())
    }

    async fn clean_task(&self, task: &TaskId, config: &SweepConfig) -> Result<CleanOutcome, JobError> {
        let SweepConfig { idle_days, dry_run, stale_running_days, .. } = *config;
        self.note(Call::Clean { task: task.clone(), idle_days, dry_run, stale_running_days });
        let named = self.cleaned.iter().find(|(id, _)| id == task.as_str());
        let status = named.map_or(Some("cleaned"), |(_, status)| *status).ok_or_else(failed)?;
        let reason = (status == "skipped").then(|| format!("Cannot clean task {task}: status is RUNNING (active)"));
        Ok(CleanOutcome {
            task_id: task.clone(),
            status,
            reason,
            messages_deleted: 3,
            task_states_deleted: 1,
            events_deleted: 0,
        })
    }
}

/// Writes the history of a workflow's first run into `tests/histories`, where the replay tests find it, when
/// `UPDATE_HISTORIES` is set.
pub(crate) async fn record(address: &str, id: &str, name: &str) {
    if std::env::var_os("UPDATE_HISTORIES").is_none() {
        return;
    }
    let client = raw(address).await;
    let mut run = None;
    let history = loop {
        let info = WorkflowExecutionInfo::builder()
            .namespace("default".to_owned())
            .workflow_id(id.to_owned())
            .maybe_run_id(run.clone())
            .build();
        let handle: WorkflowHandle<Client, UntypedWorkflow> = WorkflowHandle::new(client.clone(), info);
        let history = handle.fetch_history(Default::default()).to_json().await.unwrap();
        let history: Value = serde_json::from_slice(&history).unwrap();
        match continued_from(&history) {
            Some(before) => run = Some(before),
            None => break history,
        }
    };
    let file = format!("{}/tests/histories/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::write(file, history.to_string() + "\n").unwrap();
}

/// The run before the one with this history.
pub(crate) fn continued_from(history: &Value) -> Option<String> {
    let began = &history["events"][0]["attributes"]["WorkflowExecutionStartedEventAttributes"];
    let before = began["continued_execution_run_id"].as_str().unwrap();
    (!before.is_empty()).then(|| before.to_owned())
}
