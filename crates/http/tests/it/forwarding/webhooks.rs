//! Senders that sign.

use std::time::Duration;

use agentex_app::{ForwardingSettings, Settings};

use super::*;

/// api-keys §7: 47, 48
/// authz §7: 192
#[tokio::test]
async fn github_webhooks_are_taken_by_their_signature_alone() {
    let stage = Stage::open().await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let post =
        async |body: &[u8], signature: &str| stage.post("a/hook", &[("x-hub-signature-256", signature)], body).await;
    let body = br#"{"action": "opened", "repository": {"id": 1, "full_name": "acme/w"}}"#;

    for (body, status, text) in [
        (&b""[..], 400, "Empty payload in GitHub webhook."),
        (b"{", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"\xff\xfe", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"{\"repository\": \"\xff\"}", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"payload=%7B%7D", 400, "Failed to parse GitHub webhook payload as JSON."),
        (b"{}", 400, "GitHub webhook payload missing repository info."),
        (b"[]", 400, "GitHub webhook payload missing repository info."),
        (b"\"x\"", 400, "GitHub webhook payload missing repository info."),
        (br#"{"repository": {}}"#, 400, "GitHub webhook payload missing repository name."),
        (br#"{"repository": 7}"#, 400, "GitHub webhook payload missing repository name."),
        (br#"{"repository": {"full_name": 7}}"#, 400, "GitHub webhook payload missing repository name."),
        (br#"{"repository": {"full_name": "acme/x"}}"#, 404, "No API key found for GitHub repository acme/x."),
        (br#"{"repository": {"full_name": "a\u0000"}}"#, 404, "No API key found for GitHub repository a\0."),
        (body, 401, "Invalid GitHub webhook signature"),
    ] {
        refused(&post(body, &github("wrong", body)).await, status, text);
    }
    let right = github(&secret, body);
    for wrong in ["sha256=", "sha256=é", "x", right.trim_start_matches("sha256="), &right[..right.len() - 2]] {
        refused(&post(body, wrong).await, 401, "Invalid GitHub webhook signature");
    }
    assert!(stage.pod.seen().is_empty());

    assert_eq!(post(body, &right).await.status, 200);
    let seen = stage.pod.only();
    assert_eq!((seen.body.as_ref(), seen.header("x-hub-signature-256")), (&body[..], Some(right.as_str())));
}

/// api-keys §7: 49
#[tokio::test]
async fn a_slack_challenge_is_echoed_as_text_and_never_run() {
    let stage = Stage::open().await;
    let header = [("x-slack-request-timestamp", "1")];

    let body = r#"{"type": "url_verification", "challenge": "<b>3eZbrw"}"#;
    let answer = stage.post("a/events", &header, body).await;
    let number = stage.post("a/events", &header, r#"{"type": "url_verification", "challenge": 7}"#).await;
    let bare = stage.post("a/events", &header, r#"{"challenge": "x"}"#).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (200, "<b>3eZbrw".to_owned()));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    for unsigned in [number, bare] {
        refused(&unsigned, 403, "Missing authentication for forward request.");
    }
    assert!(stage.pod.seen().is_empty());
}

/// api-keys §7: 50
/// authz §7: 192
#[tokio::test]
async fn slack_requests_are_taken_by_their_signature_while_it_is_fresh() {
    let stage = Stage::open().await;
    let secret = stage.key("slack", "A1", Some("slack-secret-012345")).await;
    let body = br#"{"type": "event_callback", "api_app_id": "A1"}"#;
    let post = async |timestamp: Option<&str>, secret: &str, body: &[u8]| {
        let signature = slack(secret, timestamp.unwrap_or_default(), body);
        let mut headers = vec![("x-slack-signature", signature.as_str())];
        headers.extend(timestamp.map(|timestamp| ("x-slack-request-timestamp", timestamp)));
        stage.post("a/events", &headers, body).await
    };
    let clock = stage.seconds(0);
    let now = Some(clock.as_str());

    for (timestamp, body, status, text) in [
        (now, &b"{"[..], 400, "Invalid Slack verification request."),
        (now, b"", 400, "Invalid Slack verification request."),
        (now, b"command=%2Fx", 400, "Invalid Slack verification request."),
        (None, body, 401, "Missing X-Slack-Request-Timestamp header."),
        (Some("abc"), body, 400, "Invalid X-Slack-Request-Timestamp header value."),
        (Some("1.5"), body, 400, "Invalid X-Slack-Request-Timestamp header value."),
        (Some("-9223372036854775808"), body, 400, "Slack webhook request has bad timestamp."),
        (Some(&stage.seconds(-301)), body, 400, "Slack webhook request has bad timestamp."),
        (Some(&stage.seconds(301)), body, 400, "Slack webhook request has bad timestamp."),
        (now, b"{}", 400, "Slack webhook payload missing API app ID."),
        (now, b"[]", 400, "Slack webhook payload missing API app ID."),
        (now, br#"{"api_app_id": "A2"}"#, 404, "No API key found for Slack app A2."),
    ] {
        refused(&post(timestamp, &secret, body).await, status, text);
    }
    refused(&post(now, "wrong", body).await, 401, "Invalid Slack webhook signature");
    let old = slack(&secret, &stage.seconds(-10), body);
    let replayed = [("x-slack-signature", old.as_str()), ("x-slack-request-timestamp", clock.as_str())];
    refused(&stage.post("a/events", &replayed, body).await, 401, "Invalid Slack webhook signature");
    assert!(stage.pod.seen().is_empty());

    for fresh in [-300, 0, 300] {
        assert_eq!(post(Some(&stage.seconds(fresh)), &secret, body).await.status, 200);
    }
    assert!(stage.pod.seen().iter().all(|seen| seen.header("x-slack-signature").is_some()));
}

#[tokio::test]
async fn a_delivery_that_arrived_is_not_passed_on_again_when_that_is_wanted() {
    let forwarding = ForwardingSettings { ignore_duplicates: true, ..ForwardingSettings::default() };
    let settings = Settings { forwarding, ..Settings::default() };
    let stage = Stage::with(Setup { settings, authorization: Authorization::Off, ..Setup::default() }).await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let body = br#"{"repository": {"full_name": "acme/w"}}"#;
    let signature = github(&secret, body);
    let deliver = async |path: &str, delivery: &str| {
        stage.post(path, &[("x-hub-signature-256", &signature), ("x-github-delivery", delivery)], body).await
    };

    // What the agent failed at may come again.
    assert_eq!(deliver("a/broken", "d1").await.status, 500);
    assert_eq!(deliver("a/hook", "d1").await.text(), "done");
    refused(&deliver("a/hook", "d1").await, 200, "duplicate delivery ignored");
    assert_eq!(deliver("a/hook", "d2").await.text(), "done");
    stage.world.clock.advance(Duration::from_secs(601));
    assert_eq!(deliver("a/hook", "d1").await.text(), "done");
    assert_eq!(stage.pod.seen().len(), 4);
}

#[tokio::test]
async fn a_delivery_is_passed_on_as_often_as_it_comes_unless_told_otherwise() {
    let stage = Stage::open().await;
    let secret = stage.key("github", "acme/w", Some("github-secret-0123")).await;
    let body = br#"{"repository": {"full_name": "acme/w"}}"#;
    let signature = github(&secret, body);

    for _ in 0..2 {
        let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", "d")];
        assert_eq!(stage.post("a/hook", &headers, body).await.text(), "done");
    }
}
