//! Conditions over JSON, compared with what they mean, on documents and keys chosen to break them.

use std::future::Future;

use agentex_authz::Scope;
use agentex_domain::ports::{MessageOrder, Stores, TaskChange, TaskFilter, TaskOrder};
use agentex_domain::{Direction, FilterTerm, JsonObject, MessageFilter, NewTask, PageRequest, StreamingStatus, TaskId};
use agentex_testkit::build::{agent, at, data, message, new_task, object};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::Fixture;

/// Keys and texts that mean something to SQL, JSON or paths.
const ODD: [&str; 12] =
    ["a", "b", "", "$", "$.a", "a.b", "a\"b", "it's", "back\\slash", "[0]", "line\nbreak\ttab", "ключ\u{1F980}\u{7f}"];

fn odd_text() -> impl Strategy<Value = String> {
    proptest::sample::select(ODD.to_vec()).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        proptest::sample::select(vec![
            json!(0),
            json!(1),
            json!(1.0),
            json!(-1),
            json!(0.1),
            json!(1e-7),
            json!(2.5e300),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992.0),
            json!(i64::MAX),
            json!(i64::MIN),
        ]),
        odd_text().prop_map(Value::from),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(odd_text(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A document and another that is often a part of it.
fn related() -> impl Strategy<Value = (Value, Value)> {
    (document(), document(), any::<u64>(), any::<bool>()).prop_map(|(stored, other, seed, part)| {
        let wanted = if part { part_of(&stored, seed) } else { other };
        (stored, wanted)
    })
}

/// Drops members and elements by the bits of `seed`.
fn part_of(value: &Value, seed: u64) -> Value {
    let keep = |index: usize| (seed >> (index % 8)) & 1 == 1;
    let next = |index: usize| seed.rotate_right(7).wrapping_add(index as u64);
    match value {
        Value::Array(items) => {
            let kept = items.iter().enumerate().filter(|(index, _)| keep(*index));
            kept.map(|(index, item)| part_of(item, next(index))).rev().collect()
        }
        Value::Object(members) => {
            let kept = members.iter().enumerate().filter(|(index, _)| keep(*index));
            Value::Object(kept.map(|(index, (key, item))| (key.clone(), part_of(item, next(index)))).collect())
        }
        scalar => scalar.clone(),
    }
}

fn same_scalar(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one == other,
            (None, None) => one.as_f64() == other.as_f64(),
            (Some(integer), None) => is_exactly(other.as_f64().unwrap(), integer),
            (None, Some(integer)) => is_exactly(one.as_f64().unwrap(), integer),
        },
        _ => one == other,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn is_exactly(fraction: f64, integer: i64) -> bool {
    fraction.fract() == 0.0 && fraction.abs() < 9.2e18 && i128::from(fraction as i64) == i128::from(integer)
}

fn contains(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| stored.get(key).is_some_and(|stored| contains(stored, wanted)))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| stored.iter().any(|stored| contains(stored, wanted)))
        }
        _ => same_scalar(stored, wanted),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(key, one)| other.get(key).is_some_and(|o| same(one, o)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => same_scalar(one, other),
    }
}

/// Checks `property` on many inputs inside this test's runtime.
async fn check<S, F>(cases: u32, strategy: S, property: impl Fn(S::Value) -> F)
where
    S: Strategy,
    F: Future<Output = Result<(), TestCaseError>>,
{
    tokio::task::block_in_place(|| {
        let runtime = tokio::runtime::Handle::current();
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        runner.run(&strategy, |input| runtime.block_on(property(input))).unwrap();
    });
}

async fn task_with(stores: &Stores, task_metadata: JsonObject) -> TaskId {
    let agent = agent(&format!("agent-{}", TaskId::generate()));
    stores.agents.insert(&agent, None).await.unwrap();
    let task = NewTask { task_metadata: Some(task_metadata), ..new_task(&agent) };
    stores.tasks.insert(&task, None).await.unwrap();
    task.id
}

async fn is_listed(stores: &Stores, id: &TaskId, wanted: JsonObject) -> bool {
    let filter = TaskFilter {
        scope: Scope::Only([id.to_string()].into()),
        linked_to: None,
        agent_id: None,
        agent_name: None,
        status: None,
        task_metadata: Some(wanted),
    };
    let page = PageRequest::default();
    !stores.tasks.list(&filter, TaskOrder::default(), Direction::default(), page).await.unwrap().is_empty()
}

