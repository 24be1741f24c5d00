//! Cursor paging over messages, as every `MessageRepository` must do it.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::Stores;
use agentex_domain::{Message, MessageCursor, MessageFilter, MessageId, MessagePage, TaskId, TimeDirection, Timestamp};
use serde_json::json;

use super::stored::stored_task;
use crate::build::{at, data, filter, message, text};

async fn insert(stores: &Stores, task_id: &TaskId, messages: &[Message]) {
    assert!(stores.messages.insert(task_id, messages).await.unwrap(), "the task takes messages");
}

async fn page(
    stores: &Stores,
    task_id: &TaskId,
    cursor: Option<MessageCursor>,
    direction: TimeDirection,
    limit: u32,
) -> MessagePage {
    stores.messages.page(task_id, &MessageFilter::default(), cursor, direction, limit).await.unwrap()
}

/// All pages in one direction; what is written while paging must end some day.
async fn all_pages(
    stores: &Stores,
    task_id: &TaskId,
    filter: &MessageFilter,
    direction: TimeDirection,
    limit: u32,
) -> Vec<Vec<Message>> {
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = stores.messages.page(task_id, filter, cursor, direction, limit).await.unwrap();
        pages.push(page.messages);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return pages,
        }
        assert!(pages.len() < 1000, "paging goes in circles");
    }
}

fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.id.clone()).collect()
}

fn sizes(pages: &[Vec<Message>]) -> Vec<usize> {
    pages.iter().map(Vec::len).collect()
}

/// Messages in order of time, one second apart unless `step` is 0.
fn numbered(task_id: &TaskId, count: i64, step: i64) -> Vec<Message> {
    (0..count).map(|number| message(task_id, text(&format!("{number}")), at(number * step))).collect()
}

fn newest_first(messages: &[Message]) -> Vec<Message> {
    messages.iter().rev().cloned().collect()
}

/// A cursor as the reference's format holds it.
fn bare(id: &MessageId, created_at: Timestamp) -> MessageCursor {
    MessageCursor { id: id.clone(), created_at, seq: None, task_id: None }
}

pub async fn older_pages_go_from_the_newest_to_the_oldest(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 25, 1);
    insert(stores, &task_id, &messages).await;

    let pages = all_pages(stores, &task_id, &MessageFilter::default(), TimeDirection::Older, 10).await;

    assert_eq!(sizes(&pages), [10, 10, 5]);
    assert_eq!(pages.concat(), newest_first(&messages));
}

pub async fn newer_pages_go_from_the_oldest_to_the_newest_each_newest_first(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 25, 1);
    insert(stores, &task_id, &messages).await;

    let pages = all_pages(stores, &task_id, &MessageFilter::default(), TimeDirection::Newer, 10).await;

    let expected: Vec<Vec<Message>> = messages.chunks(10).map(newest_first).collect();
    assert_eq!(pages, expected);
}

pub async fn a_next_cursor_holds_all_that_is_needed_to_go_on(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 3, 1);
    insert(stores, &task_id, &messages).await;

    let older = page(stores, &task_id, None, TimeDirection::Older, 2).await;
    let next = older.next.unwrap();
    assert_eq!((&next.id, next.created_at), (&messages[1].id, messages[1].created_at), "the oldest of the page");
    assert!(next.seq.is_some());
    assert_eq!(next.task_id.as_ref(), Some(&task_id));

    let newer = page(stores, &task_id, None, TimeDirection::Newer, 2).await;
    let next = newer.next.unwrap();
    assert_eq!((&next.id, next.created_at), (&messages[1].id, messages[1].created_at), "the newest of the page");
    assert!(next.seq.is_some());
    assert_eq!(next.task_id.as_ref(), Some(&task_id));
}

pub async fn a_page_that_holds_the_rest_has_no_next_cursor(stores: &Stores) {
    let task_id = stored_task(stores).await;
    for direction in [TimeDirection::Older, TimeDirection::Newer] {
        let empty = page(stores, &task_id, None, direction, 10).await;
        assert_eq!(empty, MessagePage { messages: Vec::new(), next: None });
    }
    let messages = numbered(&task_id, 10, 1);
    insert(stores, &task_id, &messages).await;

    for direction in [TimeDirection::Older, TimeDirection::Newer] {
        let exactly = page(stores, &task_id, None, direction, 10).await;
        assert_eq!(exactly, MessagePage { messages: newest_first(&messages), next: None });
    }
    let unknown = page(stores, &TaskId::generate(), None, TimeDirection::Older, 10).await;
    assert_eq!(unknown, MessagePage { messages: Vec::new(), next: None });
}

