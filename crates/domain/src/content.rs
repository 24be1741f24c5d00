use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::JsonObject;
use crate::input::{self, Fields, Problem, Problems};

/// What a message says. The JSON form carries the variant in `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageContent {
    /// Words.
    Text {
        /// Who says it.
        author: Author,
        /// How a reader shows it.
        #[serde(default)]
        style: Style,
        /// How the words are marked up.
        #[serde(default)]
        format: TextFormat,
        /// The words.
        content: String,
        /// Files that go with them, by reference.
        #[serde(default)]
        attachments: Option<Vec<Attachment>>,
    },
    /// What the agent thought.
    Reasoning {
        /// Who says it.
        author: Author,
        /// How a reader shows it.
        #[serde(default)]
        style: Style,
        /// Summaries, one per part.
        summary: Vec<String>,
        /// The full parts, when disclosed.
        #[serde(default)]
        content: Option<Vec<String>>,
    },
    /// A JSON document.
    Data {
        /// Who says it.
        author: Author,
        /// How a reader shows it.
        #[serde(default)]
        style: Style,
        /// The document.
        data: JsonObject,
    },
    /// A call the agent makes to a tool.
    ToolRequest {
        /// Who says it.
        author: Author,
        /// How a reader shows it.
        #[serde(default)]
        style: Style,
        /// Ties the response to the request.
        tool_call_id: String,
        /// The tool.
        name: String,
        /// What it is called with.
        arguments: JsonObject,
    },
    /// What the tool answered.
    ToolResponse {
        /// Who says it.
        author: Author,
        /// How a reader shows it.
        #[serde(default)]
        style: Style,
        /// Ties the response to the request.
        tool_call_id: String,
        /// The tool.
        name: String,
        /// The answer, any JSON.
        content: Value,
        /// Whether the tool failed, when it said so.
        #[serde(default)]
        is_error: Option<bool>,
    },
}

/// Who speaks. The server stores what the caller claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// A person, or whoever calls on one's behalf.
    User,
    /// The agent.
    Agent,
}

const AUTHORS: [(&str, Author); 2] = [("user", Author::User), ("agent", Author::Agent)];

/// How a reader shows a content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// As it is.
    #[default]
    Static,
    /// As something that goes on.
    Active,
}

const STYLES: [(&str, Style); 2] = [("static", Style::Static), ("active", Style::Active)];

/// How words are marked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextFormat {
    /// Markdown.
    Markdown,
    /// No mark-up.
    #[default]
    Plain,
    /// Source code.
    Code,
}

const FORMATS: [(&str, TextFormat); 3] =
    [("markdown", TextFormat::Markdown), ("plain", TextFormat::Plain), ("code", TextFormat::Code)];

/// A file kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Names the file in whatever keeps it; never checked here.
    pub file_id: String,
    /// For people.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Media type.
    #[serde(rename = "type")]
    pub media_type: String,
}

/// The variants by their `type`, in the order error texts list them.
pub(crate) const TYPES: [&str; 5] = ["text", "reasoning", "data", "tool_request", "tool_response"];

