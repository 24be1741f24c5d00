//! What every `MessageRepository` must do: storing, changing and listing. Cursor paging and filters have suites of their
//! own.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{MessageOrder, StoreError, Stores, UpdateMany};
use agentex_domain::{
    Attachment, Author, Direction, Message, MessageContent, MessageFilter, MessageId, PageRequest, StreamingStatus,
    Style, TaskId, TextFormat, Transition,
};
use serde_json::json;

use super::stored::{everything_of, stored_task};
use crate::build::{at, data, message, object, text};

async fn insert(stores: &Stores, task_id: &TaskId, messages: &[Message]) {
    assert!(stores.messages.insert(task_id, messages).await.unwrap(), "the task takes messages");
}

async fn list(stores: &Stores, task_id: &TaskId, order: MessageOrder, direction: Direction) -> Vec<MessageId> {
    let page = PageRequest { limit: 1000, page_number: 1 };
    let messages = stores.messages.list(task_id, &MessageFilter::default(), order, direction, page).await.unwrap();
    messages.into_iter().map(|message| message.id).collect()
}

fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.id.clone()).collect()
}

fn texts(task_id: &TaskId, words: &[&str]) -> Vec<Message> {
    words.iter().map(|word| message(task_id, text(word), at(0))).collect()
}

fn every_variant() -> Vec<MessageContent> {
    let (author, style) = (Author::Agent, Style::Active);
    let tool_response = |content| MessageContent::ToolResponse {
        author,
        style,
        tool_call_id: "call".into(),
        name: "tool".into(),
        content,
        is_error: Some(false),
    };
    vec![
        text(""),
        MessageContent::Text {
            author: Author::User,
            style,
            format: TextFormat::Markdown,
            content: "it's \"so\"\n\t\\ \u{1F980} \u{1}; DROP TABLE task_messages; --".into(),
            attachments: Some(vec![
                Attachment {
                    file_id: "f".into(),
                    name: "n.txt".into(),
                    size: i64::MAX,
                    media_type: "text/plain".into(),
                },
                Attachment { file_id: "g".into(), name: String::new(), size: 0, media_type: String::new() },
            ]),
        },
        MessageContent::Reasoning { author, style, summary: vec!["s".into(), String::new()], content: None },
        MessageContent::Reasoning { author, style, summary: Vec::new(), content: Some(vec!["c".into()]) },
        data(json!({})),
        data(json!({"a.b": {"$gt": [1, 2.5, null, true, {"": "x"}]}, "it's": "\"", "z": null})),
        data(json!({"big": 9_007_199_254_740_993_i64, "bigger": u64::MAX, "small": i64::MIN})),
        MessageContent::ToolRequest {
            author,
            style,
            tool_call_id: "call".into(),
            name: "tool".into(),
            arguments: object(json!({"q": {"n": 1}})),
        },
        tool_response(json!("plain")),
        tool_response(json!([1, {"a": null}])),
        tool_response(json!({"k": "v"})),
        tool_response(json!(null)),
        tool_response(json!(5)),
    ]
}

pub async fn a_stored_message_reads_back_equal_whatever_it_says(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let statuses = [None, Some(StreamingStatus::InProgress), Some(StreamingStatus::Done)];
    for (second, content) in (1..).zip(every_variant()) {
        for streaming_status in statuses {
            let created_at = at(-second);
            let written =
                Message { streaming_status, updated_at: at(second), ..message(&task_id, content.clone(), created_at) };

            insert(stores, &task_id, std::slice::from_ref(&written)).await;

            assert_eq!(stores.messages.find(&written.id).await.unwrap(), Some(written));
        }
    }
    assert_eq!(stores.messages.find(&MessageId::generate()).await.unwrap(), None);
    assert_eq!(stores.messages.find(&MessageId::from("64b2c0ffee'--")).await.unwrap(), None);
}

pub async fn ids_of_other_writers_are_kept(stores: &Stores) {
    let task_id = stored_task(stores).await;
    for id in ["64b2c0ffee64b2c0ffee64b2", "anything at all"] {
        let imported = Message { id: id.into(), ..message(&task_id, text("x"), at(0)) };
        insert(stores, &task_id, std::slice::from_ref(&imported)).await;
        assert_eq!(stores.messages.find(&id.into()).await.unwrap(), Some(imported));
    }
}

