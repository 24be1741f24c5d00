use agentex_domain::ports::{RegistrationToken, RegistrationTokenRepository, StoreError};
use agentex_domain::{AgentId, Timestamp};
use async_trait::async_trait;

use crate::database::Database;
use crate::error::store_error;

pub(crate) struct SqliteRegistrationTokens {
    pub(crate) database: Database,
}

#[async_trait]
impl RegistrationTokenRepository for SqliteRegistrationTokens {
    #[tracing::instrument(
        name = "db.registration_token.insert",
        level = "debug",
        skip_all,
        fields(agent.id = %token.agent_id)
    )]
    async fn insert(&self, token: &RegistrationToken) -> Result<(), StoreError> {
        let RegistrationToken { digest, agent_id, created_at, expires_at } = token;
        let mut transaction = self.database.begin().await.map_err(store_error("registration token"))?;
        sqlx::query("DELETE FROM registration_tokens WHERE agent_id = ?1 AND expires_at <= ?2")
            .bind(agent_id.as_str())
            .bind(created_at.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("registration token"))?;
        let stored = sqlx::query(
            r#"
            INSERT INTO registration_tokens (digest, agent_id, created_at, expires_at)
            SELECT ?1, id, ?3, ?4
              FROM agents
             WHERE id = ?2
               AND status <> 'Deleted'
            "#,
        )
        .bind(digest)
        .bind(agent_id.as_str())
        .bind(created_at.as_micros())
        .bind(expires_at.as_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error("registration token"))?;
        if stored.rows_affected() == 0 {
            return Err(StoreError::Dangling { what: "registration token" });
        }
        transaction.commit().await.map_err(store_error("registration token"))
    }

    #[tracing::instrument(name = "db.registration_token.find_agent", level = "debug", skip_all)]
    async fn find_agent(&self, digest: &str, now: Timestamp) -> Result<Option<AgentId>, StoreError> {
        let agent: Option<String> = sqlx::query_scalar(
            r#"
            SELECT registration_tokens.agent_id
              FROM registration_tokens
              JOIN agents
                ON agents.id = registration_tokens.agent_id
             WHERE registration_tokens.digest = ?1
               AND registration_tokens.expires_at > ?2
               AND agents.status <> 'Deleted'
            "#,
        )
        .bind(digest)
        .bind(now.as_micros())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("registration token"))?;

        Ok(agent.map(AgentId::from))
    }
}
