use agentex_domain::ports::{
    CleanCandidate, CleanOrder, Cleaned, Rehydrated, RetentionRepository, SNAPSHOT_PAGE, SnapshotPage, SnapshotPages,
    StoreError,
};
use agentex_domain::{
    CleanCounts, CleanExtent, CleanVerdict, Message, Snapshot, TaskActivity, TaskId, TaskState, Timestamp,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, Transaction};

use crate::error::{nothing_if_unstorable, retry, store_error};
use crate::messages::{MessageRow, insert_messages, message_columns};
use crate::states::{StateRow, state_columns};
use crate::transaction::{begin, begin_with};

/// Contents of tasks, taken away and put back. What is exported may be deleted next, so no replica is asked.
pub(crate) struct PgRetention {
    pool: PgPool,
}

impl PgRetention {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn clean_once(&self, task_id: &TaskId, order: &CleanOrder) -> Result<Cleaned, StoreError> {
        let CleanOrder { rules, extent, deleted_too, at } = order;
        let mut transaction = begin(&self.pool).await.map_err(store_error("task"))?;
        // Against writers of messages and states, too: their foreign keys make them wait for this lock.
        let Some(row) =
            task_row(&mut transaction, task_id, true).await?.filter(|row| *deleted_too || !row.is_deleted())
        else {
            return Ok(Cleaned::Absent);
        };
        let overrides = match rules.judge(&row.activity(&mut transaction, task_id).await?) {
            CleanVerdict::AlreadyCleaned(before) => return Ok(Cleaned::Before(before)),
            CleanVerdict::Refused(refusal) => return Ok(Cleaned::Refused(refusal)),
            CleanVerdict::Allowed(overrides) => overrides,
        };
        let counts = take_away(&mut transaction, task_id, *extent).await?;
        sqlx::query("UPDATE tasks SET cleaned_at = $2, params = CASE WHEN $3 THEN NULL ELSE params END WHERE id = $1")
            .bind(task_id.as_str())
            .bind(at.as_datetime())
            .bind(*extent == CleanExtent::Everything)
            .execute(&mut *transaction)
            .await
            .map_err(store_error("task"))?;
        transaction.commit().await.map_err(store_error("task"))?;
        Ok(Cleaned::Done { counts, overrides })
    }

    async fn rehydrate_once(&self, snapshot: &Snapshot) -> Result<Rehydrated, StoreError> {
        let Snapshot { task_id, messages, states } = snapshot;
        let mut transaction = begin(&self.pool).await.map_err(store_error("task"))?;
        match task_row(&mut transaction, task_id, true).await?.filter(|row| !row.is_deleted()) {
            None => return Ok(Rehydrated::Absent),
            Some(TaskFacts { cleaned_at: None, .. }) => return Ok(Rehydrated::NotCleaned),
            Some(_) if messages.is_empty() && states.is_empty() => return Ok(Rehydrated::Done),
            Some(_) => {}
        }
        for batch in messages.chunks(SNAPSHOT_PAGE as usize) {
            insert_messages(&mut *transaction, task_id, batch).await?;
        }
        for batch in states.chunks(SNAPSHOT_PAGE as usize) {
            insert_states(&mut transaction, task_id, batch).await?;
        }
        sqlx::query("UPDATE tasks SET cleaned_at = NULL WHERE id = $1")
            .bind(task_id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("task"))?;
        transaction.commit().await.map_err(store_error("task"))?;
        Ok(Rehydrated::Done)
    }
}

