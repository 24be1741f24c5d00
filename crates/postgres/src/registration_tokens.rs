use agentex_domain::ports::{RegistrationToken, RegistrationTokenRepository, StoreError};
use agentex_domain::{AgentId, Timestamp};
use async_trait::async_trait;
use sqlx::PgPool;

use crate::error::{nothing_if_unstorable, retry, store_error};

/// Registration tokens in the table `registration_tokens`.
pub(crate) struct PgRegistrationTokens {
    pool: PgPool,
}

impl PgRegistrationTokens {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The lock on the agent makes this wait for somebody who is deleting it, and them wait for this.
    async fn insert_once(&self, token: &RegistrationToken) -> Result<(), StoreError> {
        let RegistrationToken { digest, agent_id, created_at, expires_at } = token;
        let done = sqlx::query(
            "WITH agent AS MATERIALIZED (
                 SELECT id
                   FROM agents
                  WHERE id = $2 AND status <> 'DELETED'
                    FOR SHARE
             ), expired AS (
                 DELETE FROM registration_tokens
                  WHERE agent_id = $2 AND expires_at <= $3
             )
             INSERT INTO registration_tokens (digest, agent_id, created_at, expires_at)
             SELECT $1, agent.id, $3, $4
               FROM agent",
        )
        .bind(digest)
        .bind(agent_id.as_str())
        .bind(created_at.as_datetime())
        .bind(expires_at.as_datetime())
        .execute(&self.pool)
        .await
        .map_err(store_error("registration token"))?;
        if done.rows_affected() == 0 { Err(StoreError::Dangling { what: "registration token" }) } else { Ok(()) }
    }
}

#[async_trait]
impl RegistrationTokenRepository for PgRegistrationTokens {
    #[tracing::instrument(level = "debug", name = "db.registration_token.insert", skip_all)]
    async fn insert(&self, token: &RegistrationToken) -> Result<(), StoreError> {
        retry(|| self.insert_once(token)).await
    }

    #[tracing::instrument(level = "debug", name = "db.registration_token.find_agent", skip_all)]
    async fn find_agent(&self, digest: &str, now: Timestamp) -> Result<Option<AgentId>, StoreError> {
        let agent = sqlx::query_scalar::<_, String>(
            "SELECT a.id
               FROM registration_tokens t
               JOIN agents a ON a.id = t.agent_id
              WHERE t.digest = $1 AND t.expires_at > $2 AND a.status <> 'DELETED'",
        )
        .bind(digest)
        .bind(now.as_datetime())
        .fetch_optional(&self.pool)
        .await;
        Ok(nothing_if_unstorable(agent).map_err(store_error("registration token"))?.map(AgentId::from))
    }
}
