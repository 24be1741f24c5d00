use agentex_domain::ports::{EventRepository, StoreError};
use agentex_domain::{AgentId, Event, EventId, MessageContent, TaskId, Timestamp};
use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::error::{retry, store_error};

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
                 SELECT id
                   FROM tasks
                  WHERE id = $2
                    FOR NO KEY UPDATE
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
}
