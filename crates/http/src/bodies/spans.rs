use agentex_app::NewSpan;
use agentex_domain::input::{FIELD_REQUIRED, Fields, HAS_NUL, NOT_A_DATETIME, has_nul};
use agentex_domain::{Span, SpanChange, SpanData, SpanId, TaskId, Timestamp};
use serde::Serialize;
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::extract::{IdentifierFields as _, RequestBody};

const NOT_CARRIED: &str = "Input should be a valid dictionary or a list of valid dictionaries";

/// Describes what a span carries.
pub(crate) enum SpanDataSchema {}

impl PartialSchema for SpanDataSchema {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .description(Some("One object or a list of objects."))
            .item(ObjectBuilder::new())
            .item(ArrayBuilder::new().items(ObjectBuilder::new()))
            .into()
    }
}

impl ToSchema for SpanDataSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "SpanData".into()
    }
}

/// One step of an agent's work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Span)]
pub(crate) struct SpanBody {
    /// The reporter's id, or a server-made one.
    id: String,
    /// What groups spans.
    trace_id: String,
    /// The task it belongs to.
    task_id: Option<String>,
    /// The span it is a part of.
    parent_id: Option<String>,
    /// What is done.
    name: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    start_time: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_time: Option<Timestamp>,
    /// What it was given.
    #[schema(value_type = Option<SpanDataSchema>)]
    input: Option<SpanData>,
    /// What came of it.
    #[schema(value_type = Option<SpanDataSchema>)]
    output: Option<SpanData>,
    /// Anything else.
    #[schema(value_type = Option<SpanDataSchema>)]
    data: Option<SpanData>,
}

impl From<Span> for SpanBody {
    fn from(span: Span) -> Self {
        let Span { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = span;
        Self {
            id: id.into_string(),
            trace_id,
            task_id: task_id.map(TaskId::into_string),
            parent_id,
            name,
            start_time,
            end_time,
            input,
            output,
            data,
        }
    }
}

/// A span to store.
#[derive(ToSchema)]
#[schema(as = CreateSpanRequest)]
pub(crate) struct CreateSpanRequest {
    /// The reporter's own id for it; one is made when there is none.
    #[schema(value_type = Option<String>)]
    id: Option<SpanId>,
    /// What groups spans.
    trace_id: String,
    /// The task it belongs to.
    #[schema(value_type = Option<String>)]
    task_id: Option<TaskId>,
    /// The span it is a part of.
    parent_id: Option<String>,
    /// What is done.
    name: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    start_time: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_time: Option<Timestamp>,
    /// What it was given.
    #[schema(value_type = Option<SpanDataSchema>)]
    input: Option<SpanData>,
    /// What came of it.
    #[schema(value_type = Option<SpanDataSchema>)]
    output: Option<SpanData>,
    /// Anything else.
    #[schema(value_type = Option<SpanDataSchema>)]
    data: Option<SpanData>,
}

impl RequestBody for CreateSpanRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = fields.optional_name("id").map(SpanId::from);
        let trace_id = fields.string("trace_id");
        let task_id = fields.optional_identifier("task_id").map(TaskId::from);
        let parent_id = fields.optional_string("parent_id");
        let name = fields.string("name");
        let start_time = timestamp(fields, "start_time");
        let end_time = fields.optional_timestamp("end_time");
        let (input, output, data) = (carried(fields, "input"), carried(fields, "output"), carried(fields, "data"));
        Some(Self {
            id,
            trace_id: trace_id?,
            task_id,
            parent_id,
            name: name?,
            start_time: start_time?,
            end_time,
            input,
            output,
            data,
        })
    }
}

impl From<CreateSpanRequest> for NewSpan {
    fn from(request: CreateSpanRequest) -> Self {
        let CreateSpanRequest { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } =
            request;
        Self { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data }
    }
}

/// A change of a span; what is absent or null stays.
#[derive(ToSchema)]
#[schema(as = UpdateSpanRequest)]
pub(crate) struct UpdateSpanRequest {
    /// Puts it into another trace.
    trace_id: Option<String>,
    /// Moves it to another task.
    #[schema(value_type = Option<String>)]
    task_id: Option<TaskId>,
    /// Makes it a part of another span.
    parent_id: Option<String>,
    /// Renames it.
    name: Option<String>,
    /// When it began after all.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_time: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_time: Option<Timestamp>,
    /// Replaces what it was given.
    #[schema(value_type = Option<SpanDataSchema>)]
    input: Option<SpanData>,
    /// Replaces what came of it.
    #[schema(value_type = Option<SpanDataSchema>)]
    output: Option<SpanData>,
    /// Two objects are merged by top-level key; anything else is replaced.
    #[schema(value_type = Option<SpanDataSchema>)]
    data: Option<SpanData>,
}

impl RequestBody for UpdateSpanRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            trace_id: fields.optional_string("trace_id"),
            task_id: fields.optional_identifier("task_id").map(TaskId::from),
            parent_id: fields.optional_string("parent_id"),
            name: fields.optional_string("name"),
            start_time: fields.optional_timestamp("start_time"),
            end_time: fields.optional_timestamp("end_time"),
            input: carried(fields, "input"),
            output: carried(fields, "output"),
            data: carried(fields, "data"),
        })
    }
}

impl From<UpdateSpanRequest> for SpanChange {
    fn from(request: UpdateSpanRequest) -> Self {
        let UpdateSpanRequest { trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } =
            request;
        Self { trace_id, task_id, parent_id, name, start_time, end_time, input, output, data }
    }
}

/// A timestamp that must be there.
fn timestamp(fields: &mut Fields<'_>, name: &str) -> Option<Timestamp> {
    if fields.raw(name).is_none() {
        let text = if fields.has(name) { NOT_A_DATETIME } else { FIELD_REQUIRED };
        fields.problem(name, text);
    }
    fields.optional_timestamp(name)
}

/// What a span carries in one place, if anything.
fn carried(fields: &mut Fields<'_>, name: &str) -> Option<SpanData> {
    let value = fields.raw(name)?;
    if has_nul(value) {
        fields.problem(name, HAS_NUL);
        return None;
    }
    let data = serde_json::from_value(value.clone()).ok();
    if data.is_none() {
        fields.problem(name, NOT_CARRIED);
    }
    data
}