#[async_trait]
impl RetentionRepository for PgRetention {
    #[tracing::instrument(level = "debug", name = "db.retention.export", skip_all, fields(task.id = %task_id))]
    async fn export(&self, task_id: &TaskId) -> Result<Option<Box<dyn SnapshotPages>>, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut transaction = begin_with(&self.pool, begin).await.map_err(store_error("snapshot"))?;
        // The first statement fixes what the transaction sees.
        let there = task_row(&mut transaction, task_id, false).await?.is_some_and(|row| !row.is_deleted());
        Ok(there.then(|| {
            let next = Next::Messages(None);
            Box::new(Pages { transaction, task_id: task_id.clone(), next }) as Box<dyn SnapshotPages>
        }))
    }

    #[tracing::instrument(level = "debug", name = "db.retention.activity", skip_all, fields(task.id = %task_id))]
    async fn activity(&self, task_id: &TaskId) -> Result<Option<TaskActivity>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(store_error("task"))?;
        let Some(row) = task_row(&mut connection, task_id, false).await? else { return Ok(None) };
        row.activity(&mut connection, task_id).await.map(Some)
    }

    #[tracing::instrument(level = "debug", name = "db.retention.clean", skip_all, fields(task.id = %task_id))]
    async fn clean(&self, task_id: &TaskId, order: &CleanOrder) -> Result<Cleaned, StoreError> {
        retry(|| self.clean_once(task_id, order)).await
    }

    #[tracing::instrument(level = "debug", name = "db.retention.rehydrate", skip_all, fields(task.id = %snapshot.task_id))]
    async fn rehydrate(&self, snapshot: &Snapshot) -> Result<Rehydrated, StoreError> {
        retry(|| self.rehydrate_once(snapshot)).await
    }

    #[tracing::instrument(level = "debug", name = "db.retention.candidates", skip_all)]
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
        let rows = sqlx::query_as::<_, (String, bool)>(
            "SELECT t.id, (SELECT count(*) FROM task_agents o WHERE o.task_id = t.id) > 1
               FROM tasks t
              WHERE t.id > $3
                AND t.cleaned_at IS NULL
                AND t.updated_at < $2
                AND EXISTS (SELECT 1
                              FROM task_agents ta
                              JOIN agents a ON a.id = ta.agent_id
                             WHERE ta.task_id = t.id AND a.name = ANY($1))
              ORDER BY t.id
              LIMIT $4",
        )
        .bind(agents)
        .bind(idle_since.as_datetime())
        // Every id is greater than no text at all.
        .bind(after.map(TaskId::into_string).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await;
        let rows = nothing_if_unstorable(rows).map_err(store_error("task"))?;
        Ok(rows.into_iter().map(|(id, is_shared)| CleanCandidate { task_id: id.into(), is_shared }).collect())
    }
}

/// What the row of a task says. The reference leaves any of it empty.
#[derive(sqlx::FromRow)]
struct TaskFacts {
    status: Option<String>,
    cleaned_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
}

impl TaskFacts {
    fn is_deleted(&self) -> bool {
        self.status.as_deref() == Some("DELETED")
    }

    /// What the guards look at. After the row was locked this sees everything that was written before.
    async fn activity(&self, connection: &mut PgConnection, task_id: &TaskId) -> Result<TaskActivity, StoreError> {
        let (newest_message, has_unprocessed_events) = sqlx::query_as::<_, (Option<DateTime<Utc>>, bool)>(
            "SELECT (SELECT max(created_at) FROM task_messages WHERE task_id = $1),
                    EXISTS (SELECT 1
                              FROM agent_task_tracker k
                              JOIN events e
                                ON e.task_id = k.task_id
                               AND e.agent_id = k.agent_id
                               AND e.sequence_id > COALESCE((SELECT r.sequence_id
                                                               FROM events r
                                                              WHERE r.id = k.last_processed_event_id
                                                                AND r.task_id = k.task_id), 0)
                             WHERE k.task_id = $1)",
        )
        .bind(task_id.as_str())
        .fetch_one(connection)
        .await
        .map_err(store_error("task"))?;
        Ok(TaskActivity {
            cleaned_at: self.cleaned_at.map(Timestamp::new),
            is_running: self.status.as_deref() == Some("RUNNING"),
            last_interaction: self.updated_at.max(newest_message).map(Timestamp::new),
            has_unprocessed_events,
        })
    }
}

/// The task, which nobody else changes or adds to until the transaction ends when it is `locked`.
async fn task_row(
    connection: &mut PgConnection,
    task_id: &TaskId,
    locked: bool,
) -> Result<Option<TaskFacts>, StoreError> {
    let statement = if locked {
        "SELECT status::text AS status, cleaned_at, updated_at FROM tasks WHERE id = $1 FOR UPDATE"
    } else {
        "SELECT status::text AS status, cleaned_at, updated_at FROM tasks WHERE id = $1"
    };
    let row = sqlx::query_as(statement).bind(task_id.as_str()).fetch_optional(connection).await;
    nothing_if_unstorable(row).map_err(store_error("task"))
}

