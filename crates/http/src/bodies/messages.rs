use std::collections::HashMap;
use std::fmt;

use agentex_app::NewMessage;
use agentex_domain::input::{self, Fields};
use agentex_domain::{Message, MessageContent, MessageId, MessagePage, StreamingStatus, TaskId, Timestamp};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::content::TaskMessageContent;
use super::words;
use crate::cursor;
use crate::extract::{IdentifierFields as _, RequestBody};

words!(
    StreamingStatusWords,
    "StreamingStatus",
    "Whether a message is still being written.",
    StreamingStatus::ALL.map(|(word, _)| word)
);

words!(TimeDirectionWords, "TimeDirection", "Which side of a cursor to read.", ["older", "newer"]);

/// A message of a task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TaskMessage)]
pub(crate) struct TaskMessageBody {
    /// Server-made id.
    #[schema(value_type = Option<String>)]
    id: String,
    /// The task it belongs to.
    task_id: String,
    #[schema(value_type = TaskMessageContent)]
    content: MessageContent,
    #[schema(value_type = Option<StreamingStatusWords>)]
    streaming_status: Option<StreamingStatus>,
    /// When it was made, or the time its writer gave.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Timestamp,
    /// Last change.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Message> for TaskMessageBody {
    fn from(message: Message) -> Self {
        let Message { id, task_id, content, streaming_status, created_at, updated_at } = message;
        Self { id: id.into_string(), task_id: task_id.into_string(), content, streaming_status, created_at, updated_at }
    }
}

/// One page of messages.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaginatedMessagesResponse)]
pub(crate) struct MessagePageBody {
    /// Newest first.
    data: Vec<TaskMessageBody>,
    /// Continues in the same direction; null at the end.
    next_cursor: Option<String>,
    /// Whether there is more in this direction.
    #[schema(required = false)]
    has_more: bool,
}

impl From<MessagePage> for MessagePageBody {
    fn from(page: MessagePage) -> Self {
        let MessagePage { messages, next } = page;
        Self {
            data: messages.into_iter().map(TaskMessageBody::from).collect(),
            has_more: next.is_some(),
            next_cursor: next.as_ref().map(cursor::encode),
        }
    }
}

/// A message to store.
#[derive(ToSchema)]
#[schema(as = CreateTaskMessageRequest)]
pub(crate) struct CreateMessageRequest {
    /// The task it belongs to.
    #[schema(value_type = String)]
    task_id: TaskId,
    #[schema(value_type = TaskMessageContent)]
    content: MessageContent,
    #[schema(value_type = Option<StreamingStatusWords>)]
    streaming_status: Option<StreamingStatus>,
    /// The writer's own clock, which then counts instead of the server's.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
}

impl RequestBody for CreateMessageRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let task_id = fields.identifier("task_id").map(TaskId::from);
        let content = content(fields, "content");
        let streaming_status = fields.optional_choice("streaming_status", &StreamingStatus::ALL);
        let created_at = fields.optional_timestamp("created_at");
        Some(Self { task_id: task_id?, content: content?, streaming_status, created_at })
    }
}

impl From<CreateMessageRequest> for NewMessage {
    fn from(request: CreateMessageRequest) -> Self {
        let CreateMessageRequest { task_id, content, streaming_status, created_at } = request;
        Self { task_id, content, streaming_status, created_at }
    }
}

/// Several messages to store, all or none.
#[derive(ToSchema)]
#[schema(as = BatchCreateTaskMessagesRequest)]
pub(crate) struct CreateMessagesRequest {
    /// The task they belong to.
    #[schema(value_type = String)]
    pub(crate) task_id: TaskId,
    /// What they say, in order.
    #[schema(value_type = Vec<TaskMessageContent>)]
    pub(crate) contents: Vec<MessageContent>,
    /// When the first was made; the others follow a millisecond apart.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) created_at: Option<Timestamp>,
}

impl RequestBody for CreateMessagesRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let task_id = fields.identifier("task_id").map(TaskId::from);
        let path = fields.path_of("contents");
        let contents = fields.list("contents").map(|items| {
            let read = |(index, item)| MessageContent::read(item, &format!("{path}.{index}"), fields.problems());
            items.iter().enumerate().filter_map(read).collect()
        });
        let created_at = fields.optional_timestamp("created_at");
        Some(Self { task_id: task_id?, contents: contents?, created_at })
    }
}

