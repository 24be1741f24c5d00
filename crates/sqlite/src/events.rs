use agentex_domain::ports::{EventRepository, StoreError};
use agentex_domain::{AgentId, Event, EventId, MessageContent, TaskId, Timestamp};
use async_trait::async_trait;

use crate::database::{Database, json_text};
use crate::error::store_error;

pub(crate) struct SqliteEvents {
    pub(crate) database: Database,
}

#[async_trait]
impl EventRepository for SqliteEvents {
    #[tracing::instrument(name = "db.event.append", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn append(
        &self,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<MessageContent>,
        at: Timestamp,
    ) -> Result<Event, StoreError> {
        let id = EventId::generate();
        let inserted = sqlx::query(
            r#"
            INSERT INTO events (id, task_id, agent_id, content, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5)
            "#,
        )
        .bind(id.as_str())
        .bind(task_id.as_str())
        .bind(agent_id.as_str())
        .bind(content.as_ref().map(json_text))
        .bind(at.as_micros())
        .execute(&self.database.writer)
        .await
        .map_err(store_error("event"))?;

        Ok(Event {
            id,
            // The sequence is the table's row id.
            sequence_id: inserted.last_insert_rowid(),
            task_id: task_id.clone(),
            agent_id: agent_id.clone(),
            created_at: at,
            content,
        })
    }
}
