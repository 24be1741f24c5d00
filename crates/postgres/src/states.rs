use agentex_domain::ports::{StateOrder, StateRepository, StoreError, TaskItemFilter};
use agentex_domain::{Direction, JsonObject, PageRequest, StateId, TaskState, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgPool, QueryBuilder};

use crate::error::{nothing_if_unstorable, store_error};
use crate::ordering::{push_order, push_page};
use crate::task_items::{of_live_task, push_task_items};

/// The columns of [`StateRow`], of the table called `s`. A literal, so that statements stay constants.
macro_rules! state_columns {
    () => {
        "s.id, s.task_id, s.agent_id, s.state, s.created_at, s.updated_at"
    };
}
pub(crate) use state_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct StateRow {
    id: String,
    task_id: String,
    agent_id: String,
    /// The table lets nothing but objects in.
    state: Json<JsonObject>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<StateRow> for TaskState {
    fn from(row: StateRow) -> Self {
        let StateRow { id, task_id, agent_id, state: Json(state), created_at, updated_at } = row;
        Self {
            id: id.into(),
            task_id: task_id.into(),
            agent_id: agent_id.into(),
            state,
            created_at: Timestamp::new(created_at),
            updated_at: Timestamp::new(updated_at),
        }
    }
}

/// States in the table `task_states`. Agents read them to write them again, so no replica is asked.
pub(crate) struct PgStates {
    pool: PgPool,
}

impl PgStates {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl StateRepository for PgStates {
    #[tracing::instrument(level = "debug", name = "db.state.insert", skip_all, fields(task.id = %new.task_id))]
    async fn insert(&self, new: &TaskState) -> Result<bool, StoreError> {
        let TaskState { id, task_id, agent_id, state, created_at, updated_at } = new;
        // The lock is the foreign key's own, only earlier: after a clean this waited for it sees the mark, and takes it off.
        let stored = sqlx::query(
            "WITH task AS MATERIALIZED (
                 SELECT id, cleaned_at
                   FROM tasks
                  WHERE id = $2 AND status <> 'DELETED'
                    FOR KEY SHARE
             ), unclean AS (
                 UPDATE tasks
                    SET cleaned_at = NULL
                   FROM task
                  WHERE tasks.id = task.id AND task.cleaned_at IS NOT NULL
             )
             INSERT INTO task_states (id, task_id, agent_id, state, created_at, updated_at)
             SELECT $1, task.id, $3, $4, $5, $6
               FROM task",
        )
        .bind(id.as_str())
        .bind(task_id.as_str())
        .bind(agent_id.as_str())
        .bind(Json(state))
        .bind(created_at.as_datetime())
        .bind(updated_at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("state"))?;
        Ok(stored.rows_affected() == 1)
    }

    #[tracing::instrument(level = "debug", name = "db.state.find", skip_all, fields(state.id = %id))]
    async fn find(&self, id: &StateId) -> Result<Option<TaskState>, StoreError> {
        let row = sqlx::query_as::<_, StateRow>(concat!(
            "SELECT ",
            state_columns!(),
            " FROM task_states s
              WHERE s.id = $1 AND ",
            of_live_task!("s")
        ))
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await;
        Ok(nothing_if_unstorable(row).map_err(store_error("state"))?.map(TaskState::from))
    }

    #[tracing::instrument(level = "debug", name = "db.state.replace", skip_all, fields(state.id = %id))]
    async fn replace(
        &self,
        id: &StateId,
        state: &JsonObject,
        changed_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<Option<TaskState>, StoreError> {
        let row = sqlx::query_as::<_, StateRow>(concat!(
            "UPDATE task_states AS s
                SET state = $2, updated_at = GREATEST($3, s.updated_at + interval '1 microsecond')
              WHERE s.id = $1 AND ($4::timestamptz IS NULL OR s.updated_at = $4) AND ",
            of_live_task!("s"),
            " RETURNING ",
            state_columns!()
        ))
        .bind(id.as_str())
        .bind(Json(state))
        .bind(at.as_datetime())
        .bind(changed_at.map(Timestamp::as_datetime))
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error("state"))?;
        Ok(row.map(TaskState::from))
    }

    #[tracing::instrument(level = "debug", name = "db.state.delete", skip_all, fields(state.id = %id))]
    async fn delete(&self, id: &StateId) -> Result<Option<TaskState>, StoreError> {
        let row = sqlx::query_as::<_, StateRow>(concat!(
            "DELETE FROM task_states AS s
              WHERE s.id = $1 AND ",
            of_live_task!("s"),
            " RETURNING ",
            state_columns!()
        ))
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await;
        Ok(nothing_if_unstorable(row).map_err(store_error("state"))?.map(TaskState::from))
    }

    #[tracing::instrument(level = "debug", name = "db.state.list", skip_all)]
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
            " FROM task_states s
              WHERE ",
            of_live_task!("s")
        ));
        push_task_items(&mut query, "s", filter);
        push_order(&mut query, sort_columns(order), direction);
        push_page(&mut query, page);
        let rows = query.build_query_as::<StateRow>().fetch_all(&self.pool).await;
        let rows = nothing_if_unstorable(rows).map_err(store_error("state"))?;
        Ok(rows.into_iter().map(TaskState::from).collect())
    }
}

/// Ties keep the order of insertion.
const fn sort_columns(order: StateOrder) -> &'static [&'static str] {
    match order {
        StateOrder::Insertion => &["s.seq"],
        StateOrder::Id => &["s.id COLLATE \"C\""],
        StateOrder::TaskId => &["s.task_id COLLATE \"C\"", "s.seq"],
        StateOrder::AgentId => &["s.agent_id COLLATE \"C\"", "s.seq"],
        StateOrder::CreatedAt => &["s.created_at", "s.seq"],
        StateOrder::UpdatedAt => &["s.updated_at", "s.seq"],
    }
}
