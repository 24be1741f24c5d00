//! Lists of tasks. There may be millions, and a caller may be allowed to see any number of them, so how the visible ones
//! are found is decided here and not left to what the planner believes about an array.

use agentex_authz::{Scope, Selectors};
use agentex_domain::ports::{StoreError, TaskFilter, TaskOrder};
use agentex_domain::{Direction, JsonObject, PageRequest, Task};
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::error::{nothing_if_unstorable, store_error};
use crate::ordering::{push_order, push_page, push_scope};
use crate::task_orders::Orders;
use crate::task_row::{TaskRow, task_columns};

/// Up to as many visible tasks are looked up one by one straight away.
const FEW: usize = 1_000;

/// From here on a caller sees so much that the planner's view of things is right; nor might the server keep more ids in a
/// hash table (4 MB of working memory).
const MANY: usize = 50_000;

/// How many tasks at the head of the list are compared. Passing over one costs less than a microsecond.
const HEAD: i64 = 20_000;

/// One page of the tasks that are not deleted.
pub(crate) async fn list(
    pool: &PgPool,
    orders: &Orders,
    filter: &TaskFilter,
    order: TaskOrder,
    direction: Direction,
    page: PageRequest,
) -> Result<Vec<Task>, StoreError> {
    let visible = match &filter.scope {
        Scope::All => return fetch(pool, planned(filter, order, direction, page)).await,
        Scope::Only(ids) if ids.is_empty() => return Ok(Vec::new()),
        Scope::Only(ids) => ids,
    };
    if visible.len() > MANY {
        return fetch(pool, planned(filter, order, direction, page)).await;
    }
    if visible.len() > FEW && order == TaskOrder::UpdatedAt && is_broad(filter) {
        let status = filter.status;
        if let Some(tasks) = orders.page(pool, visible, status, direction, page).await? {
            return Ok(tasks);
        }
        let tasks = fetch(pool, at_the_head(visible, filter, direction, page)).await?;
        if tasks.len() == page.limit as usize {
            return Ok(tasks);
        }
        // The page begins or ends beyond the head.
        if let Some(tasks) = orders.page(pool, visible, status, direction, page).await? {
            return Ok(tasks);
        }
    }
    fetch(pool, one_by_one(visible, filter, order, direction, page)).await
}

async fn fetch(pool: &PgPool, mut query: QueryBuilder<Postgres>) -> Result<Vec<Task>, StoreError> {
    let rows = query.build_query_as::<TaskRow>().fetch_all(pool).await;
    nothing_if_unstorable(rows).map_err(store_error("task"))?.into_iter().map(Task::try_from).collect()
}

/// The planner decides, which is right when little is hidden.
fn planned(filter: &TaskFilter, order: TaskOrder, direction: Direction, page: PageRequest) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::<Postgres>::new(concat!(
        "SELECT ",
        task_columns!(),
        " FROM tasks t
          WHERE t.status <> 'DELETED'"
    ));
    push_scope(&mut query, "t.id", &filter.scope);
    push_conditions(&mut query, filter);
    push_order(&mut query, sort_columns(order), direction);
    push_page(&mut query, page);
    query
}

/// Looks every visible task up by its key. `OFFSET 0` keeps the planner from reading the whole table in the order of the
/// list instead, which it takes for cheap because it believes the visible tasks to be spread evenly.
fn one_by_one(
    visible: &Selectors,
    filter: &TaskFilter,
    order: TaskOrder,
    direction: Direction,
    page: PageRequest,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::<Postgres>::new(concat!("SELECT ", task_columns!(), " FROM unnest("));
    query.push_bind(visible.iter().collect::<Vec<_>>());
    query.push(
        ") AS visible (id)
          CROSS JOIN LATERAL (
              SELECT id, name, status, status_reason, created_at, updated_at, cleaned_at, params, task_metadata
                FROM tasks
               WHERE tasks.id = visible.id
              OFFSET 0
          ) AS t
          WHERE t.status <> 'DELETED'",
    );
    push_conditions(&mut query, filter);
    push_order(&mut query, sort_columns(order), direction);
    push_page(&mut query, page);
    query
}

/// Goes through the head of the list in the index, which is quick when one task in a few hundred is visible. `CASE` keeps
/// the ids a hash table to look into; as a join they would be sorted or searched from end to end.
fn at_the_head(
    visible: &Selectors,
    filter: &TaskFilter,
    direction: Direction,
    page: PageRequest,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::<Postgres>::new(concat!(
        "SELECT ",
        task_columns!(),
        " FROM (
              SELECT id, updated_at, created_at
                FROM tasks
               WHERE status <> 'DELETED'"
    ));
    push_order(&mut query, &["updated_at", "created_at", "id"], direction);
    query.push(" LIMIT ").push_bind(HEAD);
    query.push(
        ") AS head
          JOIN tasks t ON t.id = head.id
         WHERE CASE WHEN head.id IN (SELECT unnest(",
    );
    query.push_bind(visible.iter().collect::<Vec<_>>());
    query.push(")) THEN true END AND t.status <> 'DELETED'");
    push_conditions(&mut query, filter);
    push_order(&mut query, &["head.updated_at", "head.created_at", "head.id"], direction);
    push_page(&mut query, page);
    query
}

/// Whether the filter leaves a good part of all tasks.
const fn is_broad(filter: &TaskFilter) -> bool {
    let TaskFilter { scope: _, linked_to, agent_id, agent_name, status: _, task_metadata } = filter;
    linked_to.is_none() && agent_id.is_none() && agent_name.is_none() && task_metadata.is_none()
}

fn push_conditions(query: &mut QueryBuilder<Postgres>, filter: &TaskFilter) {
    for agent_id in filter.linked_to.iter().chain(&filter.agent_id) {
        query.push(" AND EXISTS (SELECT 1 FROM task_agents ta WHERE ta.task_id = t.id AND ta.agent_id = ");
        query.push_bind(agent_id.as_str()).push(")");
    }
    if let Some(name) = &filter.agent_name {
        query.push(
            " AND EXISTS (SELECT 1 FROM task_agents ta JOIN agents a ON a.id = ta.agent_id
                           WHERE ta.task_id = t.id AND a.name = ",
        );
        query.push_bind(name.as_str()).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" AND t.status = ").push_bind(status.as_str()).push("::taskstatus");
    }
    if let Some(wanted) = &filter.task_metadata {
        push_containment(query, wanted);
    }
}

/// Served by `ix_tasks_metadata_gin`. The type is asked for because JSON `null` contains nothing anyway, but an empty
/// object is contained in an array too.
fn push_containment(query: &mut QueryBuilder<Postgres>, wanted: &JsonObject) {
    query.push(" AND t.task_metadata @> ").push_bind(Json(wanted));
    query.push(" AND jsonb_typeof(t.task_metadata) = 'object'");
}

/// Texts sort bytewise, whatever the locale of the database. A `?` marks a column that may be null.
const fn sort_columns(order: TaskOrder) -> &'static [&'static str] {
    match order {
        TaskOrder::UpdatedAt => &["t.updated_at", "t.created_at", "t.id"],
        TaskOrder::CreatedAt => &["t.created_at", "t.updated_at", "t.id"],
        TaskOrder::Id => &["t.id"],
        TaskOrder::Name => &["t.name COLLATE \"C\"?", "t.updated_at", "t.created_at", "t.id"],
        TaskOrder::Status => &["t.status::text COLLATE \"C\"", "t.updated_at", "t.created_at", "t.id"],
        TaskOrder::CleanedAt => &["t.cleaned_at?", "t.updated_at", "t.created_at", "t.id"],
    }
}
