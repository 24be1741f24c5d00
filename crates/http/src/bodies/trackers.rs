use agentex_domain::input::Fields;
use agentex_domain::ports::TrackerChange;
use agentex_domain::{EventId, Timestamp, Tracker};
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::{IdentifierFields as _, RequestBody};

/// How far an agent has processed the events of a task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentTaskTracker)]
pub(crate) struct TrackerBody {
    /// Server-made id.
    id: String,
    /// The agent that processes.
    agent_id: String,
    /// The task whose events are processed.
    task_id: String,
    /// The agent's own word for how it is doing.
    status: Option<String>,
    /// Why.
    status_reason: Option<String>,
    /// The last event that was processed.
    last_processed_event_id: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Last change.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Tracker> for TrackerBody {
    fn from(tracker: Tracker) -> Self {
        let Tracker { id, agent_id, task_id, status, status_reason, last_processed_event_id, created_at, updated_at } =
            tracker;
        Self {
            id: id.into_string(),
            agent_id: agent_id.into_string(),
            task_id: task_id.into_string(),
            status,
            status_reason,
            last_processed_event_id: last_processed_event_id.map(EventId::into_string),
            created_at,
            updated_at,
        }
    }
}

/// An agent's progress.
#[derive(ToSchema)]
#[schema(as = UpdateAgentTaskTrackerRequest)]
pub(crate) struct UpdateTrackerRequest {
    /// The last event that was processed; nothing leaves it as it is.
    #[schema(value_type = Option<String>)]
    last_processed_event_id: Option<EventId>,
    /// The agent's own word for how it is doing; nothing takes it away.
    status: Option<String>,
    /// Why; nothing takes it away.
    status_reason: Option<String>,
}

impl RequestBody for UpdateTrackerRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            last_processed_event_id: fields.optional_identifier("last_processed_event_id").map(EventId::from),
            status: fields.optional_string("status"),
            status_reason: fields.optional_string("status_reason"),
        })
    }
}

impl From<UpdateTrackerRequest> for TrackerChange {
    fn from(request: UpdateTrackerRequest) -> Self {
        let UpdateTrackerRequest { last_processed_event_id, status, status_reason } = request;
        Self { last_processed_event_id, status, status_reason }
    }
}
