use agentex_domain::ports::{StoreError, TaskChange, TaskFilter, TaskInsert, TaskOrder, TaskRepository, Transitioned};
use agentex_domain::{
    Agent, AgentId, Direction, JsonObject, NewTask, PageRequest, Task, TaskId, TaskStatus, Timestamp, TrackerId,
    Transition,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::agent_row::{AgentRow, agent_columns};
use crate::error::{Unreadable, corrupt, nothing_if_unstorable, retry, store_error};
use crate::json;
use crate::ordering::{push_order, push_page, push_scope};
use crate::store::Pools;

/// How often a write is tried again whose outcome somebody else changed before it could be looked at.
const LOOKS: u32 = 3;

/// The columns of [`TaskRow`], of the table called `t`. A literal, so that statements stay constants.
macro_rules! task_columns {
    () => {
        "t.id, t.name, t.status::text AS status, t.status_reason,
         COALESCE(t.created_at, t.updated_at, 'epoch') AS created_at,
         COALESCE(t.updated_at, t.created_at, 'epoch') AS updated_at,
         t.cleaned_at, t.params, t.task_metadata"
    };
}

#[derive(sqlx::FromRow)]
struct TaskRow {
    id: String,
    name: Option<String>,
    status: Option<String>,
    status_reason: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    cleaned_at: Option<DateTime<Utc>>,
    params: Option<Json<Value>>,
    task_metadata: Option<Json<Value>>,
}

impl TryFrom<TaskRow> for Task {
    type Error = StoreError;

    fn try_from(row: TaskRow) -> Result<Self, StoreError> {
        let TaskRow { id, name, status, status_reason, created_at, updated_at, cleaned_at, params, task_metadata } =
            row;
        Ok(Self {
            status: status
                .as_deref()
                .and_then(TaskStatus::parse)
                .ok_or_else(|| corrupt("tasks", &id, Unreadable { column: "status" }))?,
            params: json::from_column("tasks", &id, "params", params)?,
            task_metadata: json::from_column("tasks", &id, "task_metadata", task_metadata)?,
            id: id.into(),
            name,
            status_reason,
            created_at: Timestamp::new(created_at),
            updated_at: Timestamp::new(updated_at),
            cleaned_at: cleaned_at.map(Timestamp::new),
        })
    }
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
}

impl PgTasks {
    pub(crate) const fn new(pools: Pools) -> Self {
        Self { pools }
    }

    const fn primary(&self) -> &PgPool {
        &self.pools.primary
    }

    /// Whether the task was stored; if not, a live task has its name. The count over `freed` makes the insert wait
    /// until the dead row has let go of the name.
    async fn insert_unless_taken(&self, new: &NewTask, task: &Task, tracker: &TrackerId) -> Result<bool, StoreError> {
        let created: i64 = sqlx::query_scalar(
            "WITH freed AS (
                 UPDATE tasks
                    SET name = NULL
                  WHERE name = $2 AND status = 'DELETED'
                 RETURNING id
             ), created AS (
                 INSERT INTO tasks (id, name, status, status_reason, created_at, updated_at, params, task_metadata)
                 SELECT $1, $2, $3::taskstatus, $4, $5, $5, $6, $7
                   FROM (SELECT count(*) FROM freed) AS after_freeing
                     ON CONFLICT (name) DO NOTHING
                 RETURNING id
             ), linked AS (
                 INSERT INTO task_agents (task_id, agent_id, created_at)
                 SELECT id, $8, $5
                   FROM created
             ), tracked AS (
                 INSERT INTO agent_task_tracker (id, agent_id, task_id, created_at, updated_at)
                 SELECT $9, $8, id, $5, $5
                   FROM created
             )
             SELECT count(*)
               FROM created",
        )
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
        .await
        .map_err(store_error("task"))?;
        Ok(created == 1)
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
    async fn insert(&self, new: &NewTask) -> Result<TaskInsert, StoreError> {
        let task = new.clone().into_task();
        let tracker = TrackerId::generate();
        for _ in 0..LOOKS {
            if retry(|| self.insert_unless_taken(new, &task, &tracker)).await? {
                return Ok(TaskInsert::Created(task));
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
        if filter.scope.is_empty() {
            return Ok(Vec::new());
        }
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
        let rows = query.build_query_as::<TaskRow>().fetch_all(&self.pools.reader).await;
        nothing_if_unstorable(rows).map_err(store_error("task"))?.into_iter().map(Task::try_from).collect()
    }
}

fn push_conditions(query: &mut QueryBuilder<Postgres>, filter: &TaskFilter) {
    if let Some(agent_id) = &filter.agent_id {
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

fn read_task(row: Result<Option<TaskRow>, sqlx::Error>) -> Result<Option<Task>, StoreError> {
    nothing_if_unstorable(row).map_err(store_error("task"))?.map(Task::try_from).transpose()
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
