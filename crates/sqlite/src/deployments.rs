use agentex_domain::ports::{DeploymentRepository, DeploymentUpsert, StoreError};
use agentex_domain::{AgentId, Deployment, DeploymentRegistration, Timestamp};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::database::{Database, json_text};
use crate::error::store_error;
use crate::rows::{DeploymentRow, deployment_columns};

pub(crate) struct SqliteDeployments {
    pub(crate) database: Database,
}

#[async_trait]
impl DeploymentRepository for SqliteDeployments {
    #[tracing::instrument(
        name = "db.deployment.register",
        level = "debug",
        skip_all,
        fields(agent.id = %agent_id, deployment.id = %registration.id)
    )]
    async fn register(
        &self,
        agent_id: &AgentId,
        registration: &DeploymentRegistration,
        at: Timestamp,
    ) -> Result<DeploymentUpsert, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("deployment"))?;
        let row = match find_in(&mut transaction, registration).await? {
            Some(found) if found.agent_id != *agent_id => return Ok(DeploymentUpsert::OtherAgent),
            Some(found) if found.expires_at.is_some() => return Ok(DeploymentUpsert::Expired),
            Some(found) => {
                if found.is_production {
                    point_agent_at(&mut transaction, agent_id, &registration.acp_url, at).await?;
                }
                make_ready(&mut transaction, registration).await?
            }
            None => create(&mut transaction, agent_id, registration, at).await?,
        };

        let deployment = row.try_into()?;
        transaction.commit().await.map_err(store_error("deployment"))?;
        Ok(DeploymentUpsert::Stored(deployment))
    }
}

async fn find_in(
    connection: &mut SqliteConnection,
    registration: &DeploymentRegistration,
) -> Result<Option<Deployment>, StoreError> {
    let row: Option<DeploymentRow> =
        sqlx::query_as(concat!("SELECT ", deployment_columns!(), " FROM deployments WHERE deployments.id = ?1"))
            .bind(registration.id.as_str())
            .fetch_optional(connection)
            .await
            .map_err(store_error("deployment"))?;

    row.map(Deployment::try_from).transpose()
}

async fn create(
    connection: &mut SqliteConnection,
    agent_id: &AgentId,
    registration: &DeploymentRegistration,
    at: Timestamp,
) -> Result<DeploymentRow, StoreError> {
    let DeploymentRegistration { id, acp_url, docker_image, metadata } = registration;
    sqlx::query_as(concat!(
        r#"
        INSERT INTO deployments (id, agent_id, docker_image, registration_metadata, status, acp_url, created_at)
        VALUES (?1, ?2, ?3, ?4, 'Ready', ?5, ?6)
        RETURNING "#,
        deployment_columns!()
    ))
    .bind(id.as_str())
    .bind(agent_id.as_str())
    .bind(docker_image)
    .bind(metadata.as_ref().map(json_text))
    .bind(acp_url)
    .bind(at.as_micros())
    .fetch_one(connection)
    .await
    .map_err(store_error("deployment"))
}

async fn make_ready(
    connection: &mut SqliteConnection,
    registration: &DeploymentRegistration,
) -> Result<DeploymentRow, StoreError> {
    sqlx::query_as(concat!(
        r#"
        UPDATE deployments
           SET acp_url = ?2, status = 'Ready'
         WHERE id = ?1
        RETURNING "#,
        deployment_columns!()
    ))
    .bind(registration.id.as_str())
    .bind(&registration.acp_url)
    .fetch_one(connection)
    .await
    .map_err(store_error("deployment"))
}

/// Gives the agent the URL of its production deployment; one that has it already stays as it is.
async fn point_agent_at(
    connection: &mut SqliteConnection,
    agent_id: &AgentId,
    acp_url: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        r#"
        UPDATE agents
           SET acp_url = ?2, updated_at = ?3
         WHERE id = ?1
           AND acp_url IS NOT ?2
        "#,
    )
    .bind(agent_id.as_str())
    .bind(acp_url)
    .bind(at.as_micros())
    .execute(connection)
    .await
    .map_err(store_error("agent"))?;
    Ok(())
}
