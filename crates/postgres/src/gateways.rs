use agentex_domain::ports::{
    GatewayAccepted, GatewayClaim, GatewayEvent, GatewayRepository, NewGatewayEvent, StoreError,
};
use agentex_domain::{GatewayEventId, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::error::{corrupt, retry, store_error};
use crate::transaction::begin;

const NAME: &str = "gateway event";

/// What was said in chats in the tables `gateway_events` and `gateway_event_keys`.
pub(crate) struct PgGateways {
    pool: PgPool,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    seq: i64,
    id: String,
    provider: String,
    lane: String,
    payload: Json<Value>,
    progress: Option<Json<Value>>,
    attempts: i32,
    created_at: DateTime<Utc>,
}

impl TryFrom<EventRow> for GatewayEvent {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let EventRow { seq: _, id, provider, lane, payload: Json(payload), progress, attempts, created_at } = row;
        Ok(Self {
            attempts: u32::try_from(attempts).map_err(|error| corrupt("gateway_events", &id, error))?,
            id: GatewayEventId::from(id),
            provider,
            lane,
            payload,
            progress: progress.map(|Json(progress)| progress),
            at: Timestamp::new(created_at),
        })
    }
}

impl PgGateways {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn store(&self, event: &NewGatewayEvent) -> Result<GatewayAccepted, StoreError> {
        let NewGatewayEvent { id, provider, keys, lane, payload, at, keys_expire_at } = event;
        let mut transaction = begin(&self.pool).await.map_err(store_error(NAME))?;
        // In one order, so that two deliveries with the same names wait for each other instead of locking each other out.
        let taken = sqlx::query(
            "INSERT INTO gateway_event_keys AS known (key, expires_at)
             SELECT DISTINCT k.key, $2::timestamptz
               FROM unnest($1::text[]) AS k (key)
              ORDER BY k.key
                 ON CONFLICT (key) DO UPDATE
                SET expires_at = excluded.expires_at
              WHERE known.expires_at <= $3",
        )
        .bind(keys)
        .bind(keys_expire_at.as_datetime())
        .bind(at.as_datetime())
        .execute(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        let names = keys.iter().collect::<std::collections::BTreeSet<_>>().len();
        if taken.rows_affected() < names as u64 {
            transaction.rollback().await.map_err(store_error(NAME))?;
            return Ok(GatewayAccepted::Seen);
        }
        sqlx::query(
            "INSERT INTO gateway_events (id, provider, lane, payload, available_at, attempts, created_at)
             VALUES ($1, $2, $3, $4, $5, 0, $5)",
        )
        .bind(id.as_str())
        .bind(provider)
        .bind(lane)
        .bind(Json(payload))
        .bind(at.as_datetime())
        .execute(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(GatewayAccepted::New)
    }
}

#[async_trait]
impl GatewayRepository for PgGateways {
    #[tracing::instrument(level = "debug", name = "db.gateway.accept", skip_all)]
    async fn accept(&self, event: &NewGatewayEvent) -> Result<GatewayAccepted, StoreError> {
        retry(|| self.store(event)).await
    }

    #[tracing::instrument(level = "debug", name = "db.gateway.is_busy", skip_all)]
    async fn is_busy(&self, lane: &str) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM gateway_events WHERE lane = $1)")
            .bind(lane)
            .fetch_one(&self.pool)
            .await
            .map_err(store_error(NAME))
    }

    #[tracing::instrument(level = "debug", name = "db.gateway.claim", skip_all)]
    async fn claim(&self, claim: &GatewayClaim) -> Result<Vec<GatewayEvent>, StoreError> {
        let GatewayClaim { holder, providers, now, lease_until, limit } = claim;
        let mut rows: Vec<EventRow> = sqlx::query_as(
            "UPDATE gateway_events AS taken
                SET holder = $1, available_at = $2, attempts = taken.attempts + 1
               FROM (SELECT e.seq
                       FROM gateway_events e
                      WHERE e.available_at <= $3
                        AND e.provider = ANY ($4)
                        AND NOT EXISTS (
                            SELECT 1
                              FROM gateway_events o
                             WHERE o.lane = e.lane
                               AND (o.seq < e.seq OR (o.seq > e.seq AND o.holder IS NOT NULL AND o.available_at > $3)))
                      ORDER BY e.seq
                      LIMIT $5
                        FOR UPDATE SKIP LOCKED) AS due
              WHERE taken.seq = due.seq
          RETURNING taken.seq, taken.id, taken.provider, taken.lane, taken.payload, taken.progress, taken.attempts,
                    taken.created_at",
        )
        .bind(holder)
        .bind(lease_until.as_datetime())
        .bind(now.as_datetime())
        .bind(providers)
        .bind(i64::from(*limit))
        .fetch_all(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        rows.sort_by_key(|row| row.seq);
        rows.into_iter().map(GatewayEvent::try_from).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.gateway.renew", skip_all)]
    async fn renew(&self, id: &GatewayEventId, holder: &str, lease_until: Timestamp) -> Result<bool, StoreError> {
        let renewed = sqlx::query(
            "UPDATE gateway_events
                SET available_at = $3
              WHERE id = $1
                AND holder = $2",
        )
        .bind(id.as_str())
        .bind(holder)
        .bind(lease_until.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(renewed.rows_affected() > 0)
    }

    #[tracing::instrument(level = "debug", name = "db.gateway.note", skip_all)]
    async fn note(&self, id: &GatewayEventId, holder: &str, progress: &Value) -> Result<bool, StoreError> {
        let noted = sqlx::query(
            "UPDATE gateway_events
                SET progress = $3
              WHERE id = $1
                AND holder = $2",
        )
        .bind(id.as_str())
        .bind(holder)
        .bind(Json(progress))
        .execute(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(noted.rows_affected() > 0)
    }

    #[tracing::instrument(level = "debug", name = "db.gateway.release", skip_all)]
    async fn release(&self, id: &GatewayEventId, holder: &str, at: Timestamp) -> Result<bool, StoreError> {
        let released = sqlx::query(
            "UPDATE gateway_events
                SET holder = NULL, available_at = $3
              WHERE id = $1
                AND holder = $2",
        )
        .bind(id.as_str())
        .bind(holder)
        .bind(at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(released.rows_affected() > 0)
    }

    #[tracing::instrument(level = "debug", name = "db.gateway.finish", skip_all)]
    async fn finish(&self, id: &GatewayEventId, holder: &str) -> Result<bool, StoreError> {
        let finished = sqlx::query(
            "DELETE FROM gateway_events
              WHERE id = $1
                AND holder = $2",
        )
        .bind(id.as_str())
        .bind(holder)
        .execute(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(finished.rows_affected() > 0)
    }

    #[tracing::instrument(level = "debug", name = "db.gateway.purge", skip_all)]
    async fn purge(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let purged = sqlx::query(
            "DELETE FROM gateway_event_keys
              WHERE key IN (SELECT key
                              FROM gateway_event_keys
                             WHERE expires_at <= $1
                             ORDER BY expires_at, key
                             LIMIT $2)",
        )
        .bind(now.as_datetime())
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        Ok(purged.rows_affected())
    }
}
