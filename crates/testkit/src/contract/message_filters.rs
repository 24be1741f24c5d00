//! Filters over the content of messages, as every `MessageRepository` must understand them.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{MessageOrder, Stores};
use agentex_domain::{
    Author, Direction, FilterTerm, Message, MessageContent, MessageFilter, PageRequest, StreamingStatus, Style, TaskId,
    TimeDirection,
};
use serde_json::{Value, json};

use super::stored::stored_task;
use crate::build::{at, data, filter, message, object, text};

/// Stores messages and knows them by a label, so that expectations can be read.
struct Chat<'a> {
    stores: &'a Stores,
    task_id: TaskId,
    labels: Vec<(&'static str, Message)>,
}

impl<'a> Chat<'a> {
    async fn with(
        stores: &'a Stores,
        contents: impl IntoIterator<Item = (&'static str, MessageContent, Option<StreamingStatus>)>,
    ) -> Self {
        let task_id = stored_task(stores).await;
        let labels: Vec<(&'static str, Message)> = contents
            .into_iter()
            .map(|(label, content, streaming_status)| {
                (label, Message { streaming_status, ..message(&task_id, content, at(0)) })
            })
            .collect();
        let messages: Vec<Message> = labels.iter().map(|(_, message)| message.clone()).collect();
        assert!(stores.messages.insert(&task_id, &messages).await.unwrap());
        Self { stores, task_id, labels }
    }

    async fn of_data(stores: &'a Stores, data_of: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self::with(stores, data_of.into_iter().map(|(label, value)| (label, data(value), None))).await
    }

    /// The labels of the messages that match, by both ways of reading.
    async fn matching(&self, filter: &MessageFilter) -> Vec<&'static str> {
        let (order, direction) = (MessageOrder::CreatedAt, Direction::Ascending);
        let page = PageRequest { limit: 1000, page_number: 1 };
        let listed = self.stores.messages.list(&self.task_id, filter, order, direction, page).await.unwrap();
        let older = TimeDirection::Older;
        let mut paged = self.stores.messages.page(&self.task_id, filter, None, older, 1000).await.unwrap().messages;
        paged.reverse();
        assert_eq!(listed, paged, "lists and pages filter alike: {filter:?}");
        let label = |message: &Message| self.labels.iter().find(|(_, known)| known.id == message.id).unwrap().0;
        listed.iter().map(label).collect()
    }

    async fn matching_json(&self, asked: Value) -> Vec<&'static str> {
        self.matching(&filter(&asked)).await
    }

    async fn matching_data(&self, asked: Value) -> Vec<&'static str> {
        self.matching_json(json!({"content": {"data": asked}})).await
    }
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn mixed(stores: &Stores) -> Chat<'_> {
    let tool_request = MessageContent::ToolRequest {
        author: Author::Agent,
        style: Style::Active,
        tool_call_id: "call".into(),
        name: "search".into(),
        arguments: object(json!({"q": "x"})),
    };
    let tool_response = MessageContent::ToolResponse {
        author: Author::Agent,
        style: Style::Static,
        tool_call_id: "call".into(),
        name: "search".into(),
        content: json!("found"),
        is_error: Some(true),
    };
    let reasoning = MessageContent::Reasoning {
        author: Author::Agent,
        style: Style::Static,
        summary: vec!["a".into(), "b".into()],
        content: None,
    };
    Chat::with(
        stores,
        [
            ("user", text("hello"), None),
            ("agent", MessageContent::text(Author::Agent, "hello"), Some(StreamingStatus::Done)),
            ("thinking", reasoning, Some(StreamingStatus::InProgress)),
            ("request", tool_request, Some(StreamingStatus::Done)),
            ("response", tool_response, None),
            ("data", data(json!({"k": 1})), None),
        ],
    )
    .await
}

