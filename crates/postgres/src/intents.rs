use agentex_authz::ResourceRef;
use agentex_domain::ports::{Backlog, IntentRepository, Opened, Settlement, StoreError};
use agentex_domain::{Intent, IntentId, IntentStep, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::types::Json;

use crate::error::{nothing_if_unstorable, retry, store_error};
use crate::intent_row::{IntentRow, intent_columns};
use crate::lifecycle;

/// How often it is looked which intent is in the way before giving up on one that keeps changing.
const LOOKS: u32 = 3;

#[derive(sqlx::FromRow)]
struct BacklogRow {
    open: i64,
    failing: i64,
    oldest: Option<DateTime<Utc>>,
}

/// Intents in the table `authz_intents`.
pub(crate) struct PgIntents {
    pool: PgPool,
}

impl PgIntents {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn insert_unless_there(&self, intent: &Intent) -> Result<bool, StoreError> {
        let Intent { id, resource, parent, owner, step, attempts, last_error, created_at, due_at } = intent;
        let done = sqlx::query(
            "INSERT INTO authz_intents
                    (id, resource_type, selector, parent_type, parent_selector, owner, step, attempts, last_error,
                     created_at, due_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                 ON CONFLICT (resource_type, selector) DO NOTHING",
        )
        .bind(id.as_str())
        .bind(resource.kind.as_str())
        .bind(&resource.selector)
        .bind(parent.as_ref().map(|parent| parent.kind.as_str()))
        .bind(parent.as_ref().map(|parent| parent.selector.as_str()))
        .bind(Json(owner.as_json()))
        .bind(step.as_str())
        .bind(i64::from(*attempts))
        .bind(last_error.as_deref().map(storable))
        .bind(created_at.as_datetime())
        .bind(due_at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("intent"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn find(&self, resource: &ResourceRef) -> Result<Option<Intent>, StoreError> {
        sqlx::query_as::<_, IntentRow>(concat!(
            "SELECT ",
            intent_columns!(),
            " FROM authz_intents i
              WHERE i.resource_type = $1 AND i.selector = $2"
        ))
        .bind(resource.kind.as_str())
        .bind(&resource.selector)
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error("intent"))?
        .map(Intent::try_from)
        .transpose()
    }

    async fn claim_once(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Intent>, StoreError> {
        // What others are claiming at this moment is passed over, so callers neither wait for each other nor meet.
        sqlx::query_as::<_, IntentRow>(concat!(
            "WITH due AS (
                 SELECT id, due_at
                   FROM authz_intents
                  WHERE due_at <= $1
                  ORDER BY due_at, id
                  LIMIT $3
                    FOR NO KEY UPDATE SKIP LOCKED
             ), i AS (
                 UPDATE authz_intents AS i
                    SET due_at = $2
                   FROM due
                  WHERE i.id = due.id
                 RETURNING due.due_at AS was_due_at, ",
            intent_columns!(),
            ")
             SELECT ",
            intent_columns!(),
            " FROM i
              ORDER BY was_due_at, id"
        ))
        .bind(now.as_datetime())
        .bind(until.as_datetime())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(store_error("intent"))?
        .into_iter()
        .map(Intent::try_from)
        .collect()
    }
}

#[async_trait]
impl IntentRepository for PgIntents {
    #[tracing::instrument(level = "debug", name = "db.intent.open", skip_all, fields(intent.id = %intent.id))]
    async fn open(&self, intent: &Intent) -> Result<Opened, StoreError> {
        for _ in 0..LOOKS {
            if self.insert_unless_there(intent).await? {
                return Ok(Opened::Done);
            }
            // The one in the way may have been finished since; then there is room.
            if let Some(other) = self.find(&intent.resource).await? {
                return Ok(Opened::Busy(other));
            }
        }
        Err(StoreError::Unavailable("the resource changed hands too often".into()))
    }

    #[tracing::instrument(level = "debug", name = "db.intent.abandon", skip_all, fields(intent.id = %id))]
    async fn abandon(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE authz_intents
                SET step = 'deregistering', due_at = $2
              WHERE id = $1 AND step = 'registering'",
        )
        .bind(id.as_str())
        .bind(due_at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("intent"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(level = "debug", name = "db.intent.settle", skip_all, fields(intent.id = %settlement.intent))]
    async fn settle(&self, settlement: &Settlement) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(store_error("intent"))?;
        // One statement, so it needs no transaction of its own.
        lifecycle::settle(&mut connection, Some(settlement)).await
    }

    #[tracing::instrument(level = "debug", name = "db.intent.retire", skip_all, fields(intent.id = %id))]
    async fn retire(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "WITH retired AS (
                 UPDATE authz_intents
                    SET step = 'deregistering', due_at = $2
                  WHERE id = $1 AND step = 'registering'
                 RETURNING resource_type, selector
             ), forgotten AS (
                 DELETE FROM authz_owners o
                  USING retired
                  WHERE o.resource_type = retired.resource_type AND o.selector = retired.selector
             )
             SELECT EXISTS (SELECT FROM retired)",
        )
        .bind(id.as_str())
        .bind(due_at.as_datetime())
        .fetch_one(&self.pool)
        .await
        .map_err(store_error("intent"))
    }

    #[tracing::instrument(level = "debug", name = "db.intent.close", skip_all, fields(intent.id = %id))]
    async fn close(&self, id: &IntentId, step: IntentStep, now: Timestamp) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "WITH closed AS (
                 DELETE FROM authz_intents
                  WHERE id = $1 AND step = $2 AND (settle_at IS NULL OR settle_at <= $3)
                 RETURNING 1
             ), kept AS (
                 UPDATE authz_intents
                    SET due_at = settle_at, attempts = 0, last_error = NULL
                  WHERE id = $1 AND step = $2 AND settle_at > $3
                 RETURNING 1
             )
             SELECT EXISTS (SELECT FROM closed) OR EXISTS (SELECT FROM kept)",
        )
        .bind(id.as_str())
        .bind(step.as_str())
        .bind(now.as_datetime())
        .fetch_one(&self.pool)
        .await
        .map_err(store_error("intent"))
    }

    #[tracing::instrument(level = "debug", name = "db.intent.failed", skip_all, fields(intent.id = %id))]
    async fn failed(&self, id: &IntentId, error: &str, due_at: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE authz_intents
                SET attempts = attempts + 1, last_error = $2, due_at = $3
              WHERE id = $1",
        )
        .bind(id.as_str())
        .bind(storable(error))
        .bind(due_at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("intent"))?;
        Ok(())
    }

    #[tracing::instrument(level = "debug", name = "db.intent.claim", skip_all)]
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Intent>, StoreError> {
        retry(|| self.claim_once(now, until, limit)).await
    }

    #[tracing::instrument(level = "debug", name = "db.intent.claim_one", skip_all, fields(%resource))]
    async fn claim_one(
        &self,
        resource: &ResourceRef,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Intent>, StoreError> {
        let row = sqlx::query_as::<_, IntentRow>(concat!(
            "UPDATE authz_intents AS i
                SET due_at = $4
              WHERE i.resource_type = $1 AND i.selector = $2 AND i.due_at <= $3
             RETURNING ",
            intent_columns!()
        ))
        .bind(resource.kind.as_str())
        .bind(&resource.selector)
        .bind(now.as_datetime())
        .bind(until.as_datetime())
        .fetch_optional(&self.pool)
        .await;
        nothing_if_unstorable(row).map_err(store_error("intent"))?.map(Intent::try_from).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.intent.list", skip_all)]
    async fn list(&self, limit: u32) -> Result<Vec<Intent>, StoreError> {
        sqlx::query_as::<_, IntentRow>(concat!(
            "SELECT ",
            intent_columns!(),
            " FROM authz_intents i
              ORDER BY i.created_at, i.id
              LIMIT $1"
        ))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(store_error("intent"))?
        .into_iter()
        .map(Intent::try_from)
        .collect()
    }

    #[tracing::instrument(level = "debug", name = "db.intent.backlog", skip_all)]
    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let BacklogRow { open, failing, oldest } = sqlx::query_as(
            "SELECT count(*) AS open, count(*) FILTER (WHERE attempts > 0) AS failing, min(created_at) AS oldest
               FROM authz_intents",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(store_error("intent"))?;
        Ok(Backlog { open: open.unsigned_abs(), failing: failing.unsigned_abs(), oldest: oldest.map(Timestamp::new) })
    }
}

/// Somebody else's words, without what PostgreSQL cannot hold.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
