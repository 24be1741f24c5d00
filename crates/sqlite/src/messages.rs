use agentex_domain::ports::{MessageOrder, MessageRepository, StoreError, UpdateMany};
use agentex_domain::{
    Direction, Message, MessageContent, MessageCursor, MessageFilter, MessageId, MessagePage, PageRequest,
    StreamingStatus, TaskId, TimeDirection, Timestamp,
};
use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqliteExecutor};

use crate::conditions::push_message_filter;
use crate::database::{Database, json_text, push_order, push_page};
use crate::error::store_error;
use crate::rows::{MessageRow, message_columns};

pub(crate) struct SqliteMessages {
    pub(crate) database: Database,
}

#[async_trait]
impl MessageRepository for SqliteMessages {
    #[tracing::instrument(name = "db.message.insert", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn insert(&self, task_id: &TaskId, messages: &[Message]) -> Result<bool, StoreError> {
        insert_messages(&self.database.writer, task_id, messages).await
    }

    #[tracing::instrument(name = "db.message.find", level = "debug", skip_all, fields(message.id = %id))]
    async fn find(&self, id: &MessageId) -> Result<Option<Message>, StoreError> {
        let row: Option<MessageRow> =
            sqlx::query_as(concat!("SELECT ", message_columns!(), " FROM task_messages WHERE task_messages.id = ?1"))
                .bind(id.as_str())
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error("message"))?;

        row.map(Message::try_from).transpose()
    }

    #[tracing::instrument(name = "db.message.update", level = "debug", skip_all, fields(message.id = %id))]
    async fn update(
        &self,
        task_id: &TaskId,
        id: &MessageId,
        content: &MessageContent,
        streaming_status: Option<StreamingStatus>,
        at: Timestamp,
    ) -> Result<Option<Message>, StoreError> {
        replace_content(&self.database.writer, task_id, id, content, streaming_status, at).await
    }

    #[tracing::instrument(name = "db.message.update_many", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn update_many(
        &self,
        task_id: &TaskId,
        updates: &[(MessageId, MessageContent)],
        at: Timestamp,
    ) -> Result<UpdateMany, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("message"))?;
        let mut updated = Vec::with_capacity(updates.len());
        for (id, content) in updates {
            match replace_content(&mut *transaction, task_id, id, content, None, at).await? {
                Some(message) => updated.push(message),
                None => return Ok(UpdateMany::Missing(id.clone())),
            }
        }

        transaction.commit().await.map_err(store_error("message"))?;
        Ok(UpdateMany::Updated(updated))
    }

    #[tracing::instrument(name = "db.message.list", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn list(
        &self,
        task_id: &TaskId,
        filter: &MessageFilter,
        order: MessageOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Message>, StoreError> {
        let mut query = select_of_task(task_id, filter);
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        let rows = self.fetch(query, filter).await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    #[tracing::instrument(name = "db.message.page", level = "debug", skip_all, fields(task.id = %task_id))]
    async fn page(
        &self,
        task_id: &TaskId,
        filter: &MessageFilter,
        cursor: Option<MessageCursor>,
        direction: TimeDirection,
        limit: u32,
    ) -> Result<MessagePage, StoreError> {
        let mut query = select_of_task(task_id, filter);
        if let Some(cursor) = cursor {
            let (created_at, seq) = self.place_of(task_id, cursor, direction).await?;
            query
                .push(" AND (task_messages.created_at, task_messages.seq) ")
                .push(match direction {
                    TimeDirection::Older => "<",
                    TimeDirection::Newer => ">",
                })
                .push(" (")
                .push_bind(created_at)
                .push(", ")
                .push_bind(seq)
                .push(")");
        }
        // The rows next to the cursor come first, and one more to know whether that was all.
        let away_from_cursor = match direction {
            TimeDirection::Older => Direction::Descending,
            TimeDirection::Newer => Direction::Ascending,
        };
        push_order(&mut query, order_columns(MessageOrder::CreatedAt), away_from_cursor);
        query.push(" LIMIT ").push_bind(i64::from(limit) + 1);

        let mut rows = self.fetch(query, filter).await?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > wanted;
        rows.truncate(wanted);
        let last_seq = rows.last().map(|row| row.seq).filter(|_| has_more);
        let mut messages = rows.into_iter().map(Message::try_from).collect::<Result<Vec<_>, _>>()?;
        let next = last_seq.zip(messages.last()).map(|(seq, last)| MessageCursor {
            id: last.id.clone(),
            created_at: last.created_at,
            seq: Some(seq),
            task_id: Some(task_id.clone()),
        });
        if direction == TimeDirection::Newer {
            messages.reverse();
        }
        Ok(MessagePage { messages, next })
    }
}

