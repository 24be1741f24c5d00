use agentex_domain::ports::{
    BoxError, GatewayAccepted, GatewayClaim, GatewayEvent, GatewayRepository, NewGatewayEvent, StoreError,
};
use agentex_domain::{GatewayEventId, Timestamp};
use async_trait::async_trait;
use serde_json::Value;

use crate::database::{Database, json_text};
use crate::error::store_error;

const NAME: &str = "gateway event";

/// What was said in chats in the tables `gateway_events` and `gateway_event_keys`.
pub(crate) struct SqliteGateways {
    pub(crate) database: Database,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    seq: i64,
    id: String,
    provider: String,
    lane: String,
    payload: String,
    progress: Option<String>,
    attempts: i64,
    created_at: i64,
}

impl TryFrom<EventRow> for GatewayEvent {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let EventRow { seq: _, id, provider, lane, payload, progress, attempts, created_at } = row;
        let corrupt = |source: BoxError| StoreError::Corrupt { table: "gateway_events", id: id.clone(), source };
        let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| corrupt(error.into()));
        Ok(Self {
            payload: json(&payload)?,
            progress: progress.as_deref().map(json).transpose()?,
            attempts: u32::try_from(attempts).map_err(|error| corrupt(error.into()))?,
            at: Timestamp::from_micros(created_at).ok_or_else(|| corrupt("a time is out of range".into()))?,
            id: GatewayEventId::from(id.as_str()),
            provider,
            lane,
        })
    }
}

#[async_trait]
impl GatewayRepository for SqliteGateways {
    #[tracing::instrument(name = "db.gateway.accept", level = "debug", skip_all)]
    async fn accept(&self, event: &NewGatewayEvent) -> Result<GatewayAccepted, StoreError> {
        let NewGatewayEvent { id, provider, keys, lane, payload, at, keys_expire_at } = event;
        let mut transaction = self.database.begin().await.map_err(store_error(NAME))?;
        for key in keys.iter().collect::<std::collections::BTreeSet<_>>() {
            let taken = sqlx::query(
                r#"
                INSERT INTO gateway_event_keys (key, expires_at)
                VALUES (?1, ?2)
                    ON CONFLICT (key) DO UPDATE
                   SET expires_at = excluded.expires_at
                 WHERE gateway_event_keys.expires_at <= ?3
                "#,
            )
            .bind(key)
            .bind(keys_expire_at.as_micros())
            .bind(at.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error(NAME))?;
            if taken.rows_affected() == 0 {
                return Ok(GatewayAccepted::Seen);
            }
        }
        sqlx::query(
            r#"
            INSERT INTO gateway_events (id, provider, lane, payload, available_at, attempts, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, ?5)
            "#,
        )
        .bind(id.as_str())
        .bind(provider)
        .bind(lane)
        .bind(json_text(payload))
        .bind(at.as_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(GatewayAccepted::New)
    }

    #[tracing::instrument(name = "db.gateway.is_busy", level = "debug", skip_all)]
    async fn is_busy(&self, lane: &str) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM gateway_events WHERE lane = ?1)")
            .bind(lane)
            .fetch_one(&self.database.readers)
            .await
            .map_err(store_error(NAME))
    }

    #[tracing::instrument(name = "db.gateway.claim", level = "debug", skip_all)]
    async fn claim(&self, claim: &GatewayClaim) -> Result<Vec<GatewayEvent>, StoreError> {
        let GatewayClaim { holder, providers, now, lease_until, limit } = claim;
        // Most looks find nothing, and those need not wait for the writer.
        let waiting: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM gateway_events WHERE available_at <= ?1)")
            .bind(now.as_micros())
            .fetch_one(&self.database.readers)
            .await
            .map_err(store_error(NAME))?;
        if !waiting {
            return Ok(Vec::new());
        }
        let mut rows: Vec<EventRow> = sqlx::query_as(
            r#"
            UPDATE gateway_events
               SET holder = ?1, available_at = ?2, attempts = attempts + 1
             WHERE seq IN (
                   SELECT e.seq
                     FROM gateway_events e
                    WHERE e.available_at <= ?3
                      AND e.provider IN (SELECT value FROM json_each(?4))
                      AND NOT EXISTS (
                          SELECT 1
                            FROM gateway_events o
                           WHERE o.lane = e.lane
                             AND (o.seq < e.seq OR (o.seq > e.seq AND o.holder IS NOT NULL AND o.available_at > ?3)))
                    ORDER BY e.seq
                    LIMIT ?5)
         RETURNING seq, id, provider, lane, payload, progress, attempts, created_at
            "#,
        )
        .bind(holder)
        .bind(lease_until.as_micros())
        .bind(now.as_micros())
        .bind(json_text(providers))
        .bind(i64::from(*limit))
        .fetch_all(&self.database.writer)
        .await
        .map_err(store_error(NAME))?;
        rows.sort_by_key(|row| row.seq);
        rows.into_iter().map(GatewayEvent::try_from).collect()
    }

    #[tracing::instrument(name = "db.gateway.renew", level = "debug", skip_all)]
    async fn renew(&self, id: &GatewayEventId, holder: &str, lease_until: Timestamp) -> Result<bool, StoreError> {
        let renewed = sqlx::query("UPDATE gateway_events SET available_at = ?3 WHERE id = ?1 AND holder = ?2")
            .bind(id.as_str())
            .bind(holder)
            .bind(lease_until.as_micros())
            .execute(&self.database.writer)
            .await
            .map_err(store_error(NAME))?;
        Ok(renewed.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.gateway.note", level = "debug", skip_all)]
    async fn note(&self, id: &GatewayEventId, holder: &str, progress: &Value) -> Result<bool, StoreError> {
        let noted = sqlx::query("UPDATE gateway_events SET progress = ?3 WHERE id = ?1 AND holder = ?2")
            .bind(id.as_str())
            .bind(holder)
            .bind(json_text(progress))
            .execute(&self.database.writer)
            .await
            .map_err(store_error(NAME))?;
        Ok(noted.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.gateway.release", level = "debug", skip_all)]
    async fn release(&self, id: &GatewayEventId, holder: &str, at: Timestamp) -> Result<bool, StoreError> {
        let released =
            sqlx::query("UPDATE gateway_events SET holder = NULL, available_at = ?3 WHERE id = ?1 AND holder = ?2")
                .bind(id.as_str())
                .bind(holder)
                .bind(at.as_micros())
                .execute(&self.database.writer)
                .await
                .map_err(store_error(NAME))?;
        Ok(released.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.gateway.finish", level = "debug", skip_all)]
    async fn finish(&self, id: &GatewayEventId, holder: &str) -> Result<bool, StoreError> {
        let finished = sqlx::query("DELETE FROM gateway_events WHERE id = ?1 AND holder = ?2")
            .bind(id.as_str())
            .bind(holder)
            .execute(&self.database.writer)
            .await
            .map_err(store_error(NAME))?;
        Ok(finished.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.gateway.purge", level = "debug", skip_all)]
    async fn purge(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let purged = sqlx::query(
            r#"
            DELETE FROM gateway_event_keys
             WHERE rowid IN (SELECT rowid FROM gateway_event_keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
            "#,
        )
        .bind(now.as_micros())
        .bind(i64::from(limit))
        .execute(&self.database.writer)
        .await
        .map_err(store_error(NAME))?;
        Ok(purged.rows_affected())
    }
}
