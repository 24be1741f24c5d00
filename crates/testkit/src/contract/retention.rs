//! What every `RetentionRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{
    CheckpointFilter, CleanCandidate, CleanOrder, Cleaned, Rehydrated, SNAPSHOT_PAGE, SnapshotPage, SnapshotPages,
    StoreError, Stores, TrackerChange, TrackerOrder, TrackerUpdate,
};
use agentex_domain::{
    Agent, AgentId, Checkpoint, CleanCounts, CleanExtent, CleanOverrides, CleanRefusal, CleanRules, Direction, Event,
    ExactJson, Message, MessageId, NewTask, PageRequest, Snapshot, Span, SpanId, Task, TaskActivity, TaskId, TaskState,
    Tracker, Transition,
};
use serde_json::json;

use super::stored::{created, delete, find, stored_agent};
use super::task_items::of_task;
use crate::build::{at, new_task, object, text};

/// However recently the task was used, and never while it runs.
const FORCED: CleanRules = CleanRules { idle_since: None, abandoned_since: None };

/// A clean of everything that the guards let pass.
fn forced() -> CleanOrder {
    CleanOrder { rules: FORCED, extent: CleanExtent::Everything, deleted_too: false, at: at(100) }
}

/// A task of an agent of its own that has ended.
async fn ended(stores: &Stores, name: &str) -> (Agent, TaskId) {
    let agent = stored_agent(stores, name).await;
    let task = created(stores, NewTask { params: Some(object(json!({"k": "v"}))), ..new_task(&agent) }).await;
    end(stores, &task.id).await;
    (agent, task.id)
}

async fn end(stores: &Stores, task_id: &TaskId) {
    stores.tasks.transition(task_id, Transition::Fail, "failed", at(1)).await.unwrap();
}

async fn message(stores: &Stores, task_id: &TaskId, id: &str, second: i64) -> Message {
    let message = Message { id: id.into(), ..Message::new(task_id.clone(), text(id), None, at(second)) };
    assert!(stores.messages.insert(task_id, std::slice::from_ref(&message)).await.unwrap());
    message
}

async fn state(stores: &Stores, task_id: &TaskId, id: &str, second: i64) -> TaskState {
    let made = TaskState::new(task_id.clone(), AgentId::from("any"), object(json!({"id": id})), at(second));
    let state = TaskState { id: id.into(), ..made };
    assert!(stores.states.insert(&state).await.unwrap());
    state
}

async fn event(stores: &Stores, task_id: &TaskId, agent: &Agent) -> Event {
    stores.events.append(task_id, &agent.id, None, at(1)).await.unwrap()
}

async fn tracker(stores: &Stores, task_id: &TaskId) -> Tracker {
    let (order, direction) = (TrackerOrder::Id, Direction::Ascending);
    stores.trackers.list(&of_task(task_id), order, direction, PageRequest::default()).await.unwrap().remove(0)
}

async fn processed(stores: &Stores, task_id: &TaskId, event: &Event) {
    let tracker = tracker(stores, task_id).await;
    let change = TrackerChange { last_processed_event_id: Some(event.id.clone()), ..TrackerChange::default() };
    let updated = stores.trackers.update(&tracker.id, &change, at(2)).await.unwrap();
    assert!(matches!(updated, TrackerUpdate::Done(_)), "{updated:?}");
}

async fn rest(mut pages: Box<dyn SnapshotPages>) -> (Vec<Message>, Vec<TaskState>) {
    let (mut messages, mut states) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await.unwrap() {
        match page {
            SnapshotPage::Messages(page) => {
                assert!(states.is_empty() && !page.is_empty() && page.len() <= SNAPSHOT_PAGE as usize);
                messages.extend(page);
            }
            SnapshotPage::States(page) => {
                assert!(!page.is_empty() && page.len() <= SNAPSHOT_PAGE as usize);
                states.extend(page);
            }
        }
    }
    assert_eq!(pages.next().await.unwrap(), None);
    (messages, states)
}

async fn exported(stores: &Stores, task_id: &TaskId) -> (Vec<Message>, Vec<TaskState>) {
    rest(stores.retention.export(task_id).await.unwrap().unwrap()).await
}

