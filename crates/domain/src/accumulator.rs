use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Author, Delta, DeltaKind, JsonObject, MessageContent, Style};

/// Folds the fragments of one message into its content.
///
/// Fragments of one kind are joined in arrival order; reasoning is grouped by part. What a `start` content said about
/// style, format and attachments is kept.
#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    start: Option<MessageContent>,
    parts: Option<Parts>,
}

#[derive(Debug, Clone)]
enum Parts {
    Text(String),
    Data(String),
    ToolRequest { tool_call_id: String, name: String, arguments: String },
    ToolResponse { tool_call_id: String, name: String, content: String },
    Reasoning { summary: BTreeMap<i64, String>, content: BTreeMap<i64, String> },
}

/// Why fragments do not make a content. The texts reach callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Two kinds of fragments share one index.
    #[error("Delta type mismatch: {expected} != {found}")]
    Mismatch {
        /// The kind seen first.
        expected: &'static str,
        /// The kind that does not fit.
        found: &'static str,
    },
    /// The joined text of a data message is not a JSON object.
    #[error("Accumulated data content is not valid JSON: {0}")]
    Data(String),
    /// The joined arguments of a tool request are not a JSON object.
    #[error("Accumulated tool request arguments is not valid JSON: {0}")]
    Arguments(String),
}

impl Accumulator {
    /// Starts from what a `start` update held.
    #[must_use]
    pub const fn starting_with(content: MessageContent) -> Self {
        Self { start: Some(content), parts: None }
    }

    /// Remembers the content of a repeated `start` when there was none.
    pub fn start(&mut self, content: MessageContent) {
        self.start.get_or_insert(content);
    }

    /// Whether any fragment has been added.
    #[must_use]
    pub const fn has_fragments(&self) -> bool {
        self.parts.is_some()
    }

    /// Adds one fragment.
    ///
    /// # Errors
    /// [`FoldError::Mismatch`] when it is of another kind than those before; nothing is added then.
    pub fn add(&mut self, delta: &Delta) -> Result<(), FoldError> {
        let parts = self.parts.get_or_insert_with(|| Parts::empty_like(delta));
        let found = delta.type_name();
        match (parts, delta) {
            (Parts::Text(text), Delta::Text { text_delta }) => push(text, text_delta),
            (Parts::Data(text), Delta::Data { data_delta }) => push(text, data_delta),
            (Parts::ToolRequest { arguments, .. }, Delta::ToolRequest { arguments_delta, .. }) => {
                push(arguments, arguments_delta);
            }
            (Parts::ToolResponse { content, .. }, Delta::ToolResponse { content_delta, .. }) => {
                push(content, content_delta);
            }
            (Parts::Reasoning { summary, .. }, Delta::ReasoningSummary { summary_index, summary_delta }) => {
                push(summary.entry(*summary_index).or_default(), summary_delta);
            }
            (Parts::Reasoning { content, .. }, Delta::ReasoningContent { content_index, content_delta }) => {
                push(content.entry(*content_index).or_default(), content_delta);
            }
            (parts, _) => return Err(FoldError::Mismatch { expected: parts.type_name(), found }),
        }
        Ok(())
    }

