use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use temporalio_common::RetryPolicy;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::join_all;
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, ChildWorkflowOptions, ContinueAsNewOptions, WorkflowContext, WorkflowResult,
    WorkflowTermination,
};

use super::activities::Activities;
use super::arguments::{attempts, optional, pass, required};

/// One page of a sweep over idle tasks; the next page is the next run. Answers how many tasks came to what.
#[workflow]
#[derive(Default)]
pub(crate) struct RetentionCleanupSweepWorkflow;

/// One task of a sweep.
#[workflow]
#[derive(Default)]
pub(crate) struct RetentionCleanupTaskWorkflow;

/// What one page hands to the next: the settings as they were at the beginning, where it is, and what came out so far.
#[derive(Serialize, Deserialize)]
struct Sweep {
    #[serde(default = "yes")]
    enabled: bool,
    idle_days: u32,
    agent_names: Vec<String>,
    #[serde(default = "default_page")]
    page_size: u32,
    #[serde(default = "default_in_flight")]
    max_in_flight: usize,
    #[serde(default = "yes")]
    dry_run: bool,
    #[serde(default)]
    stale_running_days: u32,
    #[serde(default)]
    after_id: Option<String>,
    #[serde(default = "no_totals")]
    totals: BTreeMap<String, u64>,
}

const fn yes() -> bool {
    true
}

const fn default_page() -> u32 {
    200
}

const fn default_in_flight() -> usize {
    20
}

fn no_totals() -> BTreeMap<String, u64> {
    ["cleaned", "skipped", "failed"].map(|status| (status.to_owned(), 0)).into()
}

#[derive(Serialize, Deserialize)]
struct CleanTask {
    task_id: String,
    idle_days: u32,
    #[serde(default = "yes")]
    dry_run: bool,
    #[serde(default)]
    stale_running_days: u32,
}

impl Sweep {
    fn count(&mut self, status: &str, tasks: u64) {
        *self.totals.entry(status.to_owned()).or_default() += tasks;
    }

    fn totals(self) -> Value {
        json!(self.totals)
    }
}

#[workflow_methods]
impl RetentionCleanupTaskWorkflow {
    #[run(name = "RetentionCleanupTaskWorkflow")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, arguments: RawValue) -> WorkflowResult<Value> {
        let task: CleanTask = required(&arguments, 0)?;
        let clean = ctx.execute_activity(
            Activities::clean_task,
            pass(&[json!(task.task_id), json!(task.idle_days), json!(task.dry_run), json!(task.stale_running_days)]),
            three_attempts(60),
        );
        Ok(clean.await?)
    }
}

#[workflow_methods]
impl RetentionCleanupSweepWorkflow {
    #[run(name = "RetentionCleanupSweepWorkflow")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, arguments: RawValue) -> WorkflowResult<Value> {
        let mut input: Map<String, Value> = optional(&arguments, 0)?.unwrap_or_default();
        if !input.contains_key("idle_days") {
            let config = ctx.execute_activity(Activities::load_cleanup_config, (), three_attempts(15)).await?;
            if let Value::Object(config) = config {
                input.extend(config);
            }
        }
        let mut sweep: Sweep = serde_json::from_value(Value::Object(input))
            .map_err(|error| WorkflowTermination::from(ApplicationFailure::non_retryable(error)))?;
        if !sweep.enabled {
            return Ok(sweep.totals());
        }

        let page = ctx.execute_activity(
            Activities::find_cleanup_candidates,
            (sweep.after_id.clone(), sweep.page_size, sweep.idle_days, sweep.agent_names.clone()),
            three_attempts(30),
        );
        let page: Vec<String> = page.await?;
        let Some(last) = page.last().cloned() else { return Ok(sweep.totals()) };

        let shared =
            ctx.execute_activity(Activities::find_multi_agent_cleanup_candidates, page.clone(), three_attempts(30));
        let shared: HashSet<String> = shared.await?.into_iter().collect();
        if !shared.is_empty() {
            let number = shared.len() as u64;
            sweep.count("skipped", number);
            sweep.count("skipped_multi_agent", number);
        }
        let tasks = page.into_iter().filter(|task| !shared.contains(task)).collect();
        for status in clean(ctx, &sweep, tasks).await {
            sweep.count(&status, 1);
        }

        sweep.after_id = Some(last);
        ctx.continue_as_new(pass(&[json!(sweep)]), ContinueAsNewOptions::default())?;
        Err(WorkflowTermination::cancelled())
    }
}

/// Cleans all of `tasks`, so many at a time, and answers what became of each.
///
/// Each lane takes the next task when it is done with one, so that a slow task holds up nothing but its lane. Tasks begin in
/// their order whichever lane is free, which makes it the same at every replay.
async fn clean(
    ctx: &WorkflowContext<RetentionCleanupSweepWorkflow>,
    sweep: &Sweep,
    tasks: VecDeque<String>,
) -> Vec<String> {
    let lanes = sweep.max_in_flight.clamp(1, tasks.len().max(1));
    let waiting = RefCell::new(tasks);
    let lane = || async {
        let mut statuses = Vec::new();
        loop {
            let Some(task) = waiting.borrow_mut().pop_front() else { return statuses };
            statuses.push(clean_one(ctx, sweep, task).await);
        }
    };
    join_all((0..lanes).map(|_| lane())).await.concat()
}

async fn clean_one(ctx: &WorkflowContext<RetentionCleanupSweepWorkflow>, sweep: &Sweep, task_id: String) -> String {
    // Of this run only: a task that was passed over comes again in another sweep.
    let run = ctx.run_id().get(..8).unwrap_or(ctx.run_id());
    let options = ChildWorkflowOptions::builder()
        .workflow_id(format!("retention-cleanup-task-{run}-{task_id}"))
        .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
        .build();
    let task = CleanTask {
        task_id,
        idle_days: sweep.idle_days,
        dry_run: sweep.dry_run,
        stale_running_days: sweep.stale_running_days,
    };
    let started = ctx.start_child_workflow(RetentionCleanupTaskWorkflow::run, pass(&[json!(task)]), options).await;
    let outcome = match started {
        Ok(child) => child.result().await.ok(),
        Err(_) => None,
    };
    let status = outcome.as_ref().and_then(|outcome| outcome.get("status")).and_then(Value::as_str);
    status.unwrap_or("failed").to_owned()
}

fn three_attempts(seconds: u64) -> ActivityOptions {
    attempts(Duration::from_secs(seconds), 3, Duration::from_secs(1))
}
