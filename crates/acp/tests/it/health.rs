//! How agents say that they are well.

use agentex_acp::{AcpClient, AcpOptions};
use agentex_domain::AgentId;
use agentex_domain::ports::AgentHealthProbe as _;
use tokio::join;

use crate::agent::Agent;

fn client() -> AcpClient {
    AcpClient::new(AcpOptions::default()).unwrap()
}

/// agents §13: 59
/// agent-protocol §8: 20
#[tokio::test]
async fn an_agent_is_well_when_it_says_so_itself_and_in_these_words() {
    let (client, agent, id) = (client(), Agent::listen().await, AgentId::from("a1"));
    let url = agent.url();
    let endless = format!(r#"{{"status":"healthy","filler":"{}"}}"#, "x".repeat(64 * 1024));
    for (status, body, is_healthy) in [
        ("200 OK", r#"{"status":"healthy"}"#, true),
        ("200 OK", r#"{"status":"healthy","agent_id":"a1","more":1}"#, true),
        ("200 OK", r#"{"status":"healthy","agent_id":null}"#, true),
        ("200 OK", r#"{"status":"healthy","agent_id":"a2"}"#, false),
        ("200 OK", r#"{"status":"ok"}"#, false),
        ("200 OK", r#"{"status":"Healthy"}"#, false),
        ("200 OK", r#"{"agent_id":"a1"}"#, false),
        ("200 OK", "healthy", false),
        ("200 OK", "", false),
        ("200 OK", &endless, false),
        ("204 No Content", "", false),
        ("302 Found", r#"{"status":"healthy"}"#, false),
        ("500 Internal Server Error", r#"{"status":"healthy"}"#, false),
    ] {
        let (told, line) = join!(client.is_healthy(&id, &url), async {
            let (mut connection, received) = agent.request().await;
            let length =
                if status.starts_with("204") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
            connection.write(format!("HTTP/1.1 {status}\r\n{length}connection: close\r\n\r\n{body}")).await;
            received.line
        });
        assert_eq!((told, line.as_str()), (is_healthy, "GET /healthz HTTP/1.1"), "{status} {body:.80}");
    }
}

/// agent-protocol §8: 20
#[tokio::test]
async fn an_agent_that_cannot_be_asked_or_does_not_answer_is_not_well() {
    let (client, agent, id) = (client(), Agent::listen().await, AgentId::from("a1"));
    let silent = agent.url();
    let gone = Agent::listen().await.url();

    assert!(!client.is_healthy(&id, &gone).await);
    assert!(!client.is_healthy(&id, "not a url").await);
    let (told, held) = join!(client.is_healthy(&id, &silent), agent.request());
    assert!(!told);
    drop(held);
}
