//! Deleting tasks, as every `TaskRepository` must do it. What it means for the authorization graph is in `departures`.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{DeletedTask, Stores};
use agentex_domain::{NewTask, Task, TaskId, TaskStatus, Transition};
use serde_json::json;

use super::stored::{created, find, stored_agent};
use crate::build::{at, named_task, new_task, object};

pub async fn a_task_is_deleted_whatever_its_status(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let ways = [
        None,
        Some(Transition::Cancel),
        Some(Transition::Complete),
        Some(Transition::Fail),
        Some(Transition::Terminate),
        Some(Transition::TimeOut),
        Some(Transition::Interrupt),
    ];
    for way in ways {
        let task = created(stores, new_task(&worker)).await;
        if let Some(way) = way {
            stores.tasks.transition(&task.id, way, "on the way", at(1)).await.unwrap();
        }

        let deleted = stores.tasks.delete(&task.id, "why not", at(7), None).await.unwrap();

        let (status, status_reason) = (TaskStatus::Deleted, Some("why not".to_owned()));
        let expected = Task { status, status_reason, updated_at: at(7), ..task };
        assert_eq!(deleted, Some(DeletedTask { task: expected.clone(), intent: None }), "{way:?}");
        assert_eq!(find(stores, &expected.id).await, expected, "{way:?}");
    }
}

pub async fn a_deletion_touches_nothing_but_status_reason_and_time(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let new = NewTask {
        params: Some(object(json!({"p": 1}))),
        task_metadata: Some(object(json!({"m": 1}))),
        ..named_task(&worker, "keeps its name")
    };
    let (task, other) = (created(stores, new).await, created(stores, new_task(&worker)).await);

    let deleted = stores.tasks.delete(&task.id, "", at(7), None).await.unwrap().unwrap();

    let (status, status_reason) = (TaskStatus::Deleted, Some(String::new()));
    assert_eq!(deleted.task, Task { status, status_reason, updated_at: at(7), ..task.clone() });
    assert_eq!(find(stores, &other.id).await, other);
    assert_eq!(stores.tasks.find_by_name("keeps its name").await.unwrap(), None);
    created(stores, named_task(&worker, "keeps its name")).await;
    assert!(stores.tasks.is_linked(&task.id, &worker.id).await.unwrap());
}

pub async fn deleting_twice_or_an_absent_task_is_none(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, new_task(&worker)).await;

    let deleted = stores.tasks.delete(&task.id, "first", at(1), None).await.unwrap().unwrap();

    assert_eq!(stores.tasks.delete(&task.id, "second", at(2), None).await.unwrap(), None);
    assert_eq!(stores.tasks.delete(&TaskId::generate(), "third", at(3), None).await.unwrap(), None);
    assert_eq!(find(stores, &task.id).await, deleted.task);
}