/// How many of the task's messages pass the filter.
async fn count(stores: &Stores, id: &TaskId, filter: &MessageFilter) -> usize {
    let page = PageRequest { limit: 1000, page_number: 1 };
    stores.messages.list(id, filter, MessageOrder::default(), Direction::default(), page).await.unwrap().len()
}

fn term(term: FilterTerm) -> MessageFilter {
    MessageFilter { include: vec![term], exclude: Vec::new() }
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn containment_means_the_same_in_sql_as_in_words() {
    let fixture = Fixture::new().await;
    let stores = fixture.stores();

    check(400, (related(), odd_text()), async |((stored, wanted), key)| {
        let wrap = |value: &Value| object(json!({key.as_str(): value}));
        let id = task_with(&stores, wrap(&stored)).await;
        let found = is_listed(&stores, &id, wrap(&wanted)).await;
        prop_assert_eq!(found, contains(&stored, &wanted), "{} in {}", wanted, stored);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_whole_arrays_scalars_and_nulls_at_their_path() {
    let fixture = Fixture::new().await;
    let stores = fixture.stores();

    check(300, (related(), odd_text()), async |((stored, wanted), key)| {
        let id = task_with(&stores, JsonObject::new()).await;
        let content = data(json!({key.as_str(): stored, "other": {"deep": wanted}}));
        stores.messages.insert(&id, &[message(&id, content, at(0))]).await.unwrap();

        let at_key = || vec!["data".to_owned(), key.clone()];
        let asked = match &wanted {
            Value::Array(_) => FilterTerm { arrays: vec![(at_key(), wanted.clone())], ..FilterTerm::default() },
            Value::Null => FilterTerm { nulls: vec![at_key()], ..FilterTerm::default() },
            _ => FilterTerm { equals: vec![(at_key(), wanted.clone())], ..FilterTerm::default() },
        };
        let included = count(&stores, &id, &term(asked.clone())).await;
        let kept = count(&stores, &id, &MessageFilter { include: Vec::new(), exclude: vec![asked] }).await;
        prop_assert_eq!(included == 1, same(&stored, &wanted), "{} is {}", stored, wanted);
        prop_assert_eq!(included + kept, 1, "include and exclude are opposites");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_path_goes_through_objects_only_and_null_means_null_or_missing() {
    let fixture = Fixture::new().await;
    let stores = fixture.stores();
    let id = task_with(&stores, JsonObject::new()).await;
    let content = data(json!({"list": [{"k": 1}], "text": "{\"k\": 1}", "none": null, "some": {"k": 1}}));
    stores.messages.insert(&id, &[message(&id, content, at(0))]).await.unwrap();

    let equal =
        |names: &[&str], value: Value| term(FilterTerm { equals: vec![(path(names), value)], ..FilterTerm::default() });
    let null = |names: &[&str]| term(FilterTerm { nulls: vec![path(names)], ..FilterTerm::default() });

    assert_eq!(count(&stores, &id, &equal(&["data", "some", "k"], json!(1))).await, 1);
    assert_eq!(count(&stores, &id, &equal(&["data", "some", "k"], json!("1"))).await, 0);
    for dead_end in [["data", "list", "k"], ["data", "list", "0"], ["data", "text", "k"], ["data", "none", "k"]] {
        assert_eq!(count(&stores, &id, &equal(&dead_end, json!(1))).await, 0, "{dead_end:?}");
        assert_eq!(count(&stores, &id, &null(&dead_end)).await, 1, "{dead_end:?}");
    }
    assert_eq!(count(&stores, &id, &null(&["data", "none"])).await, 1);
    assert_eq!(count(&stores, &id, &null(&["data", "some", "k"])).await, 0);
}

#[tokio::test]
async fn excluding_a_streaming_status_keeps_messages_that_have_none() {
    let fixture = Fixture::new().await;
    let stores = fixture.stores();
    let id = task_with(&stores, JsonObject::new()).await;
    let with = |streaming_status| {
        let plain = message(&id, data(json!({})), at(0));
        agentex_domain::Message { streaming_status, ..plain }
    };
    let messages = [with(None), with(Some(StreamingStatus::Done)), with(Some(StreamingStatus::InProgress))];
    stores.messages.insert(&id, &messages).await.unwrap();

    let done = || FilterTerm { streaming_status: Some(StreamingStatus::Done), ..FilterTerm::default() };

    assert_eq!(count(&stores, &id, &term(done())).await, 1);
    assert_eq!(count(&stores, &id, &MessageFilter { include: Vec::new(), exclude: vec![done()] }).await, 2);
    let nothing = MessageFilter { include: vec![done()], exclude: vec![FilterTerm::default()] };
    assert_eq!(count(&stores, &id, &nothing).await, 0);
}

/// Callers choose how large and how deep a filter is; the limits of SQL are not theirs to meet.
#[tokio::test]
async fn wide_deep_and_bushy_filters_are_answered() {
    let fixture = Fixture::new().await;
    let stores = fixture.stores();
    let wide: JsonObject = (0..300).map(|n| (format!("key {n}"), json!([n, {"n": n}]))).collect();
    // As deep as a document read from a request can be.
    let deep =
        |end: i64| (0..120).fold(json!(end), |v, n| if n % 2 == 0 { json!({"d": v, "n": n}) } else { json!([n, v]) });
    let bushy = (0..7).fold(json!(1), |v, n| if n % 2 == 0 { json!({"l": v, "r": v}) } else { json!([v, n, v]) });

    for (wanted, other) in [
        (Value::Object(wide.clone()), json!({"key 0": [0, {"n": 0}]})),
        (json!({"k": deep(1)}), json!({"k": deep(2)})),
        (json!({"k": bushy.clone()}), json!({"k": [bushy]})),
    ] {
        let (wanted, other) = (object(wanted), object(other));
        let (id, other_id) = (task_with(&stores, wanted.clone()).await, task_with(&stores, other.clone()).await);
        for (id, held) in [(&id, &wanted), (&other_id, &other)] {
            stores.messages.insert(id, &[message(id, data(Value::Object(held.clone())), at(0))]).await.unwrap();
        }

        assert!(is_listed(&stores, &id, wanted.clone()).await);
        assert!(!is_listed(&stores, &other_id, wanted.clone()).await);
        let whole =
            term(FilterTerm { equals: vec![(path(&["data"]), Value::Object(wanted))], ..FilterTerm::default() });
        assert_eq!(count(&stores, &id, &whole).await, 1);
        assert_eq!(count(&stores, &other_id, &whole).await, 0);
    }

    let id = task_with(&stores, JsonObject::new()).await;
    stores.messages.insert(&id, &[message(&id, data(json!({"n": 599})), at(0))]).await.unwrap();
    let equal = |n: i64| FilterTerm { equals: vec![(path(&["data", "n"]), json!(n))], ..FilterTerm::default() };
    let many = MessageFilter { include: (0..600).map(equal).collect(), exclude: (0..300).map(equal).collect() };
    assert_eq!(count(&stores, &id, &many).await, 1);
}

#[tokio::test]
async fn numbers_read_back_digit_by_digit() {
    let fixture = Fixture::new().await;
    let stores = fixture.stores();
    let numbers = object(json!({
        "u64": u64::MAX, "i64": i64::MIN, "2^53+1": 9_007_199_254_740_993_i64, "tenth": 0.1, "one": 1.0, "big": 1e300,
    }));
    let id = task_with(&stores, numbers.clone()).await;
    let content = data(Value::Object(numbers.clone()));
    let said = message(&id, content.clone(), at(0));
    stores.messages.insert(&id, std::slice::from_ref(&said)).await.unwrap();

    let params = |params: &JsonObject| TaskChange { merge_params: Some(params.clone()), ..TaskChange::default() };
    stores.tasks.update(&id, &params(&numbers), at(1)).await.unwrap();
    let merged = stores.tasks.update(&id, &params(&object(json!({"more": null}))), at(2)).await.unwrap().unwrap();

    let mut expected = numbers.clone();
    expected.insert("more".to_owned(), Value::Null);
    assert_eq!(merged.params.as_ref(), Some(&expected));
    let read = stores.tasks.find(&id).await.unwrap().unwrap();
    assert_eq!((read.params, read.task_metadata), (Some(expected), Some(numbers)));
    assert_eq!(stores.messages.find(&said.id).await.unwrap().unwrap().content, content);
}
