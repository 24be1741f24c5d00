use agentex_domain::ports::{DeploymentOrder, DeploymentRepository, DeploymentUpsert, Promotion, Removal, StoreError};
use agentex_domain::{AgentId, Deployment, DeploymentId, DeploymentRegistration, Direction, PageRequest, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};

use crate::agents;
use crate::error::{Unreadable, corrupt, nothing_if_unstorable, retry, store_error};
use crate::json;
use crate::labels;
use crate::ordering::{push_order, push_page};
use crate::store::Pools;
use crate::transaction::begin;

/// The columns of [`DeploymentRow`], of the table called `d`. A literal, so that statements stay constants.
macro_rules! deployment_columns {
    () => {
        "d.id, d.agent_id, d.docker_image, d.registration_metadata, d.status::text AS status, d.acp_url, d.is_production,
         d.sgp_deploy_id, d.helm_release_name, COALESCE(d.created_at, 'epoch') AS created_at, d.promoted_at, d.expires_at"
    };
}

#[derive(sqlx::FromRow)]
struct DeploymentRow {
    id: String,
    agent_id: String,
    docker_image: String,
    registration_metadata: Option<Json<Value>>,
    status: String,
    acp_url: Option<String>,
    is_production: bool,
    sgp_deploy_id: Option<String>,
    helm_release_name: Option<String>,
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
            sgp_deploy_id,
            helm_release_name,
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
            sgp_deploy_id,
            helm_release_name,
            created_at: Timestamp::new(created_at),
            promoted_at: promoted_at.map(Timestamp::new),
            expires_at: expires_at.map(Timestamp::new),
        })
    }
}

/// Deployments in the table `deployments`.
pub(crate) struct PgDeployments {
    pools: Pools,
}

impl PgDeployments {
    pub(crate) const fn new(pools: Pools) -> Self {
        Self { pools }
    }

    const fn primary(&self) -> &PgPool {
        &self.pools.primary
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
                           d.is_production, d.sgp_deploy_id, d.helm_release_name, d.created_at, d.promoted_at,
                           d.expires_at
             ), moved AS (
                 UPDATE agents a
                    SET acp_url = stored.acp_url, updated_at = $6
                   FROM stored
                  WHERE a.id = stored.agent_id
                    AND stored.is_production
                    AND a.acp_url IS DISTINCT FROM stored.acp_url
             )
             SELECT id, agent_id, docker_image, registration_metadata, status::text AS status, acp_url, is_production,
                    sgp_deploy_id, helm_release_name, COALESCE(created_at, 'epoch') AS created_at, promoted_at, expires_at
               FROM stored",
        )
        .bind(registration.id.as_str())
        .bind(agent_id.as_str())
        .bind(&registration.docker_image)
        .bind(json::to_column(registration.metadata.as_ref()))
        .bind(&registration.acp_url)
        .bind(at.as_datetime())
        .fetch_optional(self.primary())
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
            .fetch_optional(self.primary())
            .await
            .map_err(store_error("deployment"))?;
        match owner {
            Some(owner) if owner == agent_id.as_str() => Ok(DeploymentUpsert::Expired),
            Some(_) => Ok(DeploymentUpsert::OtherAgent),
            None => Err(StoreError::Dangling { what: "deployment" }),
        }
    }

    async fn promote_once(
        &self,
        agent_id: &AgentId,
        id: &DeploymentId,
        at: Timestamp,
    ) -> Result<Promotion, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("deployment"))?;
        let agent = agents::lock(&mut transaction, agent_id).await?.filter(|agent| !agent.is_deleted());
        let Some(mut agent) = agent else { return Ok(Promotion::Absent) };
        let Some(deployment) = lock(&mut transaction, agent_id, id).await? else { return Ok(Promotion::Absent) };
        let url = match deployment.promotable() {
            Ok(url) => url.to_owned(),
            Err(lacking) => return Ok(Promotion::Refused(lacking)),
        };

        // A statement of its own: the index that allows one production deployment looks at every row at once.
        sqlx::query("UPDATE deployments SET is_production = false WHERE agent_id = $1 AND is_production AND id <> $2")
            .bind(agent_id.as_str())
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("deployment"))?;
        agent.promote(id.clone(), url, at);
        let row = sqlx::query_as::<_, DeploymentRow>(concat!(
            "WITH promoted AS (
                 UPDATE agents
                    SET production_deployment_id = $1, acp_url = $4, status = $5::agentstatus, status_reason = $6,
                        registered_at = $7, updated_at = $8
                  WHERE id = $2
             )
             UPDATE deployments AS d
                SET is_production = true, promoted_at = $3
              WHERE d.id = $1
             RETURNING ",
            deployment_columns!()
        ))
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .bind(at.as_datetime())
        .bind(&agent.acp_url)
        .bind(labels::agent_status(agent.status))
        .bind(&agent.status_reason)
        .bind(agent.registered_at.map(Timestamp::as_datetime))
        .bind(agent.updated_at.as_datetime())
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error("deployment"))?;
        let deployment = row.try_into()?;
        transaction.commit().await.map_err(store_error("deployment"))?;
        Ok(Promotion::Promoted(deployment))
    }

    async fn remove_once(&self, agent_id: &AgentId, id: &DeploymentId, at: Timestamp) -> Result<Removal, StoreError> {
        let mut transaction = begin(self.primary()).await.map_err(store_error("deployment"))?;
        let found = lock(&mut transaction, agent_id, id).await?;
        let Some(deployment) = found else { return Ok(Removal::Absent) };
        if deployment.is_production {
            return Ok(Removal::IsProduction);
        }
        sqlx::query("UPDATE deployments SET expires_at = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(at.as_datetime())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("deployment"))?;
        transaction.commit().await.map_err(store_error("deployment"))?;
        Ok(Removal::Removed(Deployment { expires_at: Some(at), ..deployment }))
    }
}

