use agentex_domain::ports::{
    CleanCandidate, CleanOrder, Cleaned, Rehydrated, RetentionRepository, SNAPSHOT_PAGE, SnapshotPage, SnapshotPages,
    StoreError,
};
use agentex_domain::{
    CleanCounts, CleanExtent, CleanVerdict, Message, Snapshot, TaskActivity, TaskId, TaskState, Timestamp,
};
use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqliteExecutor, Transaction};

use crate::database::{Database, json_text};
use crate::error::store_error;
use crate::messages::insert_messages;
use crate::rows::{MessageRow, StateRow, message_columns, state_columns};
use crate::states::insert_state;

/// Contents of tasks, taken away and put back.
pub(crate) struct SqliteRetention {
    pub(crate) database: Database,
}

#[async_trait]
impl RetentionRepository for SqliteRetention {
    #[tracing::instrument(name = "db.retention.export", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn export(&self, task_id: &TaskId) -> Result<Option<Box<dyn SnapshotPages>>, StoreError> {
        // The first statement fixes what the transaction sees.
        let mut transaction = self.database.begin_reading().await.map_err(store_error("snapshot"))?;
        let there: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND status <> 'DELETED')")
                .bind(task_id.as_str())
                .fetch_one(&mut *transaction)
                .await
                .map_err(store_error("snapshot"))?;

        Ok(there.then(|| {
            let next = Next::Messages(None);
            Box::new(Pages { transaction, task_id: task_id.clone(), next }) as Box<dyn SnapshotPages>
        }))
    }

    #[tracing::instrument(name = "db.retention.activity", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn activity(&self, task_id: &TaskId) -> Result<Option<TaskActivity>, StoreError> {
        activity(&self.database.readers, task_id).await.map(|found| found.map(|(activity, _)| activity))
    }

    #[tracing::instrument(name = "db.retention.clean", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn clean(&self, task_id: &TaskId, order: &CleanOrder) -> Result<Cleaned, StoreError> {
        let CleanOrder { rules, extent, deleted_too, at } = order;
        let mut transaction = self.database.begin().await.map_err(store_error("task"))?;
        let found = activity(&mut *transaction, task_id).await?;
        let Some((activity, _)) = found.filter(|(_, is_deleted)| *deleted_too || !is_deleted) else {
            return Ok(Cleaned::Absent);
        };
        let overrides = match rules.judge(&activity) {
            CleanVerdict::AlreadyCleaned(before) => return Ok(Cleaned::Before(before)),
            CleanVerdict::Refused(refusal) => return Ok(Cleaned::Refused(refusal)),
            CleanVerdict::Allowed(overrides) => overrides,
        };
        let counts = take_away(&mut transaction, task_id, *extent).await?;
        sqlx::query("UPDATE tasks SET cleaned_at = ?2, params = CASE WHEN ?3 THEN NULL ELSE params END WHERE id = ?1")
            .bind(task_id.as_str())
            .bind(at.as_micros())
            .bind(*extent == CleanExtent::Everything)
            .execute(&mut *transaction)
            .await
            .map_err(store_error("task"))?;

        transaction.commit().await.map_err(store_error("task"))?;
        Ok(Cleaned::Done { counts, overrides })
    }

    #[tracing::instrument(name = "db.retention.rehydrate", level = "debug", skip_all, fields(task.id = %snapshot.task_id))]
    async fn rehydrate(&self, snapshot: &Snapshot) -> Result<Rehydrated, StoreError> {
        let Snapshot { task_id, messages, states } = snapshot;
        let mut transaction = self.database.begin().await.map_err(store_error("task"))?;
        let is_cleaned: Option<bool> =
            sqlx::query_scalar("SELECT cleaned_at IS NOT NULL FROM tasks WHERE id = ?1 AND status <> 'DELETED'")
                .bind(task_id.as_str())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error("task"))?;
        match is_cleaned {
            None => return Ok(Rehydrated::Absent),
            Some(false) => return Ok(Rehydrated::NotCleaned),
            Some(true) if messages.is_empty() && states.is_empty() => return Ok(Rehydrated::Done),
            Some(true) => {}
        }
        for batch in messages.chunks(SNAPSHOT_PAGE as usize) {
            insert_messages(&mut *transaction, task_id, batch).await?;
        }
        for state in states {
            insert_state(&mut *transaction, state).await?;
        }
        sqlx::query("UPDATE tasks SET cleaned_at = NULL WHERE id = ?1")
            .bind(task_id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("task"))?;

        transaction.commit().await.map_err(store_error("task"))?;
        Ok(Rehydrated::Done)
    }

    #[tracing::instrument(name = "db.retention.candidates", level = "debug", skip_all)]
    async fn candidates(
        &self,
        agents: &[String],
        idle_since: Timestamp,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<CleanCandidate>, StoreError> {
        if agents.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(String, bool)> = sqlx::query_as(
            r#"
            SELECT tasks.id,
                   (SELECT count(*) FROM task_agents WHERE task_agents.task_id = tasks.id) > 1
              FROM tasks
             WHERE tasks.id > ?3
               AND tasks.cleaned_at IS NULL
               AND tasks.updated_at < ?2
               AND tasks.id IN (SELECT task_agents.task_id
                                  FROM task_agents
                                  JOIN agents ON agents.id = task_agents.agent_id
                                 WHERE agents.name IN (SELECT value FROM json_each(?1)))
             ORDER BY tasks.id
             LIMIT ?4
            "#,
        )
        .bind(json_text(&agents))
        .bind(idle_since.as_micros())
        // Every id is greater than no text at all.
        .bind(after.map(TaskId::into_string).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error("task"))?;

        Ok(rows.into_iter().map(|(id, is_shared)| CleanCandidate { task_id: id.into(), is_shared }).collect())
    }
}