impl SqliteMessages {
    async fn fetch(
        &self,
        mut query: QueryBuilder<Sqlite>,
        filter: &MessageFilter,
    ) -> Result<Vec<MessageRow>, StoreError> {
        // Filters make a new statement each; caching it would only push useful ones out.
        query
            .build_query_as()
            .persistent(filter.is_empty())
            .fetch_all(&self.database.readers)
            .await
            .map_err(store_error("message"))
    }

    /// Where `(created_at, seq)` the cursor stands. One without `seq` is looked up; when its message is gone, it stands
    /// on the far side of every message of its time, so that none is shown twice.
    async fn place_of(
        &self,
        task_id: &TaskId,
        cursor: MessageCursor,
        direction: TimeDirection,
    ) -> Result<(i64, i64), StoreError> {
        if let Some(seq) = cursor.seq {
            return Ok((cursor.created_at.as_micros(), seq));
        }
        let place: Option<(i64, i64)> =
            sqlx::query_as("SELECT created_at, seq FROM task_messages WHERE id = ?1 AND task_id = ?2")
                .bind(cursor.id.as_str())
                .bind(task_id.as_str())
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error("message"))?;
        Ok(place.unwrap_or_else(|| {
            let seq = match direction {
                TimeDirection::Older => i64::MIN,
                TimeDirection::Newer => i64::MAX,
            };
            (cursor.created_at.as_micros(), seq)
        }))
    }
}

/// Stores messages of a task that is there, all or none; `false` when it is not.
pub(crate) async fn insert_messages(
    executor: impl SqliteExecutor<'_>,
    task_id: &TaskId,
    messages: &[Message],
) -> Result<bool, StoreError> {
    if messages.is_empty() {
        return Ok(true);
    }
    // One parameter for the whole batch. Contents travel as strings inside it, so that SQLite stores the text it is
    // given instead of writing the JSON anew.
    let batch: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                message.id.as_str(),
                json_text(&message.content),
                message.streaming_status.map(StreamingStatus::as_str),
                message.created_at.as_micros(),
                message.updated_at.as_micros(),
            )
        })
        .collect();
    let inserted = sqlx::query(
        r#"
        INSERT INTO task_messages (id, task_id, content, streaming_status, created_at, updated_at)
        SELECT value ->> 0, ?1, value ->> 1, value ->> 2, value ->> 3, value ->> 4
          FROM json_each(?2)
         WHERE EXISTS (SELECT 1 FROM tasks WHERE tasks.id = ?1 AND tasks.status <> 'DELETED')
         ORDER BY key
        "#,
    )
    .bind(task_id.as_str())
    .bind(json_text(&batch))
    .execute(executor)
    .await
    .map_err(store_error("message"))?;

    Ok(inserted.rows_affected() > 0)
}

/// Selects the task's messages that match the filter; order and limit are still to be added.
fn select_of_task(task_id: &TaskId, filter: &MessageFilter) -> QueryBuilder<Sqlite> {
    let mut query =
        QueryBuilder::new(concat!("SELECT ", message_columns!(), " FROM task_messages WHERE task_messages.task_id = "));
    query.push_bind(task_id.as_str().to_owned());
    push_message_filter(&mut query, filter);
    query
}

const fn order_columns(order: MessageOrder) -> &'static [&'static str] {
    match order {
        MessageOrder::CreatedAt => &["task_messages.created_at", "task_messages.seq"],
        MessageOrder::UpdatedAt => &["task_messages.updated_at", "task_messages.seq"],
        MessageOrder::Id => &["task_messages.id"],
        MessageOrder::StreamingStatus => &["task_messages.streaming_status", "task_messages.seq"],
    }
}

async fn replace_content(
    executor: impl SqliteExecutor<'_>,
    task_id: &TaskId,
    id: &MessageId,
    content: &MessageContent,
    streaming_status: Option<StreamingStatus>,
    at: Timestamp,
) -> Result<Option<Message>, StoreError> {
    let mut rows: Vec<MessageRow> = sqlx::query_as(concat!(
        r#"
        UPDATE task_messages
           SET content = ?3, streaming_status = COALESCE(?4, streaming_status), updated_at = ?5
         WHERE id = ?1
           AND task_id = ?2
        RETURNING "#,
        message_columns!()
    ))
    .bind(id.as_str())
    .bind(task_id.as_str())
    .bind(json_text(content))
    .bind(streaming_status.map(StreamingStatus::as_str))
    .bind(at.as_micros())
    .fetch_all(executor)
    .await
    .map_err(store_error("message"))?;

    rows.pop().map(Message::try_from).transpose()
}
