use agentex_authz::ResourceRef;
use agentex_domain::ports::{ApiKeyFilter, ApiKeyRepository, Departure, InternalKey, KeyOwner, Settlement, StoreError};
use agentex_domain::{AgentId, ApiKey, ApiKeyId, ApiKeyKind, Intent, PageRequest, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, Postgres, QueryBuilder};

use crate::error::{Unreadable, constraint, corrupt, nothing_if_unstorable, retry, store_error};
use crate::labels;
use crate::lifecycle::{depart, settle};
use crate::ordering::{push_page, push_scope};
use crate::store::Pools;
use crate::transaction::begin;

/// What is said to exist already when the name and kind are taken.
const NAME: &str = "api key";
/// What is said to exist already when the digest is known.
const VALUE: &str = "api key value";

/// The columns of [`ApiKeyRow`], of the table called `k`. A literal, so that statements stay constants.
macro_rules! key_columns {
    () => {
        "k.id, k.agent_id, k.name, k.api_key_type::text AS kind, k.api_key AS sealed, k.api_key_digest AS digest,
         COALESCE(k.created_at, 'epoch') AS created_at"
    };
}

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
    pools: Pools,
}

impl PgApiKeys {
    pub(crate) const fn new(pools: Pools) -> Self {
        Self { pools }
    }

