use std::collections::HashMap;

use agentex_domain::ports::{MessageOrder, MessageRepository, StoreError, UpdateMany};
use agentex_domain::{
    Direction, Message, MessageContent, MessageCursor, MessageFilter, MessageId, MessagePage, PageRequest,
    StreamingStatus, TaskId, TimeDirection, Timestamp,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool, Postgres, QueryBuilder};

use crate::error::{Unreadable, corrupt, nothing_if_unstorable, retry, store_error};
use crate::message_filter::push_filter;
use crate::ordering::{push_order, push_page};
use crate::store::Pools;

/// How often a batch is tried again that failed for a message which has appeared since.
const LOOKS: u32 = 3;

/// The columns of [`MessageRow`], of the table called `m`. A literal, so that statements stay constants.
macro_rules! message_columns {
    () => {
        "m.id, m.seq, m.task_id, m.content, m.streaming_status, m.created_at, m.updated_at"
    };
}
pub(crate) use message_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct MessageRow {
    id: String,
    seq: i64,
    task_id: String,
    content: Json<Box<RawValue>>,
    streaming_status: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl MessageRow {
    /// A cursor that stands at this message.
    fn cursor(&self) -> MessageCursor {
        MessageCursor {
            id: self.id.as_str().into(),
            created_at: Timestamp::new(self.created_at),
            seq: Some(self.seq),
            task_id: Some(self.task_id.as_str().into()),
        }
    }
}

impl TryFrom<MessageRow> for Message {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        let MessageRow { id, seq: _, task_id, content: Json(content), streaming_status, created_at, updated_at } = row;
        let content = serde_json::from_str(content.get()).map_err(|error| corrupt("task_messages", &id, error))?;
        let streaming_status = streaming_status
            .map(|text| {
                StreamingStatus::parse(&text)
                    .ok_or_else(|| corrupt("task_messages", &id, Unreadable { column: "streaming_status" }))
            })
            .transpose()?;
        Ok(Self {
            id: id.into(),
            task_id: task_id.into(),
            content,
            streaming_status,
            created_at: Timestamp::new(created_at),
            updated_at: Timestamp::new(updated_at),
        })
    }
}

/// Messages in the table `task_messages`.
pub(crate) struct PgMessages {
    pools: Pools,
}

impl PgMessages {
    pub(crate) const fn new(pools: Pools) -> Self {
        Self { pools }
    }

    const fn primary(&self) -> &PgPool {
        &self.pools.primary
    }

    /// The messages with their new contents, or none when one of them is not there. Rows are locked by id before any
    /// is written, so that two batches cannot wait for each other.
    async fn update_all(
        &self,
        task_id: &TaskId,
        contents: &HashMap<&MessageId, &MessageContent>,
        at: Timestamp,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let (ids, contents): (Vec<&str>, Vec<Json<&MessageContent>>) =
            contents.iter().map(|(id, content)| (id.as_str(), Json(*content))).unzip();
        sqlx::query_as::<_, MessageRow>(concat!(
            "WITH wanted AS MATERIALIZED (
                 SELECT w.id, w.content
                   FROM unnest($2::text[], $3::jsonb[]) AS w (id, content)
             ), locked AS MATERIALIZED (
                 SELECT id
                   FROM task_messages
                  WHERE task_id = $1 AND id = ANY($2)
                  ORDER BY id
                    FOR NO KEY UPDATE
             )
             UPDATE task_messages AS m
                SET content = wanted.content, updated_at = $4
               FROM wanted
              WHERE m.id = wanted.id
                AND m.task_id = $1
                AND (SELECT count(*) FROM locked) = (SELECT count(*) FROM wanted)
             RETURNING ",
            message_columns!()
        ))
        .bind(task_id.as_str())
        .bind(ids)
        .bind(contents)
        .bind(at.as_datetime())
        .fetch_all(self.primary())
        .await
        .map_err(store_error("message"))
    }

    /// The first of `ids` that is not a message of the task.
    async fn first_missing(&self, task_id: &TaskId, ids: Vec<&str>) -> Result<Option<MessageId>, StoreError> {
        let id: Option<String> = sqlx::query_scalar(
            "SELECT w.id
               FROM unnest($2::text[]) WITH ORDINALITY AS w (id, place)
              WHERE NOT EXISTS (SELECT 1 FROM task_messages m WHERE m.id = w.id AND m.task_id = $1)
              ORDER BY w.place
              LIMIT 1",
        )
        .bind(task_id.as_str())
        .bind(ids)
        .fetch_optional(self.primary())
        .await
        .map_err(store_error("message"))?;
        Ok(id.map(MessageId::from))
    }
}