impl MessageContent {
    /// Reads a content that came from outside, collecting every problem under `path`.
    ///
    /// The SDK's reasoning content leaves `type` and `style` null, so a missing type is taken for `reasoning` when there
    /// is a `summary`, and a null style of reasoning for `static`; everywhere else both are errors.
    pub fn read(value: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let before = problems.len();
        let mut fields = Fields::open(value, path, problems)?;
        let kind = match fields.raw("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(_) => {
                fields.problem("type", input::NOT_A_STRING);
                return None;
            }
            None if fields.raw("summary").is_some() => "reasoning",
            None => {
                fields.problem("type", input::FIELD_REQUIRED);
                return None;
            }
        };
        let author = fields.choice("author", &AUTHORS);
        let style = match value.get("style") {
            None => Some(Style::default()),
            Some(Value::Null) if kind == "reasoning" => Some(Style::default()),
            Some(_) => fields.choice("style", &STYLES),
        };
        let content = match kind {
            "text" => {
                let content = fields.string("content");
                let format =
                    if fields.has("format") { fields.choice("format", &FORMATS) } else { Some(TextFormat::default()) };
                let attachments = read_attachments(&mut fields);
                Self::Text { author: author?, style: style?, format: format?, content: content?, attachments }
            }
            "reasoning" => {
                let summary = read_strings(&mut fields, "summary", true);
                let content = read_strings(&mut fields, "content", false);
                Self::Reasoning { author: author?, style: style?, summary: summary?, content }
            }
            "data" => {
                let data = fields.object("data");
                Self::Data { author: author?, style: style?, data: data? }
            }
            "tool_request" => {
                let (tool_call_id, name) = (fields.string("tool_call_id"), fields.string("name"));
                let arguments = fields.object("arguments");
                Self::ToolRequest {
                    author: author?,
                    style: style?,
                    tool_call_id: tool_call_id?,
                    name: name?,
                    arguments: arguments?,
                }
            }
            "tool_response" => {
                let (tool_call_id, name) = (fields.string("tool_call_id"), fields.string("name"));
                let content = fields.required("content");
                if content.is_some_and(input::has_nul) {
                    fields.problem("content", input::HAS_NUL);
                }
                let is_error = fields.optional_bool("is_error");
                Self::ToolResponse {
                    author: author?,
                    style: style?,
                    tool_call_id: tool_call_id?,
                    name: name?,
                    content: content?.clone(),
                    is_error,
                }
            }
            _ => {
                let expected: Vec<String> = TYPES.iter().map(|kind| format!("'{kind}'")).collect();
                let text = format!("Input tag does not match any of the expected tags: {}", expected.join(", "));
                fields.problem("type", text);
                return None;
            }
        };
        (problems.len() == before).then_some(content)
    }

    /// Reads a content that came from outside.
    ///
    /// # Errors
    /// Every problem found.
    pub fn from_json(value: &Value, path: &str) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        match Self::read(value, path, &mut problems) {
            Some(content) if problems.is_empty() => Ok(content),
            _ => Err(problems),
        }
    }

    /// A plain text said by `author`.
    #[must_use]
    pub fn text(author: Author, content: impl Into<String>) -> Self {
        Self::Text {
            author,
            style: Style::default(),
            format: TextFormat::default(),
            content: content.into(),
            attachments: None,
        }
    }

    /// The variant's `type`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Reasoning { .. } => "reasoning",
            Self::Data { .. } => "data",
            Self::ToolRequest { .. } => "tool_request",
            Self::ToolResponse { .. } => "tool_response",
        }
    }
}

fn read_strings(fields: &mut Fields<'_>, name: &str, required: bool) -> Option<Vec<String>> {
    let items = if required {
        fields.list(name)?
    } else {
        fields.raw(name)?;
        fields.list(name)?
    };
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item {
            Value::String(text) if text.contains('\0') => fields.problem(&format!("{name}.{index}"), input::HAS_NUL),
            Value::String(text) => texts.push(text.clone()),
            _ => fields.problem(&format!("{name}.{index}"), input::NOT_A_STRING),
        }
    }
    Some(texts)
}

fn read_attachments(fields: &mut Fields<'_>) -> Option<Vec<Attachment>> {
    fields.raw("attachments")?;
    let items = fields.list("attachments")?;
    let path = fields.path_of("attachments");
    let mut attachments = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Some(mut one) = Fields::open(item, format!("{path}.{index}"), fields.problems()) else { continue };
        let (file_id, name) = (one.string("file_id"), one.string("name"));
        let size = match one.required("size") {
            Some(Value::Number(size)) if size.is_i64() => size.as_i64(),
            Some(_) => {
                one.problem("size", input::NOT_AN_INTEGER);
                None
            }
            None => None,
        };
        if let (Some(file_id), Some(name), Some(size), Some(media_type)) = (file_id, name, size, one.string("type")) {
            attachments.push(Attachment { file_id, name, size, media_type });
        }
    }
    // An empty list is stored as "no attachments".
    (!attachments.is_empty()).then_some(attachments)
}

