use agentex_domain::Timestamp;
use agentex_domain::ports::{Claimed, IdempotencyClaim, IdempotencyRepository, StoreError, StoredAnswer};
use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::error::{corrupt, retry, store_error};

/// How often a key is looked at again that was given up between the claim and the look.
const LOOKS: u32 = 5;

#[derive(sqlx::FromRow)]
struct UsedRow {
    request: String,
    status: Option<i32>,
    headers: Option<Json<Vec<(String, String)>>>,
    body: Option<String>,
}

impl UsedRow {
    /// What a claim for `request` on this row comes to.
    fn answer(self, digest: &str, request: &str) -> Result<Claimed, StoreError> {
        let Self { request: used_for, status, headers, body } = self;
        if used_for != request {
            return Ok(Claimed::Other);
        }
        let Some((status, Json(headers))) = status.zip(headers) else { return Ok(Claimed::Running) };
        let status = u16::try_from(status).map_err(|error| corrupt("idempotency_keys", digest, error))?;
        Ok(Claimed::Answered(StoredAnswer { status, headers, body }))
    }
}

/// Idempotency keys in the table `idempotency_keys`.
pub(crate) struct PgIdempotency {
    pool: PgPool,
}

impl PgIdempotency {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn take(&self, claim: &IdempotencyClaim) -> Result<bool, StoreError> {
        let IdempotencyClaim { digest, request, holder, at, lease_until, expires_at } = claim;
        let granted = sqlx::query(
            "INSERT INTO idempotency_keys AS used (digest, request, holder, lease_until, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (digest) DO UPDATE
                SET request = excluded.request, holder = excluded.holder, lease_until = excluded.lease_until,
                    created_at = excluded.created_at, expires_at = excluded.expires_at, status = NULL, headers = NULL,
                    body = NULL
              WHERE used.expires_at <= $5
                 OR (used.status IS NULL AND used.lease_until <= $5 AND used.request = $2)",
        )
        .bind(digest)
        .bind(request)
        .bind(holder)
        .bind(lease_until.as_datetime())
        .bind(at.as_datetime())
        .bind(expires_at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(granted.rows_affected() > 0)
    }
}

#[async_trait]
impl IdempotencyRepository for PgIdempotency {
    #[tracing::instrument(level = "debug", name = "db.idempotency.claim", skip_all)]
    async fn claim(&self, claim: &IdempotencyClaim) -> Result<Claimed, StoreError> {
        for _ in 0..LOOKS {
            if retry(|| self.take(claim)).await? {
                return Ok(Claimed::Granted);
            }
            let used = sqlx::query_as::<_, UsedRow>(
                "SELECT request, status, headers, body
                   FROM idempotency_keys
                  WHERE digest = $1",
            )
            .bind(&claim.digest)
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error("idempotency key"))?;
            if let Some(used) = used {
                return used.answer(&claim.digest, &claim.request);
            }
        }
        Err(StoreError::Unavailable("the key changed hands too often".into()))
    }

    #[tracing::instrument(level = "debug", name = "db.idempotency.renew", skip_all)]
    async fn renew(&self, digest: &str, holder: &str, lease_until: Timestamp) -> Result<bool, StoreError> {
        let renewed = sqlx::query(
            "UPDATE idempotency_keys
                SET lease_until = $3
              WHERE digest = $1 AND holder = $2 AND status IS NULL",
        )
        .bind(digest)
        .bind(holder)
        .bind(lease_until.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(renewed.rows_affected() > 0)
    }

    #[tracing::instrument(level = "debug", name = "db.idempotency.finish", skip_all)]
    async fn finish(&self, digest: &str, holder: &str, answer: &StoredAnswer) -> Result<bool, StoreError> {
        let StoredAnswer { status, headers, body } = answer;
        let finished = sqlx::query(
            "UPDATE idempotency_keys
                SET status = $3, headers = $4, body = $5
              WHERE digest = $1 AND holder = $2 AND status IS NULL",
        )
        .bind(digest)
        .bind(holder)
        .bind(i32::from(*status))
        .bind(Json(headers))
        .bind(body)
        .execute(&self.pool)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(finished.rows_affected() > 0)
    }

    #[tracing::instrument(level = "debug", name = "db.idempotency.release", skip_all)]
    async fn release(&self, digest: &str, holder: &str) -> Result<bool, StoreError> {
        let released = sqlx::query(
            "DELETE FROM idempotency_keys
              WHERE digest = $1 AND holder = $2 AND status IS NULL",
        )
        .bind(digest)
        .bind(holder)
        .execute(&self.pool)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(released.rows_affected() > 0)
    }

    /// Rows that somebody is claiming at this moment are left to the next call.
    #[tracing::instrument(level = "debug", name = "db.idempotency.purge", skip_all)]
    async fn purge(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let purged = sqlx::query(
            "DELETE FROM idempotency_keys
              WHERE digest IN (SELECT digest
                                 FROM idempotency_keys
                                WHERE expires_at <= $1
                                ORDER BY expires_at
                                LIMIT $2
                                  FOR UPDATE SKIP LOCKED)",
        )
        .bind(now.as_datetime())
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await
        .map_err(store_error("idempotency key"))?;
        Ok(purged.rows_affected())
    }
}
