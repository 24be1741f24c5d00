//! What Slack sends, and what it shows.

use agentex_app::{AgentChoice, SlackMessage};
use serde_json::{Value, json};

/// Names the dialogue of `/agents`.
const CALLBACK: &str = "agents_modal";
const AGENT_BLOCK: &str = "agent_block";
const AGENT_ACTION: &str = "agent_select";
const MESSAGE_BLOCK: &str = "message_block";
const MESSAGE_ACTION: &str = "message_input";
/// The longest description and label that a list of choices takes, in characters.
const MAX_CHOICE_CHARS: usize = 75;

/// What an event says to the bot; `None` for events that say nothing to it, bots' own messages among them.
pub(crate) fn message(payload: &Value) -> Option<SlackMessage> {
    let event = payload.get("event").filter(|event| event.is_object())?;
    let kind = text(event, "type")?;
    let is_plain = event.get("bot_id").is_none_or(Value::is_null) && event.get("subtype").is_none_or(Value::is_null);
    if !matches!(kind, "app_mention" | "message") || !is_plain {
        return None;
    }
    let channel = text(event, "channel").or_else(|| text(event, "channel_id"))?;
    let ts = text(event, "ts").or_else(|| text(event, "thread_ts"))?;
    Some(SlackMessage {
        event_id: text(payload, "event_id").map(str::to_owned),
        team: team(payload, event),
        channel: channel.to_owned(),
        ts: ts.to_owned(),
        thread_ts: text(event, "thread_ts").map(str::to_owned),
        text: without_mention(event["text"].as_str().unwrap_or_default()).to_owned(),
        addressed: kind == "app_mention" || text(event, "channel_type") == Some("im"),
    })
}

fn team(payload: &Value, event: &Value) -> String {
    let named = text(payload, "team_id").or_else(|| text(event, "team"));
    named.or_else(|| text(&payload["authorizations"][0], "team_id")).unwrap_or_default().to_owned()
}

/// The text without the mention of somebody that it begins with.
fn without_mention(said: &str) -> &str {
    let said = said.trim();
    let rest = said.strip_prefix("<@").and_then(|rest| rest.split_once('>')).map(|(_, rest)| rest);
    rest.unwrap_or(said).trim()
}

/// A member that is text and not empty.
fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// What `/agents` answers where there is no dialogue: everybody else in the channel does not see it.
pub(crate) fn ephemeral(text: &str) -> Value {
    json!({"response_type": "ephemeral", "text": text})
}

/// The agents as text.
pub(crate) fn agent_list(agents: &[AgentChoice], default_agent: &str) -> Value {
    let mut text =
        format!("*Available agents*\nMention me with an agent's name first; without one, `{default_agent}` answers.\n");
    if agents.is_empty() {
        text.push_str("_No agents are currently available._");
    }
    let lines: Vec<String> = agents
        .iter()
        .map(|AgentChoice { name, description }| format!("• `@agent {name}` — {}", one_line(description)))
        .collect();
    text.push_str(&lines.join("\n"));
    ephemeral(&text)
}

/// The dialogue in which one picks an agent and says something to it.
pub(crate) fn agent_view(agents: &[AgentChoice], channel: &str) -> Value {
    let options: Vec<Value> = agents.iter().map(choice).collect();
    json!({
        "type": "modal",
        "callback_id": CALLBACK,
        "private_metadata": channel,
        "title": plain("Agents"),
        "submit": plain("Send"),
        "close": plain("Cancel"),
        "blocks": [
            {
                "type": "input",
                "block_id": AGENT_BLOCK,
                "label": plain("Agent"),
                "element": {
                    "type": "static_select",
                    "action_id": AGENT_ACTION,
                    "placeholder": plain("Pick an agent"),
                    "options": options,
                },
            },
            {
                "type": "input",
                "block_id": MESSAGE_BLOCK,
                "label": plain("Message"),
                "element": {"type": "plain_text_input", "action_id": MESSAGE_ACTION, "multiline": true},
            },
        ],
    })
}

fn choice(agent: &AgentChoice) -> Value {
    let AgentChoice { name, description } = agent;
    let mut choice = json!({"text": plain(&cut(name)), "value": name});
    let description = one_line(description);
    if !description.is_empty() {
        choice["description"] = plain(&cut(&description));
    }
    choice
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text})
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_CHOICE_CHARS).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What somebody submitted in the dialogue. What is missing is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Submission {
    pub(crate) team: String,
    pub(crate) channel: String,
    pub(crate) user: String,
    pub(crate) agent: String,
    pub(crate) message: String,
}

impl Submission {
    /// Whether there is all it takes.
    pub(crate) fn is_whole(&self) -> bool {
        !(self.channel.is_empty() || self.agent.is_empty() || self.message.is_empty())
    }

    /// What is posted for everybody to see: who asked which agent what.
    pub(crate) fn breadcrumb(&self) -> (String, Value) {
        let Self { user, agent, message, .. } = self;
        let text = format!("@agentex {agent} {message}");
        // A block holds 3000 characters; the text beside the blocks is whole.
        let shown: String = text.chars().take(2900).collect();
        let blocks = json!([
            {"type": "section", "text": plain(&shown)},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": format!("Asked by <@{user}>")}]},
        ]);
        (text, blocks)
    }
}

/// Reads a submission of the dialogue; `None` for everything else.
pub(crate) fn submission(payload: &Value) -> Option<Submission> {
    let view = &payload["view"];
    if text(payload, "type") != Some("view_submission") || text(view, "callback_id") != Some(CALLBACK) {
        return None;
    }
    let values = &view["state"]["values"];
    let owned = |text: Option<&str>| text.map(|text| text.trim().to_owned()).unwrap_or_default();
    Some(Submission {
        team: owned(text(&payload["team"], "id").or_else(|| text(&payload["user"], "team_id"))),
        channel: owned(text(view, "private_metadata")),
        user: owned(text(&payload["user"], "id")),
        agent: owned(text(&values[AGENT_BLOCK][AGENT_ACTION]["selected_option"], "value")),
        message: owned(text(&values[MESSAGE_BLOCK][MESSAGE_ACTION], "value")),
    })
}

/// Keeps the dialogue open, with a complaint.
pub(crate) fn complaint(text: &str) -> Value {
    json!({"response_action": "errors", "errors": {MESSAGE_BLOCK: text}})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gateways §9: 9, 10
    #[test]
    fn one_mention_at_the_beginning_is_left_out() {
        for (said, left) in [
            ("<@U1> foo hello", "foo hello"),
            ("  <@U1>  ", ""),
            ("foo <@U1>", "foo <@U1>"),
            ("<@U1> <@U2> hi", "<@U2> hi"),
            ("<@U1", "<@U1"),
            ("", ""),
        ] {
            assert_eq!(without_mention(said), left, "{said}");
        }
    }

    #[test]
    fn descriptions_are_cut_to_what_a_dialogue_takes() {
        let agent = AgentChoice { name: "a".to_owned(), description: format!("one\ntwo {}", "é".repeat(100)) };

        let view = agent_view(&[agent], "C1");

        let shown = view["blocks"][0]["element"]["options"][0]["description"]["text"].as_str().unwrap();
        assert_eq!(shown.chars().count(), 75);
        assert!(shown.starts_with("one two é"));
    }
}
