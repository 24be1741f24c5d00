//! What every `TaskRepository` must do: storing and finding. Changes, lists and the state machine have suites of their
//! own.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_authz::Scope;
use agentex_domain::ports::{StoreError, Stores, TaskFilter, TaskInsert, TaskOrder};
use agentex_domain::{AgentId, Direction, JsonObject, NewTask, PageRequest, TaskId, TaskStatus, Transition};
use serde_json::json;

use super::stored::{created, delete, find, stored_agent};
use crate::build::{at, named_task, new_task, object};

const EVERYTHING: TaskFilter = TaskFilter {
    scope: Scope::All,
    linked_to: None,
    agent_id: None,
    agent_name: None,
    status: None,
    task_metadata: None,
};

pub async fn a_new_task_reads_back_equal(stores: &Stores) {
    let agent = stored_agent(stores, "worker").await;
    let full = NewTask {
        params: Some(object(json!({"a": {"b": [1, 2.5, null, "it's"]}, "big": 9_007_199_254_740_993_i64}))),
        task_metadata: Some(object(json!({"k": null, "\u{1F980}": "\"quoted\""}))),
        created_at: at(4),
        ..named_task(&agent, "a 'named' task/with \u{1F980}")
    };
    let empty = NewTask { params: Some(JsonObject::new()), task_metadata: Some(JsonObject::new()), ..new_task(&agent) };
    let bare = new_task(&agent);

    for new in [full, empty, bare] {
        let task = created(stores, new.clone()).await;
        assert_eq!(task, new.clone().into_task());
        assert_eq!(find(stores, &new.id).await, task);
        assert_eq!(task.status, TaskStatus::Running);
    }
    assert_eq!(stores.tasks.find(&TaskId::generate()).await.unwrap(), None);
    assert_eq!(stores.tasks.find(&TaskId::from("not a 'uuid'")).await.unwrap(), None);
}

pub async fn an_insert_links_the_task_to_its_agent_once(stores: &Stores) {
    let (worker, other) = (stored_agent(stores, "worker").await, stored_agent(stores, "other").await);

    let task = created(stores, new_task(&worker)).await;

    assert!(stores.tasks.is_linked(&task.id, &worker.id).await.unwrap());
    assert!(!stores.tasks.is_linked(&task.id, &other.id).await.unwrap());
    assert!(!stores.tasks.is_linked(&TaskId::generate(), &worker.id).await.unwrap());
    let agents = stores.tasks.agents_of(std::slice::from_ref(&task.id)).await.unwrap();
    assert_eq!(agents, [(task.id, worker)]);
}

pub async fn a_task_of_an_absent_agent_is_dangling_and_leaves_nothing(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let orphan = NewTask { agent_id: AgentId::generate(), ..named_task(&worker, "wanted") };

    let refused = stores.tasks.insert(&orphan, None).await;

    assert!(matches!(refused, Err(StoreError::Dangling { .. })), "{refused:?}");
    assert_eq!(stores.tasks.find(&orphan.id).await.unwrap(), None);
    assert_eq!(stores.tasks.find_by_name("wanted").await.unwrap(), None);
    created(stores, named_task(&worker, "wanted")).await;
}

/// A refused insert must not free the name of a dead task either.
pub async fn a_dangling_insert_leaves_the_dead_owner_of_the_name_alone(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let dead = created(stores, named_task(&worker, "wanted")).await;
    let dead = delete(stores, &dead.id).await;
    let orphan = NewTask { agent_id: AgentId::generate(), ..named_task(&worker, "wanted") };

    let refused = stores.tasks.insert(&orphan, None).await;

    assert!(matches!(refused, Err(StoreError::Dangling { .. })), "{refused:?}");
    assert_eq!(find(stores, &dead.id).await, dead);
}

pub async fn a_live_name_is_taken_whatever_the_agent_and_status(stores: &Stores) {
    let (worker, other) = (stored_agent(stores, "worker").await, stored_agent(stores, "other").await);
    for (name, transition) in
        [("running", None), ("done", Some(Transition::Complete)), ("failed", Some(Transition::Fail))]
    {
        let mut first = created(stores, named_task(&worker, name)).await;
        if let Some(transition) = transition {
            stores.tasks.transition(&first.id, transition, "r", at(2)).await.unwrap();
            first = find(stores, &first.id).await;
        }
        for agent in [&worker, &other] {
            let late = NewTask { params: Some(object(json!({"late": 1}))), ..named_task(agent, name) };
            assert_eq!(stores.tasks.insert(&late, None).await.unwrap(), TaskInsert::NameTaken(first.clone()));
            assert_eq!(stores.tasks.find(&late.id).await.unwrap(), None);
            assert!(!stores.tasks.is_linked(&late.id, &agent.id).await.unwrap());
        }
        assert!(!stores.tasks.is_linked(&first.id, &other.id).await.unwrap());
        assert_eq!(find(stores, &first.id).await, first);
    }
}