pub async fn messages_of_equal_times_are_paged_in_insertion_order(stores: &Stores) {
    let task_id = stored_task(stores).await;
    // Ids sorted against the order of insertion, so that they cannot stand in for it.
    let messages: Vec<Message> = (0..25)
        .map(|number| Message { id: format!("m{:02}", 99 - number).into(), ..message(&task_id, text("x"), at(0)) })
        .collect();
    insert(stores, &task_id, &messages).await;

    for limit in [1, 10, 24, 25] {
        let older = all_pages(stores, &task_id, &MessageFilter::default(), TimeDirection::Older, limit).await;
        assert_eq!(ids(&older.concat()), ids(&newest_first(&messages)), "limit {limit}");

        let newer = all_pages(stores, &task_id, &MessageFilter::default(), TimeDirection::Newer, limit).await;
        let expected: Vec<Vec<Message>> = messages.chunks(usize::try_from(limit).unwrap()).map(newest_first).collect();
        assert_eq!(newer, expected, "limit {limit}");
    }
}

pub async fn reading_newer_from_a_cursor_yields_the_nearest_messages_first(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 35, 1);
    insert(stores, &task_id, &messages).await;
    // The cursor after the oldest five.
    let cursor = page(stores, &task_id, None, TimeDirection::Newer, 5).await.next;
    assert!(cursor.is_some());

    let mut reached = Vec::new();
    let mut next = cursor;
    while let Some(cursor) = next {
        let nearest = page(stores, &task_id, Some(cursor), TimeDirection::Newer, 10).await;
        let from = 5 + reached.len();
        assert_eq!(nearest.messages, newest_first(&messages[from..from + 10]));
        reached.extend(nearest.messages);
        next = nearest.next;
    }
    assert_eq!(reached.len(), 30);
}

/// One place, read in both directions: everything but the message the cursor was taken from.
pub async fn a_cursor_can_be_read_in_both_directions(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 9, 0);
    insert(stores, &task_id, &messages).await;
    // Taken from the fifth message.
    let cursor = page(stores, &task_id, None, TimeDirection::Older, 5).await.next.unwrap();
    assert_eq!(cursor.id, messages[4].id);

    let older = page(stores, &task_id, Some(cursor.clone()), TimeDirection::Older, 10).await;
    let newer = page(stores, &task_id, Some(cursor), TimeDirection::Newer, 10).await;

    assert_eq!(older.messages, newest_first(&messages[..4]));
    assert_eq!(newer.messages, newest_first(&messages[5..]));
}

/// The message a cursor was taken from may be gone by the time it is used.
pub async fn a_cursor_works_without_its_message(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 9, 0);
    insert(stores, &task_id, &messages).await;
    let taken = page(stores, &task_id, None, TimeDirection::Older, 5).await.next.unwrap();
    let cursor = MessageCursor { id: MessageId::generate(), ..taken };

    let older = page(stores, &task_id, Some(cursor.clone()), TimeDirection::Older, 10).await;
    let newer = page(stores, &task_id, Some(cursor), TimeDirection::Newer, 10).await;

    assert_eq!(older.messages, newest_first(&messages[..4]));
    assert_eq!(newer.messages, newest_first(&messages[5..]));
}

pub async fn a_cursor_without_sequence_is_placed_by_its_message(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 9, 0);
    insert(stores, &task_id, &messages).await;
    let cursor = bare(&messages[4].id, messages[4].created_at);

    let older = page(stores, &task_id, Some(cursor.clone()), TimeDirection::Older, 10).await;
    let newer = page(stores, &task_id, Some(cursor), TimeDirection::Newer, 10).await;

    assert_eq!(older.messages, newest_first(&messages[..4]));
    assert_eq!(newer.messages, newest_first(&messages[5..]));
}

/// With neither sequence nor message the cursor stands outside of the messages of its time, so none comes twice.
pub async fn a_cursor_with_neither_sequence_nor_message_passes_over_its_time(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages: Vec<Message> =
        [0, 1, 1, 1, 2].into_iter().map(|second| message(&task_id, text("x"), at(second))).collect();
    insert(stores, &task_id, &messages).await;
    let cursor = bare(&MessageId::generate(), at(1));

    let older = page(stores, &task_id, Some(cursor.clone()), TimeDirection::Older, 10).await;
    let newer = page(stores, &task_id, Some(cursor), TimeDirection::Newer, 10).await;

    assert_eq!(older.messages, newest_first(&messages[..1]));
    assert_eq!(newer.messages, newest_first(&messages[4..]));
}