/// What the guards look at, and whether the task is deleted.
async fn activity(
    executor: impl SqliteExecutor<'_>,
    task_id: &TaskId,
) -> Result<Option<(TaskActivity, bool)>, StoreError> {
    type Row = (String, Option<i64>, i64, Option<i64>, bool);
    let row: Option<Row> = sqlx::query_as(
        r#"
        SELECT tasks.status, tasks.cleaned_at, tasks.updated_at,
               (SELECT max(created_at) FROM task_messages WHERE task_messages.task_id = tasks.id),
               EXISTS (SELECT 1
                         FROM agent_task_tracker AS tracker
                         JOIN events
                           ON events.task_id = tracker.task_id
                          AND events.agent_id = tracker.agent_id
                          AND events.sequence_id > coalesce((SELECT reached.sequence_id
                                                               FROM events AS reached
                                                              WHERE reached.id = tracker.last_processed_event_id
                                                                AND reached.task_id = tracker.task_id), 0)
                        WHERE tracker.task_id = tasks.id)
          FROM tasks
         WHERE tasks.id = ?1
        "#,
    )
    .bind(task_id.as_str())
    .fetch_optional(executor)
    .await
    .map_err(store_error("task"))?;

    let Some((status, cleaned_at, updated_at, newest_message, has_unprocessed_events)) = row else { return Ok(None) };
    let time = |micros: i64| {
        Timestamp::from_micros(micros).ok_or_else(|| StoreError::Corrupt {
            table: "tasks",
            id: task_id.as_str().to_owned(),
            source: "a time is out of range".into(),
        })
    };
    let activity = TaskActivity {
        cleaned_at: cleaned_at.map(time).transpose()?,
        is_running: status == "RUNNING",
        last_interaction: Some(time(newest_message.map_or(updated_at, |newest| newest.max(updated_at)))?),
        has_unprocessed_events,
    };
    Ok(Some((activity, status == "DELETED")))
}

