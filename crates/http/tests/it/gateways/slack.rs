//! What Slack's requests are answered.

use agentex_authz::Operation;
use serde_json::{Value, json};

use super::{POST, Plan, Stage, changed, form, mention, slack_signature};
use crate::support::Answer;

fn is(answer: &Answer, body: &Value) {
    assert_eq!(answer.ok(), *body);
}

async fn idle() -> Stage {
    Stage::with(|plan, _| plan.works = false).await
}

/// gateways §9: 1
#[tokio::test]
async fn the_handshake_is_answered_when_it_is_signed() {
    let stage = idle().await;
    let handshake = json!({"type": "url_verification", "challenge": "abc"}).to_string();

    is(&stage.slack("/slack/events", &handshake).await, &json!({"challenge": "abc"}));
    is(&stage.slack_as("/slack/events", None, None, &handshake).await, &json!({"ok": false}));
    assert_eq!(stage.run_due().await, 0);
}

/// gateways §9: 2
#[tokio::test]
async fn a_signed_event_is_one_turn() {
    let stage = idle().await;

    stage.event(&mention("E1", "100.1", "<@U1> foo hello")).await;

    assert_eq!(stage.run_due().await, 1);
    assert_eq!(stage.agent.methods(), ["message/send"]);
}

/// gateways §9: 3, 4, 6
#[tokio::test]
async fn what_is_not_signed_now_starts_nothing() {
    let stage = idle().await;
    let body = mention("E1", "100.1", "<@U1> foo hello").to_string();
    let signed = |at: &str| slack_signature(super::SECRET, at, &body);
    let (now, refused) = (stage.seconds(0).to_string(), json!({"ok": false}));

    for wrong in [&b"v0=00"[..], b"", "v0=\u{e9}".as_bytes(), b"v0=\xff\xfe", &signed(&now).as_bytes()[3..]] {
        is(&stage.slack_as("/slack/events", Some(now.as_bytes()), Some(wrong), &body).await, &refused);
    }
    is(&stage.slack_as("/slack/events", Some(now.as_bytes()), None, &body).await, &refused);
    for at in [stage.seconds(-301).to_string(), stage.seconds(301).to_string(), "abc".to_owned(), String::new()] {
        is(&stage.slack_as("/slack/events", Some(at.as_bytes()), Some(signed(&at).as_bytes()), &body).await, &refused);
    }
    is(&stage.slack_as("/slack/events", None, Some(signed(&now).as_bytes()), &body).await, &refused);
    assert_eq!(stage.run_due().await, 0);

    let old = stage.seconds(-300).to_string();
    let answer = stage.slack_as("/slack/events", Some(old.as_bytes()), Some(signed(&old).as_bytes()), &body).await;
    is(&answer, &json!({"ok": true}));
    assert_eq!(stage.run_due().await, 1);
}

/// gateways §9: 5
#[tokio::test]
async fn with_an_empty_secret_nothing_is_believed() {
    let stage = Stage::with(|plan, _| {
        plan.works = false;
        plan.slack.signing_secret = String::new();
    })
    .await;
    let (body, now) = (mention("E1", "100.1", "<@U1> foo hello").to_string(), stage.seconds(0).to_string());

    let signature = slack_signature("", &now, &body);
    let answer = stage.slack_as("/slack/events", Some(now.as_bytes()), Some(signature.as_bytes()), &body).await;

    is(&answer, &json!({"ok": false}));
    assert_eq!(stage.run_due().await, 0);
}

/// gateways §9: 7
#[tokio::test]
async fn a_development_server_may_believe_what_is_not_signed() {
    let stage = Stage::with(|plan, _| {
        plan.works = false;
        plan.slack.signing_secret = String::new();
        plan.slack.skip_verification = true;
    })
    .await;

    let body = mention("E1", "100.1", "<@U1> foo hello").to_string();
    is(&stage.slack_as("/slack/events", None, None, &body).await, &json!({"ok": true}));
    assert_eq!(stage.run_due().await, 1);
}

#[tokio::test]
async fn routes_that_are_off_are_no_routes() {
    let world = crate::support::World::new().await;

    for path in ["/slack/events", "/slack/commands", "/slack/interactions", "/linear/events"] {
        let (off, absent) = (world.post(path, json!({})).await, world.post("/slack/other", json!({})).await);
        assert_eq!((off.status.as_u16(), off.text()), (absent.status.as_u16(), absent.text()), "{path}");
        assert_eq!(off.status, 404);
    }
}

