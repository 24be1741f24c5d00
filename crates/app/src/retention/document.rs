use agentex_domain::input::{Fields, Problem, Problems};
use agentex_domain::ports::SnapshotPage;
use agentex_domain::{
    AgentId, JsonObject, Message, MessageContent, MessageId, Snapshot, StateId, StreamingStatus, TaskId, TaskState,
    Timestamp,
};
use serde::Serialize;
use serde_json::Value;

use crate::Error;

/// Longest id that contents may bring along.
const MAX_ID_BYTES: usize = 64;

/// A snapshot as somebody else wrote it: complete where it says something, and not yet known to be of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SnapshotDraft {
    /// The task it says it is of.
    pub task_id: String,
    /// Messages, in order.
    pub messages: Vec<MessageDraft>,
    /// States, in order.
    pub states: Vec<StateDraft>,
}

/// A message of a [`SnapshotDraft`].
#[derive(Debug, Clone, PartialEq)]
pub struct MessageDraft {
    /// Its id, unless a new one is to be made.
    pub id: Option<String>,
    /// The task it says it is of.
    pub task_id: String,
    /// What it says.
    pub content: MessageContent,
    /// Whether it was still being written.
    pub streaming_status: Option<StreamingStatus>,
    /// When it was made, unless that is now.
    pub created_at: Option<Timestamp>,
    /// When it was last changed, unless that is now.
    pub updated_at: Option<Timestamp>,
}

/// A state of a [`SnapshotDraft`].
#[derive(Debug, Clone, PartialEq)]
pub struct StateDraft {
    /// Its id, unless a new one is to be made.
    pub id: Option<String>,
    /// The task it says it is of.
    pub task_id: String,
    /// Whose it is.
    pub agent_id: String,
    /// What was remembered.
    pub state: JsonObject,
    /// When it was made, unless that is now.
    pub created_at: Option<Timestamp>,
    /// When it was last changed, unless that is now.
    pub updated_at: Option<Timestamp>,
}

impl SnapshotDraft {
    /// Reads the members of a snapshot, noting every problem. Lists that are absent are empty.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let task_id = fields.string("task_id");
        let messages = items(fields, "messages", MessageDraft::read);
        let states = items(fields, "task_states", StateDraft::read);
        Some(Self { task_id: task_id?, messages: messages?, states: states? })
    }

    /// Reads a whole document; otherwise says what is wrong with it, never what it holds.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(document).map_err(|_| "it is not JSON".to_owned())?;
        let mut problems = Problems::new();
        let read = Fields::open(&value, "snapshot", &mut problems).and_then(|mut fields| Self::read(&mut fields));
        match (read, problems.first()) {
            (Some(draft), None) => Ok(draft),
            (_, Some(Problem { path, text })) => Err(format!("{path}: {text}")),
            (None, None) => Err("it cannot be read".to_owned()),
        }
    }

    /// The snapshot of `task_id`, complete: what is missing is made up as of `now`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the first item that is of another task.
    pub(crate) fn into_snapshot(self, task_id: &TaskId, now: Timestamp) -> Result<Snapshot, Error> {
        let Self { task_id: stated, messages, states } = self;
        let of_task = |what: &str, stated: &str| {
            if stated == task_id.as_str() {
                Ok(())
            } else {
                Err(Error::Invalid(format!(
                    "Snapshot {what}task_id ({stated}) does not match path task_id ({task_id})"
                )))
            }
        };
        of_task("", &stated)?;
        for (index, message) in messages.iter().enumerate() {
            of_task(&format!("message[{index}] "), &message.task_id)?;
        }
        for (index, state) in states.iter().enumerate() {
            of_task(&format!("task_states[{index}] "), &state.task_id)?;
        }
        Ok(Snapshot {
            task_id: task_id.clone(),
            messages: messages.into_iter().map(|message| message.into_message(now)).collect(),
            states: states.into_iter().map(|state| state.into_state(now)).collect(),
        })
    }
}

impl MessageDraft {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = item_id(fields);
        let task_id = fields.string("task_id");
        let path = fields.path_of("content");
        let content =
            fields.required("content").and_then(|content| MessageContent::read(content, &path, fields.problems()));
        let streaming_status = fields.optional_choice("streaming_status", &StreamingStatus::ALL);
        let created_at = fields.optional_timestamp("created_at");
        let updated_at = fields.optional_timestamp("updated_at");
        Some(Self { id, task_id: task_id?, content: content?, streaming_status, created_at, updated_at })
    }

    fn into_message(self, now: Timestamp) -> Message {
        let Self { id, task_id, content, streaming_status, created_at, updated_at } = self;
        Message {
            id: id.map_or_else(MessageId::generate, MessageId::from),
            task_id: task_id.into(),
            content,
            streaming_status,
            created_at: created_at.unwrap_or(now),
            updated_at: updated_at.unwrap_or(now),
        }
    }
}

