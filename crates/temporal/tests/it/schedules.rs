//! What is in Temporal afterwards, and what somebody else put there.

use std::sync::Arc;

use agentex_domain::ports::{NewSchedule, ScheduleListing, Scheduler, SystemClock};
use agentex_domain::{JsonObject, RunScheduleId, ScheduledAction, Timing, WorkflowAction};
use agentex_temporal::TemporalScheduler;
use agentex_testkit::services::temporal::{TestTemporal, temporal};
use serde_json::{Value, json};
use temporalio_client::grpc::WorkflowService;
use temporalio_common::protos::temporal::api::common::v1::{Payload, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::ScheduleOverlapPolicy;
use temporalio_common::protos::temporal::api::schedule::v1::{Schedule, ScheduleAction, ScheduleSpec, schedule_action};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflow::v1::NewWorkflowExecutionInfo;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CreateScheduleRequest, DescribeScheduleRequest, DescribeScheduleResponse,
};
use tonic::IntoRequest;

use crate::support::{connect, eventually, raw};

fn scheduler(server: &TestTemporal, queue: &str) -> TemporalScheduler {
    TemporalScheduler::new(connect(server.address()), queue, Arc::new(SystemClock))
}

async fn stored(server: &TestTemporal, id: &str) -> DescribeScheduleResponse {
    let request = DescribeScheduleRequest { namespace: "default".to_owned(), schedule_id: id.to_owned() };
    let mut client = raw(server.address()).await;
    WorkflowService::describe_schedule(&mut client, request.into_request()).await.unwrap().into_inner()
}

fn started(stored: &DescribeScheduleResponse) -> NewWorkflowExecutionInfo {
    let action = stored.schedule.clone().unwrap().action.unwrap().action.unwrap();
    let schedule_action::Action::StartWorkflow(workflow) = action;
    workflow
}

fn json_of(payload: &Payload) -> Value {
    assert_eq!(payload.metadata["encoding"], b"json/plain");
    serde_json::from_slice(&payload.data).unwrap()
}

fn object(value: Value) -> JsonObject {
    value.as_object().unwrap().clone()
}

/// schedules §4: 15
/// temporal §7: 22
#[tokio::test]
async fn a_run_schedule_starts_the_products_workflow_on_the_products_queue() {
    let server = temporal().await;
    let row = RunScheduleId::generate();
    let schedule = NewSchedule {
        id: format!("agent-run-schedule:{row}"),
        timing: Timing {
            cron_expressions: vec!["0 9 * * *".to_owned()],
            timezone: Some("Europe/Zurich".to_owned()),
            ..Timing::default()
        },
        action: ScheduledAction::Run(row.clone()),
        paused: false,
        definition: None,
    };

    scheduler(&server, "our-queue").create(&schedule).await.unwrap();

    let stored = stored(&server, &schedule.id).await;
    let workflow = started(&stored);
    assert_eq!(workflow.workflow_type.unwrap().name, "ScheduledAgentRunWorkflow");
    assert_eq!(workflow.workflow_id, format!("agent-run-schedule:{row}-run"));
    assert_eq!(workflow.task_queue.unwrap().name, "our-queue");
    let arguments: Vec<Value> = workflow.input.unwrap().payloads.iter().map(json_of).collect();
    assert_eq!(arguments, [json!(row)]);
    let schedule = stored.schedule.unwrap();
    assert_eq!(schedule.spec.unwrap().timezone_name, "Europe/Zurich");
    assert_eq!(schedule.policies.unwrap().overlap_policy(), ScheduleOverlapPolicy::Skip);
}

#[tokio::test]
async fn the_sweep_goes_by_its_own_name_without_arguments() {
    let server = temporal().await;
    let schedule = NewSchedule {
        id: server.unique().to_owned(),
        timing: Timing { cron_expressions: vec!["0 4 * * *".to_owned()], ..Timing::default() },
        action: ScheduledAction::RetentionSweep,
        paused: true,
        definition: None,
    };

    scheduler(&server, "our-queue").create(&schedule).await.unwrap();

    let workflow = started(&stored(&server, &schedule.id).await);
    assert_eq!(workflow.workflow_id, "retention-cleanup-sweep");
    assert_eq!(workflow.workflow_type.unwrap().name, "RetentionCleanupSweepWorkflow");
    assert_eq!(workflow.input, None);
}

