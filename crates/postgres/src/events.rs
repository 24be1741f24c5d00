use std::collections::HashMap;
use std::sync::Arc;

use agentex_domain::ports::{EventRepository, StoreError};
use agentex_domain::{AgentId, Event, EventId, MessageContent, TaskId, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgPool, QueryBuilder};

use crate::batching::{Batch, Batched, column};
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

struct NewEvent {
    id: EventId,
    task_id: TaskId,
    agent_id: AgentId,
    content: Option<Box<RawValue>>,
    at: Timestamp,
}

impl NewEvent {
    fn new(
        id: &EventId,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<&MessageContent>,
        at: Timestamp,
    ) -> Result<Self, StoreError> {
        let content = content.map(serde_json::value::to_raw_value).transpose();
        let content = content.map_err(|error| StoreError::Failed(error.into()))?;
        Ok(Self { id: id.clone(), task_id: task_id.clone(), agent_id: agent_id.clone(), content, at })
    }
}

/// Stores events and answers their numbers.
///
/// A number is drawn under a lock on the task that is kept until the event is visible. Without it a later number could be
/// seen before an earlier one, and a reader that continues after the later would miss the earlier for ever.
struct Append(PgPool);

impl Append {
    async fn once(&self, NewEvent { id, task_id, agent_id, content, at }: &NewEvent) -> Result<i64, StoreError> {
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
        .bind(content.as_ref().map(Json))
        .bind(at.as_datetime())
        .fetch_optional(&self.0)
        .await
        .map_err(store_error("event"))?
        .ok_or(StoreError::Dangling { what: "event" })
    }
}

impl Batch for Append {
    type Item = NewEvent;
    type Answer = i64;

    async fn alone(&self, event: &NewEvent) -> Result<i64, StoreError> {
        retry(|| self.once(event)).await
    }

    /// The events of a task that is locked are left to the statement for one, as are those without a task.
    async fn together(&self, events: &[Arc<NewEvent>]) -> Result<Vec<Option<i64>>, StoreError> {
        let numbers: Vec<(String, i64)> = sqlx::query_as(
            "WITH task AS MATERIALIZED (
                 SELECT id, cleaned_at
                   FROM tasks
                  WHERE id = ANY($2)
                    FOR NO KEY UPDATE SKIP LOCKED
             ), unclean AS (
                 UPDATE tasks
                    SET cleaned_at = NULL
                   FROM task
                  WHERE tasks.id = task.id AND task.cleaned_at IS NOT NULL
             )
             INSERT INTO events (id, task_id, agent_id, content, created_at)
             SELECT given.id, task.id, given.agent_id, given.content, given.at
               FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[]) WITH ORDINALITY
                    AS given (id, task_id, agent_id, content, at, place)
               JOIN task ON task.id = given.task_id
              ORDER BY given.place
             RETURNING id, sequence_id",
        )
        .bind(column(events, |event| event.id.as_str()))
        .bind(column(events, |event| event.task_id.as_str()))
        .bind(column(events, |event| event.agent_id.as_str()))
        .bind(column(events, |event| event.content.as_ref().map(Json)))
        .bind(column(events, |event| event.at.as_datetime()))
        .fetch_all(&self.0)
        .await
        .map_err(store_error("event"))?;
        let numbers: HashMap<String, i64> = numbers.into_iter().collect();
        Ok(column(events, |event| numbers.get(event.id.as_str()).copied()))
    }
}

/// Events in the table `events`.
pub(crate) struct PgEvents {
    pool: PgPool,
    append: Batched<Append>,
}

impl PgEvents {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { append: Batched::new(Append(pool.clone())), pool }
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
        let sequence_id = self.append.run(NewEvent::new(&id, task_id, agent_id, content.as_ref(), at)?).await?;
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
        match self.append.run(NewEvent::new(id, task_id, agent_id, content.as_ref(), at)?).await {
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
