use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityExecutionError, ContinueAsNewOptions, TimerResult};
use temporalio_sdk::{WorkflowContext, WorkflowResult, WorkflowTermination};

use super::activities::Activities;
use super::arguments::{attempts, pass, required};

/// Failed checks in a row after which an agent is unhealthy.
const FAILURES: u32 = 5;
const LONGEST_HISTORY: u32 = 10_000;
const ONE_SECOND: Duration = Duration::from_secs(1);

/// Checks one agent again and again, until it has failed five times in a row or is gone.
#[workflow]
pub(crate) struct HealthCheckWorkflow {
    pub(crate) interval: Duration,
}

#[derive(Serialize, Deserialize)]
struct Input {
    agent_id: String,
    /// Where the agent was when the workflow began.
    #[serde(default)]
    acp_url: Option<String>,
    #[serde(default)]
    failure_counter: u32,
}

#[workflow_methods(factory_only)]
impl HealthCheckWorkflow {
    #[run(name = "HealthCheckWorkflow")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, arguments: RawValue) -> WorkflowResult<()> {
        let mut input: Input = required(&arguments, 0)?;
        let interval = ctx.state(|state| state.interval);
        loop {
            if ctx.continue_as_new_suggested() || ctx.history_length() > LONGEST_HISTORY {
                ctx.continue_as_new(pass(&[json!(input)]), ContinueAsNewOptions::default())?;
            }
            if ctx.timer(interval).await == TimerResult::Cancelled {
                return Err(WorkflowTermination::cancelled());
            }
            let check = ctx.execute_activity(
                Activities::check_status,
                (input.agent_id.clone(), input.acp_url.clone()),
                attempts(Duration::from_secs(15), 2, ONE_SECOND),
            );
            match check.await {
                Ok(Some(true)) => input.failure_counter = 0,
                Ok(None) => return Ok(()),
                Err(cancelled @ ActivityExecutionError::Cancelled(_)) => return Err(cancelled.into()),
                Ok(Some(false)) | Err(_) => input.failure_counter += 1,
            }
            if input.failure_counter >= FAILURES {
                let update = ctx.execute_activity(
                    Activities::update_agent_status,
                    (input.agent_id, "Unhealthy".to_owned()),
                    attempts(Duration::from_secs(30), 3, ONE_SECOND),
                );
                return Ok(update.await?);
            }
        }
    }
}
