//! What every `EventRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{StoreError, Stores};
use agentex_domain::{Agent, AgentId, Event, EventId, TaskId};
use serde_json::json;

use super::stored::delete;
use crate::build::{agent, at, data, new_task, text};

async fn agent_and_task(stores: &Stores, name: &str) -> (Agent, TaskId) {
    let agent = agent(name);
    stores.agents.insert(&agent, None).await.unwrap();
    let task = new_task(&agent);
    stores.tasks.insert(&task, None).await.unwrap();
    (agent, task.id)
}

pub async fn an_appended_event_holds_what_was_said(stores: &Stores) {
    let (agent, task_id) = agent_and_task(stores, "listener").await;
    let contents = [None, Some(text("it's \"so\" \u{1F980}")), Some(data(json!({"n": 9_007_199_254_740_993_i64})))];

    let mut ids = BTreeSet::new();
    for (second, content) in (1..).zip(contents) {
        let event = stores.events.append(&task_id, &agent.id, content.clone(), at(second)).await.unwrap();

        assert_eq!((&event.task_id, &event.agent_id), (&task_id, &agent.id));
        assert_eq!((event.content, event.created_at), (content, at(second)));
        ids.insert(event.id);
    }
    assert_eq!(ids.len(), 3);
}

pub async fn an_event_under_an_id_of_the_callers_is_stored_once(stores: &Stores) {
    let (agent, task_id) = agent_and_task(stores, "listener").await;
    let id = EventId::generate();

    let appends = (0..8).map(|number| {
        let (stores, id, task_id, agent_id) = (stores.clone(), id.clone(), task_id.clone(), agent.id.clone());
        let content = Some(text(&number.to_string()));
        tokio::spawn(async move { stores.events.append_as(&id, &task_id, &agent_id, content, at(0)).await.unwrap() })
    });
    let events: Vec<Event> = futures::future::join_all(appends).await.into_iter().map(Result::unwrap).collect();

    assert!(events.iter().all(|event| *event == events[0]), "{events:?}");
    assert_eq!(stores.events.list(&task_id, &agent.id, None, None).await.unwrap(), events[..1]);
    let dangling = stores.events.append_as(&EventId::generate(), &TaskId::from("no"), &agent.id, None, at(0)).await;
    assert!(matches!(dangling, Err(StoreError::Dangling { .. })), "{dangling:?}");
}

pub async fn sequence_ids_rise_over_all_tasks(stores: &Stores) {
    let (one_agent, one) = agent_and_task(stores, "one").await;
    let (other_agent, other) = agent_and_task(stores, "other").await;

    let mut last = i64::MIN;
    for round in 0..5 {
        for (task, agent) in [(&one, &one_agent), (&other, &other_agent)] {
            // Times going backwards do not matter.
            let event = stores.events.append(task, &agent.id, None, at(-round)).await.unwrap();
            assert!(event.sequence_id > last, "{} after {last}", event.sequence_id);
            last = event.sequence_id;
        }
    }
}

pub async fn concurrent_events_get_sequence_ids_of_their_own(stores: &Stores) {
    let (agent, task_id) = agent_and_task(stores, "busy").await;

    let appends = (0..20).map(|_| {
        let (stores, task_id, agent_id) = (stores.clone(), task_id.clone(), agent.id.clone());
        tokio::spawn(async move { stores.events.append(&task_id, &agent_id, None, at(0)).await.unwrap() })
    });
    let events: Vec<_> = futures::future::join_all(appends).await.into_iter().map(Result::unwrap).collect();

    let largest = events.iter().map(|event| event.sequence_id).max().unwrap();
    assert_eq!(events.iter().map(|event| event.sequence_id).collect::<BTreeSet<_>>().len(), 20);
    assert_eq!(events.iter().map(|event| event.id.clone()).collect::<BTreeSet<_>>().len(), 20);
    let after = stores.events.append(&task_id, &agent.id, None, at(0)).await.unwrap();
    assert!(after.sequence_id > largest);
}

pub async fn an_event_of_an_absent_task_or_agent_is_dangling(stores: &Stores) {
    let (agent, task_id) = agent_and_task(stores, "listener").await;

    let no_task = stores.events.append(&TaskId::generate(), &agent.id, Some(text("x")), at(0)).await;
    assert!(matches!(no_task, Err(StoreError::Dangling { .. })), "{no_task:?}");
    let no_agent = stores.events.append(&task_id, &AgentId::generate(), Some(text("x")), at(0)).await;
    assert!(matches!(no_agent, Err(StoreError::Dangling { .. })), "{no_agent:?}");

    stores.events.append(&task_id, &agent.id, Some(text("x")), at(0)).await.unwrap();
}

async fn appended(stores: &Stores, task_id: &TaskId, agent_id: &AgentId, count: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for second in 0..count {
        let content = (second % 2 == 0).then(|| data(json!({"n": 9_007_199_254_740_993_i64})));
        events.push(stores.events.append(task_id, agent_id, content, at(-second)).await.unwrap());
    }
    events
}

pub async fn an_event_is_found_by_its_id_while_its_task_lives(stores: &Stores) {
    let (agent, task_id) = agent_and_task(stores, "listener").await;
    for event in appended(stores, &task_id, &agent.id, 2).await {
        assert_eq!(stores.events.find(&event.id).await.unwrap(), Some(event.clone()));
    }
    assert_eq!(stores.events.find(&EventId::generate()).await.unwrap(), None);

    let event = appended(stores, &task_id, &agent.id, 1).await.remove(0);
    delete(stores, &task_id).await;
    assert_eq!(stores.events.find(&event.id).await.unwrap(), None);
    assert_eq!(stores.events.list(&task_id, &agent.id, None, None).await.unwrap(), []);
}

pub async fn events_are_listed_by_task_and_agent_in_the_order_of_their_sequence(stores: &Stores) {
    let (agent, task_id) = agent_and_task(stores, "listener").await;
    let (other_agent, other_task) = agent_and_task(stores, "other").await;
    let expected = appended(stores, &task_id, &agent.id, 3).await;
    appended(stores, &other_task, &other_agent.id, 1).await;
    let of_other_agent = appended(stores, &task_id, &other_agent.id, 1).await;

    assert_eq!(stores.events.list(&task_id, &agent.id, None, None).await.unwrap(), expected);
    assert_eq!(stores.events.list(&task_id, &agent.id, None, Some(2)).await.unwrap(), expected[..2]);
    assert_eq!(stores.events.list(&task_id, &other_agent.id, None, None).await.unwrap(), of_other_agent);
    assert_eq!(stores.events.list(&other_task, &agent.id, None, None).await.unwrap(), []);
    assert_eq!(stores.events.list(&TaskId::generate(), &agent.id, None, None).await.unwrap(), []);
}

pub async fn a_list_of_events_goes_on_after_an_event_of_the_task(stores: &Stores) {
    let (agent, task_id) = agent_and_task(stores, "listener").await;
    let (other_agent, other_task) = agent_and_task(stores, "other").await;
    let expected = appended(stores, &task_id, &agent.id, 3).await;
    let foreign = appended(stores, &other_task, &other_agent.id, 1).await.remove(0).id;
    let list = async |after: &EventId, limit| {
        stores.events.list(&task_id, &agent.id, Some(after.clone()), limit).await.unwrap()
    };

    assert_eq!(list(&expected[0].id, Some(1)).await, expected[1..2]);
    assert_eq!(list(&expected[0].id, None).await, expected[1..]);
    assert_eq!(list(&expected[2].id, None).await, []);
    for unknown in [EventId::generate(), foreign] {
        assert_eq!(list(&unknown, None).await, expected);
    }
}
