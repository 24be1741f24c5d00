//! What messages say. The domain's content serializes to exactly this (a test holds the two together), so these types
//! only describe it.
#![expect(dead_code, reason = "read by the API document, never built")]

use utoipa::ToSchema;

use super::{choice, words};

words!(MessageAuthor, "MessageAuthor", "Who speaks.", ["user", "agent"]);
words!(MessageStyle, "MessageStyle", "How a reader shows a content.", ["static", "active"]);
words!(TextFormat, "TextFormat", "How words are marked up.", ["markdown", "plain", "code"]);
words!(TextTag, "text", "Tells the variants apart.", ["text"]);
words!(ReasoningTag, "reasoning", "Tells the variants apart.", ["reasoning"]);
words!(DataTag, "data", "Tells the variants apart.", ["data"]);
words!(ToolRequestTag, "tool_request", "Tells the variants apart.", ["tool_request"]);
words!(ToolResponseTag, "tool_response", "Tells the variants apart.", ["tool_response"]);

choice!(
    /// What a message says.
    TaskMessageContent,
    OneOfBuilder,
    "What a message says; `type` tells the variants apart.",
    [TextContent, ReasoningContent, DataContent, ToolRequestContent, ToolResponseContent]
);

/// Words.
#[derive(ToSchema)]
pub(crate) struct TextContent {
    #[schema(inline)]
    r#type: TextTag,
    author: MessageAuthor,
    /// `static` when left out.
    #[schema(required = false, default = "static")]
    style: MessageStyle,
    /// `plain` when left out.
    #[schema(required = false, default = "plain")]
    format: TextFormat,
    /// The words.
    content: String,
    /// Files that go with them.
    attachments: Option<Vec<FileAttachment>>,
}

/// A file kept elsewhere.
#[derive(ToSchema)]
pub(crate) struct FileAttachment {
    /// Names the file in whatever keeps it.
    file_id: String,
    /// For people.
    name: String,
    /// Bytes.
    size: i64,
    /// Media type.
    r#type: String,
}

/// What the agent thought.
#[derive(ToSchema)]
pub(crate) struct ReasoningContent {
    #[schema(inline)]
    r#type: ReasoningTag,
    author: MessageAuthor,
    /// `static` when left out.
    #[schema(required = false, default = "static")]
    style: MessageStyle,
    /// Summaries, one per part.
    summary: Vec<String>,
    /// The full parts, when disclosed.
    content: Option<Vec<String>>,
}

/// A JSON document.
#[derive(ToSchema)]
pub(crate) struct DataContent {
    #[schema(inline)]
    r#type: DataTag,
    author: MessageAuthor,
    /// `static` when left out.
    #[schema(required = false, default = "static")]
    style: MessageStyle,
    /// The document.
    #[schema(value_type = Object)]
    data: (),
}

/// A call the agent makes to a tool.
#[derive(ToSchema)]
pub(crate) struct ToolRequestContent {
    #[schema(inline)]
    r#type: ToolRequestTag,
    author: MessageAuthor,
    /// `static` when left out.
    #[schema(required = false, default = "static")]
    style: MessageStyle,
    /// Ties the response to the request.
    tool_call_id: String,
    /// The tool.
    name: String,
    /// What it is called with.
    #[schema(value_type = Object)]
    arguments: (),
}

/// What the tool answered.
#[derive(ToSchema)]
pub(crate) struct ToolResponseContent {
    #[schema(inline)]
    r#type: ToolResponseTag,
    author: MessageAuthor,
    /// `static` when left out.
    #[schema(required = false, default = "static")]
    style: MessageStyle,
    /// Ties the response to the request.
    tool_call_id: String,
    /// The tool.
    name: String,
    /// The answer, any JSON.
    content: serde_json::Value,
    /// Whether the tool failed, when it said so.
    is_error: Option<bool>,
}

#[cfg(test)]
mod tests {
    use agentex_domain::MessageContent;
    use serde_json::{Value, json};
    use utoipa::PartialSchema;

    use super::*;

    /// The names of the properties a type describes.
    fn described<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let mut names: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    }

    fn written(sent: Value) -> Vec<String> {
        let content = MessageContent::from_json(&sent, "c").unwrap();
        let mut names: Vec<String> =
            serde_json::to_value(content).unwrap().as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    }

    #[test]
    fn each_variant_is_described_as_it_is_written() {
        assert_eq!(described::<TextContent>(), written(json!({"type": "text", "author": "user", "content": "x"})));
        assert_eq!(
            described::<ReasoningContent>(),
            written(json!({"type": "reasoning", "author": "agent", "summary": []}))
        );
        assert_eq!(described::<DataContent>(), written(json!({"type": "data", "author": "user", "data": {}})));
        let call =
            json!({"type": "tool_request", "author": "agent", "tool_call_id": "t", "name": "n", "arguments": {}});
        assert_eq!(described::<ToolRequestContent>(), written(call));
        let answer =
            json!({"type": "tool_response", "author": "agent", "tool_call_id": "t", "name": "n", "content": null});
        assert_eq!(described::<ToolResponseContent>(), written(answer));
    }
}
