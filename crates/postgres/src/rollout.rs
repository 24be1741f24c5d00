use agentex_authz::router::{RolloutFlags, RolloutStore, RolloutStoreError};
use agentex_domain::ports::StoreError;
use async_trait::async_trait;
use sqlx::PgPool;

use crate::error::{nothing_if_unstorable, store_error};

/// Flags of accounts in the table `authz_rollout`. On the primary, because a flag that was just set counts.
pub(crate) struct PgRollout {
    pool: PgPool,
}

impl PgRollout {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[derive(sqlx::FromRow)]
struct RolloutRow {
    account_id: String,
    dual_write: bool,
    read: bool,
}

impl From<RolloutRow> for (String, RolloutFlags) {
    fn from(row: RolloutRow) -> Self {
        let RolloutRow { account_id, dual_write, read } = row;
        (account_id, RolloutFlags { dual_write, read })
    }
}

#[async_trait]
impl RolloutStore for PgRollout {
    #[tracing::instrument(level = "debug", name = "db.rollout.flags", skip_all)]
    async fn flags(&self, account: &str) -> Result<Option<RolloutFlags>, RolloutStoreError> {
        let row = sqlx::query_as::<_, RolloutRow>(
            "SELECT account_id, dual_write, read
               FROM authz_rollout
              WHERE account_id = $1",
        )
        .bind(account)
        .fetch_optional(&self.pool)
        .await;
        let row = nothing_if_unstorable(row).map_err(failed)?;
        Ok(row.map(|row| <(String, RolloutFlags)>::from(row).1))
    }

    #[tracing::instrument(level = "debug", name = "db.rollout.set", skip_all)]
    async fn set(&self, account: &str, flags: RolloutFlags) -> Result<(), RolloutStoreError> {
        if !flags.is_valid() || account.is_empty() || account.contains('\0') {
            return Err(RolloutStoreError::Invalid);
        }
        let RolloutFlags { dual_write, read } = flags;
        sqlx::query(
            "INSERT INTO authz_rollout AS r (account_id, dual_write, read)
             VALUES ($1, $2, $3)
                 ON CONFLICT (account_id)
                 DO UPDATE SET dual_write = EXCLUDED.dual_write, read = EXCLUDED.read, updated_at = now()
              WHERE (r.dual_write, r.read) <> (EXCLUDED.dual_write, EXCLUDED.read)",
        )
        .bind(account)
        .bind(dual_write)
        .bind(read)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    #[tracing::instrument(level = "debug", name = "db.rollout.list", skip_all)]
    async fn list(&self) -> Result<Vec<(String, RolloutFlags)>, RolloutStoreError> {
        let rows = sqlx::query_as::<_, RolloutRow>(
            "SELECT account_id, dual_write, read
               FROM authz_rollout
              ORDER BY account_id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        Ok(rows.into_iter().map(Into::into).collect())
    }
}

fn failed(error: sqlx::Error) -> RolloutStoreError {
    match store_error("rollout")(error) {
        StoreError::Unavailable(source) => RolloutStoreError::Unavailable(source),
        other => RolloutStoreError::Failed(other.into()),
    }
}
