use serde::{Deserialize, Serialize};

use crate::{JsonObject, SpanId, TaskId, Timestamp};

/// One step of an agent's work, as its tracing reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Brought by whoever reports it, or server-made.
    pub id: SpanId,
    /// What groups spans. Free text; older writers put a task's id here instead of into `task_id`.
    pub trace_id: String,
    /// The task it belongs to.
    pub task_id: Option<TaskId>,
    /// The span it is a part of, which need not exist.
    pub parent_id: Option<String>,
    /// What is done.
    pub name: String,
    /// When it began.
    pub start_time: Timestamp,
    /// When it ended; `None` while it lasts.
    pub end_time: Option<Timestamp>,
    /// What it was given.
    pub input: Option<SpanData>,
    /// What came of it.
    pub output: Option<SpanData>,
    /// Anything else.
    pub data: Option<SpanData>,
}

/// What a span carries: one JSON object or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SpanData {
    /// `{…}`
    One(JsonObject),
    /// `[{…}, …]`
    Many(Vec<JsonObject>),
}

impl SpanData {
    /// What this becomes when `change` is written over it: two objects are merged by top-level key, anything else is
    /// replaced.
    #[must_use]
    pub fn overwritten_by(self, change: Self) -> Self {
        match (self, change) {
            (Self::One(mut members), Self::One(change)) => {
                members.extend(change);
                Self::One(members)
            }
            (_, change) => change,
        }
    }
}

/// A change of a span; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpanChange {
    /// Puts it into another trace.
    pub trace_id: Option<String>,
    /// Moves it to another task.
    pub task_id: Option<TaskId>,
    /// Makes it a part of another span.
    pub parent_id: Option<String>,
    /// Renames it.
    pub name: Option<String>,
    /// When it began after all.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// Replaces the input.
    pub input: Option<SpanData>,
    /// Replaces the output.
    pub output: Option<SpanData>,
    /// Written over the data; see [`SpanData::overwritten_by`].
    pub data: Option<SpanData>,
}

impl SpanChange {
    /// The span as it is after this change.
    #[must_use]
    pub fn apply_to(self, span: Span) -> Span {
        let Self { trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = self;
        Span {
            id: span.id,
            trace_id: trace_id.unwrap_or(span.trace_id),
            task_id: task_id.or(span.task_id),
            parent_id: parent_id.or(span.parent_id),
            name: name.unwrap_or(span.name),
            start_time: start_time.unwrap_or(span.start_time),
            end_time: end_time.or(span.end_time),
            input: input.or(span.input),
            output: output.or(span.output),
            data: match (span.data, data) {
                (Some(stored), Some(change)) => Some(stored.overwritten_by(change)),
                (stored, change) => change.or(stored),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn data(value: Value) -> SpanData {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn objects_are_merged_by_top_level_key_and_all_else_is_replaced() {
        for (stored, change, merged) in [
            (json!({"b": 2}), json!({"a": 1}), json!({"a": 1, "b": 2})),
            (json!({"a": {"x": 1}}), json!({"a": {"y": 2}}), json!({"a": {"y": 2}})),
            (json!({"a": 1}), json!({"a": null}), json!({"a": null})),
            (json!([{"b": 2}]), json!({"a": 1}), json!({"a": 1})),
            (json!({"b": 2}), json!([{"a": 1}]), json!([{"a": 1}])),
            (json!([{"b": 2}]), json!([]), json!([])),
        ] {
            assert_eq!(data(stored).overwritten_by(data(change)), data(merged));
        }
    }

    #[test]
    fn only_objects_and_lists_of_objects_are_carried() {
        for wrong in [json!("x"), json!(1), json!([1]), json!([{}, null]), json!(true)] {
            assert!(serde_json::from_value::<SpanData>(wrong.clone()).is_err(), "{wrong}");
        }
        assert_eq!(data(json!([])), SpanData::Many(Vec::new()));
    }
}