/// A message of another task must not lend its place to a cursor.
pub async fn a_message_of_another_task_places_no_cursor(stores: &Stores) {
    let (task_id, other) = (stored_task(stores).await, stored_task(stores).await);
    let messages = numbered(&task_id, 4, 1);
    insert(stores, &task_id, &messages).await;
    let foreign = message(&other, text("x"), at(3));
    insert(stores, &other, std::slice::from_ref(&foreign)).await;

    let older = page(stores, &task_id, Some(bare(&foreign.id, at(2))), TimeDirection::Older, 10).await;

    assert_eq!(older.messages, newest_first(&messages[..2]), "the time in the cursor counts");
}

pub async fn writes_while_reading_older_neither_repeat_nor_hide_messages(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages = numbered(&task_id, 25, 0);
    insert(stores, &task_id, &messages).await;

    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = page(stores, &task_id, cursor, TimeDirection::Older, 10).await;
        seen.extend(page.messages);
        let Some(next) = page.next else { break };
        cursor = Some(next);
        // Of the same time, later, and a change of one that was read and of one that was not.
        insert(stores, &task_id, &[message(&task_id, text("same time"), at(0)), message(&task_id, text("new"), at(9))])
            .await;
        for changed in [&messages[0], &messages[24]] {
            stores.messages.update(&task_id, &changed.id, &text("changed"), None, at(10)).await.unwrap().unwrap();
        }
    }

    assert_eq!(ids(&seen), ids(&newest_first(&messages)));
}

pub async fn writes_while_reading_newer_are_reached(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let mut expected = numbered(&task_id, 15, 0);
    insert(stores, &task_id, &expected).await;

    let mut seen = Vec::new();
    let mut cursor = None;
    for round in 0.. {
        let mut page = page(stores, &task_id, cursor, TimeDirection::Newer, 5).await;
        page.messages.reverse();
        seen.extend(page.messages);
        let Some(next) = page.next else { break };
        cursor = Some(next);
        if round < 3 {
            let more: Vec<Message> = (0..5).map(|_| message(&task_id, text("more"), at(round))).collect();
            insert(stores, &task_id, &more).await;
            expected.extend(more);
        }
    }

    assert_eq!(ids(&seen), ids(&expected));
    assert_eq!(expected.len(), 30, "the test wrote while paging");
}

pub async fn a_filter_applies_to_every_page(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let messages: Vec<Message> = (0..30)
        .map(|number| {
            let content = if number % 3 == 0 { data(json!({"number": number})) } else { text("no") };
            message(&task_id, content, at(number / 7))
        })
        .collect();
    insert(stores, &task_id, &messages).await;
    let matching: Vec<Message> = messages.iter().filter(|message| message.content.kind() == "data").cloned().collect();

    for asked in [
        json!({"content": {"type": "data"}}),
        json!({"content": {"type": "text"}, "exclude": true}),
        json!([{"content": {"type": "data", "author": "agent"}}, {"content": {"type": "reasoning"}}]),
    ] {
        let filter = filter(&asked);
        let older = all_pages(stores, &task_id, &filter, TimeDirection::Older, 4).await;
        assert_eq!(sizes(&older), [4, 4, 2], "{asked}");
        assert_eq!(older.concat(), newest_first(&matching), "{asked}");

        let newer = all_pages(stores, &task_id, &filter, TimeDirection::Newer, 4).await;
        assert_eq!(newer, matching.chunks(4).map(newest_first).collect::<Vec<_>>(), "{asked}");
    }
}

pub async fn pages_hold_messages_of_the_task_only(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    for number in 0..6 {
        for task_id in [&one, &other] {
            insert(stores, task_id, &[message(task_id, text("x"), at(number / 3))]).await;
        }
    }

    for direction in [TimeDirection::Older, TimeDirection::Newer] {
        let seen = all_pages(stores, &one, &MessageFilter::default(), direction, 2).await.concat();
        assert_eq!(seen.iter().map(|message| &message.task_id).collect::<BTreeSet<_>>(), BTreeSet::from([&one]));
        assert_eq!(seen.len(), 6);
    }
}
