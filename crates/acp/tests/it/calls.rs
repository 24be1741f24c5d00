use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentex_acp::{AcpClient, AcpOptions};
use agentex_domain::ports::{AgentCallError, AgentClient, AgentRequest};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use tokio::join;

use crate::agent::{Agent, Received};
use crate::build::{call, call_of, every_request, message};

fn client() -> AcpClient {
    AcpClient::new(AcpOptions::default()).unwrap()
}

/// What comes of a call that the agent answers with `status` and a body made from the request.
async fn answered(status: &str, body: impl FnOnce(&Received) -> String) -> Result<(), AgentCallError> {
    let agent = Agent::listen().await;
    let (client, request) = (client(), AgentRequest::CancelTask);
    let (outcome, ()) = join!(client.call(call(&agent.url(), request)), async {
        let (mut connection, received) = agent.request().await;
        connection.answer(status, &body(&received)).await;
    });
    outcome
}

#[tokio::test]
async fn every_method_posts_its_request_to_the_api_path_and_takes_an_acknowledgement() {
    for request in every_request() {
        let (agent, client) = (Agent::listen().await, client());
        let (method, url) = (request.method(), format!("{}/base/", agent.url()));
        let (outcome, received) = join!(client.call(call(&url, request)), async {
            let (mut connection, received) = agent.request().await;
            connection.answer("200 OK", &received.response(json!({"status": "processing"}))).await;
            received
        });

        outcome.unwrap();
        assert_eq!(received.line, "POST /base/api HTTP/1.1");
        assert_eq!(received.header("content-type"), Some("application/json"));
        assert_eq!(received.body["method"], method);
        assert_eq!(received.body["jsonrpc"], "2.0");
        assert_eq!(received.body["params"]["agent"]["name"], "echo");
        assert_eq!(received.body["params"]["task"]["id"], "task-1");
        assert!(received.id().starts_with(&format!("{method}-task-1-")), "{}", received.id());
    }
}

/// A call may find the last connection not yet back in the pool and open another, so a few are fine.
#[tokio::test]
async fn connections_are_used_again() {
    let (agent, client) = (Agent::listen().await, client());
    let url = agent.url();
    let opened = AtomicUsize::new(0);
    let serve_all = async {
        let mut serving = FuturesUnordered::new();
        loop {
            tokio::select! {
                mut connection = agent.accept() => {
                    opened.fetch_add(1, Ordering::Relaxed);
                    serving.push(async move {
                        loop {
                            let received = connection.request().await;
                            connection.answer("200 OK", &received.response(json!({}))).await;
                        }
                    });
                }
                Some(()) = serving.next() => {}
            }
        }
    };
    let calls = async {
        for _ in 0..50 {
            client.call(call(&url, AgentRequest::InterruptTask)).await.unwrap();
        }
    };

    tokio::select! {
        () = serve_all => {}
        () = calls => {}
    }

    assert!((1..=5).contains(&opened.load(Ordering::Relaxed)), "{opened:?}");
}

