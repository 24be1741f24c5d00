//! Reading JSON that somebody else wrote: typed access that collects every problem instead of stopping at the first.
//!
//! The texts are part of the public API (clients look for them) and never repeat what was sent.

use serde_json::{Map, Value};

use crate::Timestamp;

/// One thing wrong with an input: where (`body.content.author`) and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path from the root of the request.
    pub path: String,
    /// What is wrong, without the value.
    pub text: String,
}

/// The problems found so far.
pub type Problems = Vec<Problem>;

/// A required member was absent.
pub const FIELD_REQUIRED: &str = "Field required";
/// A string was expected.
pub const NOT_A_STRING: &str = "Input should be a valid string";
/// An integer was expected.
pub const NOT_AN_INTEGER: &str = "Input should be a valid integer";
/// A boolean was expected.
pub const NOT_A_BOOLEAN: &str = "Input should be a valid boolean";
/// A JSON object was expected.
pub const NOT_AN_OBJECT: &str = "Input should be a valid dictionary";
/// An array was expected.
pub const NOT_A_LIST: &str = "Input should be a valid list";
/// A timestamp was expected.
pub const NOT_A_DATETIME: &str = "Input should be a valid datetime";
/// Text holding U+0000, which no store can keep.
pub const HAS_NUL: &str = "String should not contain NUL characters";

/// `Input should be 'a', 'b' or 'c'`.
#[must_use]
pub fn expected_one_of(allowed: &[&str]) -> String {
    let quoted: Vec<String> = allowed.iter().map(|name| format!("'{name}'")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("Input should be {} or {last}", rest.join(", ")),
        Some((only, _)) => format!("Input should be {only}"),
        None => "Input is not allowed".to_owned(),
    }
}

/// Whether any string or key inside `value` holds U+0000.
#[must_use]
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The members of one JSON object, read by name and type. Unknown members are ignored.
///
/// Every reader returns `None` both for "absent" and for "wrong"; the difference is in the problems, so callers read all
/// members first and look at the problems once at the end.
pub struct Fields<'a> {
    members: &'a Map<String, Value>,
    path: String,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    /// Opens `value`; anything but an object is a problem and yields `None`.
    pub fn open(value: &'a Value, path: impl Into<String>, problems: &'a mut Problems) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(members) => Some(Self { members, path, problems }),
            _ => {
                let text = format!("{NOT_AN_OBJECT} or object to extract fields from");
                problems.push(Problem { path, text });
                None
            }
        }
    }

    /// The raw member; JSON null counts as absent.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Whether the member is there at all, null included.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The path of a member of this object.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Records a problem with a member.
    pub fn problem(&mut self, name: &str, text: impl Into<String>) {
        let path = self.path_of(name);
        self.problems.push(Problem { path, text: text.into() });
    }

    /// Gives a reader of nested values access to the same list of problems.
    pub fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// A required member of any type but null.
    pub fn required(&mut self, name: &str) -> Option<&'a Value> {
        match self.members.get(name) {
            None => {
                self.problem(name, FIELD_REQUIRED);
                None
            }
            Some(value) => Some(value),
        }
    }

    /// A required string.
    pub fn string(&mut self, name: &str) -> Option<String> {
        let value = self.required(name)?;
        self.as_string(name, value)
    }

    /// A string that may be absent or null.
    pub fn optional_string(&mut self, name: &str) -> Option<String> {
        let value = self.raw(name)?;
        self.as_string(name, value)
    }

    /// A boolean that may be absent or null.
    pub fn optional_bool(&mut self, name: &str) -> Option<bool> {
        match self.raw(name)? {
            Value::Bool(flag) => Some(*flag),
            _ => {
                self.problem(name, NOT_A_BOOLEAN);
                None
            }
        }
    }

    /// An integer that may be absent or null.
    pub fn optional_integer(&mut self, name: &str) -> Option<i64> {
        let value = self.raw(name)?;
        let number = value.as_i64();
        if number.is_none() {
            self.problem(name, NOT_AN_INTEGER);
        }
        number
    }

    /// A required JSON object.
    pub fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        let value = self.required(name)?;
        self.as_object(name, value)
    }

    /// A JSON object that may be absent or null.
    pub fn optional_object(&mut self, name: &str) -> Option<Map<String, Value>> {
        let value = self.raw(name)?;
        self.as_object(name, value)
    }

    /// A required array, unread.
    pub fn list(&mut self, name: &str) -> Option<&'a Vec<Value>> {
        match self.required(name)? {
            Value::Array(items) => Some(items),
            _ => {
                self.problem(name, NOT_A_LIST);
                None
            }
        }
    }

    /// A timestamp that may be absent or null.
    pub fn optional_timestamp(&mut self, name: &str) -> Option<Timestamp> {
        let text = match self.raw(name)? {
            Value::String(text) => text,
            _ => {
                self.problem(name, NOT_A_DATETIME);
                return None;
            }
        };
        let moment = Timestamp::parse(text);
        if moment.is_none() {
            self.problem(name, NOT_A_DATETIME);
        }
        moment
    }

    /// A required word out of a fixed set.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.required(name)?;
        self.as_choice(name, value, choices)
    }

    /// A word out of a fixed set that may be absent or null.
    pub fn optional_choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.raw(name)?;
        self.as_choice(name, value, choices)
    }

    fn as_choice<T: Copy>(&mut self, name: &str, value: &Value, choices: &[(&str, T)]) -> Option<T> {
        let found = value.as_str().and_then(|word| choices.iter().find(|(known, _)| *known == word));
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
            self.problem(name, expected_one_of(&names));
        }
        found.map(|(_, choice)| *choice)
    }

    fn as_string(&mut self, name: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) if text.contains('\0') => {
                self.problem(name, HAS_NUL);
                None
            }
            Value::String(text) => Some(text.clone()),
            _ => {
                self.problem(name, NOT_A_STRING);
                None
            }
        }
    }

    fn as_object(&mut self, name: &str, value: &Value) -> Option<Map<String, Value>> {
        match value {
            Value::Object(_) if has_nul(value) => {
                self.problem(name, HAS_NUL);
                None
            }
            Value::Object(members) => Some(members.clone()),
            _ => {
                self.problem(name, NOT_AN_OBJECT);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_of_an_object_is_collected() {
        let value = json!({"name": 5, "flag": "yes", "kind": "c", "text": "a\u{0}b"});
        let mut problems = Problems::new();

        let mut fields = Fields::open(&value, "body", &mut problems).unwrap();
        fields.string("name");
        fields.optional_bool("flag");
        fields.choice("kind", &[("a", 1), ("b", 2)]);
        fields.string("text");
        fields.string("gone");

        let seen: Vec<(&str, &str)> = problems.iter().map(|p| (p.path.as_str(), p.text.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("body.name", NOT_A_STRING),
                ("body.flag", NOT_A_BOOLEAN),
                ("body.kind", "Input should be 'a' or 'b'"),
                ("body.text", HAS_NUL),
                ("body.gone", FIELD_REQUIRED),
            ]
        );
    }

    #[test]
    fn null_is_absent_for_optional_members_and_wrong_for_required_ones() {
        let value = json!({"a": null, "b": null});
        let mut problems = Problems::new();

        let mut fields = Fields::open(&value, "body", &mut problems).unwrap();
        assert_eq!(fields.optional_string("a"), None);
        assert_eq!(fields.string("b"), None);

        assert_eq!(problems, [Problem { path: "body.b".into(), text: NOT_A_STRING.into() }]);
    }
}
