use serde_json::Value;

use crate::input::{Fields, Problems};
use crate::{JsonObject, StreamingStatus, content};

/// Which messages of a task to show: those that match any `include` term (or all, when there is none) and no `exclude`
/// term.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageFilter {
    /// Any of these must match.
    pub include: Vec<FilterTerm>,
    /// None of these may match.
    pub exclude: Vec<FilterTerm>,
}

/// Leaves that must all hold for a message to match. A term without leaves matches every message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilterTerm {
    /// Paths into the content (outermost member first) and the scalar each must equal. Keys and values are data, never
    /// operators.
    pub equals: Vec<(Vec<String>, Value)>,
    /// Paths whose value must be exactly this array.
    pub arrays: Vec<(Vec<String>, Value)>,
    /// Paths that must be absent or null.
    pub nulls: Vec<Vec<String>>,
    /// The streaming status, when asked for.
    pub streaming_status: Option<StreamingStatus>,
}

/// The members each content variant may be filtered by, besides `type`, `author` and `style`.
const MEMBERS: [(&str, &[&str]); 5] = [
    ("text", &["content", "format", "attachments"]),
    ("reasoning", &["summary", "content"]),
    ("data", &["data"]),
    ("tool_request", &["tool_call_id", "name", "arguments"]),
    ("tool_response", &["tool_call_id", "name", "content", "is_error"]),
];
const COMMON: [&str; 3] = ["type", "author", "style"];

impl MessageFilter {
    /// Whether every message matches, so that no condition is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Reads the JSON form: one filter object or an array of them.
    ///
    /// # Errors
    /// What is wrong with it, for the caller; never the values.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let items = match value {
            Value::Array(items) => items.as_slice(),
            Value::Object(_) => std::slice::from_ref(value),
            _ => return Err("expected an object or an array of objects".to_owned()),
        };
        let mut filter = Self::default();
        for item in items {
            let (exclude, term) = read_term(item)?;
            if exclude { &mut filter.exclude } else { &mut filter.include }.push(term);
        }
        Ok(filter)
    }
}

fn read_term(value: &Value) -> Result<(bool, FilterTerm), String> {
    let mut problems = Problems::new();
    let Value::Object(members) = value else { return Err("expected an object or an array of objects".to_owned()) };
    if members.keys().any(|key| !matches!(key.as_str(), "content" | "streaming_status" | "exclude")) {
        return Err("only content, streaming_status and exclude can be used".to_owned());
    }
    let mut fields = Fields::open(value, "filter", &mut problems).ok_or("expected an object")?;
    let exclude = fields.optional_bool("exclude").unwrap_or(false);
    let streaming_status = fields.optional_choice("streaming_status", &StreamingStatus::ALL);
    let content = fields.optional_object("content");
    if let Some(problem) = problems.into_iter().next() {
        return Err(format!("{}: {}", problem.path, problem.text));
    }
    let mut term = FilterTerm { streaming_status, ..FilterTerm::default() };
    if let Some(content) = content {
        check_members(&content)?;
        for (name, value) in &content {
            // A null directly under `content` means "not asked for"; deeper down it means "null or missing".
            if !value.is_null() {
                flatten(vec![name.clone()], value, &mut term);
            }
        }
    }
    Ok((exclude, term))
}

fn check_members(content: &JsonObject) -> Result<(), String> {
    let allowed = |kind: Option<&str>, name: &str| {
        COMMON.contains(&name)
            || MEMBERS.iter().any(|(variant, members)| kind.is_none_or(|k| k == *variant) && members.contains(&name))
    };
    let kind = match content.get("type") {
        None | Some(Value::Null) => None,
        Some(Value::String(kind)) if content::TYPES.contains(&kind.as_str()) => Some(kind.as_str()),
        Some(_) => return Err("filter.content.type: unknown content type".to_owned()),
    };
    if content.keys().all(|name| allowed(kind, name)) {
        Ok(())
    } else {
        Err("filter.content: member does not belong to the content type".to_owned())
    }
}

fn flatten(path: Vec<String>, value: &Value, term: &mut FilterTerm) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let mut deeper = path.clone();
                deeper.push(name.clone());
                flatten(deeper, value, term);
            }
        }
        Value::Array(_) => term.arrays.push((path, value.clone())),
        Value::Null => term.nulls.push(path),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => term.equals.push((path, value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_members_become_paths() {
        let filter = MessageFilter::from_json(
            &json!({"content": {"type": "data", "data": {"n": {"k": 1, "z": null}, "l": [1]}}}),
        )
        .unwrap();

        let term = &filter.include[0];
        let path = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert!(term.equals.contains(&(path(&["type"]), json!("data"))));
        assert!(term.equals.contains(&(path(&["data", "n", "k"]), json!(1))));
        assert_eq!(term.nulls, [path(&["data", "n", "z"])]);
        assert_eq!(term.arrays, [(path(&["data", "l"]), json!([1]))]);
    }

    #[test]
    fn include_and_exclude_are_told_apart() {
        let filter = MessageFilter::from_json(
            &json!([{"content": {"type": "text"}}, {"streaming_status": "DONE", "exclude": true}]),
        )
        .unwrap();

        assert_eq!((filter.include.len(), filter.exclude.len()), (1, 1));
        assert_eq!(filter.exclude[0].streaming_status, Some(StreamingStatus::Done));
    }

    #[test]
    fn malformed_filters_are_refused() {
        for bad in [
            json!(5),
            json!(null),
            json!("x"),
            json!([5]),
            json!({"bogus": 1}),
            json!({"content": 5}),
            json!({"content": {"type": "image"}}),
            json!({"content": {"type": "text", "data": {"a": 1}}}),
            json!({"streaming_status": "X"}),
        ] {
            assert!(MessageFilter::from_json(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_object_matches_everything() {
        for empty in [json!({}), json!({"content": {}})] {
            let filter = MessageFilter::from_json(&empty).unwrap();
            assert_eq!(filter.include, [FilterTerm::default()]);
        }
    }
}
