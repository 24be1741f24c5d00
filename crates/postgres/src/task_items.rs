//! What belongs to tasks, and is seen and gone with them.

use agentex_domain::ports::TaskItemFilter;
use sqlx::{Postgres, QueryBuilder};

use crate::ordering::push_scope;

/// That the row of the table called `$table` belongs to a task that is not deleted.
macro_rules! of_live_task {
    ($table:literal) => {
        concat!("EXISTS (SELECT 1 FROM tasks t WHERE t.id = ", $table, ".task_id AND t.status <> 'DELETED')")
    };
}
pub(crate) use of_live_task;

/// Keeps the rows of the table called `table` that fit the filter.
pub(crate) fn push_task_items(query: &mut QueryBuilder<Postgres>, table: &str, filter: &TaskItemFilter) {
    match &filter.task_id {
        // One outside the scope is not asked for.
        Some(only) => {
            query.push(format_args!(" AND {table}.task_id = ")).push_bind(only.as_str().to_owned());
        }
        None => push_scope(query, &format!("{table}.task_id"), &filter.scope),
    }
    if let Some(linked_to) = &filter.linked_to {
        query.push(format_args!(
            " AND EXISTS (SELECT 1 FROM task_agents ta WHERE ta.task_id = {table}.task_id AND ta.agent_id = "
        ));
        query.push_bind(linked_to.as_str().to_owned()).push(")");
    }
    if let Some(only) = &filter.agent_id {
        query.push(format_args!(" AND {table}.agent_id = ")).push_bind(only.as_str().to_owned());
    }
}
