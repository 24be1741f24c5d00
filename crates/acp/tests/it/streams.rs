use std::time::Duration;

use agentex_acp::{AcpClient, AcpOptions};
use agentex_domain::MessageUpdate;
use agentex_domain::ports::{AgentCallError, AgentClient, UpdateStream};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::join;

use crate::agent::{Agent, Connection, Received};
use crate::build::{call, message};

/// A streamed call whose answer has begun and carries nothing yet.
async fn begun(options: AcpOptions) -> (UpdateStream, Connection, Received) {
    let agent = Agent::listen().await;
    let client = AcpClient::new(options).unwrap();
    let (stream, (connection, received)) = join!(client.stream(call(&agent.url(), message())), async {
        let (mut connection, received) = agent.request().await;
        connection.begin().await;
        (connection, received)
    });
    (stream.unwrap(), connection, received)
}

/// What a stream yields when the agent writes `pieces`, made from the request, and ends its answer.
async fn streamed<P: AsRef<[u8]>>(
    options: AcpOptions,
    pieces: impl FnOnce(&Received) -> Vec<P>,
) -> Vec<Result<Value, AgentCallError>> {
    let (stream, mut connection, received) = begun(options).await;
    for piece in pieces(&received) {
        connection.chunk(piece).await;
    }
    connection.end().await;
    stream.map(|update| update.map(shown)).collect().await
}

fn shown(update: MessageUpdate) -> Value {
    match update {
        MessageUpdate::Delta { delta, .. } => serde_json::to_value(delta).unwrap()["text_delta"].clone(),
        other => serde_json::to_value(other).unwrap()["type"].clone(),
    }
}

fn values(outcome: Vec<Result<Value, AgentCallError>>) -> Vec<Value> {
    outcome.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn updates_come_in_order_and_the_end_of_the_answer_ends_the_stream() {
    let content = json!({"type": "text", "author": "agent", "content": "hello"});
    let outcome = streamed(AcpOptions::default(), |received| {
        [
            json!({"type": "start", "index": 0, "content": content}),
            json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "hel"}}),
            json!({"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "lo"}}),
            json!({"type": "done", "index": 0}),
            json!({"type": "full", "index": 1, "content": content}),
        ]
        .map(|update| received.response(update) + "\n")
        .to_vec()
    });

    assert_eq!(values(outcome.await), ["start", "hel", "lo", "done", "full"]);
}

#[tokio::test]
async fn the_request_asks_for_a_stream() {
    let (_stream, _connection, received) = begun(AcpOptions::default()).await;

    assert_eq!(received.header("accept"), Some("text/event-stream"));
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(received.body["params"]["stream"], true);
}

#[tokio::test]
async fn an_empty_answer_is_an_empty_stream() {
    assert_eq!(values(streamed(AcpOptions::default(), |_| Vec::<String>::new()).await), Vec::<Value>::new());
}

