use std::error::Error;
use std::time::Duration;

use agentex_acp::{AcpClient, AcpOptions};
use agentex_domain::ports::{AgentCallError, AgentClient, AgentRequest};
use serde_json::json;
use tokio::join;

use crate::agent::Agent;
use crate::build::{call, message};

fn client() -> AcpClient {
    AcpClient::new(AcpOptions::default()).unwrap()
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_neither_text_nor_cause_names_the_url() {
    let closed = Agent::listen().await.url();

    let outcome = client().call(call(&format!("{closed}/secret-path"), AgentRequest::CancelTask)).await;

    let Err(error @ AgentCallError::Unreachable(_)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.to_string(), "agent is unreachable");
    let mut causes = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes += &format!("{cause} {cause:?} ");
        source = cause.source();
    }
    assert!(!causes.contains("secret-path"), "{causes}");
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_request_is_tried_once_more() {
    let agent = Agent::listen().await;
    let client = client();
    // A TLS handshake fails before anything of the request is sent.
    let url = agent.url().replace("http://", "https://");

    let (outcome, ()) = join!(client.call(call(&url, AgentRequest::CancelTask)), async {
        drop(agent.accept().await);
        drop(agent.accept().await);
    });

    assert!(matches!(outcome, Err(AgentCallError::Unreachable(_))), "{outcome:?}");
    assert!(agent.nobody_connects().await, "tried more than once more");
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_never_sent_again() {
    let agent = Agent::listen().await;
    let client = client();

    let (outcome, ()) = join!(client.call(call(&agent.url(), AgentRequest::CancelTask)), async {
        drop(agent.request().await);
    });
    assert!(matches!(outcome, Err(AgentCallError::Unreachable(_))), "{outcome:?}");
    assert!(agent.nobody_connects().await);

    let (outcome, ()) = join!(client.stream(call(&agent.url(), message())), async {
        drop(agent.request().await);
    });
    assert!(matches!(outcome.map(drop), Err(AgentCallError::Unreachable(_))));
    assert!(agent.nobody_connects().await);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up_after_the_connect_timeout() {
    let agent = Agent::listen().await;
    let connect_timeout = Duration::from_millis(100);
    let client = AcpClient::new(AcpOptions { connect_timeout, ..AcpOptions::default() }).unwrap();
    let url = agent.url().replace("http://", "https://");

    let (outcome, connection) = join!(client.call(call(&url, AgentRequest::CancelTask)), agent.accept());

    assert!(matches!(outcome, Err(AgentCallError::Unreachable(_))), "{outcome:?}");
    drop(connection);
    assert!(agent.nobody_connects().await, "a time-out is not worth another wait");
}

/// conventions §11: 58
#[tokio::test]
async fn the_docker_host_is_replaced_by_the_override() {
    let agent = Agent::listen().await;
    let host_override = Some("127.0.0.1".to_owned());
    let client = AcpClient::new(AcpOptions { host_override, ..AcpOptions::default() }).unwrap();
    let url = agent.url().replace("127.0.0.1", "host.docker.internal");

    let (outcome, received) = join!(client.call(call(&url, AgentRequest::CancelTask)), async {
        let (mut connection, received) = agent.request().await;
        connection.answer("200 OK", &received.response(json!({}))).await;
        received
    });

    outcome.unwrap();
    assert_eq!(received.header("host"), Some(agent.url().trim_start_matches("http://")));
}

#[tokio::test]
async fn names_are_resolved_by_the_system() {
    let agent = Agent::listen().await;
    let client = client();
    let url = agent.url().replace("127.0.0.1", "localhost");

    let (outcome, ()) = join!(client.call(call(&url, AgentRequest::CancelTask)), async {
        let (mut connection, received) = agent.request().await;
        connection.answer("200 OK", &received.response(json!({}))).await;
    });

    outcome.unwrap();
}

#[tokio::test]
async fn unusable_and_refused_urls_are_not_dialled() {
    for url in ["", "ftp://agent", "http://169.254.169.254/latest", "http://[fe80::1]:80", "not a url"] {
        let called = client().call(call(url, AgentRequest::CancelTask)).await;
        assert!(matches!(called, Err(AgentCallError::BadUrl)), "{url}: {called:?}");
        let streamed = client().stream(call(url, message())).await.map(drop);
        assert!(matches!(streamed, Err(AgentCallError::BadUrl)), "{url}: {streamed:?}");
    }
}
