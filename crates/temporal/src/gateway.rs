use agentex_domain::ports::{StartWorkflow, WorkflowError, WorkflowGateway, WorkflowState};
use async_trait::async_trait;
use serde_json::Value;
use temporalio_common::protos::temporal::api::common::v1::{WorkflowExecution, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::{
    WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
};
use temporalio_common::protos::temporal::api::query::v1::WorkflowQuery;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, QueryWorkflowRequest, RequestCancelWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
};

use crate::failure::{CallError, has_detail};
use crate::{Temporal, payload};

/// A query SDKs answer by themselves, with what the workflow can be asked.
const METADATA_QUERY: &str = "__temporal_workflow_metadata";

/// Whether a workflow of the same id that has ended is in the way of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    DoesNotCount,
    Counts,
}

impl Temporal {
    pub(crate) async fn start_once(&self, workflow: &StartWorkflow, ended: Ended) -> Result<(), CallError> {
        let reuse = match ended {
            Ended::DoesNotCount => WorkflowIdReusePolicy::AllowDuplicate,
            Ended::Counts => WorkflowIdReusePolicy::RejectDuplicate,
        };
        self.start_workflow_execution(StartWorkflowExecutionRequest {
            namespace: self.namespace(),
            workflow_id: workflow.id.clone(),
            workflow_type: Some(WorkflowType { name: workflow.workflow_type.clone() }),
            task_queue: Some(task_queue(&workflow.task_queue)),
            input: payload::arguments(&workflow.arguments),
            identity: self.identity(),
            request_id: request_id(),
            workflow_id_reuse_policy: reuse.into(),
            workflow_id_conflict_policy: WorkflowIdConflictPolicy::Fail.into(),
            ..Default::default()
        })
        .await
        .map(drop)
    }

    async fn ask(&self, id: &str, query: &str, argument: Option<&Value>) -> Result<Value, CallError> {
        let request = QueryWorkflowRequest {
            namespace: self.namespace(),
            execution: Some(newest(id)),
            query: Some(WorkflowQuery {
                query_type: query.to_owned(),
                query_args: payload::arguments(argument),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = self.query_workflow(request).await?;
        Ok(payload::first(answer.query_result.as_ref()).unwrap_or_default())
    }
}

/// Whether a workflow says it answers queries of that name. A worker whose SDK does not say is taken not to: the caller's
/// mistake is likelier than the workflow's.
fn lists_query(metadata: &Value, query: &str) -> bool {
    let definitions = metadata.pointer("/definition/queryDefinitions").and_then(Value::as_array);
    // One without a name answers every name.
    definitions
        .into_iter()
        .flatten()
        .any(|one| one.get("name").and_then(Value::as_str).is_none_or(|name| name.is_empty() || name == query))
}

#[async_trait]
impl WorkflowGateway for Temporal {
    async fn start(&self, workflow: &StartWorkflow) -> Result<(), WorkflowError> {
        Ok(self.start_once(workflow, Ended::DoesNotCount).await?)
    }

    async fn signal(&self, id: &str, signal: &str, argument: Option<Value>) -> Result<(), WorkflowError> {
        self.signal_workflow_execution(SignalWorkflowExecutionRequest {
            namespace: self.namespace(),
            workflow_execution: Some(newest(id)),
            signal_name: signal.to_owned(),
            input: payload::arguments(argument.as_ref()),
            identity: self.identity(),
            request_id: request_id(),
            ..Default::default()
        })
        .await?;
        Ok(())
    }

    async fn query(&self, id: &str, query: &str, argument: Option<Value>) -> Result<Value, WorkflowError> {
        let error = match self.ask(id, query, argument.as_ref()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // The workflow's own answer is the same kind of refusal for an unknown query and for one that failed.
        match error {
            CallError::Refused(status) if has_detail(&status, "QueryFailedFailure") => {
                let metadata = self.ask(id, METADATA_QUERY, None).await.unwrap_or_default();
                if lists_query(&metadata, query) {
                    Err(WorkflowError::Failed(status))
                } else {
                    Err(WorkflowError::UnknownQuery)
                }
            }
            error => Err(error.into()),
        }
    }

    async fn describe(&self, id: &str) -> Result<WorkflowState, WorkflowError> {
        let request = DescribeWorkflowExecutionRequest { namespace: self.namespace(), execution: Some(newest(id)) };
        let answer = self.describe_workflow_execution(request).await?;
        let info = answer.workflow_execution_info.ok_or_else(|| WorkflowError::Failed("an empty answer".into()))?;
        Ok(match info.status() {
            WorkflowExecutionStatus::Completed => WorkflowState::Completed,
            WorkflowExecutionStatus::Failed | WorkflowExecutionStatus::TimedOut => WorkflowState::Failed,
            WorkflowExecutionStatus::Canceled | WorkflowExecutionStatus::Terminated => WorkflowState::Stopped,
            _ => WorkflowState::Running,
        })
    }

    async fn cancel(&self, id: &str) -> Result<(), WorkflowError> {
        self.request_cancel_workflow_execution(RequestCancelWorkflowExecutionRequest {
            namespace: self.namespace(),
            workflow_execution: Some(newest(id)),
            identity: self.identity(),
            request_id: request_id(),
            ..Default::default()
        })
        .await?;
        Ok(())
    }

    async fn terminate(&self, id: &str, reason: &str) -> Result<(), WorkflowError> {
        self.terminate_workflow_execution(TerminateWorkflowExecutionRequest {
            namespace: self.namespace(),
            workflow_execution: Some(newest(id)),
            reason: reason.to_owned(),
            identity: self.identity(),
            ..Default::default()
        })
        .await?;
        Ok(())
    }
}

pub(crate) fn task_queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), ..Default::default() }
}

/// Without a run id, the newest run is meant.
fn newest(id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: id.to_owned(), run_id: String::new() }
}

/// By it Temporal knows a request that is sent again.
#[expect(clippy::disallowed_methods, reason = "names a request, not an entity")]
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workflow_may_say_what_it_can_be_asked() {
        let metadata = json!({"definition": {"type": "T", "queryDefinitions": [{"name": "state"}, {"name": "words"}]}});

        assert!(lists_query(&metadata, "words"));
        assert!(!lists_query(&metadata, "color"));
    }

    #[test]
    fn a_handler_without_a_name_answers_every_name() {
        let metadata = json!({"definition": {"queryDefinitions": [{"name": "state"}, {"description": "all others"}]}});

        assert!(lists_query(&metadata, "color"));
    }

    #[test]
    fn who_says_nothing_answers_nothing() {
        assert!(!lists_query(&json!({"currentDetails": ""}), "state"));
        assert!(!lists_query(&Value::Null, "state"));
    }
}
