//! What every `TrackerRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{Stores, TrackerChange, TrackerOrder, TrackerUpdate};
use agentex_domain::{Agent, Direction, Event, EventId, PageRequest, TaskId, Tracker, TrackerId};

use super::stored::{created, delete, stored_agent};
use super::task_items::{EVERYTHING, of_task};
use crate::build::{at, new_task};

async fn task_of(stores: &Stores, name: &str) -> (Agent, TaskId) {
    let agent = stored_agent(stores, name).await;
    let task = created(stores, new_task(&agent)).await;
    (agent, task.id)
}

/// The tracker that came with the task.
async fn tracker_of(stores: &Stores, task_id: &TaskId) -> Tracker {
    let (order, direction) = (TrackerOrder::Id, Direction::Ascending);
    let mut found = stores.trackers.list(&of_task(task_id), order, direction, PageRequest::default()).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn events(stores: &Stores, task_id: &TaskId, agent: &Agent, count: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for second in 0..count {
        events.push(stores.events.append(task_id, &agent.id, None, at(second)).await.unwrap());
    }
    events
}

fn to(event: &EventId) -> TrackerChange {
    TrackerChange { last_processed_event_id: Some(event.clone()), ..TrackerChange::default() }
}

async fn done(stores: &Stores, id: &TrackerId, change: &TrackerChange, second: i64) -> Tracker {
    match stores.trackers.update(id, change, at(second)).await.unwrap() {
        TrackerUpdate::Done(tracker) => tracker,
        other => panic!("not changed: {other:?}"),
    }
}

pub async fn a_task_comes_with_one_empty_tracker(stores: &Stores) {
    let (agent, task_id) = task_of(stores, "reader").await;

    let tracker = tracker_of(stores, &task_id).await;

    let empty = Tracker {
        id: tracker.id.clone(),
        agent_id: agent.id,
        task_id,
        status: None,
        status_reason: None,
        last_processed_event_id: None,
        created_at: at(0),
        updated_at: at(0),
    };
    assert_eq!(tracker, empty);
    assert_eq!(stores.trackers.find(&tracker.id).await.unwrap(), Some(tracker));
    assert_eq!(stores.trackers.find(&TrackerId::generate()).await.unwrap(), None);
}

pub async fn a_change_replaces_the_words_and_moves_the_cursor_only_when_told(stores: &Stores) {
    let (agent, task_id) = task_of(stores, "reader").await;
    let tracker = tracker_of(stores, &task_id).await;
    let event = events(stores, &task_id, &agent, 1).await.remove(0);
    let change =
        TrackerChange { status: Some("busy".into()), status_reason: Some("it's \u{1F980}".into()), ..to(&event.id) };

    let changed = done(stores, &tracker.id, &change, 5).await;
    let silent = done(stores, &tracker.id, &TrackerChange::default(), 6).await;

    let expected = Tracker {
        status: Some("busy".into()),
        status_reason: Some("it's \u{1F980}".into()),
        last_processed_event_id: Some(event.id),
        updated_at: at(5),
        ..tracker
    };
    assert_eq!(changed, expected);
    assert_eq!(silent, Tracker { status: None, status_reason: None, updated_at: at(6), ..expected });
    assert_eq!(stores.trackers.find(&silent.id).await.unwrap(), Some(silent));
}

pub async fn a_cursor_never_moves_backwards(stores: &Stores) {
    let (agent, task_id) = task_of(stores, "reader").await;
    let tracker = tracker_of(stores, &task_id).await;
    let events = events(stores, &task_id, &agent, 3).await;
    let at_third = done(stores, &tracker.id, &to(&events[2].id), 5).await;

    let back = TrackerChange { status: Some("lost".into()), ..to(&events[0].id) };
    let refused = stores.trackers.update(&tracker.id, &back, at(6)).await.unwrap();

    let (from, first) = (events[2].sequence_id, events[0].sequence_id);
    assert_eq!(refused, TrackerUpdate::Backwards { from, to: first });
    assert_eq!(stores.trackers.find(&tracker.id).await.unwrap(), Some(at_third));
    done(stores, &tracker.id, &to(&events[2].id), 7).await;
}

pub async fn an_event_of_another_task_or_agent_is_as_unknown_as_an_absent_one(stores: &Stores) {
    let (agent, task_id) = task_of(stores, "reader").await;
    let tracker = tracker_of(stores, &task_id).await;
    let other_task = created(stores, new_task(&agent)).await.id;
    let (other_agent, _) = task_of(stores, "other").await;
    let of_other_task = events(stores, &other_task, &agent, 1).await.remove(0).id;
    let of_other_agent = events(stores, &task_id, &other_agent, 1).await.remove(0).id;

    for event in [EventId::generate(), of_other_task, of_other_agent] {
        let change = TrackerChange { status: Some("lost".into()), ..to(&event) };
        assert_eq!(stores.trackers.update(&tracker.id, &change, at(6)).await.unwrap(), TrackerUpdate::UnknownEvent);
    }
    assert_eq!(stores.trackers.find(&tracker.id).await.unwrap(), Some(tracker));
}

pub async fn of_concurrent_changes_the_furthest_cursor_stays(stores: &Stores) {
    let (agent, task_id) = task_of(stores, "reader").await;
    let tracker = tracker_of(stores, &task_id).await;
    let events = events(stores, &task_id, &agent, 12).await;

    let moves = events.iter().map(|event| {
        let (stores, id, change) = (stores.clone(), tracker.id.clone(), to(&event.id));
        tokio::spawn(async move { stores.trackers.update(&id, &change, at(20)).await.unwrap() })
    });
    for outcome in futures::future::join_all(moves).await {
        let outcome = outcome.unwrap();
        assert!(matches!(outcome, TrackerUpdate::Done(_) | TrackerUpdate::Backwards { .. }), "{outcome:?}");
    }

    let left = stores.trackers.find(&tracker.id).await.unwrap().unwrap();
    assert_eq!(left.last_processed_event_id.as_ref(), events.last().map(|event| &event.id));
}

pub async fn trackers_of_an_absent_or_deleted_task_are_absent(stores: &Stores) {
    let (_, task_id) = task_of(stores, "reader").await;
    let tracker = tracker_of(stores, &task_id).await;
    delete(stores, &task_id).await;

    assert_eq!(stores.trackers.find(&tracker.id).await.unwrap(), None);
    for id in [tracker.id, TrackerId::generate()] {
        let outcome = stores.trackers.update(&id, &TrackerChange::default(), at(1)).await.unwrap();
        assert_eq!(outcome, TrackerUpdate::Absent);
    }
    let (order, direction) = (TrackerOrder::Id, Direction::Ascending);
    let listed = stores.trackers.list(&of_task(&task_id), order, direction, PageRequest::default()).await.unwrap();
    assert_eq!(listed, []);
}

pub async fn a_list_of_trackers_shows_what_its_filter_says(stores: &Stores) {
    super::task_items::filters_are_obeyed(
        stores,
        async |filter, page| {
            let (order, direction) = (TrackerOrder::UpdatedAt, Direction::Descending);
            let trackers = stores.trackers.list(filter, order, direction, page).await.unwrap();
            trackers.into_iter().map(|tracker| (tracker.task_id, tracker.agent_id)).collect()
        },
        async |_, _| {},
    )
    .await;
}

pub async fn a_list_of_trackers_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let mut trackers = Vec::new();
    for (name, made, status, updated) in
        [("one", 3, Some("b"), 7), ("two", 1, None, 9), ("three", 2, Some("B"), 8), ("four", 2, Some("b"), 7)]
    {
        let agent = stored_agent(stores, name).await;
        let task = agentex_domain::NewTask { created_at: at(made), ..new_task(&agent) };
        let tracker = tracker_of(stores, &created(stores, task).await.id).await;
        let change = TrackerChange { status: status.map(str::to_owned), ..TrackerChange::default() };
        trackers.push(done(stores, &tracker.id, &change, updated).await);
    }

    for order in [
        TrackerOrder::UpdatedAt,
        TrackerOrder::CreatedAt,
        TrackerOrder::Id,
        TrackerOrder::AgentId,
        TrackerOrder::TaskId,
        TrackerOrder::Status,
    ] {
        let key = |tracker: &Tracker| {
            let Tracker { id, agent_id, task_id, status, created_at, updated_at, .. } = tracker.clone();
            let (id, agent_id, task_id) = (id.into_string(), agent_id.into_string(), task_id.into_string());
            let text = match order {
                TrackerOrder::UpdatedAt | TrackerOrder::CreatedAt => None,
                TrackerOrder::Id => Some(id.clone()),
                TrackerOrder::AgentId => Some(agent_id),
                TrackerOrder::TaskId => Some(task_id),
                TrackerOrder::Status => status,
            };
            let times =
                if order == TrackerOrder::CreatedAt { (created_at, updated_at) } else { (updated_at, created_at) };
            (text, times, id)
        };
        trackers.sort_by_key(key);
        let ascending: Vec<&Tracker> = trackers.iter().collect();
        let listed = async |direction| {
            stores.trackers.list(&EVERYTHING, order, direction, PageRequest::default()).await.unwrap()
        };
        assert_eq!(listed(Direction::Ascending).await.iter().collect::<Vec<_>>(), ascending, "{order:?}");
        let descending: Vec<&Tracker> = ascending.into_iter().rev().collect();
        assert_eq!(listed(Direction::Descending).await.iter().collect::<Vec<_>>(), descending, "{order:?}");
    }
}