async fn cleaned(stores: &Stores, task_id: &TaskId) -> CleanCounts {
    match stores.retention.clean(task_id, &forced()).await.unwrap() {
        Cleaned::Done { counts, .. } => counts,
        other => panic!("not cleaned: {other:?}"),
    }
}

async fn refused(stores: &Stores, task_id: &TaskId, rules: CleanRules) -> CleanRefusal {
    match stores.retention.clean(task_id, &CleanOrder { rules, ..forced() }).await.unwrap() {
        Cleaned::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub async fn an_export_holds_messages_and_states_by_time_then_by_id(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    let (_, other) = ended(stores, "b").await;
    message(stores, &other, "other", 1).await;
    // Inserted in another order than they are to be read in; upper case comes first where bytes are compared.
    let late = message(stores, &task_id, "b", 9).await;
    let small = message(stores, &task_id, "a", 5).await;
    let large = message(stores, &task_id, "Z", 5).await;
    let new = state(stores, &task_id, "t", 4).await;
    let old = state(stores, &task_id, "u", 3).await;

    let (messages, states) = exported(stores, &task_id).await;

    assert_eq!(messages, [large, small, late]);
    assert_eq!(states, [old, new]);
}

pub async fn an_export_of_many_pages_shows_each_item_exactly_once(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    let count = SNAPSHOT_PAGE as usize * 2 + 1;
    let messages: Vec<Message> = (0..count)
        .map(|number| Message {
            id: format!("m{number:05}").into(),
            ..Message::new(task_id.clone(), text("x"), None, at(i64::try_from(number / 700).unwrap()))
        })
        .collect();
    for batch in messages.chunks(400) {
        assert!(stores.messages.insert(&task_id, batch).await.unwrap());
    }

    let (read, states) = exported(stores, &task_id).await;

    assert!(read == messages && states.is_empty());
}

pub async fn an_export_shows_one_moment(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    let first = message(stores, &task_id, "m1", 1).await;
    let pages = stores.retention.export(&task_id).await.unwrap().unwrap();

    message(stores, &task_id, "m2", 2).await;
    state(stores, &task_id, "s", 1).await;

    assert_eq!(rest(pages).await, (vec![first], vec![]));
}

pub async fn an_absent_or_deleted_task_has_no_export(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    assert_eq!(exported(stores, &task_id).await, (vec![], vec![]));
    delete(stores, &task_id).await;

    for absent in [task_id, TaskId::generate(), "a\u{0}b".into()] {
        assert!(stores.retention.export(&absent).await.unwrap().is_none());
    }
}

pub async fn activity_is_the_row_or_the_newest_message(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    let quiet = TaskActivity {
        cleaned_at: None,
        is_running: false,
        last_interaction: Some(at(1)),
        has_unprocessed_events: false,
    };
    assert_eq!(stores.retention.activity(&task_id).await.unwrap(), Some(quiet));

    message(stores, &task_id, "m1", -5).await;
    assert_eq!(stores.retention.activity(&task_id).await.unwrap(), Some(quiet));
    message(stores, &task_id, "m2", 7).await;
    let used = TaskActivity { last_interaction: Some(at(7)), ..quiet };
    assert_eq!(stores.retention.activity(&task_id).await.unwrap(), Some(used));
    cleaned(stores, &task_id).await;
    let clean = TaskActivity { cleaned_at: Some(at(100)), ..quiet };
    assert_eq!(stores.retention.activity(&task_id).await.unwrap(), Some(clean));
    delete(stores, &task_id).await;
    assert_eq!(stores.retention.activity(&task_id).await.unwrap(), Some(clean));

    let agent = stored_agent(stores, "running").await;
    let running = created(stores, new_task(&agent)).await;
    assert!(stores.retention.activity(&running.id).await.unwrap().unwrap().is_running);
    assert_eq!(stores.retention.activity(&TaskId::generate()).await.unwrap(), None);
}

/// retention §8: 5
pub async fn events_ahead_of_a_cursor_are_unprocessed(stores: &Stores) {
    let (agent, task_id) = ended(stores, "a").await;
    let unprocessed = async || stores.retention.activity(&task_id).await.unwrap().unwrap().has_unprocessed_events;
    assert!(!unprocessed().await);

    let (first, second) = (event(stores, &task_id, &agent).await, event(stores, &task_id, &agent).await);
    assert!(unprocessed().await);
    processed(stores, &task_id, &first).await;
    assert!(unprocessed().await);
    assert_eq!(refused(stores, &task_id, FORCED).await, CleanRefusal::UnprocessedEvents);
    processed(stores, &task_id, &second).await;
    assert!(!unprocessed().await);
}

pub async fn a_clean_takes_everything_of_its_task_and_nothing_of_others(stores: &Stores) {
    let (agent, task_id) = ended(stores, "a").await;
    let (_, other) = ended(stores, "b").await;
    for (task_id, prefix) in [(&task_id, "x"), (&other, "y")] {
        for number in 0..3 {
            message(stores, task_id, &format!("{prefix}{number}"), number).await;
        }
        state(stores, task_id, prefix, 1).await;
        let checkpoint = Checkpoint {
            thread_id: task_id.clone(),
            namespace: String::new(),
            id: "1".to_owned(),
            parent_id: None,
            checkpoint: ExactJson::empty(),
            metadata: ExactJson::empty(),
        };
        assert!(stores.checkpoints.put(&checkpoint, &[]).await.unwrap());
        for owner in [Some(task_id), None] {
            assert!(stores.spans.insert(&span(task_id, owner)).await.unwrap());
        }
    }
    let told = event(stores, &task_id, &agent).await;
    processed(stores, &task_id, &told).await;
    let (before, untouched) = (find(stores, &task_id).await, exported(stores, &other).await);

    let counts = cleaned(stores, &task_id).await;

    assert_eq!(counts, CleanCounts { messages: 3, states: 1, events: 1, checkpoints: 1, spans: 2 });
    assert_eq!(exported(stores, &task_id).await, (vec![], vec![]));
    let expected = Task { cleaned_at: Some(at(100)), params: None, ..before };
    assert_eq!(find(stores, &task_id).await, expected);
    assert_eq!(tracker(stores, &task_id).await.last_processed_event_id, None);
    assert_eq!(stores.events.list(&task_id, &agent.id, None, None).await.unwrap(), []);
    assert_eq!(exported(stores, &other).await, untouched);
    assert!(find(stores, &other).await.params.is_some());
    let everything = CheckpointFilter::default();
    assert_eq!(stores.checkpoints.list(&task_id, &everything, 10).await.unwrap(), []);
    assert_eq!(stores.checkpoints.list(&other, &everything, 10).await.unwrap().len(), 1);
}

fn span(trace: &TaskId, task_id: Option<&TaskId>) -> Span {
    Span {
        id: SpanId::generate(),
        trace_id: trace.as_str().to_owned(),
        task_id: task_id.cloned(),
        parent_id: None,
        name: "step".to_owned(),
        start_time: at(1),
        end_time: None,
        input: serde_json::from_value(json!({"k": "v"})).unwrap(),
        output: None,
        data: None,
    }
}

pub async fn a_clean_of_the_contents_leaves_spans_checkpoints_and_parameters(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    message(stores, &task_id, "m", 1).await;
    let kept = span(&task_id, Some(&task_id));
    assert!(stores.spans.insert(&kept).await.unwrap());

    let order = CleanOrder { extent: CleanExtent::Contents, ..forced() };
    let done = stores.retention.clean(&task_id, &order).await.unwrap();

    let counts = CleanCounts { messages: 1, ..CleanCounts::default() };
    assert_eq!(done, Cleaned::Done { counts, overrides: CleanOverrides::default() });
    assert!(find(stores, &task_id).await.params.is_some());
    assert_eq!(stores.spans.find(&kept.id).await.unwrap().unwrap().span, kept);
}

pub async fn a_second_clean_changes_nothing(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    cleaned(stores, &task_id).await;

    let again = stores.retention.clean(&task_id, &CleanOrder { at: at(200), ..forced() }).await.unwrap();

    assert_eq!(again, Cleaned::Before(at(100)));
    assert_eq!(find(stores, &task_id).await.cleaned_at, Some(at(100)));
}

pub async fn a_refused_clean_changes_nothing(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    message(stores, &task_id, "m", 50).await;
    let (before, row) = (exported(stores, &task_id).await, find(stores, &task_id).await);

    let rules = CleanRules { idle_since: Some(at(50)), abandoned_since: None };
    assert_eq!(refused(stores, &task_id, rules).await, CleanRefusal::NotIdle);

    assert_eq!((exported(stores, &task_id).await, find(stores, &task_id).await), (before, row));
    for absent in [TaskId::generate(), "a\u{0}b".into()] {
        assert_eq!(stores.retention.clean(&absent, &forced()).await.unwrap(), Cleaned::Absent);
    }
}

pub async fn a_running_task_is_cleaned_when_it_is_abandoned_only(stores: &Stores) {
    let agent = stored_agent(stores, "a").await;
    let task_id = created(stores, new_task(&agent)).await.id;
    event(stores, &task_id, &agent).await;
    message(stores, &task_id, "m", 10).await;
    let abandoned_since = |second| CleanRules { idle_since: Some(at(90)), abandoned_since: Some(at(second)) };
    assert_eq!(refused(stores, &task_id, FORCED).await, CleanRefusal::Running);
    assert_eq!(refused(stores, &task_id, abandoned_since(10)).await, CleanRefusal::Running);

    let order = CleanOrder { rules: abandoned_since(11), ..forced() };
    let done = stores.retention.clean(&task_id, &order).await.unwrap();

    let counts = CleanCounts { messages: 1, events: 1, ..CleanCounts::default() };
    let overrides = CleanOverrides { running: true, unprocessed_events: true };
    assert_eq!(done, Cleaned::Done { counts, overrides });
}

pub async fn a_deleted_task_is_cleaned_only_by_who_says_so(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    message(stores, &task_id, "m", 1).await;
    delete(stores, &task_id).await;
    assert_eq!(stores.retention.clean(&task_id, &forced()).await.unwrap(), Cleaned::Absent);

    let done = stores.retention.clean(&task_id, &CleanOrder { deleted_too: true, ..forced() }).await.unwrap();

    let counts = CleanCounts { messages: 1, ..CleanCounts::default() };
    assert_eq!(done, Cleaned::Done { counts, overrides: CleanOverrides::default() });
}

pub async fn whatever_is_added_to_a_cleaned_task_takes_the_mark_off(stores: &Stores) {
    let (agent, task_id) = ended(stores, "a").await;
    let mark = async || find(stores, &task_id).await.cleaned_at;

    cleaned(stores, &task_id).await;
    let before = find(stores, &task_id).await;
    message(stores, &task_id, "m", 1).await;
    assert_eq!(find(stores, &task_id).await, Task { cleaned_at: None, ..before });
    assert_eq!(cleaned(stores, &task_id).await.messages, 1);
    state(stores, &task_id, "s", 1).await;
    assert_eq!(mark().await, None);
    assert_eq!(cleaned(stores, &task_id).await.states, 1);
    event(stores, &task_id, &agent).await;
    assert_eq!(mark().await, None);
}

pub async fn contents_come_back_as_they_were(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    message(stores, &task_id, "m2", 5).await;
    message(stores, &task_id, "m1", 5).await;
    state(stores, &task_id, "s", 1).await;
    let before = exported(stores, &task_id).await;
    cleaned(stores, &task_id).await;
    let row = find(stores, &task_id).await;

    let (messages, states) = before.clone();
    let snapshot = Snapshot { task_id: task_id.clone(), messages, states };
    assert_eq!(stores.retention.rehydrate(&snapshot).await.unwrap(), Rehydrated::Done);

    assert_eq!(exported(stores, &task_id).await, before);
    assert_eq!(find(stores, &task_id).await, Task { cleaned_at: None, ..row });
    assert_eq!(stores.retention.rehydrate(&snapshot).await.unwrap(), Rehydrated::NotCleaned);
}

pub async fn many_contents_come_back_too(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    cleaned(stores, &task_id).await;
    let count = i64::from(SNAPSHOT_PAGE) + 1;
    let messages: Vec<Message> = (0..count).map(|n| Message::new(task_id.clone(), text("x"), None, at(n))).collect();
    let made = |n| TaskState::new(task_id.clone(), AgentId::from("any"), object(json!({"n": n})), at(n));
    let states: Vec<TaskState> = (0..count).map(made).collect();
    let snapshot = Snapshot { task_id: task_id.clone(), messages: messages.clone(), states: states.clone() };

    assert_eq!(stores.retention.rehydrate(&snapshot).await.unwrap(), Rehydrated::Done);

    assert!(exported(stores, &task_id).await == (messages, states));
}

/// retention §8: 11
pub async fn a_taken_id_keeps_all_contents_out(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    let (_, other) = ended(stores, "b").await;
    let taken = message(stores, &other, "taken", 1).await;
    let taken_state = state(stores, &other, "taken", 1).await;
    cleaned(stores, &task_id).await;
    let fresh = |id: &str| Message { id: id.into(), ..Message::new(task_id.clone(), text("x"), None, at(1)) };
    let fresh_state = |id: &str| TaskState { id: id.into(), task_id: task_id.clone(), ..taken_state.clone() };
    let snapshot = |messages: &[Message], states: &[TaskState]| Snapshot {
        task_id: task_id.clone(),
        messages: messages.to_vec(),
        states: states.to_vec(),
    };

    for refused in [
        snapshot(&[fresh("m1"), fresh("taken"), fresh("m3")], &[]),
        snapshot(&[fresh("m1"), fresh("m1")], &[]),
        snapshot(&[fresh("m1")], &[fresh_state("s1"), fresh_state("taken")]),
    ] {
        let outcome = stores.retention.rehydrate(&refused).await;
        assert!(matches!(outcome, Err(StoreError::Duplicate { .. })), "{outcome:?}");
    }

    assert_eq!(exported(stores, &task_id).await, (vec![], vec![]));
    assert_eq!(find(stores, &task_id).await.cleaned_at, Some(at(100)));
    assert_eq!(stores.messages.find(&MessageId::from("taken")).await.unwrap(), Some(taken));
}

pub async fn an_empty_snapshot_leaves_the_mark_and_an_absent_task_is_told(stores: &Stores) {
    let (_, task_id) = ended(stores, "a").await;
    cleaned(stores, &task_id).await;
    let empty = |task_id: &TaskId| Snapshot { task_id: task_id.clone(), messages: Vec::new(), states: Vec::new() };

    assert_eq!(stores.retention.rehydrate(&empty(&task_id)).await.unwrap(), Rehydrated::Done);
    assert_eq!(find(stores, &task_id).await.cleaned_at, Some(at(100)));
    delete(stores, &task_id).await;
    for absent in [task_id, TaskId::generate(), "a\u{0}b".into()] {
        assert_eq!(stores.retention.rehydrate(&empty(&absent)).await.unwrap(), Rehydrated::Absent);
    }
}

/// retention §8: 17, 19
pub async fn candidates_are_idle_tasks_of_named_agents_each_once_by_id(stores: &Stores) {
    let (agent, first) = ended(stores, "a").await;
    let second = created(stores, new_task(&agent)).await.id;
    let (_, third) = ended(stores, "b").await;
    let (_, foreign) = ended(stores, "foreign").await;
    let (_, clean) = ended(stores, "c").await;
    cleaned(stores, &clean).await;
    let (_, gone) = ended(stores, "d").await;
    delete(stores, &gone).await;
    let names: Vec<String> = ["a", "b", "c", "d", "nobody"].map(str::to_owned).into();
    let page = async |names: &[String], second: i64, after: Option<TaskId>, limit| {
        stores.retention.candidates(names, at(second), after, limit).await.unwrap()
    };
    let mut expected = vec![first, second.clone(), third, gone];
    expected.sort();

    let mut seen = Vec::new();
    while let [CleanCandidate { task_id, is_shared: false }] = &page(&names, 50, seen.last().cloned(), 1).await[..] {
        seen.push(task_id.clone());
    }

    assert_eq!(seen, expected);
    assert!(!seen.contains(&foreign));
    assert_eq!(page(&names, 50, None, 100).await.len(), 4);
    // Strictly before: the others changed at second 1.
    let only: Vec<TaskId> = page(&names, 1, None, 100).await.into_iter().map(|found| found.task_id).collect();
    assert_eq!(only, [second]);
    assert_eq!(page(&[], 50, None, 100).await, []);
}
