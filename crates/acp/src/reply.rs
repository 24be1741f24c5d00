use agentex_domain::ports::AgentCallError;
use agentex_domain::{Delta, MessageUpdate};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::request::RequestId;

/// The longest part of an agent's error text that is kept, in bytes.
const MAX_MESSAGE: usize = 1024;
/// JSON-RPC's "internal error", for errors that name no code.
const INTERNAL_ERROR: i64 = -32603;

/// A JSON-RPC response, read just far enough to check it. Null members are `None`.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Checks that `text` is a successful response to the request `id`, whatever its result.
pub(crate) fn accepted(text: &[u8], id: &RequestId) -> Result<(), AgentCallError> {
    result(text, id).map(drop)
}

/// The update in one line of a streamed response to the request `id`.
pub(crate) fn update(line: &[u8], id: &RequestId) -> Result<MessageUpdate, AgentCallError> {
    let result = result(line, id)?.ok_or(AgentCallError::InvalidUpdate)?;
    let update = serde_json::from_str(result.get()).map_err(|_| AgentCallError::InvalidUpdate)?;
    if has_nul(&update) { Err(AgentCallError::InvalidUpdate) } else { Ok(update) }
}

fn result<'a>(text: &'a [u8], id: &RequestId) -> Result<Option<&'a RawValue>, AgentCallError> {
    // serde would also read an array as the members in order.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(AgentCallError::Malformed);
    }
    let reply: Reply<'a> = serde_json::from_slice(text).map_err(|_| AgentCallError::Malformed)?;
    let rejection = reply.error.and_then(rejection);
    match (reply.id, rejection) {
        // An agent that could not even read the request has no id to echo.
        (None, Some(rejection)) => Err(rejection),
        (None, None) => Err(AgentCallError::WrongId),
        (Some(echoed), _) if !id.is_echoed_by(echoed) => Err(AgentCallError::WrongId),
        (Some(_), Some(rejection)) => Err(rejection),
        (Some(_), None) => Ok(reply.result),
    }
}

/// What an `error` member says; `None` when it is one of the empty values that some agents send with a success.
fn rejection(error: &RawValue) -> Option<AgentCallError> {
    let error = serde_json::from_str(error.get()).unwrap_or_else(|_| Value::String("unreadable error".to_owned()));
    let empty = match &error {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    };
    if empty {
        return None;
    }
    let code = error.get("code").and_then(Value::as_i64).unwrap_or(INTERNAL_ERROR);
    let message = match error.get("message").unwrap_or(&error) {
        Value::String(text) => bounded(text),
        other => bounded(&other.to_string()),
    };
    Some(AgentCallError::Rejected { code, message })
}

/// The text cut to [`MAX_MESSAGE`], without NUL, which stores cannot hold.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_MESSAGE)].replace('\0', "")
}

