use agentex_authz::ResourceRef;
use agentex_domain::ports::{
    DeletedTask, Departure, Settlement, StoreError, TaskChange, TaskFilter, TaskInsert, TaskOrder, TaskRepository,
    Transitioned,
};
use agentex_domain::{Agent, AgentId, Direction, NewTask, PageRequest, Task, TaskId, Timestamp, TrackerId, Transition};
use async_trait::async_trait;
use sqlx::{QueryBuilder, SqliteConnection, SqliteExecutor};

use crate::conditions::push_contains;
use crate::database::{Database, json_text, push_order, push_page, push_scope};
use crate::error::store_error;
use crate::lifecycle::{depart, settle};
use crate::rows::{AgentRow, TaskRow, agent_columns, task_columns};

pub(crate) struct SqliteTasks {
    pub(crate) database: Database,
}

#[async_trait]
impl TaskRepository for SqliteTasks {
    #[tracing::instrument(name = "db.task.insert", level = "debug", skip_all, fields(task.id = %new.id))]
    async fn insert(&self, new: &NewTask, settles: Option<Settlement>) -> Result<TaskInsert, StoreError> {
        let task = new.clone().into_task();
        let mut transaction = self.database.begin().await.map_err(store_error("task"))?;
        let mut inserted = insert_task(&mut transaction, &task, &new.agent_id).await?;
        // Only a name can be in the way.
        let name = task.name.as_deref().unwrap_or_default();
        if !inserted && free_name(&mut transaction, name).await? {
            inserted = insert_task(&mut transaction, &task, &new.agent_id).await?;
        }
        if !inserted {
            let taken = find_live_by_name(&mut *transaction, name).await?;
            return taken.map(TaskInsert::NameTaken).ok_or(StoreError::Duplicate { what: "task" });
        }
        if let Some(settlement) = &settles {
            settle(&mut transaction, settlement).await?;
        }

        transaction.commit().await.map_err(store_error("task"))?;
        Ok(TaskInsert::Created(task))
    }

    #[tracing::instrument(name = "db.task.find", level = "debug", skip_all, fields(task.id = %id))]
    async fn find(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        let row: Option<TaskRow> =
            sqlx::query_as(concat!("SELECT ", task_columns!(), " FROM tasks WHERE tasks.id = ?1"))
                .bind(id.as_str())
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error("task"))?;

