//! Lists of tasks, as every `TaskRepository` must answer them.

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::collections::BTreeSet;

use agentex_authz::Scope;
use agentex_domain::ports::{Stores, TaskChange, TaskFilter, TaskOrder};
use agentex_domain::{Agent, AgentId, Direction, JsonObject, NewTask, PageRequest, TaskId, TaskStatus, Transition};
use serde_json::json;

use super::containment;
use super::stored::{created, delete, stored_agent};
use crate::build::{at, new_task, object};

const EVERYTHING: TaskFilter = TaskFilter {
    scope: Scope::All,
    linked_to: None,
    agent_id: None,
    agent_name: None,
    status: None,
    task_metadata: None,
};

fn page(limit: u32, page_number: u64) -> PageRequest {
    PageRequest { limit, page_number }
}

fn only<'a>(ids: impl IntoIterator<Item = &'a TaskId>) -> Scope {
    Scope::Only(ids.into_iter().map(|id| id.as_str().to_owned()).collect())
}

async fn ids(stores: &Stores, filter: &TaskFilter, order: TaskOrder, direction: Direction) -> Vec<TaskId> {
    let tasks = stores.tasks.list(filter, order, direction, PageRequest::default()).await.unwrap();
    tasks.into_iter().map(|task| task.id).collect()
}

async fn set(stores: &Stores, filter: &TaskFilter) -> BTreeSet<TaskId> {
    let listed = ids(stores, filter, TaskOrder::UpdatedAt, Direction::Descending).await;
    let set: BTreeSet<TaskId> = listed.iter().cloned().collect();
    assert_eq!(set.len(), listed.len(), "no task twice");
    set
}

pub async fn a_list_can_be_limited_to_an_agent_by_id_and_by_name(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let (first, second) = (created(stores, new_task(&one)).await.id, created(stores, new_task(&one)).await.id);
    let third = created(stores, new_task(&other)).await.id;
    let by = |id: Option<&AgentId>, name: Option<&str>| TaskFilter {
        agent_id: id.cloned(),
        agent_name: name.map(str::to_owned),
        ..EVERYTHING
    };

    let ones = BTreeSet::from([first.clone(), second.clone()]);
    assert_eq!(set(stores, &EVERYTHING).await, BTreeSet::from([first, second, third.clone()]));
    assert_eq!(set(stores, &by(Some(&one.id), None)).await, ones);
    assert_eq!(set(stores, &by(None, Some("one"))).await, ones);
    assert_eq!(set(stores, &by(Some(&one.id), Some("one"))).await, ones);
    assert_eq!(set(stores, &by(None, Some("other"))).await, BTreeSet::from([third]));
    for nothing in [
        by(Some(&one.id), Some("other")),
        by(Some(&AgentId::generate()), None),
        by(None, Some("nobody")),
        by(None, Some("on%")),
    ] {
        assert_eq!(set(stores, &nothing).await, BTreeSet::new(), "{nothing:?}");
    }
}

/// What an agent may see is a limit of its own: whatever else is asked for, tasks of other agents stay hidden.
pub async fn a_list_can_be_limited_to_the_tasks_linked_to_an_agent(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let (first, second) = (created(stores, new_task(&one)).await.id, created(stores, new_task(&one)).await.id);
    let third = created(stores, new_task(&other)).await.id;
    let dead = created(stores, new_task(&one)).await.id;
    delete(stores, &dead).await;
    let linked = |to: &AgentId| TaskFilter { linked_to: Some(to.clone()), ..EVERYTHING };

    assert_eq!(set(stores, &linked(&one.id)).await, BTreeSet::from([first.clone(), second.clone()]));
    assert_eq!(set(stores, &linked(&other.id)).await, BTreeSet::from([third.clone()]));
    assert_eq!(set(stores, &linked(&AgentId::generate())).await, BTreeSet::new());
    let scoped = TaskFilter { scope: only([&second, &third, &dead]), ..linked(&one.id) };
    assert_eq!(set(stores, &scoped).await, BTreeSet::from([second.clone()]));
    for foreign in [
        TaskFilter { agent_id: Some(other.id.clone()), ..linked(&one.id) },
        TaskFilter { agent_name: Some("other".into()), ..linked(&one.id) },
        TaskFilter { status: Some(TaskStatus::Failed), ..linked(&one.id) },
        TaskFilter { scope: only([]), ..linked(&one.id) },
    ] {
        assert_eq!(set(stores, &foreign).await, BTreeSet::new(), "{foreign:?}");
    }
    let same = TaskFilter { agent_id: Some(one.id.clone()), agent_name: Some("one".into()), ..linked(&one.id) };
    assert_eq!(set(stores, &same).await, BTreeSet::from([first, second]));
    let order = (TaskOrder::Id, Direction::Ascending);
    let paged = stores.tasks.list(&linked(&one.id), order.0, order.1, page(1, 2)).await.unwrap();
    assert_eq!(paged.len(), 1, "pages are full");
}

