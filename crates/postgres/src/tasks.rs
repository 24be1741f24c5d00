use agentex_authz::ResourceRef;
use agentex_domain::ports::{
    DeletedTask, Departure, Settlement, StoreError, TaskChange, TaskFilter, TaskInsert, TaskOrder, TaskRepository,
    Transitioned,
};
use agentex_domain::{
    Agent, AgentId, Direction, NewTask, PageRequest, Task, TaskId, TaskStatus, Timestamp, TrackerId, Transition,
};
use async_trait::async_trait;
use sqlx::PgPool;

use crate::agent_row::{AgentRow, agent_columns};
use crate::error::{constraint, nothing_if_unstorable, retry, store_error};
use crate::json;
use crate::lifecycle::{depart, settlement_columns, settling};
use crate::store::Pools;
use crate::task_lists;
use crate::task_orders::Orders;
use crate::task_row::{TaskRow, task_columns};
use crate::transaction::begin;

/// How often a write is tried again whose outcome somebody else changed before it could be looked at.
const LOOKS: u32 = 3;

/// What became of an insert.
enum Stored {
    Now,
    /// A live task has the name; nothing was changed.
    NameTaken,
}

#[derive(sqlx::FromRow)]
struct LinkedAgentRow {
    task_id: String,
    #[sqlx(flatten)]
    agent: AgentRow,
}

/// Tasks in the tables `tasks`, `task_agents` and `agent_task_tracker`.
pub(crate) struct PgTasks {
    pools: Pools,
    orders: Orders,
}

impl PgTasks {
    pub(crate) fn new(pools: Pools) -> Self {
        Self { pools, orders: Orders::default() }
    }

    const fn primary(&self) -> &PgPool {
        &self.pools.primary
    }

    /// The count over `freed` makes the insert wait until the dead row has let go of the name. A name that a live task
    /// has fails the whole statement and with it the settlement.
    async fn insert_unless_taken(
        &self,
        new: &NewTask,
        task: &Task,
        tracker: &TrackerId,
        settles: Option<&Settlement>,
    ) -> Result<Stored, StoreError> {
        let (intent, then, due_at) = settlement_columns(settles);
        let created: Result<i64, _> = sqlx::query_scalar(settling!(
            ", freed AS (
                 UPDATE tasks
                    SET name = NULL
                  WHERE name = $5 AND status = 'DELETED'
                    AND ($1 IS NULL OR EXISTS (SELECT 1 FROM authz_intents WHERE id = $1 AND step = 'registering'))
                 RETURNING id
             ), created AS (
                 INSERT INTO tasks (id, name, status, status_reason, created_at, updated_at, params, task_metadata)
                 SELECT $4, $5, $6::taskstatus, $7, $8, $8, $9, $10
                   FROM allowed, (SELECT count(*) FROM freed) AS after_freeing
                 RETURNING id
             ), linked AS (
                 INSERT INTO task_agents (task_id, agent_id, created_at)
                 SELECT id, $11, $8
                   FROM created
             ), tracked AS (
                 INSERT INTO agent_task_tracker (id, agent_id, task_id, created_at, updated_at)
                 SELECT $12, $11, id, $8, $8
                   FROM created
             )
             SELECT count(*)
               FROM created"
        ))
        .bind(intent)
        .bind(then)
        .bind(due_at)
        .bind(task.id.as_str())
        .bind(&task.name)
        .bind(task.status.as_str())
        .bind(&task.status_reason)
        .bind(task.created_at.as_datetime())
        .bind(json::to_column(task.params.as_ref()))
        .bind(json::to_column(task.task_metadata.as_ref()))
        .bind(new.agent_id.as_str())
        .bind(tracker.as_str())
        .fetch_one(self.primary())
        .await;
        match created {
            Ok(0) => Err(StoreError::IntentLost),
            Ok(_) => Ok(Stored::Now),
            Err(error) if constraint(&error) == Some("ix_tasks_name") => Ok(Stored::NameTaken),
            Err(error) => Err(store_error("task")(error)),
        }
    }

    async fn delete_once(
        &self,
        id: &TaskId,
        reason: &str,
        at: Timestamp,
        departure: Option<&Departure>,
    ) -> Result<Option<DeletedTask>, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("task"))?;
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "UPDATE tasks AS t
                SET status = 'DELETED', status_reason = $2, updated_at = $3
              WHERE t.id = $1 AND t.status <> 'DELETED'
             RETURNING ",
            task_columns!()
        ))
        .bind(id.as_str())
        .bind(reason)
        .bind(at.as_datetime())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error("task"))?;
        let Some(row) = row else { return Ok(None) };
        let intent = depart(&mut transaction, &[ResourceRef::task(id.as_str())], at, departure).await?.pop();
        let task = row.try_into()?;
        transaction.commit().await.map_err(store_error("task"))?;
        Ok(Some(DeletedTask { task, intent }))
    }

    async fn transition_if_legal(
        &self,
        id: &TaskId,
        transition: Transition,
        reason: &str,
        at: Timestamp,
    ) -> Result<Option<Task>, StoreError> {
        let sources: Vec<&str> = transition.sources().iter().map(|status| status.as_str()).collect();
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "UPDATE tasks AS t
                SET status = $2::taskstatus, status_reason = $3, updated_at = $4
              WHERE t.id = $1 AND t.status = ANY($5::taskstatus[])
             RETURNING ",
            task_columns!()
        ))
        .bind(id.as_str())
        .bind(transition.target().as_str())
        .bind(reason)
        .bind(at.as_datetime())
        .bind(sources)
        .fetch_optional(self.primary())
        .await
        .map_err(store_error("task"))?;
        row.map(Task::try_from).transpose()
    }
}

