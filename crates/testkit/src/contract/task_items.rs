use std::collections::BTreeSet;

use agentex_authz::Scope;
use agentex_domain::ports::{Stores, TaskItemFilter};
use agentex_domain::{AgentId, PageRequest, TaskId};

use super::stored::{created, stored_agent};
use crate::build::new_task;

pub(super) const EVERYTHING: TaskItemFilter =
    TaskItemFilter { scope: Scope::All, linked_to: None, task_id: None, agent_id: None };

/// Everything of one task.
pub(super) fn of_task(task_id: &TaskId) -> TaskItemFilter {
    TaskItemFilter { task_id: Some(task_id.clone()), ..EVERYTHING }
}

fn only<'a>(ids: impl IntoIterator<Item = &'a TaskId>) -> Scope {
    Scope::Only(ids.into_iter().map(|id| id.as_str().to_owned()).collect())
}

/// Lists things that belong to tasks and agents, one each, in every way the filter knows. `make` makes the thing of a task
/// and an agent, unless it comes with the task.
pub(super) async fn filters_are_obeyed(
    stores: &Stores,
    list: impl AsyncFn(&TaskItemFilter, PageRequest) -> Vec<(TaskId, AgentId)>,
    make: impl AsyncFn(&TaskId, &AgentId),
) {
    let (one, other) = (stored_agent(stores, "one").await, stored_agent(stores, "other").await);
    let mut tasks = Vec::new();
    for agent in [&one, &one, &other] {
        let task = created(stores, new_task(agent)).await;
        make(&task.id, &agent.id).await;
        tasks.push(task.id);
    }
    let [first, second, third] = tasks.try_into().unwrap();
    let set = async |filter: &TaskItemFilter| {
        let listed = list(filter, PageRequest::default()).await;
        let tasks: BTreeSet<TaskId> = listed.iter().map(|(task_id, _)| task_id.clone()).collect();
        assert_eq!(tasks.len(), listed.len(), "nothing twice");
        tasks
    };
    let all = || TaskItemFilter { ..EVERYTHING };
    let of = |agent_id: &AgentId| TaskItemFilter { agent_id: Some(agent_id.clone()), ..all() };
    let linked = |to: &AgentId| TaskItemFilter { linked_to: Some(to.clone()), ..all() };

    for (filter, expected) in [
        (all(), vec![&first, &second, &third]),
        (of(&one.id), vec![&first, &second]),
        (of(&AgentId::generate()), vec![]),
        (of_task(&second), vec![&second]),
        (of_task(&TaskId::generate()), vec![]),
        (TaskItemFilter { agent_id: Some(one.id.clone()), ..of_task(&third) }, vec![]),
        (TaskItemFilter { scope: only([]), ..all() }, vec![]),
        (TaskItemFilter { scope: only([&second, &third]), ..all() }, vec![&second, &third]),
        (TaskItemFilter { scope: only([&second, &third]), ..of(&one.id) }, vec![&second]),
        (TaskItemFilter { scope: only([&second]), ..of_task(&second) }, vec![&second]),
        (TaskItemFilter { scope: only([&second]), ..of_task(&third) }, vec![]),
        (linked(&one.id), vec![&first, &second]),
        (linked(&AgentId::generate()), vec![]),
        (TaskItemFilter { task_id: Some(second.clone()), ..linked(&one.id) }, vec![&second]),
        // What an agent may see is a limit of its own, whatever else is asked for.
        (TaskItemFilter { task_id: Some(third.clone()), ..linked(&one.id) }, vec![]),
        (TaskItemFilter { agent_id: Some(other.id.clone()), ..linked(&one.id) }, vec![]),
    ] {
        assert_eq!(set(&filter).await, expected.into_iter().cloned().collect(), "{filter:?}");
    }
    let scoped = TaskItemFilter { scope: only([&first, &third]), ..all() };
    for page_number in [1, 2] {
        assert_eq!(list(&scoped, PageRequest { limit: 1, page_number }).await.len(), 1, "pages are full");
    }
    assert_eq!(list(&scoped, PageRequest { limit: 1, page_number: 3 }).await, []);
}
