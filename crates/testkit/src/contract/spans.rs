//! What every `SpanRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_authz::Scope;
use agentex_domain::ports::{FoundSpan, SpanFilter, SpanOrder, SpanUpdate, StoreError, Stores};
use agentex_domain::{AgentId, Direction, PageRequest, Span, SpanChange, SpanData, SpanId, TaskId};
use serde_json::{Value, json};

use super::stored::{created, delete, stored_agent, stored_task};
use crate::build::{at, new_task};

const EVERYTHING: SpanFilter = SpanFilter { scope: Scope::All, linked_to: None, trace_id: None, task_id: None };

fn carried(value: Value) -> Option<SpanData> {
    serde_json::from_value(value).unwrap()
}

fn span(trace_id: &str, task_id: Option<&TaskId>, second: i64) -> Span {
    Span {
        id: SpanId::generate(),
        trace_id: trace_id.to_owned(),
        task_id: task_id.cloned(),
        parent_id: None,
        name: "step".to_owned(),
        start_time: at(second),
        end_time: None,
        input: None,
        output: None,
        data: None,
    }
}

async fn stored(stores: &Stores, span: Span) -> Span {
    assert!(stores.spans.insert(&span).await.unwrap(), "the span is stored");
    span
}

async fn list(stores: &Stores, filter: &SpanFilter, order: SpanOrder, direction: Direction) -> Vec<SpanId> {
    let page = PageRequest { limit: 1000, page_number: 1 };
    stores.spans.list(filter, order, direction, page).await.unwrap().into_iter().map(|span| span.id).collect()
}

async fn set(stores: &Stores, filter: &SpanFilter) -> BTreeSet<SpanId> {
    list(stores, filter, SpanOrder::StartTime, Direction::Descending).await.into_iter().collect()
}

fn ids<'a>(spans: impl IntoIterator<Item = &'a Span>) -> BTreeSet<SpanId> {
    spans.into_iter().map(|span| span.id.clone()).collect()
}

fn only(tasks: &[&TaskId]) -> Scope {
    Scope::Only(tasks.iter().map(|task| task.as_str().to_owned()).collect())
}

async fn found(stores: &Stores, id: &SpanId) -> Span {
    stores.spans.find(id).await.unwrap().unwrap().span
}

async fn updated(stores: &Stores, id: &SpanId, of: Option<TaskId>, change: SpanChange) -> Span {
    match stores.spans.update(id, of, &change).await.unwrap() {
        SpanUpdate::Updated(span) => *span,
        other => panic!("not updated: {other:?}"),
    }
}

pub async fn a_stored_span_reads_back_equal_whatever_it_carries(stores: &Stores) {
    let task_id = stored_task(stores).await;
    for data in [
        json!(null),
        json!({}),
        json!([]),
        json!([{}, {"a": [1, 2.5, null]}]),
        json!({"it's": "\"\\\u{1F980}\u{1}", "big": 9_007_199_254_740_993_i64, "u": u64::MAX, "n": null}),
    ] {
        let full = Span {
            parent_id: Some("nobody".into()),
            end_time: Some(at(7)),
            input: carried(data.clone()),
            output: carried(data.clone()),
            data: carried(data),
            ..span("trace", Some(&task_id), -3)
        };

        stored(stores, full.clone()).await;

        let task = Some(task_id.clone());
        assert_eq!(stores.spans.find(&full.id).await.unwrap(), Some(FoundSpan { span: full, task }));
    }
    for nothing in ["nope", "it's"] {
        assert_eq!(stores.spans.find(&SpanId::from(nothing)).await.unwrap(), None);
    }
}

pub async fn a_span_without_task_belongs_to_the_task_whose_id_is_its_traces(stores: &Stores) {
    let (task_id, other) = (stored_task(stores).await, stored_task(stores).await);
    let of_trace = stored(stores, span(task_id.as_str(), None, 0)).await;
    let of_both = stored(stores, span(task_id.as_str(), Some(&other), 0)).await;
    let of_nothing = stored(stores, span("trace", None, 0)).await;

    for (span, task) in [(of_trace, Some(task_id)), (of_both, Some(other)), (of_nothing, None)] {
        assert_eq!(stores.spans.find(&span.id).await.unwrap().unwrap().task, task);
    }
}

