use agentex_domain::ports::{EventRepository, StoreError};
use agentex_domain::{AgentId, Event, EventId, MessageContent, TaskId, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgPool, QueryBuilder};

use crate::error::{corrupt, nothing_if_unstorable, retry, store_error};
use crate::task_items::of_live_task;

/// The columns of [`EventRow`], of the table called `e`. A literal, so that statements stay constants.
macro_rules! event_columns {
    () => {
        "e.id, e.sequence_id, e.task_id, e.agent_id, e.content, e.created_at"
    };
}

#[derive(sqlx::FromRow)]
struct EventRow {
    id: String,
    sequence_id: i64,
    task_id: String,
    agent_id: String,
    content: Option<Json<Box<RawValue>>>,
    created_at: DateTime<Utc>,
}

impl TryFrom<EventRow> for Event {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let EventRow { id, sequence_id, task_id, agent_id, content, created_at } = row;
        // The reference writes JSON `null` for a missing content.
        let content = content
            .map(|Json(content)| serde_json::from_str(content.get()))
            .transpose()
            .map_err(|error| corrupt("events", &id, error))?
            .flatten();
        Ok(Self {
            id: id.into(),
            sequence_id,
            task_id: task_id.into(),
            agent_id: agent_id.into(),
            created_at: Timestamp::new(created_at),
            content,
        })
    }
}

/// Events in the table `events`.
pub(crate) struct PgEvents {
    pool: PgPool,
}

impl PgEvents {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The number is drawn under a lock on the task that is kept until the event is visible. Without it a later
    /// number could be seen before an earlier one, and a reader that continues after the later would miss the earlier
    /// for ever.
    async fn append_once(
        &self,
        id: &EventId,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<&MessageContent>,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "WITH task AS MATERIALIZED (
                 SELECT id, cleaned_at
                   FROM tasks
                  WHERE id = $2
                    FOR NO KEY UPDATE
             ), unclean AS (
                 UPDATE tasks
                    SET cleaned_at = NULL
                   FROM task
                  WHERE tasks.id = task.id AND task.cleaned_at IS NOT NULL
             )
             INSERT INTO events (id, task_id, agent_id, content, created_at)
             SELECT $1, task.id, $3, $4, $5
               FROM task
             RETURNING sequence_id",
        )
        .bind(id.as_str())
        .bind(task_id.as_str())
        .bind(agent_id.as_str())
        .bind(content.map(Json))
        .bind(at.as_datetime())
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error("event"))?
        .ok_or(StoreError::Dangling { what: "event" })
    }
}

#[async_trait]
impl EventRepository for PgEvents {
    #[tracing::instrument(level = "debug", name = "db.event.append", skip_all, fields(task.id = %task_id))]
    async fn append(
        &self,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<MessageContent>,
        at: Timestamp,
    ) -> Result<Event, StoreError> {
        let id = EventId::generate();
        let sequence_id = retry(|| self.append_once(&id, task_id, agent_id, content.as_ref(), at)).await?;
        Ok(Event { id, sequence_id, task_id: task_id.clone(), agent_id: agent_id.clone(), created_at: at, content })
    }

    #[tracing::instrument(level = "debug", name = "db.event.append_as", skip_all, fields(event.id = %id))]
    async fn append_as(
        &self,
        id: &EventId,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<MessageContent>,
        at: Timestamp,
    ) -> Result<Event, StoreError> {
        match retry(|| self.append_once(id, task_id, agent_id, content.as_ref(), at)).await {
            Ok(sequence_id) => {
                let (id, task_id, agent_id) = (id.clone(), task_id.clone(), agent_id.clone());
                return Ok(Event { id, sequence_id, task_id, agent_id, created_at: at, content });
            }
            Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
        sqlx::query_as::<_, EventRow>(concat!("SELECT ", event_columns!(), " FROM events e WHERE e.id = $1"))
            .bind(id.as_str())
            .fetch_one(&self.pool)
            .await
            .map_err(store_error("event"))?
            .try_into()
    }

    #[tracing::instrument(level = "debug", name = "db.event.find", skip_all, fields(event.id = %id))]
    async fn find(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let row = sqlx::query_as::<_, EventRow>(concat!(
            "SELECT ",
            event_columns!(),
            " FROM events e
              WHERE e.id = $1 AND ",
            of_live_task!("e")
        ))
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await;
        nothing_if_unstorable(row).map_err(store_error("event"))?.map(Event::try_from).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.event.list", skip_all, fields(task.id = %task_id))]
    async fn list(
        &self,
        task_id: &TaskId,
        agent_id: &AgentId,
        after: Option<EventId>,
        limit: Option<u32>,
    ) -> Result<Vec<Event>, StoreError> {
        let mut query = QueryBuilder::new(concat!(
            "SELECT ",
            event_columns!(),
            " FROM events e
              WHERE ",
            of_live_task!("e"),
            " AND e.agent_id = "
        ));
        query.push_bind(agent_id.as_str()).push(" AND e.task_id = ").push_bind(task_id.as_str());
        if let Some(after) = after {
            query.push(" AND e.sequence_id > COALESCE((SELECT b.sequence_id FROM events b WHERE b.id = ");
            query.push_bind(after.into_string()).push(" AND b.task_id = ").push_bind(task_id.as_str()).push("), 0)");
        }
        query.push(" ORDER BY e.sequence_id");
        if let Some(limit) = limit {
            query.push(" LIMIT ").push_bind(i64::from(limit));
        }
        let rows = query.build_query_as::<EventRow>().fetch_all(&self.pool).await;
        nothing_if_unstorable(rows).map_err(store_error("event"))?.into_iter().map(Event::try_from).collect()
    }
}