    /// The content so far; `None` when there was neither a start content nor a fragment.
    ///
    /// # Errors
    /// The joined text of a data message or a tool request is not a JSON object. No text at all counts as `{}` for a
    /// tool request.
    pub fn content(&self) -> Result<Option<MessageContent>, FoldError> {
        let Some(parts) = &self.parts else { return Ok(self.start.clone()) };
        let (author, style) = match &self.start {
            Some(
                MessageContent::Text { author, style, .. }
                | MessageContent::Reasoning { author, style, .. }
                | MessageContent::Data { author, style, .. }
                | MessageContent::ToolRequest { author, style, .. }
                | MessageContent::ToolResponse { author, style, .. },
            ) => (*author, *style),
            None => (Author::Agent, Style::default()),
        };
        let content = match parts {
            Parts::Text(text) => {
                let mut content = MessageContent::text(author, text.clone());
                if let MessageContent::Text { style: kept_style, format, attachments, .. } = &mut content {
                    *kept_style = style;
                    if let Some(MessageContent::Text { format: f, attachments: a, .. }) = &self.start {
                        *format = *f;
                        attachments.clone_from(a);
                    }
                }
                content
            }
            Parts::Data(text) => {
                MessageContent::Data { author, style, data: parse_object(text).map_err(FoldError::Data)? }
            }
            Parts::ToolRequest { tool_call_id, name, arguments } => MessageContent::ToolRequest {
                author,
                style,
                tool_call_id: tool_call_id.clone(),
                name: name.clone(),
                arguments: match arguments.as_str() {
                    "" => JsonObject::new(),
                    text => parse_object(text).map_err(FoldError::Arguments)?,
                },
            },
            Parts::ToolResponse { tool_call_id, name, content } => MessageContent::ToolResponse {
                author,
                style,
                tool_call_id: tool_call_id.clone(),
                name: name.clone(),
                content: Value::String(content.clone()),
                is_error: None,
            },
            Parts::Reasoning { summary, content } => MessageContent::Reasoning {
                author,
                style,
                summary: summary.values().cloned().collect(),
                content: (!content.is_empty()).then(|| content.values().cloned().collect()),
            },
        };
        Ok(Some(content))
    }

    /// The content so far, whatever it takes: text that is not the JSON it should be is dropped in favour of the start
    /// content, so that a broken reply still leaves a readable message.
    #[must_use]
    pub fn salvage(&self) -> Option<MessageContent> {
        self.content().unwrap_or_else(|_| self.start.clone())
    }

    /// The content a message begins with when its first update is `delta`.
    #[must_use]
    pub fn initial_content(delta: &Delta) -> MessageContent {
        let (author, style) = (Author::Agent, Style::default());
        match delta {
            Delta::Text { text_delta } => MessageContent::text(author, text_delta.clone().unwrap_or_default()),
            Delta::Data { .. } => MessageContent::Data { author, style, data: JsonObject::new() },
            Delta::ToolRequest { tool_call_id, name, .. } => MessageContent::ToolRequest {
                author,
                style,
                tool_call_id: tool_call_id.clone(),
                name: name.clone(),
                arguments: JsonObject::new(),
            },
            Delta::ToolResponse { tool_call_id, name, content_delta } => MessageContent::ToolResponse {
                author,
                style,
                tool_call_id: tool_call_id.clone(),
                name: name.clone(),
                content: Value::String(content_delta.clone().unwrap_or_default()),
                is_error: None,
            },
            Delta::ReasoningSummary { summary_delta, .. } => MessageContent::Reasoning {
                author,
                style,
                summary: vec![summary_delta.clone().unwrap_or_default()],
                content: Some(Vec::new()),
            },
            Delta::ReasoningContent { content_delta, .. } => MessageContent::Reasoning {
                author,
                style,
                summary: Vec::new(),
                content: Some(vec![content_delta.clone().unwrap_or_default()]),
            },
        }
    }
}

impl Parts {
    fn empty_like(delta: &Delta) -> Self {
        match delta {
            Delta::Text { .. } => Self::Text(String::new()),
            Delta::Data { .. } => Self::Data(String::new()),
            Delta::ToolRequest { tool_call_id, name, .. } => {
                Self::ToolRequest { tool_call_id: tool_call_id.clone(), name: name.clone(), arguments: String::new() }
            }
            Delta::ToolResponse { tool_call_id, name, .. } => {
                Self::ToolResponse { tool_call_id: tool_call_id.clone(), name: name.clone(), content: String::new() }
            }
            Delta::ReasoningSummary { .. } | Delta::ReasoningContent { .. } => {
                Self::Reasoning { summary: BTreeMap::new(), content: BTreeMap::new() }
            }
        }
    }

    const fn kind(&self) -> DeltaKind {
        match self {
            Self::Text(_) => DeltaKind::Text,
            Self::Data(_) => DeltaKind::Data,
            Self::ToolRequest { .. } => DeltaKind::ToolRequest,
            Self::ToolResponse { .. } => DeltaKind::ToolResponse,
            Self::Reasoning { .. } => DeltaKind::Reasoning,
        }
    }

    const fn type_name(&self) -> &'static str {
        match self.kind() {
            DeltaKind::Text => "text",
            DeltaKind::Data => "data",
            DeltaKind::ToolRequest => "tool_request",
            DeltaKind::ToolResponse => "tool_response",
            DeltaKind::Reasoning => "reasoning",
        }
    }
}

