use agentex_authz::ResourceRef;
use agentex_domain::ports::{ApiKeyFilter, ApiKeyRepository, Departure, InternalKey, KeyOwner, Settlement, StoreError};
use agentex_domain::{AgentId, ApiKey, ApiKeyId, ApiKeyKind, Intent, PageRequest, Timestamp};
use async_trait::async_trait;
use sqlx::{QueryBuilder, SqliteConnection, SqliteExecutor};

use crate::database::{Database, push_page, push_scope};
use crate::error::store_error;
use crate::lifecycle::{depart, settle};
use crate::rows::{ApiKeyRow, api_key_columns};

pub(crate) struct SqliteApiKeys {
    pub(crate) database: Database,
}

/// A key of a deleted agent would be good again once the agent comes back.
async fn require_live(connection: &mut SqliteConnection, agent_id: &AgentId) -> Result<(), StoreError> {
    let lives: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM agents WHERE id = ?1 AND status <> 'Deleted')")
        .bind(agent_id.as_str())
        .fetch_one(connection)
        .await
        .map_err(store_error("agent"))?;
    if lives { Ok(()) } else { Err(StoreError::Dangling { what: "api key" }) }
}

#[async_trait]
impl ApiKeyRepository for SqliteApiKeys {
    #[tracing::instrument(name = "db.api_key.internal", level = "debug", skip_all, fields(agent.id = %agent_id))]
    async fn internal_key(&self, agent_id: &AgentId) -> Result<Option<ApiKey>, StoreError> {
        newest_internal(&self.database.readers, agent_id).await
    }