pub async fn an_absent_or_deleted_task_takes_no_messages(stores: &Stores) {
    let gone = stored_task(stores).await;
    stores.tasks.transition(&gone, Transition::Delete, "gone", at(1)).await.unwrap();

    for task_id in [gone, TaskId::generate()] {
        let late = texts(&task_id, &["a", "b"]);
        assert!(!stores.messages.insert(&task_id, &late).await.unwrap());
        assert_eq!(stores.messages.find(&late[0].id).await.unwrap(), None);
        assert_eq!(everything_of(stores, &task_id).await, []);
    }
}

pub async fn a_finished_task_still_takes_messages(stores: &Stores) {
    let task_id = stored_task(stores).await;
    stores.tasks.transition(&task_id, Transition::Complete, "done", at(1)).await.unwrap();

    insert(stores, &task_id, &texts(&task_id, &["last words"])).await;
}

pub async fn storing_no_messages_is_fine(stores: &Stores) {
    let task_id = stored_task(stores).await;

    assert!(stores.messages.insert(&task_id, &[]).await.unwrap());
    assert_eq!(everything_of(stores, &task_id).await, []);
}

pub async fn messages_of_equal_times_are_listed_in_insertion_order_and_its_exact_reverse(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let mut inserted = Vec::new();
    // Ids sorted against the order of insertion, so that they cannot stand in for it.
    for batch in [["z1", "m1", "a1"].as_slice(), &["y2"], &["b2", "x2"], &["a0"]] {
        let batch: Vec<Message> =
            batch.iter().map(|id| Message { id: (*id).into(), ..message(&task_id, text(id), at(0)) }).collect();
        insert(stores, &task_id, &batch).await;
        inserted.extend(ids(&batch));
    }
    let reverse: Vec<MessageId> = inserted.iter().rev().cloned().collect();

    assert_eq!(list(stores, &task_id, MessageOrder::CreatedAt, Direction::Ascending).await, inserted);
    assert_eq!(list(stores, &task_id, MessageOrder::CreatedAt, Direction::Descending).await, reverse);
    for order in [MessageOrder::UpdatedAt, MessageOrder::StreamingStatus] {
        assert_eq!(list(stores, &task_id, order, Direction::Ascending).await, inserted, "{order:?}");
        assert_eq!(list(stores, &task_id, order, Direction::Descending).await, reverse, "{order:?}");
    }
}

pub async fn times_given_by_writers_decide_the_order_not_the_insertion(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let late = message(&task_id, text("late"), at(0).plus_millis(1));
    let early = message(&task_id, text("early"), at(0));
    insert(stores, &task_id, std::slice::from_ref(&late)).await;
    insert(stores, &task_id, std::slice::from_ref(&early)).await;

    let listed = list(stores, &task_id, MessageOrder::CreatedAt, Direction::Ascending).await;

    assert_eq!(listed, [early.id, late.id]);
}

/// messages §7: 17
pub async fn a_batch_with_a_taken_id_stores_nothing(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let first = texts(&task_id, &["first"]);
    insert(stores, &task_id, &first).await;

    let mut batch = texts(&task_id, &["a", "b", "c"]);
    batch[1].id = first[0].id.clone();
    let refused = stores.messages.insert(&task_id, &batch).await;
    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");

    let mut twice = texts(&task_id, &["a", "b"]);
    twice[1].id = twice[0].id.clone();
    let refused = stores.messages.insert(&task_id, &twice).await;
    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");

    assert_eq!(everything_of(stores, &task_id).await, first);
}

pub async fn a_thousand_messages_are_stored_at_once_in_order(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let batch: Vec<Message> =
        (0..1000).map(|number| message(&task_id, text(&format!("message {number}")), at(0))).collect();

    insert(stores, &task_id, &batch).await;

    assert_eq!(everything_of(stores, &task_id).await, batch);
}

pub async fn a_task_lists_only_its_own_messages(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    let (ones, others) = (texts(&one, &["a", "b"]), texts(&other, &["c"]));
    insert(stores, &one, &ones).await;
    insert(stores, &other, &others).await;

    assert_eq!(everything_of(stores, &one).await, ones);
    assert_eq!(everything_of(stores, &other).await, others);
    assert_eq!(everything_of(stores, &TaskId::generate()).await, []);
}