fn push(text: &mut String, fragment: &Option<String>) {
    if let Some(fragment) = fragment {
        text.push_str(fragment);
    }
}

fn parse_object(text: &str) -> Result<JsonObject, String> {
    serde_json::from_str(text).map_err(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::TextFormat;

    fn text(fragment: &str) -> Delta {
        Delta::Text { text_delta: Some(fragment.to_owned()) }
    }

    fn fold(deltas: &[Delta]) -> Result<Option<Value>, FoldError> {
        let mut accumulator = Accumulator::default();
        for delta in deltas {
            accumulator.add(delta)?;
        }
        Ok(accumulator.content()?.map(|content| serde_json::to_value(content).unwrap()))
    }

    proptest! {
        #[test]
        fn text_is_the_join_of_its_fragments(fragments in prop::collection::vec(".{0,8}", 1..20)) {
            let deltas: Vec<Delta> = fragments.iter().map(|fragment| text(fragment)).collect();

            let content = fold(&deltas).unwrap().unwrap();
            prop_assert_eq!(&content["content"], &Value::from(fragments.concat()));
        }
    }

    #[test]
    fn style_format_and_attachments_of_the_start_are_kept() {
        let mut accumulator = Accumulator::starting_with(MessageContent::Text {
            author: Author::Agent,
            style: Style::Active,
            format: TextFormat::Markdown,
            content: "ignored".into(),
            attachments: None,
        });
        accumulator.add(&text("a")).unwrap();
        accumulator.add(&Delta::Text { text_delta: None }).unwrap();
        accumulator.add(&text("b")).unwrap();

        let content = serde_json::to_value(accumulator.content().unwrap()).unwrap();

        assert_eq!(
            (&content["style"], &content["format"], &content["content"]),
            (&json!("active"), &json!("markdown"), &json!("ab"))
        );
    }

    #[test]
    fn without_fragments_the_start_content_stands() {
        let start = MessageContent::text(Author::Agent, "kept");

        assert_eq!(Accumulator::starting_with(start.clone()).content(), Ok(Some(start)));
        assert_eq!(Accumulator::default().content(), Ok(None));
    }

    #[test]
    fn kinds_cannot_be_mixed_and_the_text_so_far_survives() {
        let mut accumulator = Accumulator::default();
        accumulator.add(&text("kept")).unwrap();

        let refused = accumulator.add(&Delta::Data { data_delta: Some("{}".into()) });

        assert_eq!(refused, Err(FoldError::Mismatch { expected: "text", found: "data" }));
        assert_eq!(accumulator.salvage(), Some(MessageContent::text(Author::Agent, "kept")));
    }

    /// rpc §7: 39
    #[test]
    fn reasoning_groups_by_part_and_allows_both_kinds() {
        let summary = |index, delta: &str| Delta::ReasoningSummary {
            summary_index: index,
            summary_delta: Some(delta.to_owned()),
        };
        let part = Delta::ReasoningContent { content_index: 0, content_delta: Some("c".into()) };

        let content = fold(&[summary(1, "b"), summary(0, "a1"), part, summary(0, "a2")]).unwrap().unwrap();

        assert_eq!(content["summary"], json!(["a1a2", "b"]));
        assert_eq!(content["content"], json!(["c"]));
    }

    #[test]
    fn tool_arguments_and_data_must_join_to_json_objects() {
        let request = |fragment: &str| Delta::ToolRequest {
            tool_call_id: "t".into(),
            name: "n".into(),
            arguments_delta: Some(fragment.to_owned()),
        };

        assert_eq!(fold(&[request("{\"a\""), request(": 1}")]).unwrap().unwrap()["arguments"], json!({"a": 1}));
        assert_eq!(fold(&[request("")]).unwrap().unwrap()["arguments"], json!({}));
        assert_eq!(fold(&[request("{")]), Err(FoldError::Arguments("{".into())));
        assert_eq!(
            fold(&[Delta::Data { data_delta: Some("[1]".into()) }]).unwrap_err().to_string(),
            "Accumulated data content is not valid JSON: [1]"
        );
    }
}