pub async fn a_list_can_be_limited_to_a_status_and_never_shows_deleted_tasks(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let running = created(stores, new_task(&worker)).await.id;
    let completed = created(stores, new_task(&worker)).await.id;
    stores.tasks.transition(&completed, Transition::Complete, "done", at(1)).await.unwrap();
    let deleted = created(stores, new_task(&worker)).await.id;
    delete(stores, &deleted).await;

    let with = |status| TaskFilter { status: Some(status), ..EVERYTHING };
    assert_eq!(set(stores, &with(TaskStatus::Running)).await, BTreeSet::from([running.clone()]));
    assert_eq!(set(stores, &with(TaskStatus::Completed)).await, BTreeSet::from([completed.clone()]));
    assert_eq!(set(stores, &with(TaskStatus::Failed)).await, BTreeSet::new());
    assert_eq!(set(stores, &with(TaskStatus::Deleted)).await, BTreeSet::new());
    assert_eq!(set(stores, &EVERYTHING).await, BTreeSet::from([running, completed]));
    let scoped = TaskFilter { scope: only([&deleted]), ..EVERYTHING };
    assert_eq!(set(stores, &scoped).await, BTreeSet::new());
}

pub async fn task_metadata_is_matched_by_containment(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    for case in containment::cases() {
        let task = created(stores, NewTask { task_metadata: Some(case.stored.clone()), ..new_task(&worker) }).await;

        let asked = TaskFilter { scope: only([&task.id]), task_metadata: Some(case.wanted.clone()), ..EVERYTHING };
        let listed = set(stores, &asked).await;
        assert_eq!(listed.contains(&task.id), case.matches, "{case:?}");
    }
    let bare = created(stores, new_task(&worker)).await;
    for wanted in [json!({}), json!({"k": null}), json!({"k": "v"})] {
        let asked = TaskFilter { scope: only([&bare.id]), task_metadata: Some(object(wanted)), ..EVERYTHING };
        assert_eq!(set(stores, &asked).await, BTreeSet::new(), "no metadata contains nothing");
    }
}

pub async fn a_scope_limits_the_list_and_its_pages(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let mut tasks = Vec::new();
    for second in 0..4 {
        tasks.push(created(stores, NewTask { created_at: at(second), ..new_task(&worker) }).await.id);
    }

    let two = TaskFilter { scope: only([&tasks[0], &tasks[2], &TaskId::generate()]), ..EVERYTHING };
    assert_eq!(set(stores, &two).await, BTreeSet::from([tasks[0].clone(), tasks[2].clone()]));
    let second_page = stores.tasks.list(&two, TaskOrder::CreatedAt, Direction::Ascending, page(1, 2)).await.unwrap();
    assert_eq!(second_page.into_iter().map(|task| task.id).collect::<Vec<_>>(), [tasks[2].clone()]);

    let nothing = TaskFilter { scope: only([]), ..EVERYTHING };
    assert_eq!(set(stores, &nothing).await, BTreeSet::new());
}

pub async fn filters_combine(stores: &Stores) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let tagged = |agent: &Agent| NewTask { task_metadata: Some(object(json!({"tag": "x"}))), ..new_task(agent) };
    let wanted = created(stores, tagged(&one)).await.id;
    let untagged = created(stores, new_task(&one)).await.id;
    let elsewhere = created(stores, tagged(&other)).await.id;
    let finished = created(stores, tagged(&one)).await.id;
    stores.tasks.transition(&finished, Transition::Complete, "done", at(1)).await.unwrap();
    let hidden = created(stores, tagged(&one)).await.id;

    let asked = TaskFilter {
        scope: only([&wanted, &untagged, &elsewhere, &finished]),
        linked_to: Some(one.id.clone()),
        agent_id: Some(one.id),
        agent_name: Some("one".into()),
        status: Some(TaskStatus::Running),
        task_metadata: Some(object(json!({"tag": "x"}))),
    };

    assert_eq!(set(stores, &asked).await, BTreeSet::from([wanted.clone()]));
    let unscoped = TaskFilter { scope: Scope::All, ..asked };
    assert_eq!(set(stores, &unscoped).await, BTreeSet::from([wanted, hidden]));
}