#[tokio::test]
async fn each_update_is_there_before_the_agent_goes_on() {
    let (mut stream, mut connection, received) = begun(AcpOptions::default()).await;

    for words in ["one", "two", "three"] {
        connection.chunk(received.words(words)).await;
        assert_eq!(shown(stream.next().await.unwrap().unwrap()), words);
        assert!(stream.next().now_or_never().is_none());
    }
    connection.end().await;
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn lines_cut_anywhere_empty_lines_and_data_prefixes_are_understood() {
    let outcome = streamed(AcpOptions::default(), |received| {
        let text =
            format!("\n{}\r\n\ndata: {}data:\n{}", received.words("é"), received.words("b"), received.words("c"));
        text.as_bytes().chunks(7).map(<[u8]>::to_vec).collect()
    });

    assert_eq!(values(outcome.await), ["é", "b", "c"]);
}

#[tokio::test]
async fn one_object_without_a_line_end_is_a_whole_answer() {
    let outcome = streamed(AcpOptions::default(), |received| vec![received.words("all").trim_end().to_owned()]).await;

    assert_eq!(values(outcome), ["all"]);
}

#[tokio::test]
async fn an_error_object_instead_of_a_stream_is_the_agents_error() {
    let outcome = streamed(AcpOptions::default(), |received| vec![received.error(-32601, "Unauthorized")]).await;

    let [Err(AgentCallError::Rejected { code: -32601, message })] = &outcome[..] else { panic!("{outcome:?}") };
    assert_eq!(message, "Unauthorized");
}

#[tokio::test]
async fn an_error_line_ends_the_stream_after_what_came_before() {
    let outcome = streamed(AcpOptions::default(), |received| {
        vec![received.words("half"), received.error(-32603, "boom") + "\n", received.words("late")]
    });

    let outcome = outcome.await;
    let [Ok(half), Err(AgentCallError::Rejected { code: -32603, .. })] = &outcome[..] else { panic!("{outcome:?}") };
    assert_eq!(half, "half");
}

/// The error that ends a stream whose second line is `line`.
async fn error_of(line: impl FnOnce(&Received) -> String) -> AgentCallError {
    let outcome = streamed(AcpOptions::default(), |received| {
        vec![received.words("fine"), line(received) + "\n", received.words("late")]
    });
    let mut outcome = outcome.await;
    assert_eq!(outcome.len(), 2, "{outcome:?}");
    outcome.pop().unwrap().unwrap_err()
}

#[tokio::test]
async fn malformed_lines_are_errors_not_silence() {
    for line in ["not json", "{\"id\":", "[]", "event: delta", "null"] {
        let error = error_of(|_| line.to_owned()).await;
        assert!(matches!(error, AgentCallError::Malformed), "{line}: {error:?}");
    }
}

#[tokio::test]
async fn a_line_of_another_request_is_an_error() {
    let error = error_of(|_| json!({"id": "other", "result": {"type": "done", "index": 0}}).to_string()).await;

    assert!(matches!(error, AgentCallError::WrongId), "{error:?}");
}

#[tokio::test]
async fn unknown_and_incomplete_updates_are_errors_of_their_own() {
    for result in [
        json!({"type": "later", "index": 0}),
        json!({"type": "full", "index": 0}),
        json!({"type": "full", "index": 0, "content": {"type": "image", "author": "agent"}}),
        json!(null),
    ] {
        let error = error_of(|received| received.response(result.clone())).await;
        assert!(matches!(error, AgentCallError::InvalidUpdate), "{result}: {error:?}");
    }
}

#[tokio::test]
async fn a_line_or_a_turn_over_its_limit_is_refused() {
    let options = AcpOptions { max_line_bytes: 1024, max_turn_bytes: 8192, ..AcpOptions::default() };

    let line =
        streamed(options.clone(), |received| vec![received.words("ok"), received.words(&"x".repeat(1024))]).await;
    assert!(matches!(&line[..], [Ok(_), Err(AgentCallError::TooLarge)]), "{line:?}");

    let turn = streamed(options, |received| vec![received.words(&"x".repeat(700)); 12]).await;
    assert!(matches!(turn.last(), Some(Err(AgentCallError::TooLarge))), "{turn:?}");
    assert!((5..12).contains(&turn.len()), "{}", turn.len());
}

#[tokio::test]
async fn an_endless_line_is_refused_before_it_ends() {
    let (mut stream, mut connection, _) = begun(AcpOptions { max_line_bytes: 1024, ..AcpOptions::default() }).await;

    connection.chunk("x".repeat(2048)).await;

    let outcome = stream.next().await;
    assert!(matches!(outcome, Some(Err(AgentCallError::TooLarge))), "{outcome:?}");
}

#[tokio::test]
async fn an_agent_that_dies_leaves_its_words_and_an_error() {
    let (mut stream, mut connection, received) = begun(AcpOptions::default()).await;

    connection.chunk(received.words("half")).await;
    assert_eq!(shown(stream.next().await.unwrap().unwrap()), "half");
    drop(connection);

    let outcome = stream.next().await;
    assert!(matches!(outcome, Some(Err(AgentCallError::Unreachable(_)))), "{outcome:?}");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn silence_longer_than_the_idle_timeout_ends_the_stream_and_the_connection() {
    let options = AcpOptions { stream_idle_timeout: Duration::from_millis(200), ..AcpOptions::default() };
    let (mut stream, mut connection, received) = begun(options).await;

    connection.chunk(received.words("one")).await;
    assert_eq!(shown(stream.next().await.unwrap().unwrap()), "one");

    let outcome = stream.next().await;
    assert!(matches!(outcome, Some(Err(AgentCallError::TimedOut))), "{outcome:?}");
    assert!(connection.is_closed_by_caller().await);
}

#[tokio::test]
async fn an_agent_that_never_begins_is_given_up_after_the_idle_timeout() {
    let agent = Agent::listen().await;
    let options = AcpOptions { stream_idle_timeout: Duration::from_millis(100), ..AcpOptions::default() };
    let client = AcpClient::new(options).unwrap();

    let (outcome, mut connection) =
        join!(client.stream(call(&agent.url(), message())), async { agent.request().await.0 });

    assert!(matches!(outcome.map(drop), Err(AgentCallError::TimedOut)));
    assert!(connection.is_closed_by_caller().await);
}

#[tokio::test]
async fn statuses_and_redirects_are_reported_before_any_update() {
    for (status, location) in [(500, ""), (302, "location: http://127.0.0.1:1/\r\n"), (401, "")] {
        let agent = Agent::listen().await;
        let client = AcpClient::new(AcpOptions::default()).unwrap();
        let (outcome, ()) = join!(client.stream(call(&agent.url(), message())), async {
            let (mut connection, _) = agent.request().await;
            connection.write(format!("HTTP/1.1 {status} No\r\n{location}content-length: 0\r\n\r\n")).await;
        });

        let outcome = outcome.map(drop);
        assert!(matches!(outcome, Err(AgentCallError::Status(code)) if code == status), "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (mut stream, mut connection, received) = begun(AcpOptions::default()).await;
    connection.chunk(received.words("one")).await;
    assert_eq!(shown(stream.next().await.unwrap().unwrap()), "one");

    drop(stream);

    assert!(connection.is_closed_by_caller().await);
}

#[tokio::test]
async fn an_error_closes_the_connection_while_the_stream_is_still_held() {
    let (mut stream, mut connection, _) = begun(AcpOptions::default()).await;
    connection.chunk("nonsense\n").await;

    let outcome = stream.next().await;

    assert!(matches!(outcome, Some(Err(AgentCallError::Malformed))), "{outcome:?}");
    assert!(connection.is_closed_by_caller().await);
}

#[tokio::test]
async fn an_agent_cannot_run_ahead_of_a_consumer_that_does_not_poll() {
    let (mut stream, mut connection, received) = begun(AcpOptions::default()).await;
    let (line, most) = (received.words(&"x".repeat(1000)), 60 * 1024 * 1024);
    connection.chunk(&line).await;
    assert!(stream.next().await.unwrap().is_ok());

    let sent = connection.flood(&line, most).await;

    assert!(sent < most / 2, "{sent} bytes went into buffers");
}
