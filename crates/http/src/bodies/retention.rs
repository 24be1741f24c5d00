use agentex_app::{CleanReport, CleanRequest, RehydrateFrom, SnapshotDraft};
use agentex_domain::input::Fields;
use agentex_domain::{JsonObject, TaskId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::content::TaskMessageContent;
use super::messages::StreamingStatusWords;
use crate::error::ApiError;
use crate::extract::RequestBody;

/// Longest idle time that can be asked for, in days: about as long as dates go back.
const MAX_IDLE_DAYS: i64 = 1_000_000;

/// A message of a snapshot.
#[derive(ToSchema)]
#[schema(as = TaskMessageEntity)]
#[expect(dead_code, reason = "read by the API document; the document itself is the use case's")]
pub(crate) struct SnapshotMessageBody {
    /// Its id: up to 64 letters, digits, hyphens and underscores. A new one is made when it is left out.
    id: Option<String>,
    /// The task it belongs to.
    task_id: String,
    content: TaskMessageContent,
    streaming_status: Option<StreamingStatusWords>,
    /// When it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// Last change.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

/// A state of a snapshot.
#[derive(ToSchema)]
#[schema(as = StateEntity)]
#[expect(dead_code, reason = "read by the API document; the document itself is the use case's")]
pub(crate) struct SnapshotStateBody {
    /// Its id: up to 64 letters, digits, hyphens and underscores. A new one is made when it is left out.
    id: Option<String>,
    /// The task it belongs to.
    task_id: String,
    /// The agent it belongs to.
    agent_id: String,
    /// Whatever the agent put there.
    #[schema(value_type = Object)]
    state: JsonObject,
    /// When it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// Last replacement.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

/// The messages and states of a task, both by time.
#[derive(ToSchema)]
#[schema(as = ExportTaskResponse)]
#[expect(dead_code, reason = "read by the API document; the document itself is the use case's")]
pub(crate) struct ExportTaskBody {
    /// The task.
    task_id: String,
    /// Its messages.
    #[schema(required = false)]
    messages: Vec<SnapshotMessageBody>,
    /// Its states.
    #[schema(required = false)]
    task_states: Vec<SnapshotStateBody>,
}

/// Where to put a snapshot.
#[derive(ToSchema)]
#[schema(as = ExportTaskToUrlRequest)]
pub(crate) struct ExportTaskToUrlRequest {
    /// A presigned URL for PUT: https, at a public address.
    #[schema(format = "uri", min_length = 1, max_length = 8192)]
    pub(crate) upload_url: String,
}

impl RequestBody for ExportTaskToUrlRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { upload_url: fields.string("upload_url")? })
    }
}

/// What was put there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportTaskToUrlResponse)]
pub(crate) struct ExportTaskToUrlBody {
    /// The task.
    pub(crate) task_id: String,
    /// Where it was put, as it was given.
    pub(crate) upload_url: String,
    /// The length of the document.
    pub(crate) uploaded_bytes: u64,
    /// How many messages it holds.
    pub(crate) messages_count: u64,
    /// How many states it holds.
    pub(crate) task_states_count: u64,
}

/// When to clean a task.
#[derive(ToSchema)]
#[schema(as = CleanTaskRequest)]
pub(crate) struct CleanTaskRequest {
    /// Whether it may have been used recently. Running tasks and unprocessed events still count.
    #[schema(required = false, default = false)]
    force: bool,
    /// For how many days it must not have been used; ignored with `force`.
    #[schema(required = false, default = 7, minimum = 1)]
    idle_days: i64,
}

impl RequestBody for CleanTaskRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let force = fields.optional_bool("force").unwrap_or(false);
        let idle_days = fields.optional_integer("idle_days").unwrap_or(7);
        if idle_days < 1 {
            fields.problem("idle_days", "Input should be greater than or equal to 1");
        }
        Some(Self { force, idle_days: idle_days.min(MAX_IDLE_DAYS) })
    }
}

impl From<CleanTaskRequest> for CleanRequest {
    fn from(request: CleanTaskRequest) -> Self {
        let CleanTaskRequest { force, idle_days } = request;
        Self { force, idle_days }
    }
}

/// What a clean took away.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CleanTaskResponse)]
pub(crate) struct CleanTaskBody {
    /// The task.
    task_id: String,
    /// Since when its contents are gone.
    #[schema(value_type = String, format = DateTime)]
    cleaned_at: Timestamp,
    /// Messages deleted now.
    messages_deleted: u64,
    /// States deleted now.
    task_states_deleted: u64,
    /// Events deleted now.
    events_deleted: u64,
    /// Saved states of graphs deleted now.
    checkpoints_deleted: u64,
    /// Spans emptied now.
    spans_scrubbed: u64,
}

impl CleanTaskBody {
    pub(crate) fn new(task_id: TaskId, report: CleanReport) -> Self {
        let CleanReport { cleaned_at, counts } = report;
        Self {
            task_id: task_id.into_string(),
            cleaned_at,
            messages_deleted: counts.messages,
            task_states_deleted: counts.states,
            events_deleted: counts.events,
            checkpoints_deleted: counts.checkpoints,
            spans_scrubbed: counts.spans,
        }
    }
}

/// What to put back: either contents or the URL of a snapshot.
#[derive(ToSchema)]
#[schema(as = RehydrateTaskRequest)]
#[expect(dead_code, reason = "read by the API document; what is read is a RehydrateRequest")]
pub(crate) struct RehydrateTaskRequest {
    /// The task, as in the path.
    task_id: String,
    /// Its messages.
    #[schema(required = false)]
    messages: Vec<SnapshotMessageBody>,
    /// Its states.
    #[schema(required = false)]
    task_states: Vec<SnapshotStateBody>,
    /// A presigned URL for GET of an exported snapshot: https, at a public address.
    #[schema(format = "uri", min_length = 1, max_length = 8192)]
    snapshot_url: Option<String>,
}

/// The same as it is read.
pub(crate) struct RehydrateRequest {
    contents: SnapshotDraft,
    snapshot_url: Option<String>,
}

impl RequestBody for RehydrateRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let snapshot_url = fields.optional_string("snapshot_url");
        Some(Self { contents: SnapshotDraft::read(fields)?, snapshot_url })
    }
}

impl TryFrom<RehydrateRequest> for RehydrateFrom {
    type Error = ApiError;

    fn try_from(request: RehydrateRequest) -> Result<Self, ApiError> {
        let RehydrateRequest { contents, snapshot_url } = request;
        let is_inline = !contents.messages.is_empty() || !contents.states.is_empty();
        match snapshot_url {
            Some(_) if is_inline => {
                let text = "Provide inline content (messages/task_states) OR snapshot_url, not both.";
                Err(ApiError::problem("body", text))
            }
            Some(url) => Ok(Self::Url(url)),
            None if is_inline => Ok(Self::Inline(contents)),
            None => {
                let text = "Provide exactly one of: inline content (messages/task_states) or snapshot_url.";
                Err(ApiError::problem("body", text))
            }
        }
    }
}
