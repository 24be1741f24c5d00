use agentex_domain::ports::{ApiKeyRepository, KeyOwner, StoreError};
use agentex_domain::{AgentId, ApiKey, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use crate::error::{Unreadable, corrupt, nothing_if_unstorable, retry, store_error};
use crate::labels;

#[derive(sqlx::FromRow)]
pub(crate) struct ApiKeyRow {
    pub(crate) id: String,
    pub(crate) agent_id: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) sealed: String,
    pub(crate) digest: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

pub(crate) fn read_key(row: ApiKeyRow) -> Result<ApiKey, StoreError> {
    let ApiKeyRow { id, agent_id, name, kind, sealed, digest, created_at } = row;
    Ok(ApiKey {
        kind: labels::read_key_kind(&kind)
            .ok_or_else(|| corrupt("agent_api_keys", &id, Unreadable { column: "api_key_type" }))?,
        id: id.into(),
        agent_id: agent_id.into(),
        name,
        sealed,
        digest,
        created_at: Timestamp::new(created_at),
    })
}

/// API keys in the table `agent_api_keys`.
pub(crate) struct PgApiKeys {
    pool: PgPool,
}

impl PgApiKeys {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Whoever locks the agent first stores its key; the others find it once they have the lock.
    async fn insert_unless_there(&self, candidate: &ApiKey) -> Result<ApiKey, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(store_error("api key"))?;
        let agent: Option<String> = sqlx::query_scalar("SELECT id FROM agents WHERE id = $1 FOR NO KEY UPDATE")
            .bind(candidate.agent_id.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error("api key"))?;
        if agent.is_none() {
            return Err(StoreError::Dangling { what: "api key" });
        }
        if let Some(key) = newest_internal(&mut *transaction, &candidate.agent_id).await? {
            return Ok(key);
        }
        sqlx::query(
            "INSERT INTO agent_api_keys (id, agent_id, created_at, name, api_key_type, api_key, api_key_digest)
             VALUES ($1, $2, $3, $4, $5::agentapikeytype, $6, $7)",
        )
        .bind(candidate.id.as_str())
        .bind(candidate.agent_id.as_str())
        .bind(candidate.created_at.as_datetime())
        .bind(&candidate.name)
        .bind(labels::key_kind(candidate.kind))
        .bind(&candidate.sealed)
        .bind(&candidate.digest)
        .execute(&mut *transaction)
        .await
        .map_err(store_error("api key"))?;
        transaction.commit().await.map_err(store_error("api key"))?;
        Ok(candidate.clone())
    }
}

#[async_trait]
impl ApiKeyRepository for PgApiKeys {
    #[tracing::instrument(level = "debug", name = "db.api_key.internal", skip_all, fields(key.id = %candidate.id))]
    async fn internal_key_or_insert(&self, candidate: &ApiKey) -> Result<ApiKey, StoreError> {
        // Nearly every caller registers again and has a key, so look before locking.
        if let Some(key) = newest_internal(&self.pool, &candidate.agent_id).await? {
            return Ok(key);
        }
        retry(|| self.insert_unless_there(candidate)).await
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.find_internal_owner", skip_all)]
    async fn find_internal_owner(&self, digest: &str, clear: &str) -> Result<Option<KeyOwner>, StoreError> {
        let owner = sqlx::query_scalar::<_, String>(
            "SELECT a.id
               FROM agent_api_keys k
               JOIN agents a ON a.id = k.agent_id
              WHERE k.api_key_type = 'INTERNAL'
                AND (k.api_key_digest = $1 OR (k.api_key_digest IS NULL AND k.api_key = $2))
                AND a.status <> 'DELETED'
              ORDER BY k.created_at DESC NULLS LAST, k.id DESC
              LIMIT 1",
        )
        .bind(digest)
        .bind(clear)
        .fetch_optional(&self.pool)
        .await;
        let owner = nothing_if_unstorable(owner).map_err(store_error("api key"))?;
        Ok(owner.map(|id| KeyOwner { agent_id: id.into() }))
    }
}

async fn newest_internal(executor: impl PgExecutor<'_>, agent_id: &AgentId) -> Result<Option<ApiKey>, StoreError> {
    sqlx::query_as::<_, ApiKeyRow>(
        "SELECT id, agent_id, name, api_key_type::text AS kind, api_key AS sealed, api_key_digest AS digest,
                COALESCE(created_at, 'epoch') AS created_at
           FROM agent_api_keys
          WHERE agent_id = $1 AND api_key_type = 'INTERNAL'
          ORDER BY agent_api_keys.created_at DESC NULLS LAST, id DESC
          LIMIT 1",
    )
    .bind(agent_id.as_str())
    .fetch_optional(executor)
    .await
    .map_err(store_error("api key"))?
    .map(read_key)
    .transpose()
}
