//! Changes of a task's fields, as every `TaskRepository` must make them.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use agentex_domain::ports::{Stores, TaskChange, Transitioned};
use agentex_domain::{NewTask, Task, TaskId, TaskStatus, Transition};
use serde_json::json;

use super::stored::{created, delete, find, stored_agent};
use crate::build::{at, named_task, new_task, object};

pub async fn metadata_is_replaced_as_a_whole(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let new = NewTask { task_metadata: Some(object(json!({"a": 1, "b": 2}))), ..named_task(&worker, "n") };
    let task = created(stores, new).await;

    for (second, metadata) in [(5, json!({"b": {"c": null}})), (6, json!({}))] {
        let change = TaskChange { task_metadata: Some(object(metadata)), ..TaskChange::default() };
        let changed = stores.tasks.update(&task.id, &change, at(second)).await.unwrap().unwrap();

        let expected = Task { task_metadata: change.task_metadata, updated_at: at(second), ..task.clone() };
        assert_eq!(changed, expected);
        assert_eq!(find(stores, &task.id).await, expected);
    }
}

pub async fn params_are_merged_by_top_level_key(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, new_task(&worker)).await;

    // Beginning with no params at all; nested objects are replaced, null is a value.
    let steps = [
        (json!({"a": 1, "n": {"x": 1}}), json!({"a": 1, "n": {"x": 1}})),
        (json!({"b": "it's", "a": 2}), json!({"a": 2, "b": "it's", "n": {"x": 1}})),
        (json!({"n": {"y": 2}}), json!({"a": 2, "b": "it's", "n": {"y": 2}})),
        (json!({"a": null}), json!({"a": null, "b": "it's", "n": {"y": 2}})),
        (json!({"a.b": 1, "$": 2, "\"": 3}), json!({"a": null, "b": "it's", "n": {"y": 2}, "a.b": 1, "$": 2, "\"": 3})),
    ];
    for (second, (patch, expected)) in (1..).zip(steps) {
        let change = TaskChange { merge_params: Some(object(patch)), ..TaskChange::default() };
        let changed = stores.tasks.update(&task.id, &change, at(second)).await.unwrap().unwrap();

        assert_eq!(changed.params, Some(object(expected)));
        assert_eq!(changed.updated_at, at(second));
        assert_eq!(find(stores, &task.id).await, changed);
    }
}

pub async fn params_are_replaced_as_a_whole(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, NewTask { params: Some(object(json!({"a": 1, "b": 2}))), ..new_task(&worker) }).await;

    let change = TaskChange { replace_params: Some(object(json!({"c": [3]}))), ..TaskChange::default() };
    let changed = stores.tasks.update(&task.id, &change, at(2)).await.unwrap().unwrap();

    let expected = Task { params: Some(object(json!({"c": [3]}))), updated_at: at(2), ..task.clone() };
    assert_eq!(changed, expected);
    assert_eq!(find(stores, &task.id).await, expected);
}

pub async fn one_change_can_set_metadata_and_merge_params(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, NewTask { params: Some(object(json!({"a": 1}))), ..new_task(&worker) }).await;

    let change = TaskChange {
        task_metadata: Some(object(json!({"m": 1}))),
        merge_params: Some(object(json!({"b": 2}))),
        replace_params: None,
    };
    stores.tasks.update(&task.id, &change, at(2)).await.unwrap().unwrap();

    let now = find(stores, &task.id).await;
    assert_eq!(now.params, Some(object(json!({"a": 1, "b": 2}))));
    assert_eq!(now.task_metadata, Some(object(json!({"m": 1}))));
}

pub async fn a_change_of_nothing_keeps_every_field(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let new = NewTask {
        params: Some(object(json!({"p": 1}))),
        task_metadata: Some(object(json!({"m": 1}))),
        ..named_task(&worker, "n")
    };
    let task = created(stores, new).await;

    let same = stores.tasks.update(&task.id, &TaskChange::default(), at(0)).await.unwrap();

    assert_eq!(same, Some(task.clone()));
    assert_eq!(find(stores, &task.id).await, task);
}