/// A new content for a message.
#[derive(ToSchema)]
#[schema(as = UpdateTaskMessageRequest)]
pub(crate) struct UpdateMessageRequest {
    /// The task it belongs to.
    #[schema(value_type = String)]
    pub(crate) task_id: TaskId,
    #[schema(value_type = TaskMessageContent)]
    pub(crate) content: MessageContent,
    #[schema(value_type = Option<StreamingStatusWords>)]
    pub(crate) streaming_status: Option<StreamingStatus>,
}

impl RequestBody for UpdateMessageRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let task_id = fields.identifier("task_id").map(TaskId::from);
        let content = content(fields, "content");
        let streaming_status = fields.optional_choice("streaming_status", &StreamingStatus::ALL);
        Some(Self { task_id: task_id?, content: content?, streaming_status })
    }
}

/// New contents for several messages of one task, all or none.
#[derive(ToSchema)]
#[schema(as = BatchUpdateTaskMessagesRequest)]
pub(crate) struct UpdateMessagesRequest {
    /// The task they belong to.
    #[schema(value_type = String)]
    pub(crate) task_id: TaskId,
    /// Message id to new content.
    #[schema(value_type = std::collections::HashMap<String, TaskMessageContent>)]
    pub(crate) updates: Vec<(MessageId, MessageContent)>,
}

impl RequestBody for UpdateMessagesRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let task_id = fields.identifier("task_id").map(TaskId::from);
        let path = fields.path_of("updates");
        let updates = match fields.required("updates") {
            Some(Value::Object(members)) => {
                let mut updates = Vec::with_capacity(members.len());
                for (index, (id, item)) in members.iter().enumerate() {
                    // Numbered, since the keys are the caller's and are not repeated in error texts.
                    let at = format!("{path}.{index}");
                    if id.contains('\0') {
                        fields.problem(&format!("updates.{index}"), input::HAS_NUL);
                    }
                    if let Some(content) = MessageContent::read(item, &at, fields.problems()) {
                        updates.push((MessageId::from(id.as_str()), content));
                    }
                }
                Some(updates)
            }
            Some(_) => {
                fields.problem("updates", input::NOT_AN_OBJECT);
                None
            }
            None => None,
        };
        Some(Self { task_id: task_id?, updates: updates? })
    }
}

impl UpdateMessagesRequest {
    /// Puts the updates in the order of `text`, the JSON they were read from: parsed objects do not keep it, and the
    /// answer must have it.
    pub(crate) fn in_order_of(mut self, text: &[u8]) -> Self {
        if let Ok(Ordered { updates: Keys(keys) }) = serde_json::from_slice(text) {
            self.updates.sort_by_cached_key(|(id, _)| keys.get(id.as_str()).copied());
        }
        self
    }
}

#[derive(Deserialize)]
struct Ordered {
    updates: Keys,
}

/// The keys of a JSON object and their places in the text.
struct Keys(HashMap<String, usize>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Keys, A::Error> {
                let mut keys = HashMap::new();
                while let Some((key, IgnoredAny)) = members.next_entry()? {
                    let place = keys.len();
                    keys.entry(key).or_insert(place);
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(KeysVisitor)
    }
}

/// A required content.
pub(super) fn content(fields: &mut Fields<'_>, name: &str) -> Option<MessageContent> {
    let path = fields.path_of(name);
    let value = fields.required(name)?;
    MessageContent::read(value, &path, fields.problems())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_keep_the_order_they_were_written_in() {
        let content = || MessageContent::text(agentex_domain::Author::User, "x");
        let request = UpdateMessagesRequest {
            task_id: TaskId::from("t"),
            updates: ["a", "b", "c"].map(|id| (MessageId::from(id), content())).into(),
        };

        let ordered = request.in_order_of(br#"{"updates": {"c": 1, "a": {}, "b": []}, "task_id": "t"}"#);

        let ids: Vec<&str> = ordered.updates.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["c", "a", "b"]);
    }
}
