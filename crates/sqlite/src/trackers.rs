use agentex_domain::ports::{
    StoreError, TaskItemFilter, TrackerChange, TrackerOrder, TrackerRepository, TrackerUpdate,
};
use agentex_domain::{Direction, EventId, PageRequest, Timestamp, Tracker, TrackerId};
use async_trait::async_trait;
use sqlx::{QueryBuilder, SqliteConnection, SqliteExecutor};

use crate::database::{Database, push_order, push_page};
use crate::error::store_error;
use crate::rows::{TrackerRow, tracker_columns};
use crate::task_items::{of_live_task, push_task_items};

pub(crate) struct SqliteTrackers {
    pub(crate) database: Database,
}

#[async_trait]
impl TrackerRepository for SqliteTrackers {
    #[tracing::instrument(name = "db.tracker.find", level = "debug", skip_all, fields(tracker.id = %id))]
    async fn find(&self, id: &TrackerId) -> Result<Option<Tracker>, StoreError> {
        find_row(&self.database.readers, id).await?.map(Tracker::try_from).transpose()
    }

    #[tracing::instrument(name = "db.tracker.update", level = "debug", skip_all, fields(tracker.id = %id))]
    async fn update(&self, id: &TrackerId, change: &TrackerChange, at: Timestamp) -> Result<TrackerUpdate, StoreError> {
        let TrackerChange { last_processed_event_id, status, status_reason } = change;
        let mut transaction = self.database.begin().await.map_err(store_error("tracker"))?;
        let Some(row) = find_row(&mut *transaction, id).await? else { return Ok(TrackerUpdate::Absent) };
        if let Some(event) = last_processed_event_id
            && let Some(refusal) = refusal(&mut transaction, &row, event).await?
        {
            return Ok(refusal);
        }
        let mut rows: Vec<TrackerRow> = sqlx::query_as(concat!(
            r#"
            UPDATE agent_task_tracker
               SET last_processed_event_id = COALESCE(?2, last_processed_event_id), status = ?3, status_reason = ?4,
                   updated_at = ?5
             WHERE id = ?1
            RETURNING "#,
            tracker_columns!()
        ))
        .bind(id.as_str())
        .bind(last_processed_event_id.as_ref().map(EventId::as_str))
        .bind(status)
        .bind(status_reason)
        .bind(at.as_micros())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error("tracker"))?;

        transaction.commit().await.map_err(store_error("tracker"))?;
        rows.pop().map_or(Ok(TrackerUpdate::Absent), |row| Ok(TrackerUpdate::Done(row.try_into()?)))
    }

    #[tracing::instrument(name = "db.tracker.list", level = "debug", skip_all)]
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
            " FROM agent_task_tracker WHERE ",
            of_live_task!("agent_task_tracker")
        ));
        push_task_items(&mut query, "agent_task_tracker.task_id", "agent_task_tracker.agent_id", filter);
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        let rows: Vec<TrackerRow> =
            query.build_query_as().fetch_all(&self.database.readers).await.map_err(store_error("tracker"))?;
        rows.into_iter().map(Tracker::try_from).collect()
    }
}

async fn find_row(executor: impl SqliteExecutor<'_>, id: &TrackerId) -> Result<Option<TrackerRow>, StoreError> {
    sqlx::query_as(concat!(
        "SELECT ",
        tracker_columns!(),
        " FROM agent_task_tracker WHERE agent_task_tracker.id = ?1 AND ",
        of_live_task!("agent_task_tracker")
    ))
    .bind(id.as_str())
    .fetch_optional(executor)
    .await
    .map_err(store_error("tracker"))
}

/// Why the tracker cannot move to this event.
async fn refusal(
    connection: &mut SqliteConnection,
    tracker: &TrackerRow,
    event: &EventId,
) -> Result<Option<TrackerUpdate>, StoreError> {
    let (from, to): (Option<i64>, Option<i64>) = sqlx::query_as(
        r#"
        SELECT (SELECT sequence_id FROM events WHERE id = ?1),
               (SELECT sequence_id FROM events WHERE id = ?2 AND task_id = ?3 AND agent_id = ?4)
        "#,
    )
    .bind(&tracker.last_processed_event_id)
    .bind(event.as_str())
    .bind(&tracker.task_id)
    .bind(&tracker.agent_id)
    .fetch_one(connection)
    .await
    .map_err(store_error("tracker"))?;

    Ok(TrackerUpdate::refusal(from, to))
}

const fn order_columns(order: TrackerOrder) -> &'static [&'static str] {
    match order {
        TrackerOrder::UpdatedAt => {
            &["agent_task_tracker.updated_at", "agent_task_tracker.created_at", "agent_task_tracker.id"]
        }
        TrackerOrder::CreatedAt => {
            &["agent_task_tracker.created_at", "agent_task_tracker.updated_at", "agent_task_tracker.id"]
        }
        TrackerOrder::Id => &["agent_task_tracker.id"],
        TrackerOrder::AgentId => &[
            "agent_task_tracker.agent_id",
            "agent_task_tracker.updated_at",
            "agent_task_tracker.created_at",
            "agent_task_tracker.id",
        ],
        TrackerOrder::TaskId => &[
            "agent_task_tracker.task_id",
            "agent_task_tracker.updated_at",
            "agent_task_tracker.created_at",
            "agent_task_tracker.id",
        ],
        TrackerOrder::Status => &[
            "agent_task_tracker.status",
            "agent_task_tracker.updated_at",
            "agent_task_tracker.created_at",
            "agent_task_tracker.id",
        ],
    }
}