    #[tracing::instrument(
        name = "db.api_key.internal_or_insert",
        level = "debug",
        skip_all,
        fields(agent.id = %candidate.agent_id)
    )]
    async fn internal_key_or_insert(
        &self,
        candidate: &ApiKey,
        settles: Option<Settlement>,
    ) -> Result<InternalKey, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("api key"))?;
        if let Some(key) = newest_internal(&mut *transaction, &candidate.agent_id).await? {
            return Ok(InternalKey { key, stored: false });
        }

        require_live(&mut transaction, &candidate.agent_id).await?;
        // No name can be taken: the agent has no internal key, and nobody else writes before this commits.
        insert_key(&mut transaction, candidate).await?;
        if let Some(settlement) = &settles {
            settle(&mut transaction, settlement).await?;
        }
        transaction.commit().await.map_err(store_error("api key"))?;
        Ok(InternalKey { key: candidate.clone(), stored: true })
    }

    #[tracing::instrument(name = "db.api_key.insert", level = "debug", skip_all, fields(agent.id = %key.agent_id))]
    async fn insert(&self, key: &ApiKey, settles: Option<Settlement>) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("api key"))?;
        require_live(&mut transaction, &key.agent_id).await?;
        insert_key(&mut transaction, key).await?;
        if let Some(settlement) = &settles {
            settle(&mut transaction, settlement).await?;
        }
        transaction.commit().await.map_err(store_error("api key"))
    }

    #[tracing::instrument(name = "db.api_key.find", level = "debug", skip_all, fields(api_key.id = %id))]
    async fn find(&self, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<ApiKeyRow> =
            sqlx::query_as(concat!("SELECT ", api_key_columns!(), " FROM agent_api_keys WHERE agent_api_keys.id = ?1"))
                .bind(id.as_str())
                .fetch_optional(&self.database.readers)
                .await
                .map_err(store_error("api key"))?;

        row.map(ApiKey::try_from).transpose()
    }

    #[tracing::instrument(name = "db.api_key.find_by_name", level = "debug", skip_all, fields(agent.id = %agent_id))]
    async fn find_by_name(
        &self,
        agent_id: &AgentId,
        name: &str,
        kind: ApiKeyKind,
    ) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<ApiKeyRow> = sqlx::query_as(concat!(
            "SELECT ",
            api_key_columns!(),
            r#"
              FROM agent_api_keys
             WHERE agent_api_keys.agent_id = ?1
               AND agent_api_keys.name = ?2
               AND agent_api_keys.api_key_type = ?3
            "#
        ))
        .bind(agent_id.as_str())
        .bind(name)
        .bind(kind.as_str())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("api key"))?;

        row.map(ApiKey::try_from).transpose()
    }

    #[tracing::instrument(name = "db.api_key.list", level = "debug", skip_all, fields(agent.id = %filter.agent_id))]
    async fn list(&self, filter: &ApiKeyFilter, page: PageRequest) -> Result<Vec<ApiKey>, StoreError> {
        let ApiKeyFilter { scope, agent_id, kind } = filter;
        if scope.is_empty() {
            return Ok(Vec::new());
        }

        let mut query = QueryBuilder::new(concat!(
            "SELECT ",
            api_key_columns!(),
            " FROM agent_api_keys WHERE agent_api_keys.agent_id = "
        ));
        query.push_bind(agent_id.as_str());
        push_scope(&mut query, "agent_api_keys.id", scope);
        if let Some(kind) = kind {
            query.push(" AND agent_api_keys.api_key_type = ").push_bind(kind.as_str());
        }
        query.push(" ORDER BY agent_api_keys.created_at, agent_api_keys.id");
        push_page(&mut query, page);

        let rows: Vec<ApiKeyRow> =
            query.build_query_as().fetch_all(&self.database.readers).await.map_err(store_error("api key"))?;
        rows.into_iter().map(ApiKey::try_from).collect()
    }

    #[tracing::instrument(name = "db.api_key.delete", level = "debug", skip_all, fields(api_key.id = %id))]
    async fn delete(
        &self,
        id: &ApiKeyId,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Vec<Intent>>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("api key"))?;
        let deleted = sqlx::query("DELETE FROM agent_api_keys WHERE id = ?1")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("api key"))?;
        if deleted.rows_affected() == 0 {
            return Ok(None);
        }

        let intent = depart(&mut transaction, ResourceRef::api_key(id.as_str()), at, departure.as_ref()).await?;
        transaction.commit().await.map_err(store_error("api key"))?;
        Ok(Some(intent.into_iter().collect()))
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

    #[tracing::instrument(name = "db.api_key.has_external", level = "debug", skip_all, fields(agent.id = %agent_id))]
    async fn has_external(&self, agent_id: &AgentId, digest: &str, clear: &str) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            r#"
            SELECT EXISTS (
                   SELECT 1
                     FROM agent_api_keys
                     JOIN agents
                       ON agents.id = agent_api_keys.agent_id
                    WHERE (agent_api_keys.api_key_digest = ?2
                           OR (agent_api_keys.api_key_digest IS NULL AND agent_api_keys.api_key = ?3))
                      AND agent_api_keys.agent_id = ?1
                      AND agent_api_keys.api_key_type = 'external'
                      AND agents.status <> 'Deleted')
            "#,
        )
        .bind(agent_id.as_str())
        .bind(digest)
        .bind(clear)
        .fetch_one(&self.database.readers)
        .await
        .map_err(store_error("api key"))
    }
}

async fn newest_internal(executor: impl SqliteExecutor<'_>, agent_id: &AgentId) -> Result<Option<ApiKey>, StoreError> {
    let row: Option<ApiKeyRow> = sqlx::query_as(concat!(
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
    .bind(agent_id.as_str())
    .fetch_optional(executor)
    .await
    .map_err(store_error("api key"))?;

    row.map(ApiKey::try_from).transpose()
}

async fn insert_key(connection: &mut SqliteConnection, key: &ApiKey) -> Result<(), StoreError> {
    let ApiKey { id, agent_id, name, kind, sealed, digest, created_at } = key;
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
    .execute(connection)
    .await
    .map_err(insert_error)?;
    Ok(())
}

/// SQLite names the columns of a violated index, not the index.
fn insert_error(error: sqlx::Error) -> StoreError {
    let value_is_known = error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation() && error.message().contains("api_key_digest"));
    store_error(if value_is_known { "api key value" } else { "api key" })(error)
}