#[tokio::test]
async fn the_memo_says_whose_schedule_it_is() {
    let server = temporal().await;
    let id = format!("{}--nightly--report", server.unique());
    let schedule = NewSchedule {
        id: id.clone(),
        timing: Timing { intervals_seconds: vec![60], ..Timing::default() },
        action: ScheduledAction::Workflow(WorkflowAction {
            workflow_name: "Report".to_owned(),
            workflow_id: format!("{id}-run"),
            task_queue: "theirs".to_owned(),
            params: None,
            execution_timeout_seconds: None,
        }),
        paused: true,
        definition: Some(object(json!({"name": "nightly--report"}))),
    };
    let scheduler = scheduler(&server, "our-queue");
    scheduler.create(&schedule).await.unwrap();

    let memo = |stored: DescribeScheduleResponse, key: &str| json_of(&stored.memo.unwrap().fields[key]);
    let before = stored(&server, &id).await;
    assert_eq!(started(&before).task_queue.unwrap().name, "theirs");
    assert_eq!(memo(before.clone(), "agentex.kind"), "workflow");
    assert_eq!(memo(before.clone(), "agentex.agent_id"), server.unique());
    assert_eq!(memo(before.clone(), "agentex.name"), "nightly--report");
    assert_eq!(memo(before, "agentex.definition"), json!({"name": "nightly--report"}));

    let definition = Some(object(json!({"name": "nightly--report", "paused": false})));
    scheduler.update(&NewSchedule { definition: definition.clone(), ..schedule }).await.unwrap();

    assert_eq!(scheduler.describe(&id).await.unwrap().definition, definition);
}

#[tokio::test]
async fn a_schedule_made_by_somebody_else_is_served_without_its_cron_text() {
    let server = temporal().await;
    let id = format!("{}--theirs", server.unique());
    let workflow = NewWorkflowExecutionInfo {
        workflow_id: "theirs-run".to_owned(),
        workflow_type: Some(WorkflowType { name: "Theirs".to_owned() }),
        task_queue: Some(TaskQueue { name: "their-queue".to_owned(), ..TaskQueue::default() }),
        ..NewWorkflowExecutionInfo::default()
    };
    let schedule = Schedule {
        spec: Some(ScheduleSpec {
            cron_string: vec!["0 12 * * *".to_owned()],
            timezone_name: "Asia/Tokyo".to_owned(),
            ..ScheduleSpec::default()
        }),
        action: Some(ScheduleAction { action: Some(schedule_action::Action::StartWorkflow(workflow)) }),
        ..Schedule::default()
    };
    let request = CreateScheduleRequest {
        namespace: "default".to_owned(),
        schedule_id: id.clone(),
        schedule: Some(schedule),
        request_id: id.clone(),
        ..CreateScheduleRequest::default()
    };
    let mut client = raw(server.address()).await;
    WorkflowService::create_schedule(&mut client, request.into_request()).await.unwrap();
    let scheduler = scheduler(&server, "our-queue");

    let found = scheduler.describe(&id).await.unwrap();

    assert_eq!(found.timing.cron_expressions, Vec::<String>::new());
    assert_eq!(found.timing.timezone.as_deref(), Some("Asia/Tokyo"));
    assert_eq!((found.definition, found.next_action_times.len()), (None, 10));
    let Some(ScheduledAction::Workflow(action)) = found.action else { panic!("{:?}", found.action) };
    assert_eq!((action.workflow_name.as_str(), action.task_queue.as_str()), ("Theirs", "their-queue"));
    let listed = || async {
        let listing: ScheduleListing = scheduler.list(server.unique(), None, 10).await.unwrap();
        listing.entries.into_iter().next()
    };
    assert_eq!(eventually("the entry", listed).await.id, id);
    scheduler.pause(&id, "ours now").await.unwrap();
    scheduler.trigger(&id).await.unwrap();
    scheduler.delete(&id).await.unwrap();
}
