use agentex_app::NewTaskState;
use agentex_domain::input::{self, Fields};
use agentex_domain::{AgentId, JsonObject, TaskId, TaskState, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::{IdentifierFields as _, RequestBody};

/// What an agent remembers about a task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = State)]
pub(crate) struct StateBody {
    /// The task it belongs to.
    task_id: String,
    /// The agent it belongs to.
    agent_id: String,
    /// Whatever the agent put there.
    #[schema(value_type = Object)]
    state: JsonObject,
    /// Server-made id.
    id: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Last replacement.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Timestamp,
}

impl From<TaskState> for StateBody {
    fn from(state: TaskState) -> Self {
        let TaskState { id, task_id, agent_id, state, created_at, updated_at } = state;
        Self {
            task_id: task_id.into_string(),
            agent_id: agent_id.into_string(),
            state,
            id: id.into_string(),
            created_at,
            updated_at,
        }
    }
}

/// A state to store.
#[derive(ToSchema)]
#[schema(as = CreateStateRequest)]
pub(crate) struct CreateStateRequest {
    /// The task it belongs to.
    #[schema(value_type = String)]
    task_id: TaskId,
    /// The agent it belongs to, one of the task's.
    #[schema(value_type = String)]
    agent_id: AgentId,
    /// What to remember.
    #[schema(value_type = Object)]
    state: JsonObject,
}

impl RequestBody for CreateStateRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let task_id = fields.identifier("task_id").map(TaskId::from);
        let agent_id = fields.identifier("agent_id").map(AgentId::from);
        let state = state(fields);
        Some(Self { task_id: task_id?, agent_id: agent_id?, state: state? })
    }
}

impl From<CreateStateRequest> for NewTaskState {
    fn from(request: CreateStateRequest) -> Self {
        let CreateStateRequest { task_id, agent_id, state } = request;
        Self { task_id, agent_id, state }
    }
}

/// What a state is replaced by.
#[derive(ToSchema)]
#[schema(as = UpdateStateRequest)]
pub(crate) struct UpdateStateRequest {
    /// What to remember instead.
    #[schema(value_type = Object)]
    pub(crate) state: JsonObject,
}

impl RequestBody for UpdateStateRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { state: state(fields)? })
    }
}

fn state(fields: &mut Fields<'_>) -> Option<JsonObject> {
    match fields.required("state")? {
        value @ Value::Object(_) if input::has_nul(value) => {
            fields.problem("state", "state contains a NUL character");
            None
        }
        Value::Object(members) => Some(members.clone()),
        _ => {
            fields.problem("state", input::NOT_AN_OBJECT);
            None
        }
    }
}