pub async fn a_flag_in_the_metadata_touches_nothing_else(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    for metadata in [None, Some(json!({"m": {"n": 9_007_199_254_740_993_i64}, "a \"b": 1}))] {
        let task_metadata = metadata.clone().map(object);
        let new = NewTask { task_metadata, ..new_task(&worker) };
        let task = created(stores, new).await;

        assert!(stores.tasks.set_metadata_flag(&task.id, "told", at(9)).await.unwrap());

        let mut expected = metadata.unwrap_or_else(|| json!({}));
        expected["told"] = json!(true);
        let flagged = Task { task_metadata: Some(object(expected)), updated_at: at(9), ..task };
        assert_eq!(find(stores, &flagged.id).await, flagged);
    }
    assert!(!stores.tasks.set_metadata_flag(&TaskId::from("no"), "told", at(9)).await.unwrap());
}

pub async fn a_finished_task_can_still_be_changed_and_stays_finished(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, new_task(&worker)).await;
    stores.tasks.transition(&task.id, Transition::Complete, "done", at(1)).await.unwrap();

    let change = TaskChange { task_metadata: Some(object(json!({"late": 1}))), ..TaskChange::default() };
    let changed = stores.tasks.update(&task.id, &change, at(2)).await.unwrap().unwrap();

    assert_eq!((changed.status, changed.status_reason.as_deref()), (TaskStatus::Completed, Some("done")));
}

pub async fn a_deleted_or_absent_task_cannot_be_changed(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, new_task(&worker)).await;
    let dead = delete(stores, &task.id).await;

    for change in [
        TaskChange { task_metadata: Some(object(json!({"m": 1}))), ..TaskChange::default() },
        TaskChange { merge_params: Some(object(json!({"p": 1}))), ..TaskChange::default() },
        TaskChange { replace_params: Some(object(json!({"p": 1}))), ..TaskChange::default() },
    ] {
        assert_eq!(stores.tasks.update(&dead.id, &change, at(5)).await.unwrap(), None);
        assert_eq!(stores.tasks.update(&TaskId::generate(), &change, at(5)).await.unwrap(), None);
    }
    assert_eq!(find(stores, &dead.id).await, dead);
}

/// tasks §10: 39
pub async fn parallel_merges_keep_each_others_keys(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let task = created(stores, new_task(&worker)).await;

    let merges = (0..10).map(|number| {
        let (stores, id) = (stores.clone(), task.id.clone());
        tokio::spawn(async move {
            let merge_params = Some(object(json!({format!("k{number}"): number})));
            let change = TaskChange { merge_params, ..TaskChange::default() };
            stores.tasks.update(&id, &change, at(number)).await.unwrap().unwrap()
        })
    });
    for merged in futures::future::join_all(merges).await {
        merged.unwrap();
    }

    let params = find(stores, &task.id).await.params.unwrap();
    assert_eq!(params.len(), 10, "{params:?}");
}

/// Updates name their columns, so a concurrent change of status survives.
/// tasks §10: 20, 40
pub async fn a_change_racing_with_a_transition_loses_neither(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    for round in 0..10 {
        let task = created(stores, new_task(&worker)).await;
        let change = TaskChange { task_metadata: Some(object(json!({"round": round}))), ..TaskChange::default() };

        let complete = {
            let (stores, id) = (stores.clone(), task.id.clone());
            tokio::spawn(async move { stores.tasks.transition(&id, Transition::Complete, "done", at(1)).await })
        };
        let update = {
            let (stores, id, change) = (stores.clone(), task.id.clone(), change.clone());
            tokio::spawn(async move { stores.tasks.update(&id, &change, at(2)).await })
        };
        let completed = complete.await.unwrap().unwrap();
        update.await.unwrap().unwrap().unwrap();

        assert!(matches!(completed, Transitioned::Done(_)), "{completed:?}");
        let now = find(stores, &task.id).await;
        assert_eq!((now.status, now.task_metadata), (TaskStatus::Completed, change.task_metadata));
    }
}
