use agentex_domain::ports::StoreError;
use agentex_domain::{Deployment, DeploymentStatus};

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct DeploymentRow {
    id: String,
    agent_id: String,
    docker_image: String,
    registration_metadata: Option<String>,
    status: String,
    acp_url: Option<String>,
    is_production: bool,
    sgp_deploy_id: Option<String>,
    helm_release_name: Option<String>,
    created_at: i64,
    promoted_at: Option<i64>,
    expires_at: Option<i64>,
}

/// The columns of [`DeploymentRow`].
macro_rules! deployment_columns {
    () => {
        "deployments.id, deployments.agent_id, deployments.docker_image, deployments.registration_metadata, \
         deployments.status, deployments.acp_url, deployments.is_production, deployments.sgp_deploy_id, \
         deployments.helm_release_name, deployments.created_at, deployments.promoted_at, deployments.expires_at"
    };
}
pub(crate) use deployment_columns;

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
        let read = Reader { table: "deployments", id: &id };
        Ok(Self {
            agent_id: agent_id.into(),
            docker_image,
            registration_metadata: read.optional_object(registration_metadata)?,
            status: read.word(&status, &DeploymentStatus::ALL)?,
            acp_url,
            is_production,
            sgp_deploy_id,
            helm_release_name,
            created_at: read.time(created_at)?,
            promoted_at: read.optional_time(promoted_at)?,
            expires_at: read.optional_time(expires_at)?,
            id: id.into(),
        })
    }
}