/// Whether a fragment holds NUL. Whole contents are checked when they are read; fragments end up in the same place.
fn has_nul(update: &MessageUpdate) -> bool {
    let MessageUpdate::Delta { delta: Some(delta), .. } = update else { return false };
    let nul = |text: &str| text.contains('\0');
    let fragment_has_nul = |fragment: &Option<String>| fragment.as_deref().is_some_and(nul);
    match delta {
        Delta::Text { text_delta: fragment }
        | Delta::Data { data_delta: fragment }
        | Delta::ReasoningSummary { summary_delta: fragment, .. }
        | Delta::ReasoningContent { content_delta: fragment, .. } => fragment_has_nul(fragment),
        Delta::ToolRequest { tool_call_id, name, arguments_delta: fragment }
        | Delta::ToolResponse { tool_call_id, name, content_delta: fragment } => {
            nul(tool_call_id) || nul(name) || fragment_has_nul(fragment)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(text: &str) -> Result<(), AgentCallError> {
        accepted(text.as_bytes(), &"me".into())
    }

    fn line(result: &Value) -> Result<MessageUpdate, AgentCallError> {
        let text = json!({"jsonrpc": "2.0", "id": "me", "result": result, "error": null}).to_string();
        update(text.as_bytes(), &"me".into())
    }

    #[test]
    fn any_result_is_a_success_and_so_is_none() {
        for text in [
            r#"{"jsonrpc":"2.0","result":{"status":"processing"},"error":null,"id":"me"}"#,
            r#" {"id":"me","result":null}"#,
            r#"{"id":"me"}"#,
            r#"{"id":"me","result":[1,2],"extra":true}"#,
        ] {
            assert!(answer(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn empty_errors_are_no_errors() {
        for error in ["null", "false", "0", "0.0", "\"\"", "{}", "[]", "{ }"] {
            assert!(answer(&format!(r#"{{"id":"me","result":1,"error":{error}}}"#)).is_ok(), "{error}");
        }
    }

    #[test]
    fn an_error_keeps_its_code_and_text() {
        let rejected = |error: &str| match answer(&format!(r#"{{"id":"me","result":null,"error":{error}}}"#)) {
            Err(AgentCallError::Rejected { code, message }) => (code, message),
            other => panic!("{error}: {other:?}"),
        };

        assert_eq!(
            rejected(r#"{"code":-32601,"message":"Method x not found","data":null}"#),
            (-32601, "Method x not found".to_owned())
        );
        assert_eq!(rejected(r#"{"message":"a\u0000b"}"#), (-32603, "ab".to_owned()));
        assert_eq!(rejected(r#""boom""#), (-32603, "boom".to_owned()));
        assert_eq!(rejected(r#"{"code":"E1"}"#), (-32603, r#"{"code":"E1"}"#.to_owned()));
        assert_eq!(rejected("true"), (-32603, "true".to_owned()));
        assert_eq!(rejected(r#""\ud800""#), (-32603, "unreadable error".to_owned()));
    }

    #[test]
    fn an_error_text_is_cut_at_a_character() {
        let long = "é".repeat(2000);

        let Err(AgentCallError::Rejected { message, .. }) =
            answer(&json!({"id": "me", "error": {"code": 1, "message": long}}).to_string())
        else {
            panic!("not rejected")
        };

        assert_eq!(message, "é".repeat(MAX_MESSAGE / 2));
    }

    #[test]
    fn another_id_is_an_error_even_with_an_error_inside() {
        for text in [
            r#"{"id":"you","result":1}"#,
            r#"{"id":1,"result":1}"#,
            r#"{"id":null,"result":1}"#,
            r#"{"result":1}"#,
            r#"{"id":"you","error":{"code":1,"message":"m"}}"#,
        ] {
            assert!(matches!(answer(text), Err(AgentCallError::WrongId)), "{text}");
        }
    }

    #[test]
    fn an_error_without_any_id_is_the_agents_error() {
        let outcome = answer(r#"{"id":null,"error":{"code":-32700,"message":"Parse error"}}"#);

        assert!(matches!(outcome, Err(AgentCallError::Rejected { code: -32700, .. })), "{outcome:?}");
    }

    #[test]
    fn what_is_not_one_json_object_is_malformed() {
        for text in [
            "",
            "ok",
            "[\"me\",1,null]",
            "1",
            "\"x\"",
            "{\"id\":\"me\"",
            "{\"id\":\"me\"}{}",
            "{\"id\":\"me\",\"x\":NaN}",
        ] {
            assert!(matches!(answer(text), Err(AgentCallError::Malformed)), "{text}");
        }
        assert!(matches!(accepted(b"{\"id\":\"\xff\"}", &"me".into()), Err(AgentCallError::Malformed)));
    }

    #[test]
    fn a_line_yields_its_update() {
        let delta = json!({"type": "text", "text_delta": "x\n"});
        let sent = json!({"type": "delta", "index": 3, "parent_task_message": null, "delta": delta});

        assert_eq!(serde_json::to_value(line(&sent).unwrap()).unwrap(), sent);
    }

    #[test]
    fn updates_the_server_does_not_know_are_invalid_rather_than_malformed() {
        let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
        for result in [
            json!(null),
            json!([]),
            json!({}),
            json!({"type": "later", "index": 0}),
            json!({"type": "full", "index": 0}),
            json!({"type": "full", "index": 0, "content": {"type": "image", "author": "agent"}}),
            json!({"type": "start", "index": "zero", "content": {"type": "text", "author": "agent", "content": ""}}),
            json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "a\u{0}"}}),
            json!({"type": "delta", "delta": {"type": "tool_request", "tool_call_id": "\u{0}", "name": "n"}}),
            json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": deep}}),
        ] {
            assert!(matches!(line(&result), Err(AgentCallError::InvalidUpdate)), "{result}");
        }
    }
}
