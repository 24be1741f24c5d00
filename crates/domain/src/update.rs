use serde::{Deserialize, Serialize};

use crate::content::deserialize_lenient;
use crate::{Message, MessageContent};

/// One step of a streamed reply. `index` tells apart the messages of one turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MessageUpdate {
    /// A message begins.
    Start {
        /// Which message of the turn.
        #[serde(default)]
        index: Option<i64>,
        /// The stored message, added by the server.
        #[serde(default, skip_deserializing)]
        parent_task_message: Option<Message>,
        /// What it holds so far.
        #[serde(deserialize_with = "deserialize_lenient")]
        content: MessageContent,
    },
    /// A fragment.
    Delta {
        /// Which message of the turn.
        #[serde(default)]
        index: Option<i64>,
        /// The stored message, added by the server.
        #[serde(default, skip_deserializing)]
        parent_task_message: Option<Message>,
        /// The fragment; some agents send none.
        #[serde(default)]
        delta: Option<Delta>,
    },
    /// A complete message at once.
    Full {
        /// Which message of the turn.
        #[serde(default)]
        index: Option<i64>,
        /// The stored message, added by the server.
        #[serde(default, skip_deserializing)]
        parent_task_message: Option<Message>,
        /// All of it.
        #[serde(deserialize_with = "deserialize_lenient")]
        content: MessageContent,
    },
    /// A message is finished.
    Done {
        /// Which message of the turn.
        #[serde(default)]
        index: Option<i64>,
        /// The stored message, added by the server.
        #[serde(default, skip_deserializing)]
        parent_task_message: Option<Message>,
    },
}

impl MessageUpdate {
    /// Which message of the turn this is about.
    #[must_use]
    pub const fn index(&self) -> Option<i64> {
        match self {
            Self::Start { index, .. }
            | Self::Delta { index, .. }
            | Self::Full { index, .. }
            | Self::Done { index, .. } => *index,
        }
    }

    /// The same update with the stored message attached.
    #[must_use]
    pub fn with_parent(mut self, message: Option<Message>) -> Self {
        match &mut self {
            Self::Start { parent_task_message, .. }
            | Self::Delta { parent_task_message, .. }
            | Self::Full { parent_task_message, .. }
            | Self::Done { parent_task_message, .. } => *parent_task_message = message,
        }
        self
    }
}

/// A fragment of a message. The text members may be missing or null, which adds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta {
    /// More words.
    Text {
        /// The words.
        #[serde(default = "nothing")]
        text_delta: Option<String>,
    },
    /// More of a JSON document's text.
    Data {
        /// The text.
        #[serde(default = "nothing")]
        data_delta: Option<String>,
    },
    /// More of a tool call's arguments, as JSON text.
    ToolRequest {
        /// Ties the response to the request.
        tool_call_id: String,
        /// The tool.
        name: String,
        /// The text.
        #[serde(default = "nothing")]
        arguments_delta: Option<String>,
    },
    /// More of a tool's answer.
    ToolResponse {
        /// Ties the response to the request.
        tool_call_id: String,
        /// The tool.
        name: String,
        /// The text.
        #[serde(default = "nothing")]
        content_delta: Option<String>,
    },
    /// More of one reasoning summary.
    ReasoningSummary {
        /// Which summary.
        summary_index: i64,
        /// The words.
        #[serde(default = "nothing")]
        summary_delta: Option<String>,
    },
    /// More of one reasoning part.
    ReasoningContent {
        /// Which part.
        content_index: i64,
        /// The words.
        #[serde(default = "nothing")]
        content_delta: Option<String>,
    },
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn nothing() -> Option<String> {
    Some(String::new())
}

/// Which kind of message a delta belongs to: fragments of different kinds cannot share an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaKind {
    /// Text.
    Text,
    /// Data.
    Data,
    /// Tool request.
    ToolRequest,
    /// Tool response.
    ToolResponse,
    /// Reasoning, summaries and parts alike.
    Reasoning,
}

impl Delta {
    /// Which kind of message it belongs to.
    #[must_use]
    pub const fn kind(&self) -> DeltaKind {
        match self {
            Self::Text { .. } => DeltaKind::Text,
            Self::Data { .. } => DeltaKind::Data,
            Self::ToolRequest { .. } => DeltaKind::ToolRequest,
            Self::ToolResponse { .. } => DeltaKind::ToolResponse,
            Self::ReasoningSummary { .. } | Self::ReasoningContent { .. } => DeltaKind::Reasoning,
        }
    }

    /// The `type` of its JSON form.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Data { .. } => "data",
            Self::ToolRequest { .. } => "tool_request",
            Self::ToolResponse { .. } => "tool_response",
            Self::ReasoningSummary { .. } => "reasoning_summary",
            Self::ReasoningContent { .. } => "reasoning_content",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// streaming §8: 30, 31
    #[test]
    fn each_update_and_delta_has_the_documented_members() {
        let content = json!({"type": "text", "author": "agent", "style": "static", "format": "plain", "content": "", "attachments": null});
        let updates = [
            json!({"type": "start", "index": 0, "parent_task_message": null, "content": content}),
            json!({"type": "delta", "index": null, "parent_task_message": null, "delta": {"type": "text", "text_delta": "x"}}),
            json!({"type": "delta", "index": 1, "parent_task_message": null, "delta": {"type": "data", "data_delta": "{"}}),
            json!({"type": "delta", "index": 1, "parent_task_message": null, "delta":
                {"type": "tool_request", "tool_call_id": "t", "name": "n", "arguments_delta": "{"}}),
            json!({"type": "delta", "index": 1, "parent_task_message": null, "delta":
                {"type": "tool_response", "tool_call_id": "t", "name": "n", "content_delta": "r"}}),
            json!({"type": "delta", "index": 1, "parent_task_message": null, "delta":
                {"type": "reasoning_summary", "summary_index": 0, "summary_delta": "s"}}),
            json!({"type": "delta", "index": 1, "parent_task_message": null, "delta":
                {"type": "reasoning_content", "content_index": 2, "content_delta": null}}),
            json!({"type": "delta", "index": 1, "parent_task_message": null, "delta": null}),
            json!({"type": "full", "index": 3, "parent_task_message": null, "content": content}),
            json!({"type": "done", "index": 3, "parent_task_message": null}),
        ];
        for sent in updates {
            let update: MessageUpdate = serde_json::from_value(sent.clone()).unwrap();
            assert_eq!(serde_json::to_value(&update).unwrap(), sent);
        }
    }

    #[test]
    fn a_full_update_without_content_is_refused() {
        let read = |value: Value| serde_json::from_value::<MessageUpdate>(value);

        assert!(read(json!({"type": "full", "index": 0})).is_err());
        assert!(read(json!({"type": "full", "index": 0, "content": {"type": "image"}})).is_err());
        assert!(read(json!({"type": "later"})).is_err());
    }
}
