use agentex_domain::Timestamp;
use agentex_domain::ports::{Claimed, IdempotencyClaim, IdempotencyRepository, StoreError, StoredAnswer};
use async_trait::async_trait;

use crate::database::{Database, json_text};
use crate::error::store_error;

/// How often a key is looked at again that was given up between the claim and the look.
const LOOKS: u32 = 5;

pub(crate) struct SqliteIdempotency {
    pub(crate) database: Database,
}

#[derive(sqlx::FromRow)]
struct UsedRow {
    request: String,
    status: Option<i64>,
    headers: Option<String>,
    body: Option<String>,
}

impl UsedRow {
    /// What a claim for `request` on this row comes to.
    fn answer(self, digest: &str, request: &str) -> Result<Claimed, StoreError> {
        let Self { request: used_for, status, headers, body } = self;
        if used_for != request {
            return Ok(Claimed::Other);
        }
        let Some((status, headers)) = status.zip(headers) else { return Ok(Claimed::Running) };
        let corrupt = |source: agentex_domain::ports::BoxError| StoreError::Corrupt {
            table: "idempotency_keys",
            id: digest.to_owned(),
            source,
        };
        let status = u16::try_from(status).map_err(|error| corrupt(error.into()))?;
        let headers = serde_json::from_str(&headers).map_err(|error| corrupt(error.into()))?;
        Ok(Claimed::Answered(StoredAnswer { status, headers, body }))
    }
}

#[async_trait]
impl IdempotencyRepository for SqliteIdempotency {
    #[tracing::instrument(name = "db.idempotency.claim", level = "debug", skip_all)]
    async fn claim(&self, claim: &IdempotencyClaim) -> Result<Claimed, StoreError> {
        let IdempotencyClaim { digest, request, holder, at, lease_until, expires_at } = claim;
        for _ in 0..LOOKS {
            let granted = sqlx::query(
                r#"
                INSERT INTO idempotency_keys (digest, request, holder, lease_until, created_at, expires_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                    ON CONFLICT (digest) DO UPDATE
                   SET request = excluded.request, holder = excluded.holder, lease_until = excluded.lease_until,
                       created_at = excluded.created_at, expires_at = excluded.expires_at, status = NULL, headers = NULL,
                       body = NULL
                 WHERE idempotency_keys.expires_at <= ?5
                    OR (idempotency_keys.status IS NULL
                        AND idempotency_keys.lease_until <= ?5
                        AND idempotency_keys.request = ?2)
                "#,
            )
            .bind(digest)
            .bind(request)
            .bind(holder)
            .bind(lease_until.as_micros())
            .bind(at.as_micros())
            .bind(expires_at.as_micros())
            .execute(&self.database.writer)
            .await
            .map_err(store_error("idempotency key"))?;
            if granted.rows_affected() > 0 {
                return Ok(Claimed::Granted);
            }
            let used: Option<UsedRow> =
                sqlx::query_as("SELECT request, status, headers, body FROM idempotency_keys WHERE digest = ?1")
                    .bind(digest)
                    .fetch_optional(&self.database.readers)
                    .await
                    .map_err(store_error("idempotency key"))?;
            if let Some(used) = used {
                return used.answer(digest, request);
            }
        }
        Err(StoreError::Unavailable("the key changed hands too often".into()))
    }

    #[tracing::instrument(name = "db.idempotency.renew", level = "debug", skip_all)]
    async fn renew(&self, digest: &str, holder: &str, lease_until: Timestamp) -> Result<bool, StoreError> {
        let renewed = sqlx::query(
            "UPDATE idempotency_keys SET lease_until = ?3 WHERE digest = ?1 AND holder = ?2 AND status IS NULL",
        )
        .bind(digest)
        .bind(holder)
        .bind(lease_until.as_micros())
        .execute(&self.database.writer)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(renewed.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.idempotency.finish", level = "debug", skip_all)]
    async fn finish(&self, digest: &str, holder: &str, answer: &StoredAnswer) -> Result<bool, StoreError> {
        let StoredAnswer { status, headers, body } = answer;
        let finished = sqlx::query(
            r#"
            UPDATE idempotency_keys
               SET status = ?3, headers = ?4, body = ?5
             WHERE digest = ?1
               AND holder = ?2
               AND status IS NULL
            "#,
        )
        .bind(digest)
        .bind(holder)
        .bind(i64::from(*status))
        .bind(json_text(headers))
        .bind(body)
        .execute(&self.database.writer)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(finished.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.idempotency.release", level = "debug", skip_all)]
    async fn release(&self, digest: &str, holder: &str) -> Result<bool, StoreError> {
        let released = sqlx::query("DELETE FROM idempotency_keys WHERE digest = ?1 AND holder = ?2 AND status IS NULL")
            .bind(digest)
            .bind(holder)
            .execute(&self.database.writer)
            .await
            .map_err(store_error("idempotency key"))?;
        Ok(released.rows_affected() > 0)
    }

    #[tracing::instrument(name = "db.idempotency.purge", level = "debug", skip_all)]
    async fn purge(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let purged = sqlx::query(
            r#"
            DELETE FROM idempotency_keys
             WHERE rowid IN (SELECT rowid FROM idempotency_keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
            "#,
        )
        .bind(now.as_micros())
        .bind(i64::from(limit))
        .execute(&self.database.writer)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(purged.rows_affected())
    }
}
