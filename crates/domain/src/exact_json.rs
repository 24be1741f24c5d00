use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON object kept as it was written, so that numbers keep every digit whatever their size.
///
/// Stores may reorder members and collapse repeated keys. Two are equal when they mean the same.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct ExactJson(Box<RawValue>);

/// Why a JSON text cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotExactJson {
    /// It is not a JSON object.
    NotAnObject,
    /// A string or key in it holds U+0000, which no store can keep.
    HasNul,
}

impl ExactJson {
    /// `{}`
    #[must_use]
    pub fn empty() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("this is JSON"))
    }

    /// Takes the text of a JSON object.
    ///
    /// # Errors
    /// [`NotExactJson`] when it is something else or cannot be stored.
    pub fn from_raw(raw: Box<RawValue>) -> Result<Self, NotExactJson> {
        if !raw.get().starts_with('{') {
            return Err(NotExactJson::NotAnObject);
        }
        if holds_nul(raw.get()) {
            return Err(NotExactJson::HasNul);
        }
        Ok(Self(raw))
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

/// Reads any JSON object, for rows; texts of callers go through [`ExactJson::from_raw`].
impl<'de> Deserialize<'de> for ExactJson {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(raw).map_err(|problem| serde::de::Error::custom(format_args!("{problem:?}")))
    }
}

impl PartialEq for ExactJson {
    fn eq(&self, other: &Self) -> bool {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        self.get() == other.get() || parsed(self.get()).is_some_and(|value| Some(value) == parsed(other.get()))
    }
}

impl fmt::Debug for ExactJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// Whether an escape in a valid JSON text stands for U+0000; JSON has no other way to write it.
fn holds_nul(text: &str) -> bool {
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        let escape = &rest[start + 1..];
        if escape.starts_with("u0000") {
            return true;
        }
        // The character after the backslash belongs to it, a second backslash included; it is one byte.
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Result<ExactJson, NotExactJson> {
        ExactJson::from_raw(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn every_digit_is_kept() {
        for text in [r#"{"n":123456789012345678901234567890}"#, r#"{"n":1.10}"#, r#"{ "a" : [ 1e2 ] }"#] {
            assert_eq!(exact(text).unwrap().get(), text);
        }
    }

    #[test]
    fn nul_is_found_where_it_is_escaped_and_nowhere_else() {
        for held in [r#"{"a":"x\u0000"}"#, r#"{"\u0000":1}"#, r#"{"a":"\\\u0000"}"#] {
            assert_eq!(exact(held).unwrap_err(), NotExactJson::HasNul, "{held}");
        }
        for free in [r#"{"a":"\\u0000"}"#, r#"{"a":"u0000"}"#, r#"{"a":"\u0001\\"}"#, "{}"] {
            assert!(exact(free).is_ok(), "{free}");
        }
        assert_eq!(exact("[]").unwrap_err(), NotExactJson::NotAnObject);
    }

    #[test]
    fn two_are_equal_when_they_mean_the_same() {
        assert_eq!(exact(r#"{"a":1,"b":2}"#), exact(r#"{ "b": 2, "a": 1 }"#));
        assert_ne!(exact(r#"{"a":1}"#), exact(r#"{"a":2}"#));
    }
}
