//! What arrives at the agent, and what of its answer at the caller.

use std::time::Duration;

use agentex_acp::AcpOptions;

use super::*;

/// api-keys §7: 39
#[tokio::test]
async fn a_get_reaches_the_agents_own_route_and_its_answer_the_caller() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let answer = stage.get("a/some/path?query=value&q=%26", &[("x-agent-api-key", &key)]).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (200, "done".to_owned()));
    let seen = stage.pod.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/some/path?query=value&q=%26"));
}

/// api-keys §7: 40
#[tokio::test]
async fn a_post_arrives_byte_for_byte_and_the_encoding_of_the_path_is_kept() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let body: Vec<u8> = (0..=255).collect();

    let headers = [("x-agent-api-key", key.as_str()), ("content-type", "application/x-odd"), ("x-event", "push")];
    stage.post("a/a%20b/%2Fc//d%C3%A9/", &headers, &body).await;

    let seen = stage.pod.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a%20b/%2Fc//d%C3%A9/"));
    assert_eq!((seen.header("content-type"), seen.header("x-event")), (Some("application/x-odd"), Some("push")));
    assert_eq!(seen.body, body);
}

#[tokio::test]
async fn the_agents_own_url_is_reached_with_a_slash_and_without_one_redirected_to() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    stage.get("a/", &[("x-agent-api-key", &key)]).await;
    let moved = stage.post("a?x=1", &[], "").await;

    assert_eq!(stage.pod.only().target, "/");
    assert_eq!((moved.status.as_u16(), moved.header("location")), (307, Some("/agents/forward/name/a/?x=1")));
}

/// api-keys §7: 53, 54
/// authz §7: 191
#[tokio::test]
async fn the_agent_sees_no_credentials_but_its_own_key_and_where_the_request_came_from() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let headers = [
        ("x-agent-api-key", key.as_str()),
        ("authorization", "Bearer s3cret"),
        ("cookie", "session=s3cret"),
        ("x-api-key", "s3cret"),
        ("x-acting-user-api-key", "s3cret"),
        ("x-acting-as-agent", "s3cret"),
        ("x-selected-account-id", "s3cret"),
        ("x-agent-identity", "s3cret"),
        ("proxy-authorization", "s3cret"),
        ("connection", "close, x-hop"),
        ("x-hop", "s3cret"),
        ("host", "agents.example"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "abc-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-github-event", "push"),
    ];
    stage.get("a/x", &headers).await;

    let seen = stage.pod.only();
    let shown = format!("{:?}", seen.headers);
    assert!(!shown.contains("s3cret") && !shown.contains(&key), "{shown}");
    assert_eq!(seen.headers.get_all("x-agent-api-key").iter().count(), 1);
    assert_eq!(seen.header("x-agent-api-key"), stage.agent["agent_api_key"].as_str());
    assert_eq!(Some(seen.header("host").unwrap()), stage.pod.url.strip_prefix("http://"));
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "agents.example"),
        ("x-request-id", "abc-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-github-event", "push"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

/// api-keys §7: 55
#[tokio::test]
async fn the_agents_status_headers_and_body_are_relayed() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let answer = stage.get("a/teapot", &[("x-agent-api-key", &key)]).await;

    assert_eq!((answer.status.as_u16(), answer.text()), (418, "short and stout".to_owned()));
    assert_eq!((answer.header("x-pod"), answer.header("content-type")), (Some("1"), Some("text/tea")));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    for absent in ["server", "date", "connection", "x-hop", "x-agent-api-key"] {
        assert_eq!(answer.header(absent), None, "{absent}");
    }
}

/// api-keys §7: 56
#[tokio::test]
async fn a_compressed_answer_stays_as_it_is() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let client = stage.world.serve().await.with_header("x-agent-api-key", &key);

    let answer = client.get("/agents/forward/name/a/zip").await;

    assert_eq!((answer.header("content-encoding"), answer.body.as_ref()), (Some("gzip"), &ZIPPED[..]));
    assert_eq!(answer.header("content-length"), Some(ZIPPED.len().to_string().as_str()));
}

/// The second line is not even sent before the first has been read here.
#[tokio::test]
async fn the_answer_is_passed_on_as_it_comes() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let client = stage.world.serve().await.with_header("x-agent-api-key", &key);

    let mut lines = client.post_for_lines("/agents/forward/name/a/drip", &json!({})).await;

    assert_eq!(lines.next().await.unwrap().as_deref(), Some("one"));
    stage.pod.shared.go_on.notify_one();
    assert_eq!(lines.next().await.unwrap().as_deref(), Some("two"));
    assert_eq!(lines.next().await.unwrap(), None);
}

/// Half an answer must not look like a whole one.
#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_caller_too() {
    let stage = Stage::open().await;
    let key = stage.external().await;
    let client = stage.world.serve().await.with_header("x-agent-api-key", &key);

    let mut lines = client.post_for_lines("/agents/forward/name/a/cut", &json!({})).await;

    assert_eq!(lines.next().await.unwrap().as_deref(), Some("one"));
    stage.pod.shared.go_on.notify_one();
    assert!(lines.next().await.is_err());
}

/// api-keys §7: 57
#[tokio::test]
async fn an_agent_that_is_down_or_silent_is_reported_without_its_address() {
    let acp = AcpOptions { forward_timeout: Duration::from_millis(200), ..AcpOptions::default() };
    let stage = Stage::with(Setup { acp, authorization: Authorization::Off, ..Setup::default() }).await;
    let key = stage.external().await;
    let key = [("x-agent-api-key", key.as_str())];

    refused(&stage.get("a/slow", &key).await, 504, "Agent a did not respond in time.");
    let port = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    stage.world.agent("a", "sync", &format!("http://127.0.0.1:{port}")).await;
    refused(&stage.get("a/x", &key).await, 502, "Agent a is unreachable.");
    stage.world.agent("a", "sync", "http://169.254.169.254/latest").await;
    refused(&stage.get("a/x", &key).await, 502, "Agent a is unreachable.");
}

/// api-keys §7: 58
#[tokio::test]
async fn a_redirect_is_relayed_and_not_followed() {
    let stage = Stage::open().await;
    let key = stage.external().await;

    let answer = stage.get("a/moved", &[("x-agent-api-key", &key)]).await;

    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("/elsewhere")));
    assert_eq!(stage.pod.only().target, "/moved");
}