/// The agent's deployment, if it was not removed, locked against everyone who would change it.
async fn lock(
    transaction: &mut PgConnection,
    agent_id: &AgentId,
    id: &DeploymentId,
) -> Result<Option<Deployment>, StoreError> {
    let row = sqlx::query_as::<_, DeploymentRow>(concat!(
        "SELECT ",
        deployment_columns!(),
        " FROM deployments d
          WHERE d.id = $1 AND d.agent_id = $2 AND d.expires_at IS NULL
            FOR NO KEY UPDATE"
    ))
    .bind(id.as_str())
    .bind(agent_id.as_str())
    .fetch_optional(transaction)
    .await;
    read_deployment(row)
}

fn read_deployment(row: Result<Option<DeploymentRow>, sqlx::Error>) -> Result<Option<Deployment>, StoreError> {
    nothing_if_unstorable(row).map_err(store_error("deployment"))?.map(Deployment::try_from).transpose()
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

    #[tracing::instrument(level = "debug", name = "db.deployment.insert", skip_all, fields(deployment.id = %deployment.id))]
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
        let done = sqlx::query(
            "WITH owner AS MATERIALIZED (
                 SELECT id
                   FROM agents
                  WHERE id = $2 AND status <> 'DELETED'
                    FOR NO KEY UPDATE
             )
             INSERT INTO deployments
                    (id, agent_id, docker_image, registration_metadata, status, acp_url, is_production, sgp_deploy_id,
                     helm_release_name, created_at, promoted_at, expires_at)
             SELECT $1, owner.id, $3, $4, $5::deploymentstatus, $6, $7, $8, $9, $10, $11, $12
               FROM owner",
        )
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .bind(docker_image)
        .bind(json::to_column(registration_metadata.as_ref()))
        .bind(labels::deployment_status(*status))
        .bind(acp_url)
        .bind(is_production)
        .bind(sgp_deploy_id)
        .bind(helm_release_name)
        .bind(created_at.as_datetime())
        .bind(promoted_at.map(Timestamp::as_datetime))
        .bind(expires_at.map(Timestamp::as_datetime))
        .execute(self.primary())
        .await
        .map_err(store_error("deployment"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(level = "debug", name = "db.deployment.find", skip_all, fields(deployment.id = %id))]
    async fn find(&self, agent_id: &AgentId, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let row = sqlx::query_as::<_, DeploymentRow>(concat!(
            "SELECT ",
            deployment_columns!(),
            " FROM deployments d
              WHERE d.id = $1 AND d.agent_id = $2"
        ))
        .bind(id.as_str())
        .bind(agent_id.as_str())
        .fetch_optional(self.primary())
        .await;
        read_deployment(row)
    }

    #[tracing::instrument(level = "debug", name = "db.deployment.list", skip_all, fields(agent.id = %agent_id))]
    async fn list(
        &self,
        agent_id: &AgentId,
        order: DeploymentOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Deployment>, StoreError> {
        let mut query = QueryBuilder::<Postgres>::new(concat!(
            "SELECT ",
            deployment_columns!(),
            " FROM deployments d
              WHERE d.expires_at IS NULL AND d.agent_id = "
        ));
        query.push_bind(agent_id.as_str());
        push_order(&mut query, sort_columns(order), direction);
        push_page(&mut query, page);
        let rows = query.build_query_as::<DeploymentRow>().fetch_all(&self.pools.reader).await;
        nothing_if_unstorable(rows).map_err(store_error("deployment"))?.into_iter().map(Deployment::try_from).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.deployment.promote", skip_all, fields(deployment.id = %id))]
    async fn promote(&self, agent_id: &AgentId, id: &DeploymentId, at: Timestamp) -> Result<Promotion, StoreError> {
        retry(|| self.promote_once(agent_id, id, at)).await
    }

    #[tracing::instrument(level = "debug", name = "db.deployment.remove", skip_all, fields(deployment.id = %id))]
    async fn remove(&self, agent_id: &AgentId, id: &DeploymentId, at: Timestamp) -> Result<Removal, StoreError> {
        retry(|| self.remove_once(agent_id, id, at)).await
    }
}

/// Texts sort bytewise, whatever the locale of the database. A `?` marks a column that may be null.
const fn sort_columns(order: DeploymentOrder) -> &'static [&'static str] {
    match order {
        DeploymentOrder::CreatedAt => &["COALESCE(d.created_at, 'epoch')", "d.id COLLATE \"C\""],
        DeploymentOrder::Id => &["d.id COLLATE \"C\""],
        DeploymentOrder::DockerImage => {
            &["d.docker_image COLLATE \"C\"", "COALESCE(d.created_at, 'epoch')", "d.id COLLATE \"C\""]
        }
        DeploymentOrder::Status => {
            &["d.status::text COLLATE \"C\"", "COALESCE(d.created_at, 'epoch')", "d.id COLLATE \"C\""]
        }
        DeploymentOrder::PromotedAt => &["d.promoted_at?", "COALESCE(d.created_at, 'epoch')", "d.id COLLATE \"C\""],
    }
}