/// Reads a content inside a serde document that came from outside (agents' updates).
pub(crate) fn deserialize_lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageContent, D::Error> {
    let value = Value::deserialize(deserializer)?;
    MessageContent::from_json(&value, "content").map_err(|problems| {
        let texts: Vec<String> = problems.into_iter().map(|Problem { path, text }| format!("{path}: {text}")).collect();
        serde::de::Error::custom(texts.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(value: Value) -> Vec<String> {
        MessageContent::from_json(&value, "body.content").unwrap_err().into_iter().map(|p| p.path).collect()
    }

    #[test]
    fn each_variant_round_trips_with_defaults_filled() {
        let cases = [
            (
                json!({"type": "text", "author": "user", "content": "hi"}),
                json!({"type": "text", "author": "user", "style": "static", "format": "plain", "content": "hi", "attachments": null}),
            ),
            (
                json!({"type": "reasoning", "author": "agent", "summary": ["s"]}),
                json!({"type": "reasoning", "author": "agent", "style": "static", "summary": ["s"], "content": null}),
            ),
            (
                json!({"type": "data", "author": "user", "style": "active", "data": {"a": [1, null]}, "extra": 1}),
                json!({"type": "data", "author": "user", "style": "active", "data": {"a": [1, null]}}),
            ),
            (
                json!({"type": "tool_request", "author": "agent", "tool_call_id": "t", "name": "n", "arguments": {}}),
                json!({"type": "tool_request", "author": "agent", "style": "static", "tool_call_id": "t", "name": "n", "arguments": {}}),
            ),
            (
                json!({"type": "tool_response", "author": "agent", "tool_call_id": "t", "name": "n", "content": null}),
                json!({"type": "tool_response", "author": "agent", "style": "static", "tool_call_id": "t", "name": "n", "content": null, "is_error": null}),
            ),
        ];
        for (sent, stored) in cases {
            let content = MessageContent::from_json(&sent, "c").unwrap();
            let written = serde_json::to_value(&content).unwrap();
            assert_eq!(written, stored);
            assert_eq!(serde_json::from_value::<MessageContent>(written).unwrap(), content);
        }
    }

    #[test]
    fn wrong_contents_are_refused_with_the_place() {
        assert_eq!(problems(json!({"author": "user", "content": "x"})), ["body.content.type"]);
        assert_eq!(problems(json!({"type": "image", "author": "user"})), ["body.content.type"]);
        assert_eq!(problems(json!({"type": "text", "content": "x"})), ["body.content.author"]);
        assert_eq!(
            problems(json!({"type": "text", "author": "system"})),
            ["body.content.author", "body.content.content"]
        );
        assert_eq!(
            problems(json!({"type": "text", "author": "user", "style": null, "content": "x"})),
            ["body.content.style"]
        );
        assert_eq!(problems(json!({"type": "text", "author": "user", "content": "a\u{0}"})), ["body.content.content"]);
        assert_eq!(problems(json!({"type": "data", "author": "user", "data": {"k": "\u{0}"}})), ["body.content.data"]);
        assert_eq!(problems(json!("text")), ["body.content"]);
    }

    #[test]
    fn reasoning_may_leave_type_and_style_null_as_the_sdk_does() {
        let sent = json!({"type": null, "style": null, "author": "agent", "summary": [], "content": ["c"]});

        let content = MessageContent::from_json(&sent, "c").unwrap();

        assert_eq!(serde_json::to_value(content).unwrap()["style"], "static");
    }

    #[test]
    fn an_empty_attachment_list_is_none() {
        let with =
            |attachments: Value| json!({"type": "text", "author": "user", "content": "x", "attachments": attachments});
        let stored = |value| serde_json::to_value(MessageContent::from_json(&value, "c").unwrap()).unwrap();

        assert_eq!(stored(with(json!([])))["attachments"], Value::Null);
        let two = json!([
            {"file_id": "f", "name": "n", "size": 1, "type": "t"},
            {"file_id": "g", "name": "m", "size": 2, "type": "u"}
        ]);
        assert_eq!(stored(with(two.clone()))["attachments"], two);
        assert_eq!(
            problems(with(json!([{"file_id": "f", "name": "n", "size": "1", "type": "t"}]))),
            ["body.content.attachments.0.size"]
        );
    }
}