pub async fn each_member_of_a_content_can_be_asked_for(stores: &Stores) {
    let chat = mixed(stores).await;

    for (asked, expected) in [
        (json!({"content": {"type": "text"}}), vec!["user", "agent"]),
        (json!({"content": {"author": "user"}}), vec!["user"]),
        (json!({"content": {"style": "active"}}), vec!["request"]),
        (json!({"content": {"content": "hello"}}), vec!["user", "agent"]),
        (json!({"content": {"format": "plain", "author": "agent"}}), vec!["agent"]),
        (json!({"content": {"name": "search"}}), vec!["request", "response"]),
        (json!({"content": {"type": "tool_response", "is_error": true}}), vec!["response"]),
        (json!({"content": {"type": "tool_response", "is_error": false}}), vec![]),
        (json!({"content": {"arguments": {"q": "x"}}}), vec!["request"]),
        (json!({"content": {"summary": ["a", "b"]}}), vec!["thinking"]),
        (json!({"content": {"summary": ["a"]}}), vec![]),
        (json!({"content": {"type": "data", "data": {"k": 1}}}), vec!["data"]),
        (json!({"content": {"type": "text", "content": "hell"}}), vec![]),
        (json!({"content": {"type": "text", "content": "HELLO"}}), vec![]),
    ] {
        assert_eq!(chat.matching_json(asked.clone()).await, expected, "{asked}");
    }
}

pub async fn the_streaming_status_can_be_asked_for(stores: &Stores) {
    let chat = mixed(stores).await;

    assert_eq!(chat.matching_json(json!({"streaming_status": "DONE"})).await, ["agent", "request"]);
    assert_eq!(chat.matching_json(json!({"streaming_status": "IN_PROGRESS"})).await, ["thinking"]);
    let both = json!({"streaming_status": "DONE", "content": {"type": "text"}});
    assert_eq!(chat.matching_json(both).await, ["agent"]);
    // Messages without a status are not excluded by one: "not DONE" holds for them.
    let excluded = chat.matching_json(json!({"streaming_status": "DONE", "exclude": true})).await;
    assert_eq!(excluded, ["user", "thinking", "response", "data"]);
}

pub async fn includes_are_joined_by_or_and_excludes_take_away(stores: &Stores) {
    let chat = mixed(stores).await;
    let (of_type, not_type) = (
        |kind: &str| json!({"content": {"type": kind}}),
        |kind: &str| json!({"content": {"type": kind}, "exclude": true}),
    );

    for (asked, expected) in [
        (json!([of_type("text"), of_type("data")]), vec!["user", "agent", "data"]),
        (json!([not_type("text"), not_type("data")]), vec!["thinking", "request", "response"]),
        (json!([of_type("text"), {"content": {"author": "user"}, "exclude": true}]), vec!["agent"]),
        (json!([of_type("text"), not_type("text")]), vec![]),
        (json!([]), vec!["user", "agent", "thinking", "request", "response", "data"]),
        // A term without leaves matches every message.
        (json!({}), vec!["user", "agent", "thinking", "request", "response", "data"]),
        (json!([{}, of_type("data")]), vec!["user", "agent", "thinking", "request", "response", "data"]),
        (json!({"exclude": true}), vec![]),
        (json!([of_type("data"), {"exclude": true}]), vec![]),
    ] {
        assert_eq!(chat.matching_json(asked.clone()).await, expected, "{asked}");
    }
}

/// An excluding term names what a message must not be; a message that lacks the member altogether stays.
pub async fn excluding_by_a_member_keeps_messages_without_it(stores: &Stores) {
    let chat = Chat::of_data(stores, [("one", json!({"k": 1})), ("two", json!({"k": 2})), ("none", json!({}))]).await;

    let excluded = json!({"content": {"data": {"k": 1}}, "exclude": true});
    assert_eq!(chat.matching_json(excluded).await, ["two", "none"]);
    let excluded = json!({"content": {"data": {"k": [1]}}, "exclude": true});
    assert_eq!(chat.matching_json(excluded).await, ["one", "two", "none"]);
    let excluded = json!({"content": {"data": {"k": null}}, "exclude": true});
    assert_eq!(chat.matching_json(excluded).await, ["one", "two"]);
}

pub async fn nested_members_match_at_their_place_whatever_else_is_stored(stores: &Stores) {
    let chat = Chat::of_data(
        stores,
        [
            ("exact", json!({"n": {"k": 1}})),
            ("more", json!({"n": {"k": 1, "l": 2}, "m": 3})),
            ("other leaf", json!({"n": {"k": 2}})),
            ("higher", json!({"k": 1})),
            ("deeper", json!({"n": {"n": {"k": 1}}})),
            ("in array", json!({"n": [{"k": 1}]})),
            ("scalar", json!({"n": 1})),
        ],
    )
    .await;

    assert_eq!(chat.matching_data(json!({"n": {"k": 1}})).await, ["exact", "more"]);
    assert_eq!(chat.matching_data(json!({"n": {"k": 1, "l": 2}, "m": 3})).await, ["more"]);
    assert_eq!(chat.matching_data(json!({"n": {"n": {"k": 1}}})).await, ["deeper"]);
    assert_eq!(chat.matching_data(json!({"n": {"k": 3}})).await, [""; 0]);
}

