use agentex_authz::router::{RolloutFlags, RolloutStore, RolloutStoreError};
use agentex_domain::ports::StoreError;
use async_trait::async_trait;

use crate::database::Database;
use crate::error::store_error;

pub(crate) struct SqliteRollout {
    pub(crate) database: Database,
}

#[async_trait]
impl RolloutStore for SqliteRollout {
    #[tracing::instrument(name = "db.rollout.flags", level = "debug", skip_all)]
    async fn flags(&self, account: &str) -> Result<Option<RolloutFlags>, RolloutStoreError> {
        let flags: Option<(bool, bool)> =
            sqlx::query_as("SELECT dual_write, read FROM authz_rollout WHERE account_id = ?1")
                .bind(account)
                .fetch_optional(&self.database.readers)
                .await
                .map_err(failed)?;
        Ok(flags.map(|(dual_write, read)| RolloutFlags { dual_write, read }))
    }

    #[tracing::instrument(name = "db.rollout.set", level = "debug", skip_all)]
    async fn set(&self, account: &str, flags: RolloutFlags) -> Result<(), RolloutStoreError> {
        if !flags.is_valid() || account.is_empty() || account.contains('\0') {
            return Err(RolloutStoreError::Invalid);
        }
        // The time is for people who look into the file; nothing is decided by it.
        sqlx::query(
            r#"
            INSERT INTO authz_rollout (account_id, dual_write, read, updated_at)
            VALUES (?1, ?2, ?3, CAST(unixepoch('subsec') * 1000000 AS INTEGER))
                ON CONFLICT (account_id) DO UPDATE
               SET dual_write = excluded.dual_write, read = excluded.read, updated_at = excluded.updated_at
             WHERE (authz_rollout.dual_write, authz_rollout.read) IS NOT (excluded.dual_write, excluded.read)
            "#,
        )
        .bind(account)
        .bind(flags.dual_write)
        .bind(flags.read)
        .execute(&self.database.writer)
        .await
        .map_err(failed)?;
        Ok(())
    }

    #[tracing::instrument(name = "db.rollout.list", level = "debug", skip_all)]
    async fn list(&self) -> Result<Vec<(String, RolloutFlags)>, RolloutStoreError> {
        let rows: Vec<(String, bool, bool)> =
            sqlx::query_as("SELECT account_id, dual_write, read FROM authz_rollout ORDER BY account_id")
                .fetch_all(&self.database.readers)
                .await
                .map_err(failed)?;
        Ok(rows.into_iter().map(|(account, dual_write, read)| (account, RolloutFlags { dual_write, read })).collect())
    }
}

fn failed(error: sqlx::Error) -> RolloutStoreError {
    match store_error("rollout")(error) {
        StoreError::Unavailable(source) => RolloutStoreError::Unavailable(source),
        other => RolloutStoreError::Failed(other.into()),
    }
}