pub async fn an_update_replaces_the_content_and_keeps_the_place(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let mut messages = texts(&task_id, &["a", "b", "c"]);
    messages[1].streaming_status = Some(StreamingStatus::InProgress);
    insert(stores, &task_id, &messages).await;

    // The type may change; without a status the old one stays.
    let content = data(json!({"now": "data"}));
    let changed = stores.messages.update(&task_id, &messages[1].id, &content, None, at(5)).await.unwrap();
    messages[1] = Message { content, updated_at: at(5), ..messages[1].clone() };
    assert_eq!(changed.as_ref(), Some(&messages[1]));
    assert_eq!(everything_of(stores, &task_id).await, messages);

    let done = Some(StreamingStatus::Done);
    let changed = stores.messages.update(&task_id, &messages[1].id, &text("end"), done, at(6)).await.unwrap();
    messages[1] = Message { content: text("end"), streaming_status: done, updated_at: at(6), ..messages[1].clone() };
    assert_eq!(changed.as_ref(), Some(&messages[1]));
    assert_eq!(everything_of(stores, &task_id).await, messages);
}

pub async fn a_message_of_another_task_cannot_be_updated(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    let messages = texts(&one, &["mine"]);
    insert(stores, &one, &messages).await;

    assert_eq!(stores.messages.update(&other, &messages[0].id, &text("stolen"), None, at(5)).await.unwrap(), None);
    for unknown in [MessageId::generate(), "malformed' --".into()] {
        assert_eq!(stores.messages.update(&one, &unknown, &text("x"), None, at(5)).await.unwrap(), None);
    }

    assert_eq!(everything_of(stores, &one).await, messages);
    assert_eq!(everything_of(stores, &other).await, []);
}

/// messages §7: 52
pub async fn of_concurrent_updates_one_wins_as_a_whole(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = texts(&task_id, &["start"]);
    insert(stores, &task_id, &messages).await;
    let content = |number: i64| data(json!({"a": number, "b": [number, {"c": number}]}));

    let updates = (0..10).map(|number| {
        let (stores, task_id, id) = (stores.clone(), task_id.clone(), messages[0].id.clone());
        let status = if number % 2 == 0 { StreamingStatus::InProgress } else { StreamingStatus::Done };
        tokio::spawn(async move {
            stores.messages.update(&task_id, &id, &content(number), Some(status), at(number)).await.unwrap().unwrap()
        })
    });
    let answers: Vec<Message> = futures::future::join_all(updates).await.into_iter().map(Result::unwrap).collect();

    let stored = stores.messages.find(&messages[0].id).await.unwrap().unwrap();
    assert!(answers.contains(&stored), "{stored:?} is what one of them wrote");
    for (number, answer) in (0..).zip(answers) {
        assert_eq!((answer.content, answer.updated_at), (content(number), at(number)), "each sees its own write");
    }
}

pub async fn a_batch_update_answers_in_the_order_asked_and_keeps_statuses(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let mut messages = texts(&task_id, &["a", "b", "c"]);
    messages[0].streaming_status = Some(StreamingStatus::InProgress);
    insert(stores, &task_id, &messages).await;

    let asked = [(messages[2].id.clone(), text("C")), (messages[0].id.clone(), data(json!({"A": 1})))];
    let answer = stores.messages.update_many(&task_id, &asked, at(5)).await.unwrap();

    messages[2] = Message { content: text("C"), updated_at: at(5), ..messages[2].clone() };
    messages[0] = Message { content: data(json!({"A": 1})), updated_at: at(5), ..messages[0].clone() };
    assert_eq!(answer, UpdateMany::Updated(vec![messages[2].clone(), messages[0].clone()]));
    assert_eq!(everything_of(stores, &task_id).await, messages);
}

pub async fn a_batch_update_with_an_unknown_or_foreign_id_changes_nothing(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    let (ones, others) = (texts(&one, &["a", "b"]), texts(&other, &["c"]));
    insert(stores, &one, &ones).await;
    insert(stores, &other, &others).await;

    for missing in [MessageId::generate(), others[0].id.clone()] {
        let asked = [(ones[0].id.clone(), text("A")), (missing.clone(), text("X")), (ones[1].id.clone(), text("B"))];
        let answer = stores.messages.update_many(&one, &asked, at(5)).await.unwrap();
        assert_eq!(answer, UpdateMany::Missing(missing));
    }

    assert_eq!(everything_of(stores, &one).await, ones);
    assert_eq!(everything_of(stores, &other).await, others);
}