    /// Whoever locks the agent first stores its key; the others find it once they have the lock.
    async fn insert_internal_unless_there(
        &self,
        candidate: &ApiKey,
        settles: Option<&Settlement>,
    ) -> Result<InternalKey, StoreError> {
        let mut transaction = begin(&self.pools.primary).await.map_err(store_error(NAME))?;
        let agent: Option<String> = sqlx::query_scalar(
            "SELECT id
               FROM agents
              WHERE id = $1 AND status <> 'DELETED'
                FOR NO KEY UPDATE",
        )
        .bind(candidate.agent_id.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        if agent.is_none() {
            return Err(StoreError::Dangling { what: NAME });
        }
        if let Some(key) = newest_internal(&mut *transaction, &candidate.agent_id).await? {
            return Ok(InternalKey { key, stored: false });
        }
        write(&mut transaction, candidate).await?;
        settle(&mut transaction, settles).await?;
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(InternalKey { key: candidate.clone(), stored: true })
    }

    /// The lock on the agent makes this wait for somebody who is deleting it, and them wait for this.
    async fn insert_once(&self, key: &ApiKey, settles: Option<&Settlement>) -> Result<(), StoreError> {
        let mut transaction = begin(&self.pools.primary).await.map_err(store_error(NAME))?;
        let agent: Option<String> = sqlx::query_scalar(
            "SELECT id
               FROM agents
              WHERE id = $1 AND status <> 'DELETED'
                FOR SHARE",
        )
        .bind(key.agent_id.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        if agent.is_none() {
            return Err(StoreError::Dangling { what: NAME });
        }
        write(&mut transaction, key).await?;
        settle(&mut transaction, settles).await?;
        transaction.commit().await.map_err(store_error(NAME))
    }

    async fn delete_once(
        &self,
        id: &ApiKeyId,
        at: Timestamp,
        departure: Option<&Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError> {
        let mut transaction = begin(&self.pools.primary).await.map_err(store_error(NAME))?;
        let deleted = sqlx::query("DELETE FROM agent_api_keys WHERE id = $1").bind(id.as_str());
        let deleted = deleted.execute(&mut *transaction).await.map_err(store_error(NAME))?;
        if deleted.rows_affected() == 0 {
            return Ok(None);
        }
        let intents = depart(&mut transaction, &[ResourceRef::api_key(id.as_str())], at, departure).await?;
        transaction.commit().await.map_err(store_error(NAME))?;
        Ok(Some(intents))
    }
}

#[async_trait]
impl ApiKeyRepository for PgApiKeys {
    #[tracing::instrument(level = "debug", name = "db.api_key.internal", skip_all, fields(agent.id = %agent_id))]
    async fn internal_key(&self, agent_id: &AgentId) -> Result<Option<ApiKey>, StoreError> {
        newest_internal(&self.pools.primary, agent_id).await
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.internal_or_insert", skip_all, fields(key.id = %candidate.id))]
    async fn internal_key_or_insert(
        &self,
        candidate: &ApiKey,
        settles: Option<Settlement>,
    ) -> Result<InternalKey, StoreError> {
        // Nearly every caller registers again and has a key, so look before locking.
        if let Some(key) = newest_internal(&self.pools.primary, &candidate.agent_id).await? {
            return Ok(InternalKey { key, stored: false });
        }
        let attempt = || self.insert_internal_unless_there(candidate, settles.as_ref());
        match retry(attempt).await {
            // A writer that does not lock agents was faster: its key is an internal one, so it is the agent's now. This
            // is also why no suffix is ever needed here.
            Err(StoreError::Duplicate { what: NAME }) => retry(attempt).await,
            outcome => outcome,
        }
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.insert", skip_all, fields(key.id = %key.id))]
    async fn insert(&self, key: &ApiKey, settles: Option<Settlement>) -> Result<(), StoreError> {
        retry(|| self.insert_once(key, settles.as_ref())).await
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.find", skip_all, fields(key.id = %id))]
    async fn find(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let row = sqlx::query_as::<_, ApiKeyRow>(concat!(
            "SELECT ",
            key_columns!(),
            " FROM agent_api_keys k
              WHERE k.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(&self.pools.primary)
        .await;
        nothing_if_unstorable(row).map_err(store_error(NAME))?.map(read_key).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.find_by_name", skip_all, fields(agent.id = %agent_id))]
    async fn find_by_name(
        &self,
        agent_id: &AgentId,
        name: &str,
        kind: ApiKeyKind,
    ) -> Result<Option<ApiKey>, StoreError> {
        let row = sqlx::query_as::<_, ApiKeyRow>(concat!(
            "SELECT ",
            key_columns!(),
            " FROM agent_api_keys k
              WHERE k.agent_id = $1 AND k.name = $2 AND k.api_key_type = $3::agentapikeytype"
        ))
        .bind(agent_id.as_str())
        .bind(name)
        .bind(labels::key_kind(kind))
        .fetch_optional(&self.pools.primary)
        .await;
        nothing_if_unstorable(row).map_err(store_error(NAME))?.map(read_key).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.list", skip_all)]
    async fn list(&self, filter: &ApiKeyFilter, page: PageRequest) -> Result<Vec<ApiKey>, StoreError> {
        let ApiKeyFilter { scope, agent_id, kind } = filter;
        if scope.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = QueryBuilder::<Postgres>::new(concat!(
            "SELECT ",
            key_columns!(),
            " FROM agent_api_keys k
              WHERE k.agent_id = "
        ));
        query.push_bind(agent_id.as_str());
        if let Some(kind) = kind {
            query.push(" AND k.api_key_type = ").push_bind(labels::key_kind(*kind)).push("::agentapikeytype");
        }
        push_scope(&mut query, "k.id", scope);
        query.push(" ORDER BY k.created_at NULLS FIRST, k.id");
        push_page(&mut query, page);
        let rows = query.build_query_as::<ApiKeyRow>().fetch_all(&self.pools.reader).await;
        nothing_if_unstorable(rows).map_err(store_error(NAME))?.into_iter().map(read_key).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.delete", skip_all, fields(key.id = %id))]
    async fn delete(
        &self,
        id: &ApiKeyId,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError> {
        retry(|| self.delete_once(id, at, departure.as_ref())).await
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
        .fetch_optional(&self.pools.primary)
        .await;
        let owner = nothing_if_unstorable(owner).map_err(store_error(NAME))?;
        Ok(owner.map(|id| KeyOwner { agent_id: id.into() }))
    }

    #[tracing::instrument(level = "debug", name = "db.api_key.has_external", skip_all, fields(agent.id = %agent_id))]
    async fn has_external(&self, agent_id: &AgentId, digest: &str, clear: &str) -> Result<bool, StoreError> {
        let has = sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT 1
                   FROM agent_api_keys k
                   JOIN agents a ON a.id = k.agent_id
                  WHERE k.agent_id = $1
                    AND k.api_key_type = 'EXTERNAL'
                    AND (k.api_key_digest = $2 OR (k.api_key_digest IS NULL AND k.api_key = $3))
                    AND a.status <> 'DELETED'
             )",
        )
        .bind(agent_id.as_str())
        .bind(digest)
        .bind(clear)
        .fetch_one(&self.pools.primary)
        .await;
        nothing_if_unstorable(has).map_err(store_error(NAME))
    }
}

async fn write(transaction: &mut PgConnection, key: &ApiKey) -> Result<(), StoreError> {
    let ApiKey { id, agent_id, name, kind, sealed, digest, created_at } = key;
    sqlx::query(
        "INSERT INTO agent_api_keys (id, agent_id, created_at, name, api_key_type, api_key, api_key_digest)
         VALUES ($1, $2, $3, $4, $5::agentapikeytype, $6, $7)",
    )
    .bind(id.as_str())
    .bind(agent_id.as_str())
    .bind(created_at.as_datetime())
    .bind(name)
    .bind(labels::key_kind(*kind))
    .bind(sealed)
    .bind(digest)
    .execute(transaction)
    .await
    .map_err(|error| {
        let same_value = constraint(&error) == Some("uq_agent_api_keys_api_key_digest");
        store_error(if same_value { VALUE } else { NAME })(error)
    })?;
    Ok(())
}

async fn newest_internal(executor: impl PgExecutor<'_>, agent_id: &AgentId) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query_as::<_, ApiKeyRow>(concat!(
        "SELECT ",
        key_columns!(),
        " FROM agent_api_keys k
          WHERE k.agent_id = $1 AND k.api_key_type = 'INTERNAL'
          ORDER BY k.created_at DESC NULLS LAST, k.id DESC
          LIMIT 1"
    ))
    .bind(agent_id.as_str())
    .fetch_optional(executor)
    .await;
    nothing_if_unstorable(row).map_err(store_error(NAME))?.map(read_key).transpose()
}