#[async_trait]
impl MessageRepository for PgMessages {
    #[tracing::instrument(level = "debug", name = "db.message.insert", skip_all, fields(task.id = %task_id))]
    async fn insert(&self, task_id: &TaskId, messages: &[Message]) -> Result<bool, StoreError> {
        insert_messages(self.primary(), task_id, messages).await
    }

    #[tracing::instrument(level = "debug", name = "db.message.find", skip_all, fields(message.id = %id))]
    async fn find(&self, id: &MessageId) -> Result<Option<Message>, StoreError> {
        let row = sqlx::query_as::<_, MessageRow>(concat!(
            "SELECT ",
            message_columns!(),
            " FROM task_messages m
              WHERE m.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(self.primary())
        .await;
        nothing_if_unstorable(row).map_err(store_error("message"))?.map(Message::try_from).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.message.update", skip_all, fields(message.id = %id))]
    async fn update(
        &self,
        task_id: &TaskId,
        id: &MessageId,
        content: &MessageContent,
        streaming_status: Option<StreamingStatus>,
        at: Timestamp,
    ) -> Result<Option<Message>, StoreError> {
        let row = sqlx::query_as::<_, MessageRow>(concat!(
            "UPDATE task_messages AS m
                SET content = $3, streaming_status = COALESCE($4, m.streaming_status), updated_at = $5
              WHERE m.id = $1 AND m.task_id = $2
             RETURNING ",
            message_columns!()
        ))
        .bind(id.as_str())
        .bind(task_id.as_str())
        .bind(Json(content))
        .bind(streaming_status.map(StreamingStatus::as_str))
        .bind(at.as_datetime())
        .fetch_optional(self.primary())
        .await
        .map_err(store_error("message"))?;
        row.map(Message::try_from).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.message.update_many", skip_all, fields(task.id = %task_id))]
    async fn update_many(
        &self,
        task_id: &TaskId,
        updates: &[(MessageId, MessageContent)],
        at: Timestamp,
    ) -> Result<UpdateMany, StoreError> {
        if updates.is_empty() {
            return Ok(UpdateMany::Updated(Vec::new()));
        }
        // Of several contents for one message the last counts.
        let contents: HashMap<&MessageId, &MessageContent> =
            updates.iter().map(|(id, content)| (id, content)).collect();
        for _ in 0..LOOKS {
            let rows = retry(|| self.update_all(task_id, &contents, at)).await?;
            if !rows.is_empty() {
                return in_order(updates, rows).map(UpdateMany::Updated);
            }
            let ids = updates.iter().map(|(id, _)| id.as_str()).collect();
            if let Some(missing) = self.first_missing(task_id, ids).await? {
                return Ok(UpdateMany::Missing(missing));
            }
        }
        Err(StoreError::Unavailable("the messages changed too often".into()))
    }

    #[tracing::instrument(level = "debug", name = "db.message.list", skip_all, fields(task.id = %task_id))]
    async fn list(
        &self,
        task_id: &TaskId,
        filter: &MessageFilter,
        order: MessageOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Message>, StoreError> {
        let mut query = messages_of(task_id);
        push_filter(&mut query, filter);
        push_order(&mut query, sort_columns(order), direction);
        push_page(&mut query, page);
        let rows = query.build_query_as::<MessageRow>().fetch_all(&self.pools.reader).await;
        nothing_if_unstorable(rows).map_err(store_error("message"))?.into_iter().map(Message::try_from).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.message.page", skip_all, fields(task.id = %task_id))]
    async fn page(
        &self,
        task_id: &TaskId,
        filter: &MessageFilter,
        cursor: Option<MessageCursor>,
        direction: TimeDirection,
        limit: u32,
    ) -> Result<MessagePage, StoreError> {
        let mut query = messages_of(task_id);
        if let Some(cursor) = &cursor {
            push_cursor(&mut query, task_id, cursor, direction);
        }
        push_filter(&mut query, filter);
        let sort = match direction {
            TimeDirection::Older => Direction::Descending,
            TimeDirection::Newer => Direction::Ascending,
        };
        push_order(&mut query, sort_columns(MessageOrder::CreatedAt), sort);
        // One more than asked for tells whether there is another page.
        query.push(" LIMIT ").push_bind(i64::from(limit) + 1);
        let rows = query.build_query_as::<MessageRow>().fetch_all(&self.pools.reader).await;
        let mut rows = nothing_if_unstorable(rows).map_err(store_error("message"))?;

        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(MessageRow::cursor);
        if direction == TimeDirection::Newer {
            rows.reverse();
        }
        Ok(MessagePage { messages: rows.into_iter().map(Message::try_from).collect::<Result<_, _>>()?, next })
    }
}
/// Stores messages of a task that is there, all or none; `false` when it is not. A cleaned task is not clean any more
/// then.
pub(crate) async fn insert_messages(
    executor: impl PgExecutor<'_>,
    task_id: &TaskId,
    messages: &[Message],
) -> Result<bool, StoreError> {
    if messages.is_empty() {
        return Ok(true);
    }
    let ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    let contents: Vec<Json<&MessageContent>> = messages.iter().map(|message| Json(&message.content)).collect();
    let statuses: Vec<Option<&str>> =
        messages.iter().map(|message| message.streaming_status.map(StreamingStatus::as_str)).collect();
    let created: Vec<DateTime<Utc>> = messages.iter().map(|message| message.created_at.as_datetime()).collect();
    let updated: Vec<DateTime<Utc>> = messages.iter().map(|message| message.updated_at.as_datetime()).collect();
    // The lock is the one that the foreign key takes anyway, only earlier: after a clean this waited for it sees the mark.
    let stored = sqlx::query(
        "WITH task AS MATERIALIZED (
             SELECT id, cleaned_at
               FROM tasks
              WHERE id = $1 AND status <> 'DELETED'
                FOR KEY SHARE
         ), unclean AS (
             UPDATE tasks
                SET cleaned_at = NULL
               FROM task
              WHERE tasks.id = task.id AND task.cleaned_at IS NOT NULL
         )
         INSERT INTO task_messages (id, task_id, content, streaming_status, created_at, updated_at)
         SELECT n.id, task.id, n.content, n.streaming_status, n.created_at, n.updated_at
           FROM task
          CROSS JOIN unnest($2::text[], $3::jsonb[], $4::text[], $5::timestamptz[], $6::timestamptz[])
                     WITH ORDINALITY AS n (id, content, streaming_status, created_at, updated_at, place)
          ORDER BY n.place",
    )
    .bind(task_id.as_str())
    .bind(ids)
    .bind(contents)
    .bind(statuses)
    .bind(created)
    .bind(updated)
    .execute(executor)
    .await
    .map_err(store_error("message"))?;
    Ok(stored.rows_affected() > 0)
}

fn messages_of(task_id: &TaskId) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        message_columns!(),
        " FROM task_messages m
          WHERE m.task_id = "
    ));
    query.push_bind(task_id.as_str());
    query
}

/// Keeps what lies beyond the cursor. Without a place in insertion order the cursor's message is looked up; if it is
/// gone, the cursor stands beyond every message of its time.
fn push_cursor(query: &mut QueryBuilder<Postgres>, task_id: &TaskId, cursor: &MessageCursor, direction: TimeDirection) {
    let (comparison, beyond) = match direction {
        TimeDirection::Older => ("<", i64::MIN),
        TimeDirection::Newer => (">", i64::MAX),
    };
    query.push(format_args!(" AND (m.created_at, m.seq) {comparison} ("));
    if let Some(seq) = cursor.seq {
        query.push_bind(cursor.created_at.as_datetime()).push(", ").push_bind(seq);
    } else {
        push_found_or(query, "created_at", task_id, cursor);
        query.push_bind(cursor.created_at.as_datetime()).push("), ");
        push_found_or(query, "seq", task_id, cursor);
        query.push_bind(beyond).push(")");
    }
    query.push(")");
}

fn push_found_or(query: &mut QueryBuilder<Postgres>, column: &str, task_id: &TaskId, cursor: &MessageCursor) {
    query.push(format_args!("COALESCE((SELECT c.{column} FROM task_messages c WHERE c.id = "));
    query.push_bind(cursor.id.as_str()).push(" AND c.task_id = ").push_bind(task_id.as_str()).push("), ");
}

fn in_order(updates: &[(MessageId, MessageContent)], rows: Vec<MessageRow>) -> Result<Vec<Message>, StoreError> {
    let mut messages: HashMap<MessageId, Message> = HashMap::with_capacity(rows.len());
    for row in rows {
        let message = Message::try_from(row)?;
        messages.insert(message.id.clone(), message);
    }
    Ok(updates.iter().filter_map(|(id, _)| messages.get(id).cloned()).collect())
}

/// Ties keep the order of insertion. A `?` marks a column that may be null.
const fn sort_columns(order: MessageOrder) -> &'static [&'static str] {
    match order {
        MessageOrder::CreatedAt => &["m.created_at", "m.seq"],
        MessageOrder::UpdatedAt => &["m.updated_at", "m.seq"],
        MessageOrder::Id => &["m.id"],
        MessageOrder::StreamingStatus => &["m.streaming_status COLLATE \"C\"?", "m.seq"],
    }
}
