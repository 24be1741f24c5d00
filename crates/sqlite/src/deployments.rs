use agentex_domain::ports::{DeploymentOrder, DeploymentRepository, DeploymentUpsert, Promotion, Removal, StoreError};
use agentex_domain::{
    Agent, AgentId, Deployment, DeploymentId, DeploymentRegistration, Direction, PageRequest, Timestamp,
};
use async_trait::async_trait;
use sqlx::{QueryBuilder, SqliteConnection};

use crate::agents;
use crate::database::{Database, json_text, push_order, push_page};
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
        let row = match find_in(&mut transaction, &registration.id).await? {
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

    #[tracing::instrument(name = "db.deployment.insert", level = "debug", skip_all, fields(deployment.id = %deployment.id))]
    async fn insert(&self, deployment: &Deployment) -> Result<bool, StoreError> {
        let Deployment {
            id,
            agent_id,
            docker_image,
            registration_metadata,
            status,
            acp_url,
            is_production,
            sgp_deploy_id,
            helm_release_name,
            created_at,
            promoted_at,
            expires_at,
        } = deployment;
        let inserted = sqlx::query(
            r#"
            INSERT INTO deployments
                   (id, agent_id, docker_image, registration_metadata, status, acp_url, is_production, sgp_deploy_id,
                    helm_release_name, created_at, promoted_at, expires_at)
            SELECT ?1, agents.id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
              FROM agents
             WHERE agents.id = ?2
               AND agents.status <> 'Deleted'
            "#,
        )
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .bind(docker_image)
        .bind(registration_metadata.as_ref().map(json_text))
        .bind(status.as_str())
        .bind(acp_url)
        .bind(is_production)
        .bind(sgp_deploy_id)
        .bind(helm_release_name)
        .bind(created_at.as_micros())
        .bind(promoted_at.map(Timestamp::as_micros))
        .bind(expires_at.map(Timestamp::as_micros))
        .execute(&self.database.writer)
        .await
        .map_err(store_error("deployment"))?;

        Ok(inserted.rows_affected() == 1)
    }

    #[tracing::instrument(name = "db.deployment.find", level = "debug", skip_all, fields(deployment.id = %id))]
    async fn find(&self, agent_id: &AgentId, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let row: Option<DeploymentRow> = sqlx::query_as(concat!(
            "SELECT ",
            deployment_columns!(),
            r#"
              FROM deployments
             WHERE deployments.id = ?1
               AND deployments.agent_id = ?2
            "#
        ))
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("deployment"))?;

        row.map(Deployment::try_from).transpose()
    }

    #[tracing::instrument(name = "db.deployment.list", level = "debug", skip_all, fields(agent.id = %agent_id))]
    async fn list(
        &self,
        agent_id: &AgentId,
        order: DeploymentOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Deployment>, StoreError> {
        let mut query = QueryBuilder::new(concat!(
            "SELECT ",
            deployment_columns!(),
            " FROM deployments WHERE deployments.expires_at IS NULL AND deployments.agent_id = "
        ));
        query.push_bind(agent_id.as_str());
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        let rows: Vec<DeploymentRow> =
            query.build_query_as().fetch_all(&self.database.readers).await.map_err(store_error("deployment"))?;
        rows.into_iter().map(Deployment::try_from).collect()
    }

    #[tracing::instrument(name = "db.deployment.promote", level = "debug", skip_all, fields(deployment.id = %id))]
    async fn promote(&self, agent_id: &AgentId, id: &DeploymentId, at: Timestamp) -> Result<Promotion, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("deployment"))?;
        let agent = agents::find_in(&mut transaction, agent_id).await?.filter(|agent| !agent.is_deleted());
        let found = find_in(&mut transaction, id).await?;
        let found = found.filter(|found| found.agent_id == *agent_id && !found.is_expired());
        let (Some(mut agent), Some(deployment)) = (agent, found) else { return Ok(Promotion::Absent) };
        let url = match deployment.promotable() {
            Ok(url) => url.to_owned(),
            Err(lacking) => return Ok(Promotion::Refused(lacking)),
        };

        demote(&mut transaction, agent_id).await?;
        let row: DeploymentRow = sqlx::query_as(concat!(
            r#"
            UPDATE deployments
               SET is_production = 1, promoted_at = ?2
             WHERE id = ?1
            RETURNING "#,
            deployment_columns!()
        ))
        .bind(id.as_str())
        .bind(at.as_micros())
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error("deployment"))?;
        agent.promote(id.clone(), url, at);
        save_promoted(&mut transaction, &agent).await?;

        let deployment = row.try_into()?;
        transaction.commit().await.map_err(store_error("deployment"))?;
        Ok(Promotion::Promoted(deployment))
    }

    #[tracing::instrument(name = "db.deployment.remove", level = "debug", skip_all, fields(deployment.id = %id))]
    async fn remove(&self, agent_id: &AgentId, id: &DeploymentId, at: Timestamp) -> Result<Removal, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("deployment"))?;
        let found = find_in(&mut transaction, id).await?;
        let Some(found) = found.filter(|found| found.agent_id == *agent_id && !found.is_expired()) else {
            return Ok(Removal::Absent);
        };
        if found.is_production {
            return Ok(Removal::IsProduction);
        }

        sqlx::query("UPDATE deployments SET expires_at = ?2 WHERE id = ?1")
            .bind(id.as_str())
            .bind(at.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("deployment"))?;
        transaction.commit().await.map_err(store_error("deployment"))?;
        Ok(Removal::Removed(Deployment { expires_at: Some(at), ..found }))
    }
}

const fn order_columns(order: DeploymentOrder) -> &'static [&'static str] {
    match order {
        DeploymentOrder::CreatedAt => &["deployments.created_at", "deployments.id"],
        DeploymentOrder::Id => &["deployments.id"],
        DeploymentOrder::DockerImage => &["deployments.docker_image", "deployments.created_at", "deployments.id"],
        DeploymentOrder::Status => &["deployments.status", "deployments.created_at", "deployments.id"],
        DeploymentOrder::PromotedAt => &["deployments.promoted_at", "deployments.created_at", "deployments.id"],
    }
}

async fn demote(connection: &mut SqliteConnection, agent_id: &AgentId) -> Result<(), StoreError> {
    sqlx::query("UPDATE deployments SET is_production = 0 WHERE agent_id = ?1 AND is_production = 1")
        .bind(agent_id.as_str())
        .execute(connection)
        .await
        .map_err(store_error("deployment"))?;
    Ok(())
}

/// Writes what a promotion changes of its agent.
async fn save_promoted(connection: &mut SqliteConnection, agent: &Agent) -> Result<(), StoreError> {
    sqlx::query(
        r#"
        UPDATE agents
           SET production_deployment_id = ?2, acp_url = ?3, status = ?4, status_reason = ?5, registered_at = ?6,
               updated_at = ?7
         WHERE id = ?1
        "#,
    )
    .bind(agent.id.as_str())
    .bind(agent.production_deployment_id.as_ref().map(DeploymentId::as_str))
    .bind(&agent.acp_url)
    .bind(agent.status.as_str())
    .bind(&agent.status_reason)
    .bind(agent.registered_at.map(Timestamp::as_micros))
    .bind(agent.updated_at.as_micros())
    .execute(connection)
    .await
    .map_err(store_error("agent"))?;
    Ok(())
}

async fn find_in(connection: &mut SqliteConnection, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
    let row: Option<DeploymentRow> =
        sqlx::query_as(concat!("SELECT ", deployment_columns!(), " FROM deployments WHERE deployments.id = ?1"))
            .bind(id.as_str())
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
