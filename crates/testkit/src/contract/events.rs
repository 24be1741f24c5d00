//! What every `EventRepository` must do.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_domain::ports::{StoreError, Stores};
use agentex_domain::{Agent, AgentId, TaskId};
use serde_json::json;

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
