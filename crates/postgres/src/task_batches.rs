//! What is asked of tasks so often that many callers ask at the same moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use agentex_domain::ports::{Settlement, StoreError};
use agentex_domain::{AgentId, Task, TaskId, Timestamp, TrackerId};
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::batching::{Batch, by_key, column, distinct, is_storable};
use crate::error::{constraint, nothing_if_unstorable, retry, store_error};
use crate::json;
use crate::lifecycle::{settlement_columns, settling};
use crate::task_row::{TaskRow, task_columns};

/// A task, deleted or not.
pub(crate) struct ById(pub(crate) PgPool);

impl Batch for ById {
    type Item = TaskId;
    type Answer = Option<Task>;

    async fn alone(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              WHERE t.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(&self.0)
        .await;
        read_task(row)
    }

    async fn together(&self, ids: &[Arc<TaskId>]) -> Result<Vec<Option<Option<Task>>>, StoreError> {
        let rows = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              WHERE t.id = ANY($1)"
        ))
        .bind(distinct(ids, TaskId::as_str))
        .fetch_all(&self.0)
        .await;
        let found = read_tasks(rows)?.into_iter().map(|task| (task.id.clone(), task)).collect();
        Ok(by_key(ids, &found, TaskId::clone))
    }
}

/// The live task of a name.
pub(crate) struct ByName(pub(crate) PgPool);

impl Batch for ByName {
    type Item = String;
    type Answer = Option<Task>;

    async fn alone(&self, name: &String) -> Result<Option<Task>, StoreError> {
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              WHERE t.name = $1 AND t.status <> 'DELETED'"
        ))
        .bind(name)
        .fetch_optional(&self.0)
        .await;
        read_task(row)
    }

    async fn together(&self, names: &[Arc<String>]) -> Result<Vec<Option<Option<Task>>>, StoreError> {
        let rows = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              WHERE t.name = ANY($1) AND t.status <> 'DELETED'"
        ))
        .bind(distinct(names, String::as_str))
        .fetch_all(&self.0)
        .await;
        let found = read_tasks(rows)?.into_iter().filter_map(|task| Some((task.name.clone()?, task))).collect();
        Ok(by_key(names, &found, String::clone))
    }
}

/// A task, if the agent takes part in it.
pub(crate) struct ForAgent(pub(crate) PgPool);

#[derive(sqlx::FromRow)]
struct TaskForAgentRow {
    agent_id: String,
    #[sqlx(flatten)]
    task: TaskRow,
}

impl Batch for ForAgent {
    type Item = (TaskId, AgentId);
    type Answer = Option<Task>;

    async fn alone(&self, (id, agent_id): &(TaskId, AgentId)) -> Result<Option<Task>, StoreError> {
        let row = sqlx::query_as::<_, TaskRow>(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t
              JOIN task_agents ta ON ta.task_id = t.id
             WHERE t.id = $1 AND ta.agent_id = $2"
        ))
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .fetch_optional(&self.0)
        .await;
        read_task(row)
    }

    async fn together(&self, asked: &[Arc<(TaskId, AgentId)>]) -> Result<Vec<Option<Option<Task>>>, StoreError> {
        let asked_for = asked.iter().map(|asked| (asked.0.as_str(), asked.1.as_str()));
        let (ids, agents): (Vec<&str>, Vec<&str>) =
            asked_for.filter(|(id, agent)| is_storable(id) && is_storable(agent)).unzip();
        let rows = sqlx::query_as::<_, TaskForAgentRow>(concat!(
            "SELECT ta.agent_id, ",
            task_columns!(),
            " FROM unnest($1::text[], $2::text[]) AS asked (task_id, agent_id)
              JOIN task_agents ta ON ta.task_id = asked.task_id AND ta.agent_id = asked.agent_id
              JOIN tasks t ON t.id = ta.task_id"
        ))
        .bind(ids)
        .bind(agents)
        .fetch_all(&self.0)
        .await
        .map_err(store_error("task"))?;
        let mut found = HashMap::with_capacity(rows.len());
        for TaskForAgentRow { agent_id, task } in rows {
            let task = Task::try_from(task)?;
            found.insert((task.id.clone(), AgentId::from(agent_id)), task);
        }
        Ok(by_key(asked, &found, Clone::clone))
    }
}

/// A task with its agent and the agent's place in it.
pub(crate) struct NewTaskRows {
    pub(crate) task: Task,
    pub(crate) agent_id: AgentId,
    pub(crate) tracker: TrackerId,
}

/// What became of an insert.
pub(crate) enum Stored {
    Now,
    /// A live task has the name; nothing was changed.
    NameTaken,
}

/// Stores tasks that need no intent.
pub(crate) struct Insert(pub(crate) PgPool);

impl Batch for Insert {
    type Item = NewTaskRows;
    type Answer = Stored;

    async fn alone(&self, rows: &NewTaskRows) -> Result<Stored, StoreError> {
        insert(&self.0, rows, None).await
    }