pub async fn scalars_match_by_type_and_value(stores: &Stores) {
    let chat = Chat::of_data(
        stores,
        [
            ("integer", json!({"v": 1})),
            ("float", json!({"v": 1.0})),
            ("text", json!({"v": "1"})),
            ("true", json!({"v": true})),
            ("text true", json!({"v": "true"})),
            ("null", json!({"v": null})),
            ("text null", json!({"v": "null"})),
            ("zero", json!({"v": 0})),
            ("false", json!({"v": false})),
            ("empty", json!({"v": ""})),
            ("array", json!({"v": [1]})),
            ("object", json!({"v": {"v": 1}})),
            ("half", json!({"v": -0.5})),
            ("absent", json!({})),
        ],
    )
    .await;

    for (asked, expected) in [
        (json!(1), vec!["integer", "float"]),
        (json!(1.0), vec!["integer", "float"]),
        (json!("1"), vec!["text"]),
        (json!(true), vec!["true"]),
        (json!("true"), vec!["text true"]),
        (json!("null"), vec!["text null"]),
        (json!(0), vec!["zero"]),
        (json!(false), vec!["false"]),
        (json!(""), vec!["empty"]),
        (json!(-0.5), vec!["half"]),
        (json!(2), vec![]),
    ] {
        assert_eq!(chat.matching_data(json!({"v": asked})).await, expected, "{asked}");
    }
}

pub async fn large_integers_are_told_apart(stores: &Stores) {
    let chat = Chat::of_data(
        stores,
        [
            ("even", json!({"n": 9_007_199_254_740_992_i64})),
            ("odd", json!({"n": 9_007_199_254_740_993_i64})),
            ("least", json!({"n": i64::MIN})),
        ],
    )
    .await;

    assert_eq!(chat.matching_data(json!({"n": 9_007_199_254_740_993_i64})).await, ["odd"]);
    assert_eq!(chat.matching_data(json!({"n": i64::MIN})).await, ["least"]);
}

pub async fn an_array_matches_as_a_whole(stores: &Stores) {
    let chat = Chat::of_data(
        stores,
        [
            ("same", json!({"l": ["a", 1, null, {"k": [true]}]})),
            ("more", json!({"l": ["a", 1, null, {"k": [true]}, 2]})),
            ("other order", json!({"l": [1, "a", null, {"k": [true]}]})),
            ("empty", json!({"l": []})),
            ("object", json!({"l": {}})),
            ("text", json!({"l": "[]"})),
            ("absent", json!({})),
            ("nested", json!({"n": {"l": ["x"]}})),
        ],
    )
    .await;

    assert_eq!(chat.matching_data(json!({"l": ["a", 1, null, {"k": [true]}]})).await, ["same"]);
    assert_eq!(chat.matching_data(json!({"l": []})).await, ["empty"]);
    assert_eq!(chat.matching_data(json!({"l": ["a"]})).await, [""; 0]);
    assert_eq!(chat.matching_data(json!({"n": {"l": ["x"]}})).await, ["nested"]);
}

pub async fn a_null_matches_null_and_missing(stores: &Stores) {
    let chat = Chat::of_data(
        stores,
        [
            ("null", json!({"n": {"z": null}})),
            ("missing", json!({"n": {}})),
            ("no parent", json!({})),
            ("null parent", json!({"n": null})),
            ("scalar parent", json!({"n": 5})),
            ("set", json!({"n": {"z": 0}})),
            ("false", json!({"n": {"z": false}})),
            ("empty", json!({"n": {"z": ""}})),
            ("text", json!({"n": {"z": "null"}})),
        ],
    )
    .await;

    let matching = chat.matching_data(json!({"n": {"z": null}})).await;

    assert_eq!(matching, ["null", "missing", "no parent", "null parent", "scalar parent"]);
}