async fn take_away(
    connection: &mut SqliteConnection,
    task_id: &TaskId,
    extent: CleanExtent,
) -> Result<CleanCounts, StoreError> {
    let mut run = async |statement: &'static str| {
        let done = sqlx::query(statement).bind(task_id.as_str()).execute(&mut *connection).await;
        done.map(|done| done.rows_affected()).map_err(store_error("task"))
    };
    let mut counts = CleanCounts {
        messages: run("DELETE FROM task_messages WHERE task_id = ?1").await?,
        states: run("DELETE FROM task_states WHERE task_id = ?1").await?,
        events: run("DELETE FROM events WHERE task_id = ?1").await?,
        ..CleanCounts::default()
    };
    run("UPDATE agent_task_tracker SET last_processed_event_id = NULL WHERE task_id = ?1").await?;
    if extent == CleanExtent::Everything {
        run("DELETE FROM checkpoint_writes WHERE thread_id = ?1").await?;
        run("DELETE FROM checkpoint_blobs WHERE thread_id = ?1").await?;
        counts.checkpoints = run("DELETE FROM checkpoints WHERE thread_id = ?1").await?;
        counts.spans = run(r#"
            UPDATE spans
               SET input = NULL, output = NULL, data = NULL
             WHERE (task_id = ?1 OR (task_id IS NULL AND trace_id = ?1))
               AND coalesce(input, output, data) IS NOT NULL
            "#)
        .await?;
    }
    Ok(counts)
}

/// What is read next, and after which item.
enum Next {
    Messages(Option<(Timestamp, String)>),
    States(Option<(Timestamp, String)>),
    Nothing,
}

struct Pages {
    transaction: Transaction<'static, Sqlite>,
    task_id: TaskId,
    next: Next,
}

#[async_trait]
impl SnapshotPages for Pages {
    async fn next(&mut self) -> Result<Option<SnapshotPage>, StoreError> {
        if let Next::Messages(after) = &self.next {
            let head = concat!("SELECT ", message_columns!(), " FROM task_messages WHERE task_messages.task_id = ");
            let mut query = page(head, "task_messages.created_at", "task_messages.id", &self.task_id, after.as_ref());
            let rows: Vec<MessageRow> =
                query.build_query_as().fetch_all(&mut *self.transaction).await.map_err(store_error("message"))?;
            let messages = rows.into_iter().map(Message::try_from).collect::<Result<Vec<_>, _>>()?;
            if let Some(last) = messages.last() {
                self.next = Next::Messages(Some((last.created_at, last.id.as_str().to_owned())));
                return Ok(Some(SnapshotPage::Messages(messages)));
            }
            self.next = Next::States(None);
        }
        if let Next::States(after) = &self.next {
            let head = concat!("SELECT ", state_columns!(), " FROM task_states WHERE task_states.task_id = ");
            let mut query = page(head, "task_states.created_at", "task_states.id", &self.task_id, after.as_ref());
            let rows: Vec<StateRow> =
                query.build_query_as().fetch_all(&mut *self.transaction).await.map_err(store_error("state"))?;
            let states = rows.into_iter().map(TaskState::try_from).collect::<Result<Vec<_>, _>>()?;
            if let Some(last) = states.last() {
                self.next = Next::States(Some((last.created_at, last.id.as_str().to_owned())));
                return Ok(Some(SnapshotPage::States(states)));
            }
            self.next = Next::Nothing;
        }
        Ok(None)
    }
}

/// The next items of a task in the order of their times and ids.
fn page(
    head: &'static str,
    created_at: &'static str,
    id: &'static str,
    task_id: &TaskId,
    after: Option<&(Timestamp, String)>,
) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(head);
    query.push_bind(task_id.as_str().to_owned());
    if let Some((time, after)) = after {
        query.push(" AND (").push(created_at).push(", ").push(id).push(") > (");
        query.push_bind(time.as_micros()).push(", ").push_bind(after.clone()).push(")");
    }
    query.push(" ORDER BY ").push(created_at).push(", ").push(id);
    query.push(" LIMIT ").push_bind(i64::from(SNAPSHOT_PAGE));
    query
}
