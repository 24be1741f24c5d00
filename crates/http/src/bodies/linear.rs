//! What Linear sends.

use agentex_app::LinearPrompt;
use serde_json::Value;

/// When a delivery was sent, in milliseconds since 1970.
pub(crate) fn sent_at(payload: &Value) -> Option<i64> {
    payload["webhookTimestamp"].as_i64()
}

/// What an event says to the agent of a session; `None` for events that say nothing to it.
pub(crate) fn prompt(payload: &Value, delivery: Option<&str>) -> Option<LinearPrompt> {
    if text(payload, "type") != Some("AgentSessionEvent") {
        return None;
    }
    let session = &payload["agentSession"];
    let said = match text(payload, "action")? {
        "prompted" => text(&payload["agentActivity"], "body")
            .or_else(|| text(&payload["agentActivity"]["content"], "body"))
            .map(str::to_owned),
        "created" => opening(payload),
        _ => return None,
    };
    let id = text(session, "id").or_else(|| text(payload, "agentSessionId"))?;
    Some(LinearPrompt {
        delivery: delivery.map(str::to_owned),
        session: id.to_owned(),
        issue: text(&session["issue"], "id").map(str::to_owned),
        text: said.unwrap_or_default().trim().to_owned(),
    })
}

/// What a session begins with: the comment that called the agent, else the issue, else what Linear makes of it.
fn opening(payload: &Value) -> Option<String> {
    let session = &payload["agentSession"];
    if let Some(comment) = text(&session["comment"], "body") {
        return Some(comment.to_owned());
    }
    let issue = &session["issue"];
    let parts: Vec<&str> = [text(issue, "title"), text(issue, "description")].into_iter().flatten().collect();
    if !parts.is_empty() {
        return Some(parts.join("\n\n"));
    }
    text(session, "promptContext").or_else(|| text(payload, "promptContext")).map(str::to_owned)
}

/// A member that is text and not empty.
fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn created(session: Value) -> Option<String> {
        let payload = json!({"type": "AgentSessionEvent", "action": "created", "agentSession": session});
        prompt(&payload, None).map(|prompt| prompt.text)
    }

    /// gateways §9: 44
    #[test]
    fn a_session_begins_with_its_comment_its_issue_or_its_context() {
        let issue = json!({"id": "I", "title": "T", "description": "D"});

        let whole = json!({"id": "S", "comment": {"body": "C"}, "issue": issue, "promptContext": "P"});
        assert_eq!(created(whole).as_deref(), Some("C"));
        assert_eq!(created(json!({"id": "S", "issue": issue, "promptContext": "P"})).as_deref(), Some("T\n\nD"));
        assert_eq!(created(json!({"id": "S", "issue": {"title": "T"}})).as_deref(), Some("T"));
        assert_eq!(created(json!({"id": "S", "comment": null, "promptContext": "P"})).as_deref(), Some("P"));
        assert_eq!(created(json!({"id": "S"})).as_deref(), Some(""));
    }

    /// gateways §9: 45, 46
    #[test]
    fn only_prompts_of_sessions_count() {
        let prompted = json!({"type": "AgentSessionEvent", "action": "prompted", "agentSessionId": "S",
            "agentActivity": {"body": "and now?"}});
        let changed = |name: &str, value: Value| {
            let mut payload = prompted.clone();
            payload[name] = value;
            payload
        };

        let found = prompt(&prompted, Some("D")).unwrap();
        assert_eq!((found.session.as_str(), found.text.as_str()), ("S", "and now?"));
        assert_eq!(found.delivery.as_deref(), Some("D"));
        for other in [
            changed("type", json!("Issue")),
            changed("action", json!("archived")),
            changed("agentSessionId", Value::Null),
            json!({}),
        ] {
            assert_eq!(prompt(&other, None), None, "{other}");
        }
    }
}