/// gateways §9: 8
#[tokio::test]
async fn what_bots_say_and_what_is_no_message_starts_nothing() {
    let stage = idle().await;
    let event = mention("E1", "100.1", "<@U1> foo hello");

    for (name, value) in
        [("bot_id", json!("B1")), ("subtype", json!("message_changed")), ("type", json!("reaction_added"))]
    {
        stage.event(&changed(&event, name, value)).await;
    }
    for other in [json!({}), json!({"event": 7}), json!({"type": "event_callback", "event": {}})] {
        stage.event(&other).await;
    }
    assert_eq!(stage.run_due().await, 0);
}

/// gateways §9: 12, 13
#[tokio::test]
async fn a_delivery_that_comes_again_is_carried_out_once() {
    let stage = idle().await;
    let event = mention("E1", "100.1", "<@U1> foo hello");

    stage.event(&event).await;
    stage.event(&event).await;
    assert_eq!(stage.run_due().await, 1);
    stage.event(&event).await;
    assert_eq!(stage.run_due().await, 0, "also when it is over");

    let mut nameless = mention("E1", "100.2", "<@U1> foo hello");
    nameless.as_object_mut().unwrap().remove("event_id");
    stage.event(&nameless).await;
    assert_eq!(stage.run_due().await, 1);

    stage.world.clock.advance(std::time::Duration::from_secs(601));
    stage.event(&event).await;
    assert_eq!(stage.run_due().await, 1, "it is forgotten");
}

/// gateways §9: 14
#[tokio::test]
async fn a_mention_that_comes_as_a_message_too_is_one_turn() {
    let stage = idle().await;
    let as_mention = mention("E1", "100.1", "<@U1> foo hello");
    let as_message = changed(&mention("E2", "100.1", "<@U1> foo hello"), "type", json!("message"));

    for (first, second) in [(&as_mention, &as_message), (&as_message, &as_mention)] {
        stage.world.clock.advance(std::time::Duration::from_secs(700));
        stage.event(first).await;
        stage.event(second).await;
        assert_eq!(stage.run_due().await, 1);
    }
}

/// gateways §9: 15
#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let stage = idle().await;

    for body in ["{", "", "[]", "7", "\"x\"", "null", "\u{0}"] {
        let answer = stage.slack("/slack/events", body).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (400, r#"{"ok":false}"#), "{body:?}");
    }
    assert_eq!(stage.run_due().await, 0);
}

async fn command(stage: &Stage, fields: &[(&str, &str)]) -> Value {
    stage.slack("/slack/commands", &form(fields)).await.ok()
}

/// gateways §9: 35
#[tokio::test]
async fn the_command_lists_the_agents_that_are_ready() {
    let stage = idle().await;
    let foo = stage.get("/agents/name/foo").await;
    let at = agentex_testkit::build::at(5);
    let agents = &stage.world.store.stores().agents;
    agents.set_health(&crate::support::id(&foo).into(), false, "silent", at).await.unwrap();

    let list = command(&stage, &[("command", "/agents")]).await;

    assert_eq!(list["response_type"], "ephemeral");
    let text = list["text"].as_str().unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('•')).collect();
    assert_eq!(lines, ["• `@agent golden-agent` — the golden-agent agent", "• `@agent later` — the later agent"]);
    assert!(text.contains("without one, `golden-agent` answers"), "{text}");
}

#[tokio::test]
async fn agents_that_the_bot_may_not_run_are_not_listed() {
    let stage = idle().await;
    let later = stage.get("/agents/name/later").await;
    stage.world.rules.deny(crate::support::id(&later), &[Operation::Execute]);

    let list = command(&stage, &[("command", "/agents")]).await;

    let text = list["text"].as_str().unwrap();
    assert!(text.contains("`@agent foo`") && !text.contains("later"), "{text}");
}

/// gateways §9: 36
#[tokio::test]
async fn the_command_opens_a_dialogue_where_it_can() {
    let stage = idle().await;
    let fields = [("command", "/agents"), ("trigger_id", "t1"), ("channel_id", "C9")];

    assert_eq!(command(&stage, &fields).await, json!({}));

    let opened = stage.chat.request("/api/views.open", 0).await;
    assert_eq!(opened.header("authorization"), Some("Bearer xoxb-token"));
    let asked = opened.json();
    assert_eq!((&asked["trigger_id"], &asked["view"]["callback_id"]), (&json!("t1"), &json!("agents_modal")));
    assert_eq!(asked["view"]["private_metadata"], "C9");
    let options = &asked["view"]["blocks"][0]["element"]["options"];
    assert_eq!((&options[0]["value"], options.as_array().unwrap().len()), (&json!("foo"), 3));

    stage.chat.once("/api/views.open", 200, json!({"ok": false, "error": "expired_trigger_id"}));
    let list = command(&stage, &fields).await;
    assert!(list["text"].as_str().unwrap().contains("`@agent foo`"), "{list}");
}