pub async fn a_list_follows_the_order_asked_for_in_both_directions(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let make = |created, name: Option<&str>| NewTask {
        created_at: at(created),
        name: name.map(str::to_owned),
        ..new_task(&worker)
    };
    let a = created(stores, make(1, Some("b"))).await.id;
    let b = created(stores, make(3, None)).await.id;
    let c = created(stores, make(2, Some("a"))).await.id;
    stores.tasks.transition(&a, Transition::TimeOut, "late", at(30)).await.unwrap();
    stores.tasks.transition(&b, Transition::Cancel, "stop", at(10)).await.unwrap();
    stores.tasks.transition(&c, Transition::Terminate, "kill", at(20)).await.unwrap();
    let mut by_id = vec![a.clone(), b.clone(), c.clone()];
    by_id.sort();

    for (order, ascending) in [
        (TaskOrder::UpdatedAt, vec![b.clone(), c.clone(), a.clone()]),
        (TaskOrder::CreatedAt, vec![a.clone(), c.clone(), b.clone()]),
        (TaskOrder::Id, by_id),
        (TaskOrder::Name, vec![b.clone(), c.clone(), a.clone()]),
        (TaskOrder::Status, vec![b.clone(), c.clone(), a.clone()]),
        // Never cleaned, all of them: the ties decide.
        (TaskOrder::CleanedAt, vec![b, c, a]),
    ] {
        assert_eq!(ids(stores, &EVERYTHING, order, Direction::Ascending).await, ascending, "{order:?}");
        let descending: Vec<TaskId> = ascending.into_iter().rev().collect();
        assert_eq!(ids(stores, &EVERYTHING, order, Direction::Descending).await, descending, "{order:?}");
    }
}

/// Ties go to `updated_at`, then `created_at`, then id, all in the direction asked for.
pub async fn ties_in_a_list_are_broken_in_the_direction_of_the_list(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let mut tasks = Vec::new();
    for (made, updated) in [(1, 5), (2, 4), (1, 4), (1, 4), (1, 4)] {
        let task = created(stores, NewTask { created_at: at(made), ..new_task(&worker) }).await;
        let change = TaskChange { task_metadata: Some(JsonObject::new()), ..TaskChange::default() };
        tasks.push(stores.tasks.update(&task.id, &change, at(updated)).await.unwrap().unwrap());
    }
    tasks.sort_by(|one, other| {
        (one.updated_at, one.created_at, &one.id).cmp(&(other.updated_at, other.created_at, &other.id))
    });
    let ascending: Vec<TaskId> = tasks.into_iter().map(|task| task.id).collect();
    let descending: Vec<TaskId> = ascending.iter().rev().cloned().collect();

    assert_eq!(ids(stores, &EVERYTHING, TaskOrder::Status, Direction::Ascending).await, ascending);
    assert_eq!(ids(stores, &EVERYTHING, TaskOrder::Status, Direction::Descending).await, descending);
}

pub async fn pages_of_equal_tasks_show_each_exactly_once(stores: &Stores) {
    let worker = stored_agent(stores, "worker").await;
    let mut everything = BTreeSet::new();
    for _ in 0..7 {
        everything.insert(created(stores, new_task(&worker)).await.id);
    }
    let of_agent = TaskFilter { agent_name: Some("worker".into()), ..EVERYTHING };

    for filter in [&EVERYTHING, &of_agent] {
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut sizes = Vec::new();
            let mut seen = Vec::new();
            for number in 1..=5 {
                let tasks = stores.tasks.list(filter, TaskOrder::UpdatedAt, direction, page(2, number)).await.unwrap();
                sizes.push(tasks.len());
                seen.extend(tasks.into_iter().map(|task| task.id));
            }
            assert_eq!(sizes, [2, 2, 2, 1, 0]);
            assert_eq!(seen.len(), 7);
            assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), everything);
        }
    }
    let beyond =
        stores.tasks.list(&EVERYTHING, TaskOrder::UpdatedAt, Direction::Descending, page(1000, u64::MAX)).await;
    assert_eq!(beyond.unwrap(), []);
}
