use agentex_domain::ApiKey;
use agentex_domain::ports::{ApiKeyRepository, KeyOwner, StoreError};
use async_trait::async_trait;

use crate::database::Database;
use crate::error::store_error;
use crate::rows::{ApiKeyRow, api_key_columns};

pub(crate) struct SqliteApiKeys {
    pub(crate) database: Database,
}

#[async_trait]
impl ApiKeyRepository for SqliteApiKeys {
    #[tracing::instrument(
        name = "db.api_key.internal_or_insert",
        level = "debug",
        skip_all,
        fields(agent.id = %candidate.agent_id)
    )]
    async fn internal_key_or_insert(&self, candidate: &ApiKey) -> Result<ApiKey, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("api key"))?;
        let newest: Option<ApiKeyRow> = sqlx::query_as(concat!(
            "SELECT ",
            api_key_columns!(),
            r#"
              FROM agent_api_keys
             WHERE agent_api_keys.agent_id = ?1
               AND agent_api_keys.api_key_type = 'internal'
             ORDER BY agent_api_keys.created_at DESC, agent_api_keys.id DESC
             LIMIT 1
            "#
        ))
        .bind(candidate.agent_id.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error("api key"))?;
        if let Some(row) = newest {
            return row.try_into();
        }

        let ApiKey { id, agent_id, name, kind, sealed, digest, created_at } = candidate;
        sqlx::query(
            r#"
            INSERT INTO agent_api_keys (id, agent_id, name, api_key_type, api_key, api_key_digest, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            "#,
        )
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .bind(name)
        .bind(kind.as_str())
        .bind(sealed)
        .bind(digest)
        .bind(created_at.as_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error("api key"))?;
        transaction.commit().await.map_err(store_error("api key"))?;
        Ok(candidate.clone())
    }

    #[tracing::instrument(name = "db.api_key.find_internal_owner", level = "debug", skip_all)]
    async fn find_internal_owner(&self, digest: &str, clear: &str) -> Result<Option<KeyOwner>, StoreError> {
        let owner: Option<String> = sqlx::query_scalar(
            r#"
            SELECT agent_api_keys.agent_id
              FROM agent_api_keys
              JOIN agents
                ON agents.id = agent_api_keys.agent_id
             WHERE (agent_api_keys.api_key_digest = ?1
                    OR (agent_api_keys.api_key_digest IS NULL AND agent_api_keys.api_key = ?2))
               AND agent_api_keys.api_key_type = 'internal'
               AND agents.status <> 'Deleted'
             ORDER BY agent_api_keys.created_at DESC, agent_api_keys.id DESC
             LIMIT 1
            "#,
        )
        .bind(digest)
        .bind(clear)
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("api key"))?;

        Ok(owner.map(|agent_id| KeyOwner { agent_id: agent_id.into() }))
    }
}
