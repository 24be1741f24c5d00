//! How many statements a write takes, which is what its latency is made of.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::Stores;
use agentex_domain::{Message, Span, SpanId};

use super::stored::stored_task;
use crate::build::{at, message, text};
use crate::statements::sent_by;

pub async fn a_span_is_stored_by_one_statement(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let span = Span {
        id: SpanId::generate(),
        trace_id: "trace".to_owned(),
        task_id: Some(task_id),
        parent_id: None,
        name: "step".to_owned(),
        start_time: at(0),
        end_time: Some(at(1)),
        input: None,
        output: None,
        data: None,
    };

    let (stored, statements) = sent_by(stores.spans.insert(&span)).await;

    assert!(stored.unwrap());
    assert_eq!(statements.len(), 1, "{statements:?}");
    assert!(statements[0].starts_with("INSERT INTO spans"), "{statements:?}");
}

pub async fn fifty_messages_are_stored_by_one_statement(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages: Vec<Message> = (0..50).map(|second| message(&task_id, text("hello"), at(second))).collect();

    let (stored, statements) = sent_by(stores.messages.insert(&task_id, &messages)).await;

    assert!(stored.unwrap());
    assert_eq!(statements.len(), 1, "{statements:?}");
}
