use std::sync::Arc;

use agentex_domain::{Delta, Message, MessageContent, MessageUpdate};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A stored message together with its JSON, which goes out again with every fragment of it.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) message: Message,
    json: Box<RawValue>,
}

impl Parent {
    pub(super) fn new(message: Message) -> Arc<Self> {
        let json = serde_json::value::to_raw_value(&message).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Arc::new(Self { message, json })
    }
}

/// One step of a streamed reply with the stored message it belongs to. Serializes to the `result` of one line.
#[derive(Debug, Clone)]
pub struct TurnUpdate {
    pub(super) update: MessageUpdate,
    pub(super) parent: Option<Arc<Parent>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Start { index: Option<i64>, parent_task_message: Option<&'a RawValue>, content: &'a MessageContent },
    Delta { index: Option<i64>, parent_task_message: Option<&'a RawValue>, delta: Option<&'a Delta> },
    Full { index: Option<i64>, parent_task_message: Option<&'a RawValue>, content: &'a MessageContent },
    Done { index: Option<i64>, parent_task_message: Option<&'a RawValue> },
}

impl Serialize for TurnUpdate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parent_task_message = self.parent.as_ref().map(|parent| &*parent.json);
        let line = match &self.update {
            MessageUpdate::Start { index, content, .. } => Line::Start { index: *index, parent_task_message, content },
            MessageUpdate::Delta { index, delta, .. } => {
                Line::Delta { index: *index, parent_task_message, delta: delta.as_ref() }
            }
            MessageUpdate::Full { index, content, .. } => Line::Full { index: *index, parent_task_message, content },
            MessageUpdate::Done { index, .. } => Line::Done { index: *index, parent_task_message },
        };
        line.serialize(serializer)
    }
}
