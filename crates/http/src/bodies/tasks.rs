use agentex_app::TaskWithAgents;
use agentex_domain::input::Fields;
use agentex_domain::{JsonObject, Task, TaskStatus, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::agents::AgentBody;
use super::words;
use crate::extract::RequestBody;

words!(TaskStatusWords, "TaskStatus", "Where a task stands.", TaskStatus::ALL.map(|(word, _)| word));
words!(TaskRelationshipsWords, "TaskRelationships", "What can be answered along with a task.", ["agents"]);

/// A task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Task)]
pub(crate) struct TaskBody {
    /// Server-made id.
    id: String,
    /// Unique among tasks that are not deleted.
    name: Option<String>,
    #[schema(value_type = Option<TaskStatusWords>)]
    status: TaskStatus,
    /// Why it has that status.
    status_reason: Option<String>,
    /// When it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Timestamp,
    /// Last change.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Timestamp,
    /// When retention removed its contents.
    #[schema(value_type = Option<String>, format = DateTime)]
    cleaned_at: Option<Timestamp>,
    /// What its creator passed to the agent.
    #[schema(value_type = Option<Object>)]
    params: Option<JsonObject>,
    /// The caller's own notes.
    #[schema(value_type = Option<Object>)]
    task_metadata: Option<JsonObject>,
}

impl From<Task> for TaskBody {
    fn from(task: Task) -> Self {
        let Task { id, name, status, status_reason, created_at, updated_at, cleaned_at, params, task_metadata } = task;
        Self {
            id: id.into_string(),
            name,
            status,
            status_reason,
            created_at,
            updated_at,
            cleaned_at,
            params,
            task_metadata,
        }
    }
}

/// A task with its agents, when they were asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TaskResponse)]
pub(crate) struct TaskWithAgentsBody {
    #[serde(flatten)]
    task: TaskBody,
    /// Its agents; null unless asked for.
    agents: Option<Vec<AgentBody>>,
}

impl From<TaskWithAgents> for TaskWithAgentsBody {
    fn from(answer: TaskWithAgents) -> Self {
        let TaskWithAgents { task, agents } = answer;
        Self { task: task.into(), agents: agents.map(bodies) }
    }
}

/// A task as lists show it: without its parameters, which may hold secrets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TaskSummary)]
pub(crate) struct TaskSummaryBody {
    /// Server-made id.
    id: String,
    /// Unique among tasks that are not deleted.
    name: Option<String>,
    #[schema(value_type = Option<TaskStatusWords>)]
    status: TaskStatus,
    /// Why it has that status.
    status_reason: Option<String>,
    /// When it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Timestamp,
    /// Last change.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Timestamp,
    /// When retention removed its contents.
    #[schema(value_type = Option<String>, format = DateTime)]
    cleaned_at: Option<Timestamp>,
    /// The caller's own notes.
    #[schema(value_type = Option<Object>)]
    task_metadata: Option<JsonObject>,
    /// Its agents; null unless asked for.
    agents: Option<Vec<AgentBody>>,
}

impl From<TaskWithAgents> for TaskSummaryBody {
    fn from(answer: TaskWithAgents) -> Self {
        let TaskWithAgents { task, agents } = answer;
        let Task { id, name, status, status_reason, created_at, updated_at, cleaned_at, params: _, task_metadata } =
            task;
        Self {
            id: id.into_string(),
            name,
            status,
            status_reason,
            created_at,
            updated_at,
            cleaned_at,
            task_metadata,
            agents: agents.map(bodies),
        }
    }
}

fn bodies(agents: Vec<agentex_domain::Agent>) -> Vec<AgentBody> {
    agents.into_iter().map(AgentBody::from).collect()
}

/// A change of a task; what is absent or null stays.
#[derive(ToSchema)]
#[schema(as = UpdateTaskRequest)]
pub(crate) struct UpdateTaskRequest {
    /// Replaces the notes as a whole.
    #[schema(value_type = Option<Object>)]
    pub(crate) task_metadata: Option<JsonObject>,
    /// Merged into the parameters by top-level key.
    #[schema(value_type = Option<Object>)]
    pub(crate) merge_params: Option<JsonObject>,
}

impl RequestBody for UpdateTaskRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            task_metadata: fields.optional_object("task_metadata"),
            merge_params: fields.optional_object("merge_params"),
        })
    }
}

/// Why a task changes its status.
#[derive(Default, ToSchema)]
#[schema(as = TaskStatusReasonRequest)]
pub(crate) struct TaskStatusReasonRequest {
    /// Recorded with the task; absent, null or empty select the usual one.
    pub(crate) reason: Option<String>,
}

impl RequestBody for TaskStatusReasonRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { reason: fields.optional_string("reason").filter(|reason| !reason.is_empty()) })
    }
}

/// What a workflow answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkflowQueryResponse)]
pub(crate) struct WorkflowQueryBody {
    /// The task.
    pub(crate) task_id: String,
    /// The query.
    pub(crate) query: String,
    /// Any JSON.
    pub(crate) result: serde_json::Value,
}
