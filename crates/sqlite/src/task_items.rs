//! What belongs to tasks, and is seen and gone with them.

use agentex_domain::ports::TaskItemFilter;
use sqlx::{QueryBuilder, Sqlite};

use crate::database::push_scope;

/// That the row of `$table` belongs to a task that is not deleted.
macro_rules! of_live_task {
    ($table:literal) => {
        concat!("EXISTS (SELECT 1 FROM tasks WHERE tasks.id = ", $table, ".task_id AND tasks.status <> 'DELETED')")
    };
}
pub(crate) use of_live_task;

/// Adds `AND …` for the rows that fit the filter, by the columns that hold the ids of their tasks and agents.
pub(crate) fn push_task_items(
    query: &mut QueryBuilder<Sqlite>,
    task_id: &'static str,
    agent_id: &'static str,
    filter: &TaskItemFilter,
) {
    match &filter.task_id {
        // One outside the scope is not asked for.
        Some(only) => {
            query.push(" AND ").push(task_id).push(" = ").push_bind(only.as_str().to_owned());
        }
        None => push_scope(query, task_id, &filter.scope),
    }
    if let Some(linked_to) = &filter.linked_to {
        query
            .push(" AND ")
            .push(task_id)
            .push(" IN (SELECT task_agents.task_id FROM task_agents WHERE task_agents.agent_id = ")
            .push_bind(linked_to.as_str().to_owned())
            .push(")");
    }
    if let Some(only) = &filter.agent_id {
        query.push(" AND ").push(agent_id).push(" = ").push_bind(only.as_str().to_owned());
    }
}