/// authz §7: 181, 187
/// rpc §7: 50, 51
#[tokio::test]
async fn trace_context_key_and_request_id_reach_the_agent_on_every_method() {
    let agent = Agent::listen().await;
    let client = client();

    for request in every_request() {
        let mut call = call(&agent.url(), request);
        call.api_key = Some("agent-secret".to_owned());
        call.context.delegate = true;
        call.context.inbound = [
            ("TraceParent", "00-a-b-01"),
            ("tracestate", "v1=1"),
            ("tracestate", "v2=2"),
            ("x-custom", "1"),
            ("x-request-id", "theirs"),
            ("x-api-key", "user-secret"),
            ("cookie", "_identityJwt=j"),
            ("content-type", "text/plain"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let (outcome, received) = join!(client.call(call), async {
            let (mut connection, received) = agent.request().await;
            connection.write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            connection.write(received.response(json!(null))).await;
            received
        });

        outcome.unwrap();
        for (name, value) in [
            ("traceparent", Some("00-a-b-01")),
            ("tracestate", Some("v1=1,v2=2")),
            ("x-custom", Some("1")),
            ("x-request-id", Some("req-1")),
            ("x-agent-api-key", Some("agent-secret")),
            ("x-acting-user-api-key", Some("user-secret")),
            ("content-type", Some("application/json")),
            ("x-api-key", None),
            ("cookie", None),
        ] {
            assert_eq!(received.header(name), value, "{name}");
        }
    }
}

/// rpc §7: 57
#[tokio::test]
async fn without_a_key_the_header_is_absent() {
    let agent = Agent::listen().await;
    let client = client();

    let (outcome, received) = join!(client.call(call(&agent.url(), AgentRequest::CancelTask)), async {
        let (mut connection, received) = agent.request().await;
        connection.answer("200 OK", &received.response(json!({}))).await;
        received
    });

    outcome.unwrap();
    assert_eq!(received.header("x-agent-api-key"), None);
}

#[tokio::test]
async fn a_null_result_is_a_success() {
    assert!(answered("200 OK", |received| received.response(json!(null))).await.is_ok());
}

#[tokio::test]
async fn an_error_answer_keeps_the_agents_code_and_text() {
    let outcome = answered("200 OK", |received| received.error(-32601, "Method task/interrupt not found")).await;

    let Err(AgentCallError::Rejected { code: -32601, message }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(message, "Method task/interrupt not found");
}

/// rpc §7: 20
#[tokio::test]
async fn an_answer_to_another_request_is_refused() {
    let outcome = answered("200 OK", |_| json!({"result": {}, "id": "other"}).to_string()).await;

    assert!(matches!(outcome, Err(AgentCallError::WrongId)), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_malformed() {
    let outcome = answered("200 OK", |_| "<html>".to_owned()).await;

    assert!(matches!(outcome, Err(AgentCallError::Malformed)), "{outcome:?}");
}

/// rpc §7: 21
#[tokio::test]
async fn statuses_that_are_no_success_are_reported_whatever_the_body_says() {
    for status in [500, 503, 404, 400, 304] {
        let outcome =
            answered(
                &format!("{status} No"),
                |received| {
                    if status == 304 { String::new() } else { received.response(json!({})) }
                },
            )
            .await;

        assert!(matches!(outcome, Err(AgentCallError::Status(code)) if code == status), "{status}: {outcome:?}");
    }
}

/// rpc §7: 21
#[tokio::test]
async fn a_redirect_is_reported_and_not_followed() {
    let (agent, elsewhere) = (Agent::listen().await, Agent::listen().await);
    let client = client();
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let head = format!("HTTP/1.1 {status}\r\nlocation: {}/api\r\ncontent-length: 0\r\n", elsewhere.url());
        let (outcome, ()) = join!(client.call(call(&agent.url(), AgentRequest::CancelTask)), async {
            let (mut connection, _) = agent.request().await;
            connection.write(head + "connection: close\r\n\r\n").await;
        });

        assert!(matches!(outcome, Err(AgentCallError::Status(302 | 307 | 308))), "{status}: {outcome:?}");
    }
    assert!(elsewhere.nobody_connects().await);
}

#[tokio::test]
async fn an_answer_longer_than_four_mebibytes_is_refused() {
    let outcome = answered("200 OK", |received| received.response(json!("x".repeat(4 * 1024 * 1024)))).await;

    assert!(matches!(outcome, Err(AgentCallError::TooLarge)), "{outcome:?}");
}

/// rpc §7: 21
#[tokio::test]
async fn an_agent_that_hangs_is_given_up_after_the_call_timeout_and_cancel_has_its_own() {
    let agent = Agent::listen().await;
    let (short, long) = (Duration::from_millis(100), Duration::from_secs(60));

    for (request, call_timeout, cancel_timeout) in
        [(AgentRequest::InterruptTask, short, long), (AgentRequest::CancelTask, long, short)]
    {
        let client = AcpClient::new(AcpOptions { call_timeout, cancel_timeout, ..AcpOptions::default() }).unwrap();
        let (outcome, mut connection) = join!(client.call(call(&agent.url(), request)), async {
            let (mut connection, _) = agent.request().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
            connection
        });

        assert!(matches!(outcome, Err(AgentCallError::TimedOut)), "{outcome:?}");
        assert!(connection.is_closed_by_caller().await);
    }
}

#[tokio::test]
async fn a_full_agent_makes_callers_wait_no_longer_than_the_call_timeout_and_others_are_not_held_up() {
    let (busy, idle) = (Agent::listen().await, Agent::listen().await);
    let options = AcpOptions {
        per_agent_concurrency: 1,
        call_timeout: Duration::from_millis(300),
        stream_idle_timeout: Duration::from_millis(300),
        ..AcpOptions::default()
    };
    let client = AcpClient::new(options).unwrap();
    let (stream, (connection, _)) = join!(client.stream(call_of("busy", &busy.url(), message())), async {
        let (mut connection, received) = busy.request().await;
        connection.begin().await;
        (connection, received)
    });
    let stream = stream.unwrap();

    let waited = client.call(call_of("busy", &busy.url(), AgentRequest::InterruptTask)).await;
    assert!(matches!(waited, Err(AgentCallError::TimedOut)), "{waited:?}");
    let waited = client.stream(call_of("busy", &busy.url(), message())).await.map(drop);
    assert!(matches!(waited, Err(AgentCallError::TimedOut)), "{waited:?}");
    assert!(busy.nobody_connects().await, "a call went out although the agent was full");

    let answer = async |agent: &Agent| {
        let (mut connection, received) = agent.request().await;
        connection.answer("200 OK", &received.response(json!({}))).await;
    };
    let (other, ()) = join!(client.call(call_of("idle", &idle.url(), AgentRequest::InterruptTask)), answer(&idle));
    other.unwrap();

    drop((stream, connection));
    let (after, ()) = join!(client.call(call_of("busy", &busy.url(), AgentRequest::InterruptTask)), answer(&busy));
    after.unwrap();
}