impl StateDraft {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = item_id(fields);
        let task_id = fields.string("task_id");
        let agent_id = fields.string("agent_id");
        let state = fields.object("state");
        let created_at = fields.optional_timestamp("created_at");
        let updated_at = fields.optional_timestamp("updated_at");
        Some(Self { id, task_id: task_id?, agent_id: agent_id?, state: state?, created_at, updated_at })
    }

    fn into_state(self, now: Timestamp) -> TaskState {
        let Self { id, task_id, agent_id, state, created_at, updated_at } = self;
        TaskState {
            id: id.map_or_else(StateId::generate, StateId::from),
            task_id: task_id.into(),
            agent_id: AgentId::from(agent_id),
            state,
            created_at: created_at.unwrap_or(now),
            updated_at: updated_at.unwrap_or(now),
        }
    }
}

/// The objects of a list that may be absent.
fn items<T>(fields: &mut Fields<'_>, name: &str, read: impl Fn(&mut Fields<'_>) -> Option<T>) -> Option<Vec<T>> {
    let path = fields.path_of(name);
    if fields.raw(name).is_none() && !fields.has(name) {
        return Some(Vec::new());
    }
    let list = fields.list(name)?;
    let problems = fields.problems();
    let read = |(index, item): (usize, &Value)| {
        Fields::open(item, format!("{path}.{index}"), problems).and_then(|mut fields| read(&mut fields))
    };
    Some(list.iter().enumerate().filter_map(read).collect())
}

/// An id that may be absent. Ids end up in paths and logs, so what they are made of is limited.
fn item_id(fields: &mut Fields<'_>) -> Option<String> {
    let id = fields.optional_string("id")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(plain) {
        return Some(id);
    }
    fields.problem("id", "String should be an id of 1 to 64 letters, digits, hyphens and underscores");
    None
}

/// A state as it stands in the document. Messages stand there as they are.
#[derive(Serialize)]
struct StateItem<'a> {
    id: &'a str,
    task_id: &'a str,
    agent_id: &'a str,
    state: &'a JsonObject,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Writes the document of a task's contents piece by piece.
#[derive(Debug, Default)]
pub(crate) struct SnapshotWriter {
    messages: u64,
    states: u64,
}

impl SnapshotWriter {
    pub(crate) const fn messages(&self) -> u64 {
        self.messages
    }

    pub(crate) const fn states(&self) -> u64 {
        self.states
    }

    pub(crate) fn begin(task_id: &TaskId) -> Vec<u8> {
        let mut text = b"{\"task_id\":".to_vec();
        push(&mut text, task_id);
        text.extend_from_slice(b",\"messages\":[");
        text
    }

    /// The next piece. All messages come before all states.
    pub(crate) fn page(&mut self, page: &SnapshotPage) -> Vec<u8> {
        let mut text = Vec::new();
        match page {
            SnapshotPage::Messages(messages) => {
                for message in messages {
                    separate(&mut text, self.messages);
                    self.messages += 1;
                    push(&mut text, message);
                }
            }
            SnapshotPage::States(states) => {
                for state in states {
                    if self.states == 0 {
                        text.extend_from_slice(STATES);
                    }
                    separate(&mut text, self.states);
                    self.states += 1;
                    let TaskState { id, task_id, agent_id, state, created_at, updated_at } = state;
                    push(
                        &mut text,
                        &StateItem {
                            id: id.as_str(),
                            task_id: task_id.as_str(),
                            agent_id: agent_id.as_str(),
                            state,
                            created_at: *created_at,
                            updated_at: *updated_at,
                        },
                    );
                }
            }
        }
        text
    }

    pub(crate) fn end(&self) -> Vec<u8> {
        let mut text = if self.states == 0 { STATES.to_vec() } else { Vec::new() };
        text.extend_from_slice(b"]}");
        text
    }
}

const STATES: &[u8] = b"],\"task_states\":[";

fn separate(text: &mut Vec<u8>, before: u64) {
    if before > 0 {
        text.push(b',');
    }
}

fn push(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value).expect("entities hold string keys and finite numbers only");
}

