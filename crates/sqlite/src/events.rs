use agentex_domain::ports::{EventRepository, StoreError};
use agentex_domain::{AgentId, Event, EventId, MessageContent, TaskId, Timestamp};
use async_trait::async_trait;
use sqlx::QueryBuilder;

use crate::database::{Database, json_text};
use crate::error::store_error;
use crate::rows::{EventRow, event_columns};
use crate::task_items::of_live_task;

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

    #[tracing::instrument(name = "db.event.append_as", level = "debug", skip_all, fields(event.id = %id))]
    async fn append_as(
        &self,
        id: &EventId,
        task_id: &TaskId,
        agent_id: &AgentId,
        content: Option<MessageContent>,
        at: Timestamp,
    ) -> Result<Event, StoreError> {
        let inserted = sqlx::query(
            r#"
            INSERT INTO events (id, task_id, agent_id, content, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (id) DO NOTHING
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
        if inserted.rows_affected() == 1 {
            let (id, task_id, agent_id) = (id.clone(), task_id.clone(), agent_id.clone());
            let sequence_id = inserted.last_insert_rowid();
            return Ok(Event { id, sequence_id, task_id, agent_id, created_at: at, content });
        }
        let row: EventRow = sqlx::query_as(concat!("SELECT ", event_columns!(), " FROM events WHERE events.id = ?1"))
            .bind(id.as_str())
            .fetch_one(&self.database.readers)
            .await
            .map_err(store_error("event"))?;
        row.try_into()
    }

    #[tracing::instrument(name = "db.event.find", level = "debug", skip_all, fields(event.id = %id))]
    async fn find(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let row: Option<EventRow> = sqlx::query_as(concat!(
            "SELECT ",
            event_columns!(),
            " FROM events WHERE events.id = ?1 AND ",
            of_live_task!("events")
        ))
        .bind(id.as_str())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("event"))?;

        row.map(Event::try_from).transpose()
    }

    #[tracing::instrument(name = "db.event.list", level = "debug", skip_all, fields(task.id = %task_id))]
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
            " FROM events WHERE ",
            of_live_task!("events"),
            " AND events.agent_id = "
        ));
        query.push_bind(agent_id.as_str().to_owned());
        query.push(" AND events.task_id = ").push_bind(task_id.as_str().to_owned());
        if let Some(after) = after {
            query
                .push(" AND events.sequence_id > COALESCE((SELECT bound.sequence_id FROM events AS bound WHERE bound.id = ")
                .push_bind(after.into_string())
                .push(" AND bound.task_id = ")
                .push_bind(task_id.as_str().to_owned())
                .push("), 0)");
        }
        query.push(" ORDER BY events.sequence_id");
        if let Some(limit) = limit {
            query.push(" LIMIT ").push_bind(limit);
        }

        let rows: Vec<EventRow> =
            query.build_query_as().fetch_all(&self.database.readers).await.map_err(store_error("event"))?;
        rows.into_iter().map(Event::try_from).collect()
    }
}
