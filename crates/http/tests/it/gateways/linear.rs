//! What Linear's requests are answered, and what Linear is told.

use agentex_domain::ports::Clock as _;
use serde_json::{Value, json};

use super::{SECRET, Stage, mac};
use crate::support::Answer;

const ACTIVITY: &str = "/graphql";

fn created(session: &str, text: &str) -> Value {
    json!({"type": "AgentSessionEvent", "action": "created", "webhookId": "W1",
        "agentSession": {"id": session, "issue": {"id": "I1"}, "comment": {"body": text}}})
}

async fn idle() -> Stage {
    Stage::with(|plan, _| plan.works = false).await
}

fn taken(answer: &Answer, ok: bool) {
    assert_eq!(answer.ok(), json!({"ok": ok}));
}

/// What Linear was told, in order: kind and text.
fn told(stage: &Stage) -> Vec<(String, String)> {
    let activities = stage.chat.to(ACTIVITY);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    activities
        .iter()
        .map(|request| {
            let content = &request.json()["variables"]["input"]["content"];
            (text(&content["type"]), text(&content["body"]))
        })
        .collect()
}

/// gateways §9: 43
#[tokio::test]
async fn only_what_is_signed_and_fresh_starts_a_turn() {
    let stage = idle().await;
    let sent_at = |at: Value| {
        let mut payload = created("S1", "foo hello");
        payload["webhookTimestamp"] = at;
        payload.to_string()
    };
    let now = stage.world.clock.now().as_micros() / 1000;

    for at in [json!(now - 60_001), json!(now + 60_001), json!("abc"), json!(now.to_string()), Value::Null] {
        let body = sent_at(at);
        taken(&stage.linear_as(Some("D"), Some(mac(SECRET, body.as_bytes()).as_bytes()), &body).await, false);
    }
    let body = sent_at(json!(now));
    for signature in [None, Some(&b"00"[..]), Some("\u{e9}".as_bytes()), Some(mac("", body.as_bytes()).as_bytes())] {
        taken(&stage.linear_as(Some("D"), signature, &body).await, false);
    }
    assert_eq!(stage.run_due().await, 0);

    let body = sent_at(json!(now - 60_000));
    taken(&stage.linear_as(Some("D"), Some(mac(SECRET, body.as_bytes()).as_bytes()), &body).await, true);
    assert_eq!(stage.run_due().await, 1);

    let without_secret = Stage::with(|plan, _| {
        plan.works = false;
        plan.linear.signing_secret = String::new();
    })
    .await;
    let signature = mac("", body.as_bytes());
    taken(&without_secret.linear_as(Some("D"), Some(signature.as_bytes()), &body).await, false);
}

/// gateways §9: 15
#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let stage = idle().await;

    for body in ["{", "[]", "null"] {
        let answer = stage.linear_as(None, Some(mac(SECRET, body.as_bytes()).as_bytes()), body).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (400, r#"{"ok":false}"#), "{body}");
    }
}

/// gateways §9: 46
#[tokio::test]
async fn what_is_no_prompt_of_a_session_starts_nothing() {
    let stage = idle().await;

    for (name, value) in [("type", json!("Issue")), ("action", json!("updated")), ("agentSession", json!({}))] {
        let mut payload = created("S1", "foo hello");
        payload[name] = value;
        taken(&stage.linear(None, &payload).await, true);
    }
    assert_eq!(stage.run_due().await, 0);
}

/// gateways §9: 47
#[tokio::test]
async fn a_delivery_is_known_by_its_name_or_by_what_it_says() {
    let stage = idle().await;

    taken(&stage.linear(Some("D1"), &created("S1", "foo one")).await, true);
    taken(&stage.linear(Some("D1"), &created("S1", "foo one")).await, true);
    assert_eq!(stage.run_due().await, 1);
    taken(&stage.linear(None, &created("S1", "foo two")).await, true);
    taken(&stage.linear(None, &created("S1", "foo two")).await, true);
    taken(&stage.linear(None, &created("S1", "foo three")).await, true);
    assert_eq!(stage.run_due().await, 2);
}

/// gateways §9: 45, 48
#[tokio::test]
async fn a_turn_shows_that_it_began_and_then_what_came_of_it() {
    let stage = idle().await;

    stage.linear(Some("D1"), &created("S1", "foo hello")).await;
    stage.run_due().await;

    assert_eq!(
        told(&stage),
        [("thought".to_owned(), "On it…".to_owned()), ("response".to_owned(), "the answer\n\n_via foo_".to_owned())]
    );
    let targets: Vec<String> = stage.chat.targets().into_iter().take(2).collect();
    assert_eq!(targets, ["/oauth/token", "/graphql"]);
    let minted = stage.chat.request("/oauth/token", 0).await;
    assert_eq!(
        std::str::from_utf8(&minted.body).unwrap(),
        "grant_type=client_credentials&client_id=client&client_secret=client+secret\
         &scope=read%2Cwrite%2Capp%3Aassignable%2Capp%3Amentionable"
    );
    let call = stage.agent.call(0).await.params();
    assert_eq!(call["task"]["name"], "linear:S1");
    assert_eq!(call["content"]["content"], "[Linear context] session_id=S1 issue_id=I1\n\nhello");

    stage.agent.on("message/send", agentex_testkit::fake_agent::Reply::error(-32000, "broken"));
    let prompted = json!({"type": "AgentSessionEvent", "action": "prompted", "agentSessionId": "S1",
        "agentActivity": {"body": "and now?"}});
    stage.linear(Some("D2"), &prompted).await;
    stage.run_due().await;

    let failure = ("error".to_owned(), "Something went wrong handling that. Please retry.".to_owned());
    assert_eq!(told(&stage)[2..], [("thought".to_owned(), "On it…".to_owned()), failure]);
    let call = stage.agent.call(1).await.params();
    assert_eq!(call["task"]["name"], "linear:S1");
    assert!(call["content"]["content"].as_str().unwrap().ends_with("\n\nand now?"));
}

/// gateways §9: 49
#[tokio::test]
async fn a_token_that_has_ended_is_minted_again() {
    let stage = idle().await;
    stage.chat.once(ACTIVITY, 200, json!({"data": {"agentActivityCreate": {"success": true}}}));
    stage.chat.once(ACTIVITY, 401, json!({}));

    stage.linear(Some("D1"), &created("S1", "foo hello")).await;
    stage.run_due().await;

    let kinds: Vec<String> = told(&stage).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["thought", "response", "response"]);
    assert_eq!(stage.chat.to("/oauth/token").len(), 2);
}

/// gateways §9: 50
#[tokio::test]
async fn without_credentials_linear_is_not_called() {
    let stage = Stage::with(|plan, _| {
        plan.works = false;
        plan.chat.linear_client_secret = String::new();
    })
    .await;

    stage.linear(Some("D1"), &created("S1", "foo hello")).await;

    assert_eq!(stage.run_due().await, 1);
    assert_eq!(stage.agent.methods(), ["message/send"]);
    assert!(stage.chat.requests().is_empty());
}