    /// A name that any task has, even a deleted one, is left to the statement for one task, which can tell.
    async fn together(&self, new: &[Arc<NewTaskRows>]) -> Result<Vec<Option<Stored>>, StoreError> {
        let created: Vec<String> = sqlx::query_scalar(
            "WITH given AS (
                 SELECT *
                   FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::jsonb[],
                               $7::jsonb[], $8::text[], $9::text[])
                        AS g (id, name, status, status_reason, at, params, task_metadata, agent_id, tracker_id)
             ), created AS (
                 INSERT INTO tasks (id, name, status, status_reason, created_at, updated_at, params, task_metadata)
                 SELECT id, name, status::taskstatus, status_reason, at, at, params, task_metadata
                   FROM given
                     ON CONFLICT DO NOTHING
                 RETURNING id
             ), linked AS (
                 INSERT INTO task_agents (task_id, agent_id, created_at)
                 SELECT created.id, given.agent_id, given.at
                   FROM created
                   JOIN given ON given.id = created.id
             ), tracked AS (
                 INSERT INTO agent_task_tracker (id, agent_id, task_id, created_at, updated_at)
                 SELECT given.tracker_id, given.agent_id, created.id, given.at, given.at
                   FROM created
                   JOIN given ON given.id = created.id
             )
             SELECT id
               FROM created",
        )
        .bind(column(new, |rows| rows.task.id.as_str()))
        .bind(column(new, |rows| rows.task.name.as_deref()))
        .bind(column(new, |rows| rows.task.status.as_str()))
        .bind(column(new, |rows| rows.task.status_reason.as_deref()))
        .bind(column(new, |rows| rows.task.created_at.as_datetime()))
        .bind(column(new, |rows| json::to_column(rows.task.params.as_ref())))
        .bind(column(new, |rows| json::to_column(rows.task.task_metadata.as_ref())))
        .bind(column(new, |rows| rows.agent_id.as_str()))
        .bind(column(new, |rows| rows.tracker.as_str()))
        .fetch_all(&self.0)
        .await
        .map_err(store_error("task"))?;
        let created: HashSet<&str> = created.iter().map(String::as_str).collect();
        Ok(column(new, |rows| created.contains(rows.task.id.as_str()).then_some(Stored::Now)))
    }
}

/// The count over `freed` makes the insert wait until the dead row has let go of the name. A name that a live task
/// has fails the whole statement and with it the settlement.
pub(crate) async fn insert(
    pool: &PgPool,
    rows: &NewTaskRows,
    settles: Option<&Settlement>,
) -> Result<Stored, StoreError> {
    retry(|| insert_once(pool, rows, settles)).await
}

async fn insert_once(
    pool: &PgPool,
    NewTaskRows { task, agent_id, tracker }: &NewTaskRows,
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
    .bind(agent_id.as_str())
    .bind(tracker.as_str())
    .fetch_one(pool)
    .await;
    match created {
        Ok(0) => Err(StoreError::IntentLost),
        Ok(_) => Ok(Stored::Now),
        Err(error) if constraint(&error) == Some("ix_tasks_name") => Ok(Stored::NameTaken),
        Err(error) => Err(store_error("task")(error)),
    }
}

/// A member of a task's metadata that is to be `true`.
pub(crate) struct Flag {
    pub(crate) id: TaskId,
    pub(crate) name: String,
    pub(crate) at: Timestamp,
}

/// Sets members of metadata; whether there was a task to set it of.
pub(crate) struct SetFlag(pub(crate) PgPool);

impl Batch for SetFlag {
    type Item = Flag;
    type Answer = bool;

    async fn alone(&self, Flag { id, name, at }: &Flag) -> Result<bool, StoreError> {
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
        .execute(&self.0)
        .await
        .map_err(store_error("task"))?;
        Ok(done.rows_affected() == 1)
    }

    /// A task that is locked, or that several set something of, is left to the statement for one.
    async fn together(&self, flags: &[Arc<Flag>]) -> Result<Vec<Option<bool>>, StoreError> {
        let mut seen = HashSet::new();
        let (mut ids, mut names, mut at) = (Vec::<&str>::new(), Vec::<&str>::new(), Vec::<DateTime<Utc>>::new());
        for flag in flags.iter().filter(|flag| seen.insert(&flag.id)) {
            ids.push(flag.id.as_str());
            names.push(&flag.name);
            at.push(flag.at.as_datetime());
        }
        let done: Vec<(String, String)> = sqlx::query_as(
            "WITH free AS MATERIALIZED (
                 SELECT t.id
                   FROM tasks t
                  WHERE t.id = ANY($1) AND t.status <> 'DELETED'
                    FOR NO KEY UPDATE SKIP LOCKED
             )
             UPDATE tasks AS t
                SET task_metadata = COALESCE(NULLIF(t.task_metadata, 'null'::jsonb), '{}'::jsonb)
                                    || jsonb_build_object(flag.name, true),
                    updated_at = flag.at
               FROM free, unnest($1::text[], $2::text[], $3::timestamptz[]) AS flag (id, name, at)
              WHERE t.id = free.id AND flag.id = free.id
             RETURNING t.id, flag.name",
        )
        .bind(&ids)
        .bind(&names)
        .bind(&at)
        .fetch_all(&self.0)
        .await
        .map_err(store_error("task"))?;
        let done: HashSet<(&str, &str)> = done.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
        Ok(flags.iter().map(|flag| done.contains(&(flag.id.as_str(), flag.name.as_str())).then_some(true)).collect())
    }
}

pub(crate) fn read_task(row: Result<Option<TaskRow>, sqlx::Error>) -> Result<Option<Task>, StoreError> {
    nothing_if_unstorable(row).map_err(store_error("task"))?.map(Task::try_from).transpose()
}

fn read_tasks(rows: Result<Vec<TaskRow>, sqlx::Error>) -> Result<Vec<Task>, StoreError> {
    rows.map_err(store_error("task"))?.into_iter().map(Task::try_from).collect()
}
