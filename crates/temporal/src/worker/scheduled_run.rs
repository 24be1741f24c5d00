use std::time::Duration;

use agentex_domain::RunTrigger;
use serde_json::{Value, json};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

use super::activities::Activities;
use super::arguments::{attempts_with_signs_of_life, optional, pass, required};

/// How long an agent may take that answers within the call.
const LONGEST: Duration = Duration::from_secs(1_800);
/// How soon after a worker has died its run is taken over.
const SILENCE: Duration = Duration::from_secs(30);

/// One occurrence of a run schedule: schedule id, and what made it happen. Its own id names the occurrence.
#[workflow]
#[derive(Default)]
pub(crate) struct ScheduledAgentRunWorkflow;

#[workflow_methods]
impl ScheduledAgentRunWorkflow {
    #[run(name = "ScheduledAgentRunWorkflow")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, arguments: RawValue) -> WorkflowResult<Value> {
        let schedule: String = required(&arguments, 0)?;
        let trigger: Option<String> = optional(&arguments, 1)?;
        let trigger = trigger.unwrap_or_else(|| RunTrigger::Scheduled.as_str().to_owned());
        let fire_id = ctx.workflow_id().to_owned();
        let launch = ctx.execute_activity(
            Activities::launch_scheduled_agent_run,
            pass(&[json!(schedule), json!(fire_id), json!(trigger)]),
            attempts_with_signs_of_life(LONGEST, SILENCE, 5, Duration::from_secs(2)),
        );
        Ok(launch.await?)
    }
}
