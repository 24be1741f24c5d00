use agentex_domain::ports::{
    StoreError, TaskItemFilter, TrackerChange, TrackerOrder, TrackerRepository, TrackerUpdate,
};
use agentex_domain::{Direction, EventId, PageRequest, Timestamp, Tracker, TrackerId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, QueryBuilder};

use crate::error::{nothing_if_unstorable, store_error};
use crate::ordering::{push_order, push_page};
use crate::task_items::{of_live_task, push_task_items};
use crate::transaction::begin;

/// The columns of [`TrackerRow`], of the table called `k`. A literal, so that statements stay constants.
macro_rules! tracker_columns {
    () => {
        "k.id, k.agent_id, k.task_id, k.status, k.status_reason, k.last_processed_event_id,
         COALESCE(k.created_at, k.updated_at, 'epoch') AS created_at,
         COALESCE(k.updated_at, k.created_at, 'epoch') AS updated_at"
    };
}

#[derive(sqlx::FromRow)]
struct TrackerRow {
    id: String,
    agent_id: String,
    task_id: String,
    status: Option<String>,
    status_reason: Option<String>,
    last_processed_event_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<TrackerRow> for Tracker {
    fn from(row: TrackerRow) -> Self {
        let TrackerRow {
            id,
            agent_id,
            task_id,
            status,
            status_reason,
            last_processed_event_id,
            created_at,
            updated_at,
        } = row;
        Self {
            id: id.into(),
            agent_id: agent_id.into(),
            task_id: task_id.into(),
            status,
            status_reason,
            last_processed_event_id: last_processed_event_id.map(Into::into),
            created_at: Timestamp::new(created_at),
            updated_at: Timestamp::new(updated_at),
        }
    }
}

/// Trackers in the table `agent_task_tracker`. Agents look theirs up right after their tasks were made, so no replica is
/// asked.
pub(crate) struct PgTrackers {
    pool: PgPool,
}

impl PgTrackers {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl TrackerRepository for PgTrackers {
    #[tracing::instrument(level = "debug", name = "db.tracker.find", skip_all, fields(tracker.id = %id))]
    async fn find(&self, id: &TrackerId) -> Result<Option<Tracker>, StoreError> {
        // The table would let several agents and tasks have one id; the reference makes unique ones.
        let row = sqlx::query_as::<_, TrackerRow>(concat!(
            "SELECT ",
            tracker_columns!(),
            " FROM agent_task_tracker k
              WHERE k.id = $1 AND ",
            of_live_task!("k"),
            " ORDER BY k.agent_id, k.task_id
              LIMIT 1"
        ))
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await;
        Ok(nothing_if_unstorable(row).map_err(store_error("tracker"))?.map(Tracker::from))
    }

    #[tracing::instrument(level = "debug", name = "db.tracker.update", skip_all, fields(tracker.id = %id))]
    async fn update(&self, id: &TrackerId, change: &TrackerChange, at: Timestamp) -> Result<TrackerUpdate, StoreError> {
        let TrackerChange { last_processed_event_id, status, status_reason } = change;
        let mut transaction = begin(&self.pool).await.map_err(store_error("tracker"))?;
        let Some(row) = lock(&mut transaction, id).await? else { return Ok(TrackerUpdate::Absent) };
        if let Some(event) = last_processed_event_id
            && let Some(refusal) = refusal(&mut transaction, &row, event).await?
        {
            return Ok(refusal);
        }
        let row = sqlx::query_as::<_, TrackerRow>(concat!(
            "UPDATE agent_task_tracker AS k
                SET last_processed_event_id = COALESCE($4, k.last_processed_event_id),
                    status = $5, status_reason = $6, updated_at = $7
              WHERE k.id = $1 AND k.agent_id = $2 AND k.task_id = $3
             RETURNING ",
            tracker_columns!()
        ))
        .bind(id.as_str())
        .bind(&row.agent_id)
        .bind(&row.task_id)
        .bind(last_processed_event_id.as_ref().map(EventId::as_str))
        .bind(status)
        .bind(status_reason)
        .bind(at.as_datetime())
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error("tracker"))?;
        transaction.commit().await.map_err(store_error("tracker"))?;
        Ok(TrackerUpdate::Done(row.into()))
    }

    #[tracing::instrument(level = "debug", name = "db.tracker.list", skip_all)]
    async fn list(
        &self,
        filter: &TaskItemFilter,
        order: TrackerOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Tracker>, StoreError> {
        if filter.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::new(concat!(
            "SELECT ",
            tracker_columns!(),
            " FROM agent_task_tracker k
              WHERE ",
            of_live_task!("k")
        ));
        push_task_items(&mut query, "k", filter);
        push_order(&mut query, sort_columns(order), direction);
        push_page(&mut query, page);
        let rows = query.build_query_as::<TrackerRow>().fetch_all(&self.pool).await;
        let rows = nothing_if_unstorable(rows).map_err(store_error("tracker"))?;
        Ok(rows.into_iter().map(Tracker::from).collect())
    }
}

/// The tracker, which nobody else changes until the transaction ends. What is read after this has seen every change that
/// was made to it before.
async fn lock(connection: &mut PgConnection, id: &TrackerId) -> Result<Option<TrackerRow>, StoreError> {
    let row = sqlx::query_as::<_, TrackerRow>(concat!(
        "SELECT ",
        tracker_columns!(),
        " FROM agent_task_tracker k
          WHERE k.id = $1 AND ",
        of_live_task!("k"),
        " ORDER BY k.agent_id, k.task_id
          LIMIT 1
            FOR NO KEY UPDATE"
    ))
    .bind(id.as_str())
    .fetch_optional(connection)
    .await;
    nothing_if_unstorable(row).map_err(store_error("tracker"))
}

/// Why the tracker cannot move to this event.
async fn refusal(
    connection: &mut PgConnection,
    tracker: &TrackerRow,
    event: &EventId,
) -> Result<Option<TrackerUpdate>, StoreError> {
    let found = sqlx::query_as::<_, (Option<i64>, Option<i64>)>(
        "SELECT (SELECT sequence_id FROM events WHERE id = $1),
                (SELECT sequence_id FROM events WHERE id = $2 AND task_id = $3 AND agent_id = $4)",
    )
    .bind(&tracker.last_processed_event_id)
    .bind(event.as_str())
    .bind(&tracker.task_id)
    .bind(&tracker.agent_id)
    .fetch_one(connection)
    .await;
    let (from, to) = nothing_if_unstorable(found).map_err(store_error("tracker"))?;
    Ok(TrackerUpdate::refusal(from, to))
}

/// A `?` marks a column that may be null.
const fn sort_columns(order: TrackerOrder) -> &'static [&'static str] {
    match order {
        TrackerOrder::UpdatedAt => &["k.updated_at", "k.created_at", "k.id"],
        TrackerOrder::CreatedAt => &["k.created_at", "k.updated_at", "k.id"],
        TrackerOrder::Id => &["k.id"],
        TrackerOrder::AgentId => &["k.agent_id", "k.updated_at", "k.created_at", "k.id"],
        TrackerOrder::TaskId => &["k.task_id", "k.updated_at", "k.created_at", "k.id"],
        TrackerOrder::Status => &["k.status COLLATE \"C\"?", "k.updated_at", "k.created_at", "k.id"],
    }
}
