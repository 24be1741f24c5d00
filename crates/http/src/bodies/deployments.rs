use agentex_app::{CreatedDeployment, NewDeployment};
use agentex_domain::input::Fields;
use agentex_domain::{Deployment, DeploymentHistoryEntry, DeploymentStatus, JsonObject, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::words;
use crate::extract::RequestBody;

words!(
    DeploymentStatusWords,
    "DeploymentStatus",
    "Whether a deployment's pod has registered.",
    DeploymentStatus::ALL.map(|(word, _)| word)
);

/// One deployed build of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deployment)]
pub(crate) struct DeploymentBody {
    /// Made by the server, or brought by the pod.
    id: String,
    /// The agent it belongs to.
    agent_id: String,
    /// Image it runs.
    docker_image: String,
    /// What is known of the build.
    #[schema(value_type = Option<Object>)]
    registration_metadata: Option<JsonObject>,
    #[schema(value_type = DeploymentStatusWords)]
    status: DeploymentStatus,
    /// Where its pod listens, once that has registered.
    acp_url: Option<String>,
    /// Whether calls to the agent go here.
    is_production: bool,
    /// What the deploying system calls it.
    sgp_deploy_id: Option<String>,
    /// What has to be cleaned up with it.
    helm_release_name: Option<String>,
    /// When it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Timestamp,
    /// When it last became production.
    #[schema(value_type = Option<String>, format = DateTime)]
    promoted_at: Option<Timestamp>,
    /// When it was removed.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl From<Deployment> for DeploymentBody {
    fn from(deployment: Deployment) -> Self {
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
        Self {
            id: id.into_string(),
            agent_id: agent_id.into_string(),
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
        }
    }
}

/// A deployment that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = CreateDeploymentResponse)]
pub(crate) struct CreatedDeploymentBody {
    #[serde(flatten)]
    deployment: DeploymentBody,
    /// With what its pod can register, in clear; only where registering takes a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_token: Option<String>,
}

impl From<CreatedDeployment> for CreatedDeploymentBody {
    fn from(created: CreatedDeployment) -> Self {
        let CreatedDeployment { deployment, registration_token } = created;
        Self { deployment: deployment.into(), registration_token }
    }
}

/// A deployment to make before its pod starts.
#[derive(ToSchema)]
#[schema(as = CreateDeploymentRequest)]
pub(crate) struct CreateDeploymentRequest {
    /// Image it runs.
    docker_image: String,
    /// What is known of the build.
    #[schema(value_type = Option<Object>)]
    registration_metadata: Option<JsonObject>,
    /// What the deploying system calls it.
    sgp_deploy_id: Option<String>,
    /// What has to be cleaned up with it.
    helm_release_name: Option<String>,
}

impl RequestBody for CreateDeploymentRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let docker_image = fields.string("docker_image");
        let registration_metadata = fields.optional_object("registration_metadata");
        let sgp_deploy_id = fields.optional_string("sgp_deploy_id");
        let helm_release_name = fields.optional_string("helm_release_name");
        Some(Self { docker_image: docker_image?, registration_metadata, sgp_deploy_id, helm_release_name })
    }
}

impl From<CreateDeploymentRequest> for NewDeployment {
    fn from(request: CreateDeploymentRequest) -> Self {
        let CreateDeploymentRequest { docker_image, registration_metadata, sgp_deploy_id, helm_release_name } = request;
        Self { docker_image, registration_metadata, sgp_deploy_id, helm_release_name }
    }
}

/// A commit of an agent that was deployed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeploymentHistory)]
pub(crate) struct DeploymentHistoryBody {
    /// Server-made id.
    id: String,
    /// The agent.
    agent_id: String,
    /// Who wrote the commit.
    author_name: String,
    /// The author's address.
    author_email: String,
    /// The branch it was built from.
    branch_name: String,
    /// When it was built.
    #[schema(value_type = String, format = DateTime)]
    build_timestamp: Timestamp,
    /// When it was first registered.
    #[schema(value_type = String, format = DateTime)]
    deployment_timestamp: Timestamp,
    /// The commit.
    commit_hash: String,
}

impl From<DeploymentHistoryEntry> for DeploymentHistoryBody {
    fn from(entry: DeploymentHistoryEntry) -> Self {
        let DeploymentHistoryEntry {
            id,
            agent_id,
            author_name,
            author_email,
            branch_name,
            build_timestamp,
            deployment_timestamp,
            commit_hash,
        } = entry;
        Self {
            id: id.into_string(),
            agent_id: agent_id.into_string(),
            author_name,
            author_email,
            branch_name,
            build_timestamp,
            deployment_timestamp,
            commit_hash,
        }
    }
}