pub async fn a_taken_id_is_refused_and_the_span_that_has_it_stays(stores: &Stores) {
    let first = stored(stores, span("one", None, 0)).await;

    let refused = stores.spans.insert(&Span { id: first.id.clone(), ..span("two", None, 1) }).await;

    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    assert_eq!(found(stores, &first.id).await, first);
}

pub async fn an_absent_or_deleted_task_takes_no_spans(stores: &Stores) {
    let deleted = stored_task(stores).await;
    delete(stores, &deleted).await;
    for task_id in [deleted, TaskId::generate()] {
        let refused = span("trace", Some(&task_id), 0);
        assert!(!stores.spans.insert(&refused).await.unwrap());
        assert_eq!(stores.spans.find(&refused.id).await.unwrap(), None);
    }
}

pub async fn a_change_overwrites_what_it_names_and_keeps_the_rest(stores: &Stores) {
    let task_id = stored_task(stores).await;
    let before = Span {
        input: carried(json!({"x": 1})),
        data: carried(json!({"b": 2, "nested": {"x": 1}})),
        ..span("trace", Some(&task_id), 0)
    };
    stored(stores, before.clone()).await;

    let of = || Some(task_id.clone());
    let same = updated(stores, &before.id, of(), SpanChange::default()).await;
    let change = SpanChange {
        end_time: Some(at(5)),
        output: carried(json!([{"y": 2}])),
        data: carried(json!({"a": 1, "nested": {"y": 2}})),
        ..SpanChange::default()
    };
    let after = updated(stores, &before.id, of(), change).await;

    assert_eq!(same, before);
    let expected = Span {
        end_time: Some(at(5)),
        output: carried(json!([{"y": 2}])),
        data: carried(json!({"a": 1, "b": 2, "nested": {"y": 2}})),
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(found(stores, &expected.id).await, expected);
    let all = SpanChange {
        trace_id: Some("other".into()),
        task_id: None,
        parent_id: Some("parent".into()),
        name: Some("renamed".into()),
        start_time: Some(at(-1)),
        end_time: Some(at(9)),
        input: carried(json!({"y": 1})),
        output: carried(json!({})),
        data: carried(json!([])),
    };
    let rewritten = updated(stores, &expected.id, of(), all.clone()).await;
    assert_eq!(rewritten, Span { data: carried(json!([])), ..all.apply_to(expected) });
}

pub async fn data_that_is_no_object_is_replaced(stores: &Stores) {
    for (before, change) in
        [(json!([{"b": 2}]), json!({"a": 1})), (json!({"b": 2}), json!([{"a": 1}])), (json!(null), json!({"a": 1}))]
    {
        let span = stored(stores, Span { data: carried(before), ..span("trace", None, 0) }).await;
        let change = SpanChange { data: carried(change), ..SpanChange::default() };
        let expected = change.data.clone();
        assert_eq!(updated(stores, &span.id, None, change).await.data, expected);
    }
}

pub async fn a_change_reaches_the_span_only_where_it_was_looked_for(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    let owned = stored(stores, span("trace", Some(&one), 0)).await;
    let free = stored(stores, span("trace", None, 0)).await;
    let rename = SpanChange { name: Some("renamed".into()), ..SpanChange::default() };

    for (id, of) in [
        (&owned.id, None),
        (&owned.id, Some(other.clone())),
        (&free.id, Some(one.clone())),
        (&SpanId::generate(), None),
    ] {
        assert_eq!(stores.spans.update(id, of, &rename).await.unwrap(), SpanUpdate::Elsewhere);
    }
    assert_eq!((found(stores, &owned.id).await, found(stores, &free.id).await), (owned, free));
}

pub async fn a_span_moves_to_live_tasks_only(stores: &Stores) {
    let (one, other, deleted) = (stored_task(stores).await, stored_task(stores).await, stored_task(stores).await);
    let span = stored(stores, span("trace", Some(&one), 0)).await;
    let to = |task: &TaskId| SpanChange { task_id: Some(task.clone()), ..SpanChange::default() };
    delete(stores, &deleted).await;

    for gone in [&deleted, &TaskId::generate()] {
        let refused = stores.spans.update(&span.id, Some(one.clone()), &to(gone)).await.unwrap();
        assert_eq!(refused, SpanUpdate::NoSuchTask);
    }
    assert_eq!(updated(stores, &span.id, Some(one.clone()), to(&other)).await.task_id, Some(other.clone()));

    delete(stores, &other).await;
    let stays = updated(stores, &span.id, Some(other.clone()), to(&other)).await;
    assert_eq!(stays.task_id, Some(other), "it need not move");
}

pub async fn concurrent_changes_keep_each_others_fields_and_keys(stores: &Stores) {
    let span = stored(stores, span("trace", None, 0)).await;
    let changes = (0..8).map(|n: usize| {
        let (stores, id) = (stores.clone(), span.id.clone());
        let change = SpanChange {
            data: carried(json!({n.to_string(): n})),
            input: (n == 0).then(|| carried(json!({"in": 1}))).flatten(),
            output: (n == 1).then(|| carried(json!({"out": 1}))).flatten(),
            ..SpanChange::default()
        };
        tokio::spawn(async move { updated(&stores, &id, None, change).await })
    });

    for done in futures::future::join_all(changes).await {
        done.unwrap();
    }

    let after = found(stores, &span.id).await;
    let all: serde_json::Map<String, Value> = (0..8).map(|n: usize| (n.to_string(), json!(n))).collect();
    assert_eq!(after.data, Some(SpanData::One(all)));
    assert_eq!((after.input, after.output), (carried(json!({"in": 1})), carried(json!({"out": 1}))));
}

pub async fn a_list_of_a_task_holds_its_spans_and_those_of_its_trace(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    let named = stored(stores, span("trace", Some(&one), 0)).await;
    let traced = stored(stores, span(one.as_str(), None, 1)).await;
    let elsewhere = stored(stores, span(one.as_str(), Some(&other), 2)).await;
    let unrelated = stored(stores, span("trace", Some(&other), 3)).await;
    let of = |task: &TaskId| SpanFilter { task_id: Some(task.clone()), ..EVERYTHING };
    let traces = |trace: &str, filter: SpanFilter| SpanFilter { trace_id: Some(trace.to_owned()), ..filter };

    assert_eq!(set(stores, &EVERYTHING).await, ids([&named, &traced, &elsewhere, &unrelated]));
    assert_eq!(set(stores, &of(&one)).await, ids([&named, &traced, &elsewhere]));
    assert_eq!(set(stores, &traces("trace", EVERYTHING)).await, ids([&named, &unrelated]));
    assert_eq!(set(stores, &traces("trace", of(&one))).await, ids([&named]));
    assert_eq!(set(stores, &traces(one.as_str(), of(&one))).await, ids([&traced, &elsewhere]));
    let scoped = SpanFilter { scope: only(&[&one]), ..of(&one) };
    assert_eq!(set(stores, &scoped).await, ids([&named, &traced]), "a span that names a task is that task's alone");
    assert_eq!(set(stores, &of(&TaskId::generate())).await, BTreeSet::new());
}

pub async fn a_scope_limits_the_list_and_its_pages(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    let named = stored(stores, span("trace", Some(&one), 0)).await;
    let traced = stored(stores, span(one.as_str(), None, 1)).await;
    stored(stores, span(one.as_str(), Some(&other), 2)).await;
    stored(stores, span("trace", None, 3)).await;
    let scoped = |scope| SpanFilter { scope, ..EVERYTHING };

    assert_eq!(set(stores, &scoped(only(&[&one]))).await, ids([&named, &traced]));
    assert_eq!(set(stores, &scoped(only(&[&one, &other]))).await.len(), 3);
    assert_eq!(set(stores, &scoped(only(&[]))).await, BTreeSet::new());
    let page = PageRequest { limit: 1, page_number: 2 };
    let second =
        stores.spans.list(&scoped(only(&[&one])), SpanOrder::StartTime, Direction::Descending, page).await.unwrap();
    assert_eq!(second, [named], "pages are full");
}

pub async fn an_agent_sees_spans_of_its_tasks_and_of_none(stores: &Stores) {
    let (agent, stranger) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let its = created(stores, new_task(&agent)).await.id;
    let foreign = created(stores, new_task(&stranger)).await.id;
    let named = stored(stores, span("trace", Some(&its), 0)).await;
    let traced = stored(stores, span(its.as_str(), None, 1)).await;
    let free = stored(stores, span("trace", None, 2)).await;
    let theirs = stored(stores, span(its.as_str(), Some(&foreign), 3)).await;
    let traced_theirs = stored(stores, span(foreign.as_str(), None, 4)).await;
    let linked = |to: &AgentId| SpanFilter { linked_to: Some(to.clone()), ..EVERYTHING };

    assert_eq!(set(stores, &linked(&agent.id)).await, ids([&named, &traced, &free]));
    assert_eq!(set(stores, &linked(&stranger.id)).await, ids([&theirs, &traced_theirs, &free]));
    assert_eq!(set(stores, &linked(&AgentId::generate())).await, ids([&free]));
    let of_task = SpanFilter { task_id: Some(its.clone()), ..linked(&agent.id) };
    assert_eq!(set(stores, &of_task).await, ids([&named, &traced]));
}

pub async fn a_list_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let (one, other) = (stored_task(stores).await, stored_task(stores).await);
    let (low, high) = if one.as_str() < other.as_str() { (one, other) } else { (other, one) };
    let first =
        Span { id: "a".into(), parent_id: None, name: "B".into(), end_time: None, task_id: None, ..span("z", None, 2) };
    let second = Span {
        id: "B".into(),
        parent_id: Some("q".into()),
        name: "a".into(),
        end_time: Some(at(1)),
        ..span("Y", Some(&low), 1)
    };
    let third = Span {
        id: "c".into(),
        parent_id: Some("P".into()),
        name: "_".into(),
        end_time: Some(at(3)),
        ..span("x", Some(&high), 3)
    };
    for span in [&first, &second, &third] {
        stored(stores, span.clone()).await;
    }

    for (order, ascending) in [
        (SpanOrder::StartTime, ["B", "a", "c"]),
        (SpanOrder::EndTime, ["a", "B", "c"]),
        (SpanOrder::Id, ["B", "a", "c"]),
        (SpanOrder::TraceId, ["B", "c", "a"]),
        (SpanOrder::TaskId, ["a", "B", "c"]),
        (SpanOrder::ParentId, ["a", "c", "B"]),
        (SpanOrder::Name, ["a", "c", "B"]),
    ] {
        let mut expected: Vec<SpanId> = ascending.into_iter().map(SpanId::from).collect();
        assert_eq!(list(stores, &EVERYTHING, order, Direction::Ascending).await, expected, "{order:?}");
        expected.reverse();
        assert_eq!(list(stores, &EVERYTHING, order, Direction::Descending).await, expected, "{order:?}");
    }
}

pub async fn pages_of_spans_that_began_at_once_show_each_exactly_once(stores: &Stores) {
    let mut all = BTreeSet::new();
    for _ in 0..23 {
        all.insert(stored(stores, span("trace", None, 0)).await.id);
    }

    for direction in [Direction::Ascending, Direction::Descending] {
        let mut seen = Vec::new();
        for page_number in 1..=4 {
            let page = PageRequest { limit: 7, page_number };
            let spans = stores.spans.list(&EVERYTHING, SpanOrder::StartTime, direction, page).await.unwrap();
            seen.extend(spans.into_iter().map(|span| span.id));
        }
        assert_eq!(seen.len(), 23);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    }
}