/// gateways §9: 37
#[tokio::test]
async fn without_agents_the_command_says_so() {
    let stage = idle().await;
    stage.world.rules.show_only(&[]);

    let list = command(&stage, &[("command", "/agents"), ("trigger_id", "t1")]).await;

    assert!(list["text"].as_str().unwrap().contains("_No agents are currently available._"), "{list}");
    assert!(stage.chat.to("/api/views.open").is_empty());
}

/// gateways §9: 38, 39
#[tokio::test]
async fn other_commands_and_unsigned_ones_are_refused() {
    let stage = idle().await;
    let told = |text: &str| json!({"response_type": "ephemeral", "text": text});

    assert_eq!(command(&stage, &[("command", "/x")]).await, told("Unsupported command: /x"));
    assert_eq!(command(&stage, &[("text", "x")]).await, told("Unsupported command: (none)"));
    assert_eq!(stage.slack("/slack/commands", "%%%").await.ok(), told("Unsupported command: (none)"));
    let unsigned = stage.slack_as("/slack/commands", None, None, "command=%2Fagents").await;
    assert_eq!(unsigned.ok(), told("Signature verification failed."));
}

fn submitted(agent: Option<&str>, message: &str) -> Value {
    json!({
        "type": "view_submission",
        "team": {"id": "T1"},
        "user": {"id": "U7"},
        "view": {
            "callback_id": "agents_modal",
            "private_metadata": "C9",
            "state": {"values": {
                "agent_block": {"agent_select": {"selected_option": agent.map(|agent| json!({"value": agent}))}},
                "message_block": {"message_input": {"value": message}},
            }},
        },
    })
}

async fn submit(stage: &Stage, payload: &Value) -> Value {
    stage.slack("/slack/interactions", &form(&[("payload", &payload.to_string())])).await.ok()
}

/// gateways §9: 40
#[tokio::test]
async fn what_is_submitted_is_posted_and_answered_in_its_thread() {
    let stage = idle().await;

    assert_eq!(submit(&stage, &submitted(Some("foo"), "how are you?")).await, json!({}));

    let posted = stage.chat.request(POST, 0).await.json();
    assert_eq!((&posted["channel"], &posted["text"]), (&json!("C9"), &json!("@agentex foo how are you?")));
    assert!(posted["blocks"].to_string().contains("<@U7>"));
    assert_eq!(stage.run_due().await, 1);
    let reply = stage.chat.request(POST, 1).await.json();
    let expected = json!({"channel": "C9", "thread_ts": "900.1", "text": "the answer\n\n_via foo_"});
    assert_eq!(reply, expected);
}

/// gateways §9: 41
#[tokio::test]
async fn a_submission_with_nothing_in_it_or_nowhere_to_go_is_complained_about() {
    let stage = idle().await;
    let complaint = json!({"message_block": "Pick an agent and enter a message."});

    for (agent, message) in [(Some("foo"), " "), (None, "hi")] {
        let answer = submit(&stage, &submitted(agent, message)).await;
        assert_eq!((&answer["response_action"], &answer["errors"]), (&json!("errors"), &complaint));
    }
    assert!(stage.chat.requests().is_empty());

    stage.chat.once(POST, 200, json!({"ok": false, "error": "not_in_channel"}));
    let answer = submit(&stage, &submitted(Some("foo"), "hi")).await;
    assert!(answer["errors"]["message_block"].as_str().unwrap().contains("Invite the bot"), "{answer}");
    assert_eq!(stage.run_due().await, 0);
}

/// gateways §9: 42
#[tokio::test]
async fn other_interactions_are_taken_and_forgotten() {
    let stage = idle().await;
    let mut other_view = submitted(Some("foo"), "hi");
    other_view["view"]["callback_id"] = json!("other");
    let mut other_type = submitted(Some("foo"), "hi");
    other_type["type"] = json!("block_actions");

    for payload in [other_view, other_type, json!(7)] {
        assert_eq!(submit(&stage, &payload).await, json!({}));
    }
    assert_eq!(stage.slack("/slack/interactions", "payload=%7B").await.ok(), json!({}));
    assert_eq!(stage.slack("/slack/interactions", "").await.ok(), json!({}));
    let good = form(&[("payload", &submitted(Some("foo"), "hi").to_string())]);
    assert_eq!(stage.slack_as("/slack/interactions", None, None, &good).await.ok(), json!({}));
    assert!(stage.chat.requests().is_empty());
    assert_eq!(stage.run_due().await, 0);
}

/// Secrets are in none of the texts that settings make of themselves.
#[test]
fn settings_do_not_show_their_secrets() {
    let Plan { slack, linear, chat, .. } = Plan::default();

    let shown = format!("{slack:?} {linear:?} {chat:?}");

    for secret in [super::SECRET, super::BOT_KEY, "xoxb-token", "client secret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