/// A path is made of names; the position of an array element is not one.
pub async fn a_path_names_members_never_positions(stores: &Stores) {
    let chat =
        Chat::of_data(stores, [("array", json!({"l": [[5], 5]})), ("object", json!({"l": {"0": [5], "1": 5}}))]).await;

    assert_eq!(chat.matching_data(json!({"l": {"0": [5]}})).await, ["object"]);
    assert_eq!(chat.matching_data(json!({"l": {"1": 5}})).await, ["object"]);
    assert_eq!(chat.matching_data(json!({"l": {"0": null}})).await, ["array"]);
    assert_eq!(chat.matching_data(json!({"l": {"-1": null}})).await, ["array", "object"]);
}

/// Whatever characters they hold, keys and values are data and never operators, paths or SQL.
pub async fn odd_keys_and_values_are_data(stores: &Stores) {
    const ODD: [&str; 24] = [
        "a.b",
        "$gt",
        "$",
        "$.k",
        "'",
        "''",
        "\"",
        "\\",
        "\\\"",
        "%",
        "_",
        "",
        " ",
        "[0]",
        "0",
        "-1",
        "?",
        "$1",
        ":x",
        "{}",
        "*",
        "#>",
        "k'; DROP TABLE task_messages; --",
        "\u{1F980} \u{1} \n",
    ];
    let mut stored = vec![("plain", json!({"k": "v", "a": {"b": 1}}))];
    for odd in ODD {
        stored.push((odd, json!({odd: {"is": odd}, "l": {odd: [odd]}, "z": {odd: 1}})));
    }
    let chat = Chat::of_data(stores, stored).await;

    for odd in ODD {
        assert_eq!(chat.matching_data(json!({odd: {"is": odd}})).await, [odd], "scalar under {odd:?}");
        assert_eq!(chat.matching_data(json!({"l": {odd: [odd]}})).await, [odd], "array under {odd:?}");
        let without = chat.matching_data(json!({"z": {odd: null}})).await;
        let expected: BTreeSet<&str> = ODD.into_iter().filter(|other| *other != odd).chain(["plain"]).collect();
        assert_eq!(without.into_iter().collect::<BTreeSet<_>>(), expected, "null under {odd:?}");
        assert_eq!(chat.matching_data(json!({"k": odd})).await, [""; 0], "{odd:?} as a value");
    }
    assert_eq!(chat.matching_data(json!({"k": {"$gt": ""}})).await, [""; 0]);
    assert_eq!(chat.matching_data(json!({"k": "v' OR '1'='1"})).await, [""; 0]);
    assert_eq!(chat.matching_data(json!({"k": "%"})).await, [""; 0]);
}

pub async fn all_leaves_of_one_term_must_hold(stores: &Stores) {
    let chat = Chat::of_data(
        stores,
        [
            ("all", json!({"a": 1, "b": {"c": "x"}, "l": [1], "z": null})),
            ("no scalar", json!({"a": 2, "b": {"c": "x"}, "l": [1]})),
            ("no nested", json!({"a": 1, "b": {"c": "y"}, "l": [1]})),
            ("no array", json!({"a": 1, "b": {"c": "x"}, "l": [2]})),
            ("no null", json!({"a": 1, "b": {"c": "x"}, "l": [1], "z": 1})),
        ],
    )
    .await;
    let term = FilterTerm {
        equals: vec![(path(&["data", "a"]), json!(1)), (path(&["data", "b", "c"]), json!("x"))],
        arrays: vec![(path(&["data", "l"]), json!([1]))],
        nulls: vec![path(&["data", "z"])],
        streaming_status: None,
    };

    let including = MessageFilter { include: vec![term.clone()], exclude: Vec::new() };
    assert_eq!(chat.matching(&including).await, ["all"]);
    let excluding = MessageFilter { include: Vec::new(), exclude: vec![term] };
    assert_eq!(chat.matching(&excluding).await, ["no scalar", "no nested", "no array", "no null"]);
}

/// One path asked for two different values matches nothing, rather than the last one winning.
pub async fn contradicting_leaves_match_nothing(stores: &Stores) {
    let chat = Chat::of_data(stores, [("one", json!({"a": 1})), ("two", json!({"a": 2}))]).await;
    let term = FilterTerm {
        equals: vec![(path(&["data", "a"]), json!(1)), (path(&["data", "a"]), json!(2))],
        ..FilterTerm::default()
    };

    assert_eq!(chat.matching(&MessageFilter { include: vec![term], exclude: Vec::new() }).await, [""; 0]);
}