pub async fn a_deleted_task_frees_its_name(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let dead = created(stores, named_task(&worker, "again")).await;
    delete(stores, &dead.id).await;
    assert_eq!(stores.tasks.find_by_name("again").await.unwrap(), None);

    let second = created(stores, named_task(&worker, "again")).await;

    assert_ne!(second.id, dead.id);
    assert_eq!(stores.tasks.find_by_name("again").await.unwrap(), Some(second.clone()));
    let dead = find(stores, &dead.id).await;
    assert_eq!((dead.name, dead.status), (None, TaskStatus::Deleted));
    // And a third time round.
    delete(stores, &second.id).await;
    created(stores, named_task(&worker, "again")).await;
}

pub async fn unnamed_tasks_do_not_collide(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;

    let (one, other) = (created(stores, new_task(&worker)).await, created(stores, new_task(&worker)).await);

    assert_ne!(one.id, other.id);
}

pub async fn of_concurrent_inserts_of_one_name_one_creates_and_all_get_it(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    // A free name, and one that a dead task still holds.
    let dead = created(stores, named_task(&worker, "reused")).await;
    delete(stores, &dead.id).await;
    for name in ["free", "reused"] {
        let inserts = (0..10).map(|_| {
            let (stores, new) = (stores.clone(), named_task(&worker, name));
            tokio::spawn(async move { stores.tasks.insert(&new, None).await.unwrap() })
        });

        let outcomes: Vec<TaskInsert> =
            futures::future::join_all(inserts).await.into_iter().map(Result::unwrap).collect();

        let mut makers = 0;
        let mut got = BTreeSet::new();
        for outcome in outcomes {
            match outcome {
                TaskInsert::Created(task) => {
                    makers += 1;
                    got.insert(task.id);
                }
                TaskInsert::NameTaken(task) => {
                    got.insert(task.id);
                }
            }
        }
        assert_eq!((makers, got.len()), (1, 1), "{name}");
        assert!(!got.contains(&dead.id));
        assert_eq!(stores.tasks.agents_of(&got.into_iter().collect::<Vec<_>>()).await.unwrap().len(), 1);
    }
    let asked = TaskFilter { agent_id: Some(worker.id), ..EVERYTHING };
    let (order, page) = (TaskOrder::default(), PageRequest::default());
    let left = stores.tasks.list(&asked, order, Direction::Ascending, page).await.unwrap();
    assert_eq!(left.len(), 2, "losers leave nothing behind");
}

pub async fn a_look_up_by_name_finds_live_tasks_only(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, named_task(&worker, "known")).await;

    assert_eq!(stores.tasks.find_by_name("known").await.unwrap(), Some(task.clone()));
    for other in ["unknown", "KNOWN", "known ", "", "%", "' OR '1'='1"] {
        assert_eq!(stores.tasks.find_by_name(other).await.unwrap(), None, "{other:?}");
    }
    stores.tasks.transition(&task.id, Transition::Complete, "done", at(1)).await.unwrap();
    assert!(stores.tasks.find_by_name("known").await.unwrap().is_some(), "terminal is not deleted");
    delete(stores, &task.id).await;
    assert_eq!(stores.tasks.find_by_name("known").await.unwrap(), None);
}

pub async fn a_task_is_found_for_its_agent_only_and_even_when_deleted(stores: &Stores) {
    let (worker, other) = (stored_agent(stores, "worker").await, stored_agent(stores, "other").await);
    let task = created(stores, new_task(&worker)).await;

    assert_eq!(stores.tasks.find_for_agent(&task.id, &worker.id).await.unwrap(), Some(task.clone()));
    assert_eq!(stores.tasks.find_for_agent(&task.id, &other.id).await.unwrap(), None);
    assert_eq!(stores.tasks.find_for_agent(&TaskId::generate(), &worker.id).await.unwrap(), None);

    let dead = delete(stores, &task.id).await;
    assert_eq!(find(stores, &task.id).await, dead);
    assert_eq!(stores.tasks.find_for_agent(&task.id, &worker.id).await.unwrap(), Some(dead));
    assert!(stores.tasks.is_linked(&task.id, &worker.id).await.unwrap());
}

pub async fn agents_of_answers_for_many_tasks_at_once_deleted_agents_included(stores: &Stores) {
    let (one, gone) = (stored_agent(stores, "one").await, stored_agent(stores, "gone").await);
    let first = created(stores, new_task(&one)).await;
    let second = created(stores, new_task(&gone)).await;
    let third = created(stores, new_task(&one)).await;
    stores.agents.delete(&gone.id, "gone", at(1), None).await.unwrap();
    let gone = stores.agents.find(&gone.id).await.unwrap().unwrap();
    let asked = [third.id.clone(), TaskId::generate(), first.id.clone(), second.id.clone()];

    let mut answered = stores.tasks.agents_of(&asked).await.unwrap();

    answered.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut expected = vec![(first.id, one.clone()), (second.id, gone), (third.id, one)];
    expected.sort_by(|(left, _), (right, _)| left.cmp(right));
    assert_eq!(answered, expected);
    assert_eq!(stores.tasks.agents_of(&[]).await.unwrap(), []);
}