#[async_trait]
impl TaskRepository for PgTasks {
    #[tracing::instrument(level = "debug", name = "db.task.insert", skip_all, fields(task.id = %new.id))]
    async fn insert(&self, new: &NewTask, settles: Option<Settlement>) -> Result<TaskInsert, StoreError> {
        let task = new.clone().into_task();
        let tracker = TrackerId::generate();
        for _ in 0..LOOKS {
            match retry(|| self.insert_unless_taken(new, &task, &tracker, settles.as_ref())).await? {
                Stored::Now => return Ok(TaskInsert::Created(task)),
                Stored::NameTaken => {}
            }
            // The winner may have been deleted since; then the name is free again.
            if let Some(name) = &task.name
                && let Some(winner) = self.find_by_name(name).await?
            {
                return Ok(TaskInsert::NameTaken(winner));
            }
        }
        Err(StoreError::Unavailable("the name changed hands too often".into()))
    }

    #[tracing::instrument(level = "debug", name = "db.task.find", skip_all, fields(task.id = %id))]
    async fn find(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              WHERE t.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(self.primary())
        .await;
        read_task(row)
    }

    #[tracing::instrument(level = "debug", name = "db.task.find_by_name", skip_all)]
    async fn find_by_name(&self, name: &str) -> Result<Option<Task>, StoreError> {
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              WHERE t.name = $1 AND t.status <> 'DELETED'"
        ))
        .bind(name)
        .fetch_optional(self.primary())
        .await;
        read_task(row)
    }

    #[tracing::instrument(level = "debug", name = "db.task.find_for_agent", skip_all, fields(task.id = %id))]
    async fn find_for_agent(&self, id: &TaskId, agent_id: &AgentId) -> Result<Option<Task>, StoreError> {
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              JOIN task_agents ta ON ta.task_id = t.id
             WHERE t.id = $1 AND ta.agent_id = $2"
        ))
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .fetch_optional(self.primary())
        .await;
        read_task(row)
    }

    #[tracing::instrument(level = "debug", name = "db.task.is_linked", skip_all, fields(task.id = %id))]
    async fn is_linked(&self, id: &TaskId, agent_id: &AgentId) -> Result<bool, StoreError> {
        let linked =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM task_agents WHERE task_id = $1 AND agent_id = $2)")
                .bind(id.as_str())
                .bind(agent_id.as_str())
                .fetch_one(self.primary())
                .await;
        nothing_if_unstorable(linked).map_err(store_error("task"))
    }

    #[tracing::instrument(level = "debug", name = "db.task.agents_of", skip_all)]
    async fn agents_of(&self, ids: &[TaskId]) -> Result<Vec<(TaskId, Agent)>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
        let rows = sqlx::query_as::<_, LinkedAgentRow>(concat!(
            "SELECT ta.task_id, ",
            agent_columns!(),
            " FROM task_agents ta
              JOIN agents a ON a.id = ta.agent_id
             WHERE ta.task_id = ANY($1)
             ORDER BY ta.created_at NULLS FIRST, ta.task_id, ta.agent_id"
        ))
        .bind(ids)
        .fetch_all(self.primary())
        .await;
        nothing_if_unstorable(rows)
            .map_err(store_error("task"))?
            .into_iter()
            .map(|LinkedAgentRow { task_id, agent }| Ok((TaskId::from(task_id), agent.try_into()?)))
            .collect()
    }

    #[tracing::instrument(level = "debug", name = "db.task.transition", skip_all, fields(task.id = %id))]
    async fn transition(
        &self,
        id: &TaskId,
        transition: Transition,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transitioned, StoreError> {
        let mut looks = 0;
        loop {
            if let Some(task) = self.transition_if_legal(id, transition, reason, at).await? {
                return Ok(Transitioned::Done(task));
            }
            looks += 1;
            match self.find(id).await? {
                None => return Ok(Transitioned::Absent),
                // Somebody moved it to a legal source between the two statements.
                Some(task) if looks < LOOKS && transition.is_legal_from(task.status) => {}
                Some(task) => return Ok(Transitioned::Refused(task)),
            }
        }
    }

    #[tracing::instrument(level = "debug", name = "db.task.delete", skip_all, fields(task.id = %id))]
    async fn delete(
        &self,
        id: &TaskId,
        reason: &str,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<DeletedTask>, StoreError> {
        retry(|| self.delete_once(id, reason, at, departure.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.task.set_metadata_flag", skip_all, fields(task.id = %id))]
    async fn set_metadata_flag(&self, id: &TaskId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE tasks AS t
                SET task_metadata = COALESCE(NULLIF(t.task_metadata, 'null'::jsonb), '{}'::jsonb)
                                    || jsonb_build_object($2::text, true),
                    updated_at = $3
              WHERE t.id = $1 AND t.status <> 'DELETED'",
        )
        .bind(id.as_str())
        .bind(name)
        .bind(at.as_datetime())
        .execute(self.primary())
        .await
        .map_err(store_error("task"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(level = "debug", name = "db.task.update", skip_all, fields(task.id = %id))]
    async fn update(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError> {
        let TaskChange { task_metadata, merge_params, replace_params } = change;
        // Merging nothing changes nothing, not even a missing value into an empty one.
        let merge_params = merge_params.as_ref().filter(|patch| !patch.is_empty());
        if task_metadata.is_none() && merge_params.is_none() && replace_params.is_none() {
            return Ok(self.find(id).await?.filter(|task| task.status != TaskStatus::Deleted));
        }
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "UPDATE tasks AS t
                SET task_metadata = COALESCE($2, t.task_metadata),
                    params = CASE
                        WHEN $3 IS NOT NULL THEN COALESCE(NULLIF(t.params, 'null'::jsonb), '{}'::jsonb) || $3
                        ELSE COALESCE($4, t.params)
                    END,
                    updated_at = $5
              WHERE t.id = $1 AND t.status <> 'DELETED'
             RETURNING ",
            task_columns!()
        ))
        .bind(id.as_str())
        .bind(json::to_column(task_metadata.as_ref()))
        .bind(json::to_column(merge_params))
        .bind(json::to_column(replace_params.as_ref()))
        .bind(at.as_datetime())
        .fetch_optional(self.primary())
        .await
        .map_err(store_error("task"))?;
        row.map(Task::try_from).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.task.list", skip_all)]
    async fn list(
        &self,
        filter: &TaskFilter,
        order: TaskOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Task>, StoreError> {
        task_lists::list(&self.pools.reader, &self.orders, filter, order, direction, page).await
    }
}

fn read_task(row: Result<Option<TaskRow>, sqlx::Error>) -> Result<Option<Task>, StoreError> {
    nothing_if_unstorable(row).map_err(store_error("task"))?.map(Task::try_from).transpose()
}
