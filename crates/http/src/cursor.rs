//! The text form of message cursors: URL-safe base64 of a small JSON object.
//!
//! Version 2 holds all that is needed to continue; version 1 is the reference's and holds id and time only.

use agentex_domain::{MessageCursor, MessageId, TaskId, Timestamp};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

/// Writes padding and takes cursors with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Serialize, Deserialize)]
struct CursorText {
    v: u8,
    id: String,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
}

/// The text a caller hands back to continue.
pub(crate) fn encode(cursor: &MessageCursor) -> String {
    let text = CursorText {
        v: 2,
        id: cursor.id.as_str().to_owned(),
        created_at: cursor.created_at,
        seq: cursor.seq,
        task_id: cursor.task_id.as_ref().map(|id| id.as_str().to_owned()),
    };
    BASE64.encode(serde_json::to_vec(&text).expect("a cursor holds only text and numbers"))
}

/// Reads a cursor of either version; `None` when it is neither.
pub(crate) fn decode(text: &str) -> Option<MessageCursor> {
    let json = BASE64.decode(text).ok()?;
    let CursorText { v, id, created_at, seq, task_id } = serde_json::from_slice(&json).ok()?;
    let (seq, task_id) = match v {
        1 => (None, None),
        2 => (seq, task_id.map(TaskId::from)),
        _ => return None,
    };
    if id.contains('\0') || task_id.as_ref().is_some_and(|id| id.as_str().contains('\0')) {
        return None;
    }
    Some(MessageCursor { id: MessageId::from(id), created_at, seq, task_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> MessageCursor {
        MessageCursor {
            id: MessageId::from("m-1"),
            created_at: Timestamp::parse("2025-01-02T03:04:05.123456Z").unwrap(),
            seq: Some(7),
            task_id: Some(TaskId::from("t-1")),
        }
    }

    #[test]
    fn a_cursor_survives_the_round_trip() {
        assert_eq!(decode(&encode(&cursor())), Some(cursor()));
    }

    #[test]
    fn padding_may_be_missing() {
        let text = encode(&cursor());

        assert_eq!(decode(text.trim_end_matches('=')), Some(cursor()));
    }

    #[test]
    fn a_cursor_of_the_reference_is_understood() {
        let text = BASE64.encode(r#"{"v":1,"id":"65a","created_at":"2025-01-02T03:04:05.123000"}"#);

        let cursor = decode(&text).unwrap();

        assert_eq!((cursor.id.as_str(), cursor.seq, cursor.task_id), ("65a", None, None));
        assert_eq!(cursor.created_at.to_string(), "2025-01-02T03:04:05.123000Z");
    }

    #[test]
    fn anything_else_is_no_cursor() {
        let of = |json: &str| BASE64.encode(json);
        for bad in [
            "".to_owned(),
            "%%%".to_owned(),
            of("5"),
            of("{}"),
            of(r#"{"v":3,"id":"m","created_at":"2025-01-02T03:04:05Z"}"#),
            of(r#"{"v":2,"id":"m","created_at":"yesterday"}"#),
            of(r#"{"v":2,"id":"a\u0000","created_at":"2025-01-02T03:04:05Z"}"#),
        ] {
            assert_eq!(decode(&bad), None, "{bad}");
        }
    }
}
