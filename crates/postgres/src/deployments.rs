use agentex_domain::ports::{DeploymentRepository, DeploymentUpsert, StoreError};
use agentex_domain::{AgentId, Deployment, DeploymentRegistration, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::error::{Unreadable, corrupt, retry, store_error};
use crate::json;
use crate::labels;

#[derive(sqlx::FromRow)]
struct DeploymentRow {
    id: String,
    agent_id: String,
    docker_image: String,
    registration_metadata: Option<Json<Value>>,
    status: String,
    acp_url: Option<String>,
    is_production: bool,
    created_at: DateTime<Utc>,
    promoted_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

impl TryFrom<DeploymentRow> for Deployment {
    type Error = StoreError;

    fn try_from(row: DeploymentRow) -> Result<Self, StoreError> {
        let DeploymentRow {
            id,
            agent_id,
            docker_image,
            registration_metadata,
            status,
            acp_url,
            is_production,
            created_at,
            promoted_at,
            expires_at,
        } = row;
        Ok(Self {
            status: labels::read_deployment_status(&status)
                .ok_or_else(|| corrupt("deployments", &id, Unreadable { column: "status" }))?,
            registration_metadata: json::from_column(
                "deployments",
                &id,
                "registration_metadata",
                registration_metadata,
            )?,
            id: id.into(),
            agent_id: agent_id.into(),
            docker_image,
            acp_url,
            is_production,
            created_at: Timestamp::new(created_at),
            promoted_at: promoted_at.map(Timestamp::new),
            expires_at: expires_at.map(Timestamp::new),
        })
    }
}

/// Deployments in the table `deployments`.
pub(crate) struct PgDeployments {
    pool: PgPool,
}

impl PgDeployments {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The agent is locked first, as every other writer of an agent and its deployments does.
    async fn upsert(
        &self,
        agent_id: &AgentId,
        registration: &DeploymentRegistration,
        at: Timestamp,
    ) -> Result<Option<Deployment>, StoreError> {
        sqlx::query_as::<_, DeploymentRow>(
            "WITH owner AS MATERIALIZED (
                 SELECT id
                   FROM agents
                  WHERE id = $2
                    FOR NO KEY UPDATE
             ), stored AS (
                 INSERT INTO deployments AS d
                        (id, agent_id, docker_image, registration_metadata, status, acp_url, is_production, created_at)
                 SELECT $1, owner.id, $3, $4, 'READY'::deploymentstatus, $5, false, $6
                   FROM owner
                     ON CONFLICT (id) DO UPDATE
                    SET acp_url = EXCLUDED.acp_url, status = EXCLUDED.status
                  WHERE d.agent_id = EXCLUDED.agent_id AND d.expires_at IS NULL
                 RETURNING d.id, d.agent_id, d.docker_image, d.registration_metadata, d.status, d.acp_url,
                           d.is_production, d.created_at, d.promoted_at, d.expires_at
             ), moved AS (
                 UPDATE agents a
                    SET acp_url = stored.acp_url, updated_at = $6
                   FROM stored
                  WHERE a.id = stored.agent_id
                    AND stored.is_production
                    AND a.acp_url IS DISTINCT FROM stored.acp_url
             )
             SELECT id, agent_id, docker_image, registration_metadata, status::text AS status, acp_url, is_production,
                    COALESCE(created_at, 'epoch') AS created_at, promoted_at, expires_at
               FROM stored",
        )
        .bind(registration.id.as_str())
        .bind(agent_id.as_str())
        .bind(&registration.docker_image)
        .bind(json::to_column(registration.metadata.as_ref()))
        .bind(&registration.acp_url)
        .bind(at.as_datetime())
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error("deployment"))?
        .map(Deployment::try_from)
        .transpose()
    }

    /// Why nothing was stored: what became of the row with the id, which another agent may own.
    async fn refusal(
        &self,
        agent_id: &AgentId,
        registration: &DeploymentRegistration,
    ) -> Result<DeploymentUpsert, StoreError> {
        let owner: Option<String> = sqlx::query_scalar("SELECT agent_id FROM deployments WHERE id = $1")
            .bind(registration.id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error("deployment"))?;
        match owner {
            Some(owner) if owner == agent_id.as_str() => Ok(DeploymentUpsert::Expired),
            Some(_) => Ok(DeploymentUpsert::OtherAgent),
            None => Err(StoreError::Dangling { what: "deployment" }),
        }
    }
}

#[async_trait]
impl DeploymentRepository for PgDeployments {
    #[tracing::instrument(level = "debug", name = "db.deployment.register", skip_all, fields(agent.id = %agent_id))]
    async fn register(
        &self,
        agent_id: &AgentId,
        registration: &DeploymentRegistration,
        at: Timestamp,
    ) -> Result<DeploymentUpsert, StoreError> {
        match retry(|| self.upsert(agent_id, registration, at)).await? {
            Some(deployment) => Ok(DeploymentUpsert::Stored(deployment)),
            None => self.refusal(agent_id, registration).await,
        }
    }
}
