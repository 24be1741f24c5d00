use std::time::Duration;

use agentex_acp::{AcpClient, AcpOptions};
use agentex_domain::ports::{AgentForwarder, ForwardError, ForwardReply, ForwardRequest};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use tokio::join;

use crate::agent::{Agent, Connection, Received};

fn client() -> AcpClient {
    AcpClient::new(AcpOptions::default()).unwrap()
}

fn get(url: &str, path: &str) -> ForwardRequest {
    ForwardRequest {
        agent_url: url.to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: None,
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

/// Forwards `request` to an agent that writes `answer`.
async fn answered(
    client: &AcpClient,
    agent: &Agent,
    request: ForwardRequest,
    answer: &str,
) -> (Result<ForwardReply, ForwardError>, Connection, Received) {
    let (reply, (connection, received)) = join!(client.forward(request), async {
        let (mut connection, received) = agent.request().await;
        connection.write(answer).await;
        (connection, received)
    });
    (reply, connection, received)
}

async fn text(reply: ForwardReply) -> String {
    let chunks: Vec<Bytes> = reply.body.map(Result::unwrap).collect().await;
    String::from_utf8(chunks.concat()).unwrap()
}

fn header<'a>(reply: &'a ForwardReply, name: &str) -> Vec<&'a [u8]> {
    reply.headers.iter().filter(|(candidate, _)| candidate == name).map(|(_, value)| value.as_slice()).collect()
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_given() {
    let (agent, client) = (Agent::listen().await, client());
    let request = ForwardRequest {
        method: "POST".to_owned(),
        query: Some("x=%26&y".to_owned()),
        headers: [("x-tag", "a"), ("x-tag", "b"), ("content-type", "application/json"), ("x-bytes", "é")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .to_vec(),
        body: Bytes::from(json!({"a": 1}).to_string()),
        ..get(&format!("{}/base/", agent.url()), "a%20b//c/")
    };

    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (reply, _connection, received) = answered(&client, &agent, request, answer).await;

    assert_eq!(text(reply.unwrap()).await, "ok");
    assert_eq!(received.line, "POST /base/a%20b//c/?x=%26&y HTTP/1.1");
    assert_eq!(received.body, json!({"a": 1}));
    let mut names: Vec<&str> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-length", "content-type", "host", "x-bytes", "x-tag", "x-tag"]);
    assert_eq!(received.header("host"), agent.url().strip_prefix("http://"));
}

#[tokio::test]
async fn a_request_without_a_body_announces_none() {
    let (agent, client) = (Agent::listen().await, client());

    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    let (reply, _connection, received) = answered(&client, &agent, get(&agent.url(), "x"), answer).await;

    assert_eq!(reply.unwrap().status, 204);
    assert_eq!((received.header("content-length"), received.header("transfer-encoding")), (None, None));
}

#[tokio::test]
async fn the_answer_keeps_its_status_its_headers_and_its_encoding() {
    let (agent, client) = (Agent::listen().await, client());

    let answer =
        "HTTP/1.1 418 Odd\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nnot";
    let (reply, _connection, _) = answered(&client, &agent, get(&agent.url(), "x"), answer).await;

    let reply = reply.unwrap();
    assert_eq!(reply.status, 418);
    assert_eq!(header(&reply, "set-cookie"), [b"a", b"b"]);
    assert_eq!(header(&reply, "content-encoding"), [b"gzip"]);
    assert_eq!(text(reply).await, "not");
}

#[tokio::test]
async fn a_redirect_is_answered_and_not_followed() {
    let (agent, elsewhere, client) = (Agent::listen().await, Agent::listen().await, client());

    let answer = format!("HTTP/1.1 307 Moved\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
    let (reply, _connection, _) = answered(&client, &agent, get(&agent.url(), "x"), &answer).await;

    assert_eq!(reply.unwrap().status, 307);
    assert!(elsewhere.nobody_connects().await);
}

#[tokio::test]
async fn the_answer_is_there_with_its_headers_and_its_body_comes_as_it_is_sent() {
    let (agent, client) = (Agent::listen().await, client());
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (reply, mut connection, _) = answered(&client, &agent, get(&agent.url(), "x"), head).await;
    let mut body = reply.unwrap().body;

    for words in ["one", "two"] {
        connection.chunk(words).await;
        assert_eq!(body.next().await.unwrap().unwrap(), words);
    }
    connection.end().await;

    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn an_agent_that_does_not_begin_is_given_up() {
    let forward_timeout = Duration::from_millis(100);
    let client = AcpClient::new(AcpOptions { forward_timeout, ..AcpOptions::default() }).unwrap();
    let agent = Agent::listen().await;

    let (reply, mut connection, _) = answered(&client, &agent, get(&agent.url(), "x"), "HTTP/1.1 200 OK\r\n").await;

    assert!(matches!(reply, Err(ForwardError::TimedOut)), "{reply:?}");
    assert!(connection.is_closed_by_caller().await);
}

/// The time to begin is over, and that is fine: what has begun may take long, but not be silent for long.
#[tokio::test]
async fn an_answer_that_falls_silent_is_given_up() {
    let options = AcpOptions {
        forward_timeout: Duration::from_millis(100),
        stream_idle_timeout: Duration::from_millis(300),
        ..AcpOptions::default()
    };
    let (agent, client) = (Agent::listen().await, AcpClient::new(options).unwrap());
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\none";
    let (reply, mut connection, _) = answered(&client, &agent, get(&agent.url(), "x"), head).await;
    let mut body = reply.unwrap().body;

    assert_eq!(body.next().await.unwrap().unwrap(), "one");
    assert!(body.next().await.unwrap().is_err());

    assert!(body.next().await.is_none());
    assert!(connection.is_closed_by_caller().await);
}

#[tokio::test]
async fn dropping_the_answer_closes_the_connection() {
    let (agent, client) = (Agent::listen().await, client());
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\none";
    let (reply, mut connection, _) = answered(&client, &agent, get(&agent.url(), "x"), head).await;

    drop(reply);

    assert!(connection.is_closed_by_caller().await);
}

#[tokio::test]
async fn what_cannot_be_reached_and_what_may_not_be_are_told_apart() {
    let client = client();
    let closed = Agent::listen().await.url();

    let unreachable = client.forward(get(&closed, "x")).await.map(drop);
    let Err(ForwardError::Unreachable(cause)) = unreachable else { panic!("{unreachable:?}") };
    assert!(!format!("{cause:?}").contains("http://"), "{cause:?}");
    for (url, path) in [
        ("http://169.254.169.254", "x"),
        ("http://[::ffff:169.254.169.254]", "x"),
        ("file:///etc", "passwd"),
        ("", "x"),
        (closed.as_str(), "../x"),
        (closed.as_str(), "a\\..\\x"),
    ] {
        let refused = client.forward(get(url, path)).await.map(drop);
        assert!(matches!(refused, Err(ForwardError::BadTarget)), "{url} {path}: {refused:?}");
    }
}

#[tokio::test]
async fn the_docker_host_is_replaced_for_forwarded_requests_too() {
    let options = AcpOptions { host_override: Some("127.0.0.1".to_owned()), ..AcpOptions::default() };
    let (agent, client) = (Agent::listen().await, AcpClient::new(options).unwrap());
    let url = agent.url().replace("127.0.0.1", "host.docker.internal");

    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (reply, _connection, received) = answered(&client, &agent, get(&url, "x"), answer).await;

    assert_eq!((reply.unwrap().status, received.line.as_str()), (200, "GET /x HTTP/1.1"));
}
