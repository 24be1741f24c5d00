use agentex_domain::ports::{StateOrder, StateRepository, StoreError, TaskItemFilter};
use agentex_domain::{Direction, JsonObject, PageRequest, StateId, TaskState, Timestamp};
use async_trait::async_trait;
use sqlx::{QueryBuilder, SqliteExecutor};

use crate::database::{Database, json_text, push_order, push_page};
use crate::error::store_error;
use crate::rows::{StateRow, state_columns};
use crate::task_items::{of_live_task, push_task_items};

pub(crate) struct SqliteStates {
    pub(crate) database: Database,
}

#[async_trait]
impl StateRepository for SqliteStates {
    #[tracing::instrument(name = "db.state.insert", level = "debug", skip_all, fields(task.id = %new.task_id))]
    async fn insert(&self, new: &TaskState) -> Result<bool, StoreError> {
        insert_state(&self.database.writer, new).await
    }

    #[tracing::instrument(name = "db.state.find", level = "debug", skip_all, fields(state.id = %id))]
    async fn find(&self, id: &StateId) -> Result<Option<TaskState>, StoreError> {
        let row: Option<StateRow> = sqlx::query_as(concat!(
            "SELECT ",
            state_columns!(),
            " FROM task_states WHERE task_states.id = ?1 AND ",
            of_live_task!("task_states")
        ))
        .bind(id.as_str())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("state"))?;

        row.map(TaskState::try_from).transpose()
    }

    #[tracing::instrument(name = "db.state.replace", level = "debug", skip_all, fields(state.id = %id))]
    async fn replace(
        &self,
        id: &StateId,
        state: &JsonObject,
        changed_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<Option<TaskState>, StoreError> {
        let rows: Vec<StateRow> = sqlx::query_as(concat!(
            "UPDATE task_states SET state = ?2, updated_at = MAX(?3, task_states.updated_at + 1) \
             WHERE task_states.id = ?1 AND (?4 IS NULL OR task_states.updated_at = ?4) AND ",
            of_live_task!("task_states"),
            " RETURNING ",
            state_columns!()
        ))
        .bind(id.as_str())
        .bind(json_text(state))
        .bind(at.as_micros())
        .bind(changed_at.map(Timestamp::as_micros))
        .fetch_all(&self.database.writer)
        .await
        .map_err(store_error("state"))?;

        only(rows)
    }

    #[tracing::instrument(name = "db.state.delete", level = "debug", skip_all, fields(state.id = %id))]
    async fn delete(&self, id: &StateId) -> Result<Option<TaskState>, StoreError> {
        let rows: Vec<StateRow> = sqlx::query_as(concat!(
            "DELETE FROM task_states WHERE task_states.id = ?1 AND ",
            of_live_task!("task_states"),
            " RETURNING ",
            state_columns!()
        ))
        .bind(id.as_str())
        .fetch_all(&self.database.writer)
        .await
        .map_err(store_error("state"))?;

        only(rows)
    }

    #[tracing::instrument(name = "db.state.list", level = "debug", skip_all)]
    async fn list(
        &self,
        filter: &TaskItemFilter,
        order: StateOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<TaskState>, StoreError> {
        if filter.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::new(concat!(
            "SELECT ",
            state_columns!(),
            " FROM task_states WHERE ",
            of_live_task!("task_states")
        ));
        push_task_items(&mut query, "task_states.task_id", "task_states.agent_id", filter);
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        let rows: Vec<StateRow> =
            query.build_query_as().fetch_all(&self.database.readers).await.map_err(store_error("state"))?;
        rows.into_iter().map(TaskState::try_from).collect()
    }
}

/// Stores a state of a task that is there; `false` when it is not.
pub(crate) async fn insert_state(executor: impl SqliteExecutor<'_>, new: &TaskState) -> Result<bool, StoreError> {
    let TaskState { id, task_id, agent_id, state, created_at, updated_at } = new;
    let inserted = sqlx::query(
        r#"
        INSERT INTO task_states (id, task_id, agent_id, state, created_at, updated_at)
        SELECT ?1, tasks.id, ?3, ?4, ?5, ?6
          FROM tasks
         WHERE tasks.id = ?2
           AND tasks.status <> 'DELETED'
        "#,
    )
    .bind(id.as_str())
    .bind(task_id.as_str())
    .bind(agent_id.as_str())
    .bind(json_text(state))
    .bind(created_at.as_micros())
    .bind(updated_at.as_micros())
    .execute(executor)
    .await
    .map_err(store_error("state"))?;

    Ok(inserted.rows_affected() == 1)
}

const fn order_columns(order: StateOrder) -> &'static [&'static str] {
    match order {
        StateOrder::Insertion => &["task_states.seq"],
        StateOrder::Id => &["task_states.id"],
        StateOrder::TaskId => &["task_states.task_id", "task_states.seq"],
        StateOrder::AgentId => &["task_states.agent_id", "task_states.seq"],
        StateOrder::CreatedAt => &["task_states.created_at", "task_states.seq"],
        StateOrder::UpdatedAt => &["task_states.updated_at", "task_states.seq"],
    }
}

/// The row of a statement by id.
fn only(mut rows: Vec<StateRow>) -> Result<Option<TaskState>, StoreError> {
    rows.pop().map(TaskState::try_from).transpose()
}
