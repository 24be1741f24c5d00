use serde::{Deserialize, Serialize};

use crate::{AgentId, DeploymentId, JsonObject, Timestamp};

/// One deployed build of an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deployment {
    /// Chosen by whoever created the deployment.
    pub id: DeploymentId,
    /// The agent it belongs to.
    pub agent_id: AgentId,
    /// Image it runs.
    pub docker_image: String,
    /// Free metadata given at creation.
    pub registration_metadata: Option<JsonObject>,
    /// Whether its pod has registered.
    pub status: DeploymentStatus,
    /// Where its pod listens.
    pub acp_url: Option<String>,
    /// Whether calls to the agent go here.
    pub is_production: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last became production.
    pub promoted_at: Option<Timestamp>,
    /// Set when it was removed.
    pub expires_at: Option<Timestamp>,
}

/// Whether a deployment's pod has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeploymentStatus {
    /// Created, no pod yet.
    Pending,
    /// Its pod registered.
    Ready,
    /// Set by operators only.
    Failed,
}

/// A pod registering itself for one deployment instead of for the agent as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentRegistration {
    /// Which deployment.
    pub id: DeploymentId,
    /// Where the pod listens.
    pub acp_url: String,
    /// Image to record when the deployment is new.
    pub docker_image: String,
    /// Metadata to record when the deployment is new.
    pub metadata: Option<JsonObject>,
}