pub async fn a_batch_update_of_nothing_is_fine(stores: &Stores) {
    let task_id = stored_task(stores).await;

    let answer = stores.messages.update_many(&task_id, &[], at(5)).await.unwrap();

    assert_eq!(answer, UpdateMany::Updated(Vec::new()));
}

pub async fn a_list_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let make = |id: &str, created, updated, streaming_status| Message {
        id: id.into(),
        updated_at: at(updated),
        streaming_status,
        ..message(&task_id, text(id), at(created))
    };
    let messages = [
        make("b", 3, 10, Some(StreamingStatus::InProgress)),
        make("a", 1, 30, Some(StreamingStatus::Done)),
        make("c", 2, 20, None),
    ];
    insert(stores, &task_id, &messages).await;

    for (order, ascending) in [
        (MessageOrder::CreatedAt, ["a", "c", "b"]),
        (MessageOrder::UpdatedAt, ["b", "c", "a"]),
        (MessageOrder::Id, ["a", "b", "c"]),
        (MessageOrder::StreamingStatus, ["c", "a", "b"]),
    ] {
        let mut ascending = ascending.map(MessageId::from);
        assert_eq!(list(stores, &task_id, order, Direction::Ascending).await, ascending, "{order:?}");
        ascending.reverse();
        assert_eq!(list(stores, &task_id, order, Direction::Descending).await, ascending, "{order:?}");
    }
}

pub async fn pages_of_a_list_are_disjoint_and_complete(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages: Vec<Message> =
        (0..55).map(|number| message(&task_id, text(&format!("{number}")), at(number / 10))).collect();
    insert(stores, &task_id, &messages).await;

    for direction in [Direction::Ascending, Direction::Descending] {
        let mut sizes = Vec::new();
        let mut seen = Vec::new();
        for page_number in 1..=4 {
            let page = PageRequest { limit: 20, page_number };
            let filter = MessageFilter::default();
            let listed =
                stores.messages.list(&task_id, &filter, MessageOrder::CreatedAt, direction, page).await.unwrap();
            sizes.push(listed.len());
            seen.extend(listed);
        }
        if direction == Direction::Descending {
            seen.reverse();
        }
        assert_eq!(sizes, [20, 20, 15, 0]);
        assert_eq!(seen, messages);
    }
    let page = PageRequest { limit: 1000, page_number: u64::MAX };
    let filter = MessageFilter::default();
    let beyond = stores.messages.list(&task_id, &filter, MessageOrder::CreatedAt, Direction::Ascending, page).await;
    assert_eq!(beyond.unwrap(), []);
}

pub async fn concurrent_writers_lose_nothing(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let writers = (0..8).map(|writer| {
        let (stores, task_id) = (stores.clone(), task_id.clone());
        tokio::spawn(async move {
            let mut written = Vec::new();
            for number in 0..5 {
                let batch = texts(&task_id, &[&format!("{writer}-{number}-a"), &format!("{writer}-{number}-b")]);
                insert(&stores, &task_id, &batch).await;
                written.push(ids(&batch));
            }
            written
        })
    });
    let written: Vec<Vec<Vec<MessageId>>> =
        futures::future::join_all(writers).await.into_iter().map(Result::unwrap).collect();

    let listed = list(stores, &task_id, MessageOrder::CreatedAt, Direction::Ascending).await;
    assert_eq!(listed.len(), 80);
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>().len(), 80);
    let place = |id: &MessageId| listed.iter().position(|listed| listed == id).unwrap();
    for batches in &written {
        let places: Vec<usize> = batches.iter().flatten().map(place).collect();
        assert!(places.is_sorted(), "what one writer wrote stays in its order: {places:?}");
    }
    let mut reverse = list(stores, &task_id, MessageOrder::CreatedAt, Direction::Descending).await;
    reverse.reverse();
    assert_eq!(reverse, listed);
}