async fn take_away(
    connection: &mut PgConnection,
    task_id: &TaskId,
    extent: CleanExtent,
) -> Result<CleanCounts, StoreError> {
    let mut run = async |statement: &'static str| {
        let done = sqlx::query(statement).bind(task_id.as_str()).execute(&mut *connection).await;
        done.map(|done| done.rows_affected()).map_err(store_error("task"))
    };
    let mut counts = CleanCounts {
        messages: run("DELETE FROM task_messages WHERE task_id = $1").await?,
        states: run("DELETE FROM task_states WHERE task_id = $1").await?,
        events: run("DELETE FROM events WHERE task_id = $1").await?,
        ..CleanCounts::default()
    };
    run("UPDATE agent_task_tracker SET last_processed_event_id = NULL
          WHERE task_id = $1 AND last_processed_event_id IS NOT NULL")
    .await?;
    if extent == CleanExtent::Everything {
        run("DELETE FROM checkpoint_writes WHERE thread_id = $1").await?;
        run("DELETE FROM checkpoint_blobs WHERE thread_id = $1").await?;
        counts.checkpoints = run("DELETE FROM checkpoints WHERE thread_id = $1").await?;
        // The columns are of type json, which knows no equality, but can be null.
        counts.spans = run("UPDATE spans SET input = NULL, output = NULL, data = NULL
              WHERE (task_id = $1 OR (task_id IS NULL AND trace_id = $1))
                AND (input IS NOT NULL OR output IS NOT NULL OR data IS NOT NULL)")
        .await?;
    }
    Ok(counts)
}

async fn insert_states(
    connection: &mut PgConnection,
    task_id: &TaskId,
    states: &[TaskState],
) -> Result<(), StoreError> {
    let ids: Vec<&str> = states.iter().map(|state| state.id.as_str()).collect();
    let agents: Vec<&str> = states.iter().map(|state| state.agent_id.as_str()).collect();
    let contents: Vec<Json<_>> = states.iter().map(|state| Json(&state.state)).collect();
    let created: Vec<DateTime<Utc>> = states.iter().map(|state| state.created_at.as_datetime()).collect();
    let updated: Vec<DateTime<Utc>> = states.iter().map(|state| state.updated_at.as_datetime()).collect();
    sqlx::query(
        "INSERT INTO task_states (id, task_id, agent_id, state, created_at, updated_at)
         SELECT n.id, $1, n.agent_id, n.state, n.created_at, n.updated_at
           FROM unnest($2::text[], $3::text[], $4::jsonb[], $5::timestamptz[], $6::timestamptz[])
                WITH ORDINALITY AS n (id, agent_id, state, created_at, updated_at, place)
          ORDER BY n.place",
    )
    .bind(task_id.as_str())
    .bind(ids)
    .bind(agents)
    .bind(contents)
    .bind(created)
    .bind(updated)
    .execute(connection)
    .await
    .map_err(store_error("state"))?;
    Ok(())
}

/// What is read next, and after which item.
enum Next {
    Messages(Option<(Timestamp, String)>),
    States(Option<(Timestamp, String)>),
    Nothing,
}

struct Pages {
    transaction: Transaction<'static, Postgres>,
    task_id: TaskId,
    next: Next,
}

#[async_trait]
impl SnapshotPages for Pages {
    async fn next(&mut self) -> Result<Option<SnapshotPage>, StoreError> {
        if let Next::Messages(after) = &self.next {
            let head = concat!("SELECT ", message_columns!(), " FROM task_messages m WHERE m.task_id = ");
            let mut query = page(head, "m.created_at, m.id COLLATE \"C\"", &self.task_id, after.as_ref());
            let rows = query.build_query_as::<MessageRow>().fetch_all(&mut *self.transaction).await;
            let rows = rows.map_err(store_error("message"))?;
            let messages = rows.into_iter().map(Message::try_from).collect::<Result<Vec<_>, _>>()?;
            if let Some(last) = messages.last() {
                self.next = Next::Messages(Some((last.created_at, last.id.as_str().to_owned())));
                return Ok(Some(SnapshotPage::Messages(messages)));
            }
            self.next = Next::States(None);
        }
        if let Next::States(after) = &self.next {
            let head = concat!("SELECT ", state_columns!(), " FROM task_states s WHERE s.task_id = ");
            let mut query = page(head, "s.created_at, s.id COLLATE \"C\"", &self.task_id, after.as_ref());
            let rows = query.build_query_as::<StateRow>().fetch_all(&mut *self.transaction).await;
            let rows = rows.map_err(store_error("state"))?;
            let states: Vec<TaskState> = rows.into_iter().map(TaskState::from).collect();
            if let Some(last) = states.last() {
                self.next = Next::States(Some((last.created_at, last.id.as_str().to_owned())));
                return Ok(Some(SnapshotPage::States(states)));
            }
            self.next = Next::Nothing;
        }
        Ok(None)
    }
}

/// The next items of a task in the order of `place`, their times and ids.
fn page(
    head: &'static str,
    place: &'static str,
    task_id: &TaskId,
    after: Option<&(Timestamp, String)>,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(head);
    query.push_bind(task_id.as_str().to_owned());
    if let Some((time, id)) = after {
        query.push(" AND (").push(place).push(") > (");
        query.push_bind(time.as_datetime()).push(", ").push_bind(id.clone()).push(")");
    }
    query.push(" ORDER BY ").push(place).push(" LIMIT ").push_bind(i64::from(SNAPSHOT_PAGE));
    query
}