        row.map(Task::try_from).transpose()
    }

    #[tracing::instrument(name = "db.task.find_by_name", level = "debug", skip_all)]
    async fn find_by_name(&self, name: &str) -> Result<Option<Task>, StoreError> {
        find_live_by_name(&self.database.readers, name).await
    }

    #[tracing::instrument(name = "db.task.find_for_agent", level = "debug", skip_all, fields(task.id = %id))]
    async fn find_for_agent(&self, id: &TaskId, agent_id: &AgentId) -> Result<Option<Task>, StoreError> {
        let row: Option<TaskRow> = sqlx::query_as(concat!(
            "SELECT ",
            task_columns!(),
            r#"
              FROM tasks
              JOIN task_agents
                ON task_agents.task_id = tasks.id
             WHERE tasks.id = ?1
               AND task_agents.agent_id = ?2
            "#
        ))
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("task"))?;

        row.map(Task::try_from).transpose()
    }

    #[tracing::instrument(name = "db.task.is_linked", level = "debug", skip_all, fields(task.id = %id))]
    async fn is_linked(&self, id: &TaskId, agent_id: &AgentId) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM task_agents WHERE task_id = ?1 AND agent_id = ?2)")
            .bind(id.as_str())
            .bind(agent_id.as_str())
            .fetch_one(&self.database.readers)
            .await
            .map_err(store_error("task"))
    }

    #[tracing::instrument(name = "db.task.agents_of", level = "debug", skip_all)]
    async fn agents_of(&self, ids: &[TaskId]) -> Result<Vec<(TaskId, Agent)>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<LinkedAgentRow> = sqlx::query_as(concat!(
            "SELECT task_agents.task_id AS linked_task_id, ",
            agent_columns!(),
            r#"
              FROM task_agents
              JOIN agents
                ON agents.id = task_agents.agent_id
             WHERE task_agents.task_id IN (SELECT value FROM json_each(?1))
             ORDER BY task_agents.created_at, task_agents.task_id, task_agents.agent_id
            "#
        ))
        .bind(json_text(&ids))
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error("agent"))?;

        rows.into_iter().map(|row| Ok((row.linked_task_id.into(), row.agent.try_into()?))).collect()
    }

    #[tracing::instrument(name = "db.task.transition", level = "debug", skip_all, fields(task.id = %id))]
    async fn transition(
        &self,
        id: &TaskId,
        transition: Transition,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transitioned, StoreError> {
        let sources: Vec<&str> = transition.sources().iter().map(|status| status.as_str()).collect();
        loop {
            let rows: Vec<TaskRow> = sqlx::query_as(concat!(
                r#"
                UPDATE tasks
                   SET status = ?2, status_reason = ?3, updated_at = ?4
                 WHERE id = ?1
                   AND status IN (SELECT value FROM json_each(?5))
                RETURNING "#,
                task_columns!()
            ))
            .bind(id.as_str())
            .bind(transition.target().as_str())
            .bind(reason)
            .bind(at.as_micros())
            .bind(json_text(&sources))
            .fetch_all(&self.database.writer)
            .await
            .map_err(store_error("task"))?;
            if let Some(task) = only(rows)? {
                return Ok(Transitioned::Done(task));
            }

            match self.find(id).await? {
                None => return Ok(Transitioned::Absent),
                // Another writer made it legal between the two statements.
                Some(task) if transition.is_legal_from(task.status) => {}
                Some(task) => return Ok(Transitioned::Refused(task)),
            }
        }
    }

    #[tracing::instrument(name = "db.task.delete", level = "debug", skip_all, fields(task.id = %id))]
    async fn delete(
        &self,
        id: &TaskId,
        reason: &str,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<DeletedTask>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("task"))?;
        let rows: Vec<TaskRow> = sqlx::query_as(concat!(
            r#"
            UPDATE tasks
               SET status = 'DELETED', status_reason = ?2, updated_at = ?3
             WHERE id = ?1
               AND status <> 'DELETED'
            RETURNING "#,
            task_columns!()
        ))
        .bind(id.as_str())
        .bind(reason)
        .bind(at.as_micros())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error("task"))?;
        let Some(task) = only(rows)? else { return Ok(None) };
        let intent = depart(&mut transaction, ResourceRef::task(id.as_str()), at, departure.as_ref()).await?;

        transaction.commit().await.map_err(store_error("task"))?;
        Ok(Some(DeletedTask { task, intent }))
    }

    #[tracing::instrument(name = "db.task.set_metadata_flag", level = "debug", skip_all, fields(task.id = %id))]
    async fn set_metadata_flag(&self, id: &TaskId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query(
            r#"
            UPDATE tasks
               SET task_metadata = json_set(IFNULL(task_metadata, '{}'), '$."' || ?2 || '"', json('true')),
                   updated_at = ?3
             WHERE id = ?1
               AND status <> 'DELETED'
            "#,
        )
        .bind(id.as_str())
        .bind(name)
        .bind(at.as_micros())
        .execute(&self.database.writer)
        .await
        .map_err(store_error("task"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(name = "db.task.update", level = "debug", skip_all, fields(task.id = %id))]
    async fn update(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError> {
        let TaskChange { task_metadata, merge_params, replace_params } = change;
        let metadata = task_metadata.as_ref().map(json_text);
        let Some(patch) = merge_params else {
            let params = replace_params.as_ref().map(json_text);
            return set_fields(&self.database.writer, id, metadata, params, at).await;
        };

        // SQLite's own merge, json_patch, goes deep and removes members that are null; ours does neither.
        let mut transaction = self.database.begin().await.map_err(store_error("task"))?;
        let Some(task) = find_live(&mut transaction, id).await? else { return Ok(None) };
        let mut params = task.params.unwrap_or_default();
        params.extend(patch.clone());
        let updated = set_fields(&mut *transaction, id, metadata, Some(json_text(&params)), at).await?;
        transaction.commit().await.map_err(store_error("task"))?;
        Ok(updated)
    }

    #[tracing::instrument(name = "db.task.list", level = "debug", skip_all)]
    async fn list(
        &self,
        filter: &TaskFilter,
        order: TaskOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Task>, StoreError> {
        let TaskFilter { scope, linked_to, agent_id, agent_name, status, task_metadata } = filter;
        if scope.is_empty() {
            return Ok(Vec::new());
        }

        let mut query =
            QueryBuilder::new(concat!("SELECT ", task_columns!(), " FROM tasks WHERE tasks.status <> 'DELETED'"));
        push_scope(&mut query, "tasks.id", scope);
        for agent_id in [linked_to, agent_id].into_iter().flatten() {
            query
                .push(" AND tasks.id IN (SELECT task_agents.task_id FROM task_agents WHERE task_agents.agent_id = ")
                .push_bind(agent_id.as_str())
                .push(")");
        }
        if let Some(name) = agent_name {
            query
                .push(
                    " AND tasks.id IN (SELECT task_agents.task_id FROM task_agents \
                     JOIN agents ON agents.id = task_agents.agent_id WHERE agents.name = ",
                )
                .push_bind(name)
                .push(")");
        }
        if let Some(status) = status {
            query.push(" AND tasks.status = ").push_bind(status.as_str());
        }
        if let Some(metadata) = task_metadata {
            query.push(" AND ");
            push_contains(&mut query, "tasks.task_metadata", metadata);
        }
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        // Filters by JSON make a new statement each; caching it would only push useful ones out.
        let rows: Vec<TaskRow> = query
            .build_query_as()
            .persistent(task_metadata.is_none())
            .fetch_all(&self.database.readers)
            .await
            .map_err(store_error("task"))?;
        rows.into_iter().map(Task::try_from).collect()
    }
}

const fn order_columns(order: TaskOrder) -> &'static [&'static str] {
    match order {
        TaskOrder::UpdatedAt => &["tasks.updated_at", "tasks.created_at", "tasks.id"],
        TaskOrder::CreatedAt => &["tasks.created_at", "tasks.updated_at", "tasks.id"],
        TaskOrder::Id => &["tasks.id"],
        TaskOrder::Name => &["tasks.name", "tasks.updated_at", "tasks.created_at", "tasks.id"],
        TaskOrder::Status => &["tasks.status", "tasks.updated_at", "tasks.created_at", "tasks.id"],
        TaskOrder::CleanedAt => &["tasks.cleaned_at", "tasks.updated_at", "tasks.created_at", "tasks.id"],
    }
}

#[derive(sqlx::FromRow)]
struct LinkedAgentRow {
    linked_task_id: String,
    #[sqlx(flatten)]
    agent: AgentRow,
}

/// Takes the name off a deleted task, so that the unique index lets a new one have it.
async fn free_name(connection: &mut SqliteConnection, name: &str) -> Result<bool, StoreError> {
    let freed = sqlx::query("UPDATE tasks SET name = NULL WHERE name = ?1 AND status = 'DELETED'")
        .bind(name)
        .execute(connection)
        .await
        .map_err(store_error("task"))?;
    Ok(freed.rows_affected() == 1)
}

/// Stores the task, joins the agent to it, and begins the record of how far it has read the task's events. `false` when the
/// name is taken; nothing is stored then.
///
/// Three statements in one go, because each on its own is a way to the connection's thread and back. The parameters they
/// share come first: the driver counts the numbers that a later statement leaves out.
async fn insert_task(connection: &mut SqliteConnection, task: &Task, agent_id: &AgentId) -> Result<bool, StoreError> {
    let Task { id, name, status, status_reason, created_at, updated_at, cleaned_at, params, task_metadata } = task;
    let inserted = sqlx::query(
        r#"
        INSERT INTO tasks
               (id, name, status, status_reason, created_at, updated_at, cleaned_at, params, task_metadata)
        VALUES (?1, ?5, ?6, ?7, ?2, ?8, ?9, ?10, ?11)
            ON CONFLICT (name) DO NOTHING;

        INSERT INTO task_agents (task_id, agent_id, created_at)
        SELECT ?1, ?3, ?2
         WHERE changes() = 1;

        INSERT INTO agent_task_tracker (task_id, agent_id, id, created_at, updated_at)
        SELECT ?1, ?3, ?4, ?2, ?2
         WHERE changes() = 1
        "#,
    )
    .bind(id.as_str())
    .bind(created_at.as_micros())
    .bind(agent_id.as_str())
    .bind(TrackerId::generate().as_str())
    .bind(name)
    .bind(status.as_str())
    .bind(status_reason)
    .bind(updated_at.as_micros())
    .bind(cleaned_at.map(Timestamp::as_micros))
    .bind(params.as_ref().map(json_text))
    .bind(task_metadata.as_ref().map(json_text))
    .execute(connection)
    .await
    .map_err(store_error("task"))?;
    Ok(inserted.rows_affected() > 0)
}

async fn find_live_by_name(executor: impl SqliteExecutor<'_>, name: &str) -> Result<Option<Task>, StoreError> {
    let row: Option<TaskRow> = sqlx::query_as(concat!(
        "SELECT ",
        task_columns!(),
        " FROM tasks WHERE tasks.name = ?1 AND tasks.status <> 'DELETED'"
    ))
    .bind(name)
    .fetch_optional(executor)
    .await
    .map_err(store_error("task"))?;

    row.map(Task::try_from).transpose()
}

async fn find_live(connection: &mut SqliteConnection, id: &TaskId) -> Result<Option<Task>, StoreError> {
    let row: Option<TaskRow> = sqlx::query_as(concat!(
        "SELECT ",
        task_columns!(),
        " FROM tasks WHERE tasks.id = ?1 AND tasks.status <> 'DELETED'"
    ))
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .map_err(store_error("task"))?;

    row.map(Task::try_from).transpose()
}

/// Sets the given columns of a live task; the others stay.
async fn set_fields(
    executor: impl SqliteExecutor<'_>,
    id: &TaskId,
    task_metadata: Option<String>,
    params: Option<String>,
    at: Timestamp,
) -> Result<Option<Task>, StoreError> {
    let rows: Vec<TaskRow> = sqlx::query_as(concat!(
        r#"
        UPDATE tasks
           SET task_metadata = COALESCE(?2, task_metadata), params = COALESCE(?3, params), updated_at = ?4
         WHERE id = ?1
           AND status <> 'DELETED'
        RETURNING "#,
        task_columns!()
    ))
    .bind(id.as_str())
    .bind(task_metadata)
    .bind(params)
    .bind(at.as_micros())
    .fetch_all(executor)
    .await
    .map_err(store_error("task"))?;

    only(rows)
}

/// The row of a statement by primary key.
fn only(mut rows: Vec<TaskRow>) -> Result<Option<Task>, StoreError> {
    rows.pop().map(Task::try_from).transpose()
}
