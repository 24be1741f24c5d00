//! The steps of a streamed reply, as the API document describes them; they are written by the use case.
#![expect(dead_code, reason = "read by the API document, never built")]

use utoipa::ToSchema;

use super::content::{DataTag, TaskMessageContent, TextTag, ToolRequestTag, ToolResponseTag};
use super::messages::TaskMessageBody;
use super::{choice, words};

words!(StartTag, "start", "Tells the variants apart.", ["start"]);
words!(DeltaTag, "delta", "Tells the variants apart.", ["delta"]);
words!(FullTag, "full", "Tells the variants apart.", ["full"]);
words!(DoneTag, "done", "Tells the variants apart.", ["done"]);
words!(ReasoningSummaryTag, "reasoning_summary", "Tells the variants apart.", ["reasoning_summary"]);
words!(ReasoningContentTag, "reasoning_content", "Tells the variants apart.", ["reasoning_content"]);

choice!(
    /// One step of a streamed reply.
    TaskMessageUpdate,
    OneOfBuilder,
    "One step of a streamed reply; `type` tells the variants apart.",
    [StreamTaskMessageStart, StreamTaskMessageDelta, StreamTaskMessageFull, StreamTaskMessageDone]
);

choice!(
    /// A fragment of a message.
    TaskMessageDelta,
    OneOfBuilder,
    "A fragment of a message; `type` tells the variants apart.",
    [TextDelta, DataDelta, ToolRequestDelta, ToolResponseDelta, ReasoningSummaryDelta, ReasoningContentDelta]
);

/// A message begins.
#[derive(ToSchema)]
pub(crate) struct StreamTaskMessageStart {
    #[schema(inline)]
    r#type: StartTag,
    /// Which message of the reply.
    index: Option<i64>,
    /// The stored message.
    parent_task_message: Option<TaskMessageBody>,
    content: TaskMessageContent,
}

/// A fragment.
#[derive(ToSchema)]
pub(crate) struct StreamTaskMessageDelta {
    #[schema(inline)]
    r#type: DeltaTag,
    /// Which message of the reply.
    index: Option<i64>,
    /// The stored message.
    parent_task_message: Option<TaskMessageBody>,
    delta: Option<TaskMessageDelta>,
}

/// A complete message at once.
#[derive(ToSchema)]
pub(crate) struct StreamTaskMessageFull {
    #[schema(inline)]
    r#type: FullTag,
    /// Which message of the reply.
    index: Option<i64>,
    /// The stored message.
    parent_task_message: Option<TaskMessageBody>,
    content: TaskMessageContent,
}

/// A message is finished.
#[derive(ToSchema)]
pub(crate) struct StreamTaskMessageDone {
    #[schema(inline)]
    r#type: DoneTag,
    /// Which message of the reply.
    index: Option<i64>,
    /// The stored message.
    parent_task_message: Option<TaskMessageBody>,
}

/// More words.
#[derive(ToSchema)]
pub(crate) struct TextDelta {
    #[schema(inline)]
    r#type: TextTag,
    /// The words.
    text_delta: Option<String>,
}

/// More of a JSON document's text.
#[derive(ToSchema)]
pub(crate) struct DataDelta {
    #[schema(inline)]
    r#type: DataTag,
    /// The text.
    data_delta: Option<String>,
}

/// More of a tool call's arguments.
#[derive(ToSchema)]
pub(crate) struct ToolRequestDelta {
    #[schema(inline)]
    r#type: ToolRequestTag,
    /// Ties the response to the request.
    tool_call_id: String,
    /// The tool.
    name: String,
    /// JSON text.
    arguments_delta: Option<String>,
}

/// More of a tool's answer.
#[derive(ToSchema)]
pub(crate) struct ToolResponseDelta {
    #[schema(inline)]
    r#type: ToolResponseTag,
    /// Ties the response to the request.
    tool_call_id: String,
    /// The tool.
    name: String,
    /// The text.
    content_delta: Option<String>,
}

/// More of one reasoning summary.
#[derive(ToSchema)]
pub(crate) struct ReasoningSummaryDelta {
    #[schema(inline)]
    r#type: ReasoningSummaryTag,
    /// Which summary.
    summary_index: i64,
    /// The words.
    summary_delta: Option<String>,
}

/// More of one reasoning part.
#[derive(ToSchema)]
pub(crate) struct ReasoningContentDelta {
    #[schema(inline)]
    r#type: ReasoningContentTag,
    /// Which part.
    content_index: i64,
    /// The words.
    content_delta: Option<String>,
}