#[cfg(test)]
mod tests {
    use agentex_domain::input::HAS_NUL;
    use serde_json::json;

    use super::*;
    use crate::testing::at;

    fn parsed(document: Value) -> Result<SnapshotDraft, String> {
        SnapshotDraft::parse(document.to_string().as_bytes())
    }

    fn message(task_id: &str) -> Value {
        json!({"id": "m", "task_id": task_id, "content": {"type": "text", "author": "user", "content": "hi"}})
    }

    #[test]
    fn what_was_written_is_read_back_equal() {
        let draft = parsed(json!({
            "task_id": "t",
            "messages": [message("t"), message("t")],
            "task_states": [{"task_id": "t", "agent_id": "a", "state": {"n": 1}}],
        }));
        let snapshot = draft.unwrap().into_snapshot(&"t".into(), at()).unwrap();

        let mut writer = SnapshotWriter::default();
        let mut text = SnapshotWriter::begin(&"t".into());
        for message in &snapshot.messages {
            text.extend(writer.page(&SnapshotPage::Messages(vec![message.clone()])));
        }
        text.extend(writer.page(&SnapshotPage::States(snapshot.states.clone())));
        text.extend(writer.end());

        let again = SnapshotDraft::parse(&text).unwrap().into_snapshot(&"t".into(), at()).unwrap();
        assert_eq!(again, snapshot);
        assert_eq!((writer.messages(), writer.states()), (2, 1));
    }

    #[test]
    fn an_empty_document_has_both_lists() {
        let mut text = SnapshotWriter::begin(&"t".into());
        text.extend(SnapshotWriter::default().end());

        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value, json!({"task_id": "t", "messages": [], "task_states": []}));
    }

    #[test]
    fn what_is_missing_is_made_up_and_what_is_there_is_kept() {
        let mut given = message("t");
        given["created_at"] = json!("2020-01-02T03:04:05.000006Z");
        let mut nameless = message("t");
        nameless["id"] = Value::Null;
        let draft = parsed(json!({"task_id": "t", "messages": [given, nameless]})).unwrap();

        let snapshot = draft.into_snapshot(&"t".into(), at()).unwrap();

        let [given, nameless] = &snapshot.messages[..] else { panic!("{snapshot:?}") };
        assert_eq!(given.id.as_str(), "m");
        assert_eq!(given.created_at.to_string(), "2020-01-02T03:04:05.000006Z");
        assert_eq!((given.updated_at, nameless.created_at), (at(), at()));
        assert!(!nameless.id.as_str().is_empty());
    }

    #[test]
    fn a_document_that_is_no_snapshot_is_refused_without_repeating_it() {
        let text = |document: Value| parsed(document).unwrap_err();

        assert_eq!(SnapshotDraft::parse(b"{s3cret").unwrap_err(), "it is not JSON");
        assert_eq!(text(json!({"messages": []})), "snapshot.task_id: Field required");
        assert_eq!(text(json!({"task_id": "t", "messages": null})), "snapshot.messages: Input should be a valid list");
        assert_eq!(
            text(json!({"task_id": "t", "messages": [{"task_id": "t"}]})),
            "snapshot.messages.0.content: Field required"
        );
        for id in ["", "a b", "../x", "s3cret/", &"x".repeat(65), "ü"] {
            let mut bad = message("t");
            bad["id"] = json!(id);
            let said = text(json!({"task_id": "t", "messages": [bad]}));
            assert!(said.starts_with("snapshot.messages.0.id: ") && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn items_of_another_task_are_named() {
        let said = |document: Value| match parsed(document).unwrap().into_snapshot(&"t".into(), at()) {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        };

        assert_eq!(said(json!({"task_id": "x"})), "Snapshot task_id (x) does not match path task_id (t)");
        assert_eq!(
            said(json!({"task_id": "t", "messages": [message("t"), message("x")]})),
            "Snapshot message[1] task_id (x) does not match path task_id (t)"
        );
        assert_eq!(
            said(json!({"task_id": "t", "task_states": [{"task_id": "x", "agent_id": "a", "state": {}}]})),
            "Snapshot task_states[0] task_id (x) does not match path task_id (t)"
        );
    }

    #[test]
    fn text_that_no_store_can_keep_is_refused() {
        let state = json!({"task_id": "t", "agent_id": "a", "state": {"k": "a\u{0}b"}});

        let said = parsed(json!({"task_id": "t", "task_states": [state]})).unwrap_err();

        assert_eq!(said, format!("snapshot.task_states.0.state: {}", HAS_NUL));
    }
}
