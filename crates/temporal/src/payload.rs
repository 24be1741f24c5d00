//! Values as Temporal carries them: JSON, as the SDKs of other languages write it by default.

use std::collections::HashMap;

use serde_json::Value;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads};

const ENCODING: &str = "encoding";
const JSON: &[u8] = b"json/plain";
const JSON_PROTOBUF: &[u8] = b"json/protobuf";
const NULL: &[u8] = b"binary/null";

/// One value.
pub(crate) fn from_json(value: &Value) -> Payload {
    let (encoding, data) = match value {
        Value::Null => (NULL, Vec::new()),
        value => (JSON, value.to_string().into_bytes()),
    };
    Payload { metadata: HashMap::from([(ENCODING.to_owned(), encoding.to_vec())]), data, ..Payload::default() }
}

/// Arguments in order; none at all for an empty list.
pub(crate) fn arguments<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Payloads> {
    let payloads: Vec<Payload> = values.into_iter().map(from_json).collect();
    (!payloads.is_empty()).then_some(Payloads { payloads })
}

/// The value of a payload; `None` when it is not JSON.
pub(crate) fn to_json(payload: &Payload) -> Option<Value> {
    match payload.metadata.get(ENCODING).map(Vec::as_slice) {
        Some(NULL) => Some(Value::Null),
        Some(JSON | JSON_PROTOBUF) => serde_json::from_slice(&payload.data).ok(),
        _ => None,
    }
}

/// The first value of several, if it is JSON.
pub(crate) fn first(payloads: Option<&Payloads>) -> Option<Value> {
    payloads.and_then(|payloads| payloads.payloads.first()).and_then(to_json)
}

#[cfg(test)]
mod tests {
    use agentex_domain::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_survive() {
        for value in [json!(null), json!("text"), json!(1.5), json!([true]), json!({"a": {"b": null}})] {
            assert_eq!(to_json(&from_json(&value)), Some(value));
        }
    }

    /// temporal §7: 4
    #[test]
    fn a_moment_is_plain_json_in_iso_8601() {
        let moment = Timestamp::parse("2026-11-21T21:50:12+00:00").unwrap();

        let payload = from_json(&json!(moment));

        assert_eq!(payload.metadata[ENCODING], JSON);
        assert_eq!(payload.data, br#""2026-11-21T21:50:12Z""#);
    }

    #[test]
    fn what_is_not_json_is_nothing() {
        let binary = Payload {
            metadata: HashMap::from([(ENCODING.to_owned(), b"binary/plain".to_vec())]),
            ..Payload::default()
        };

        assert_eq!(to_json(&binary), None);
        assert_eq!(to_json(&Payload::default()), None);
    }

    #[test]
    fn no_argument_is_no_payload() {
        assert_eq!(arguments([]), None);
    }
}
