use std::fmt;

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
    /// What the deploying system calls it.
    pub sgp_deploy_id: Option<String>,
    /// What has to be cleaned up with it.
    pub helm_release_name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last became production.
    pub promoted_at: Option<Timestamp>,
    /// Set when it was removed.
    pub expires_at: Option<Timestamp>,
}

impl Deployment {
    /// The URL of its pod; empty counts as none.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.acp_url.as_deref().filter(|url| !url.is_empty())
    }

    /// Whether it was removed.
    #[must_use]
    pub const fn is_expired(&self) -> bool {
        self.expires_at.is_some()
    }

    /// Its pod's URL, if calls to the agent may go there.
    ///
    /// # Errors
    /// What is missing.
    pub fn promotable(&self) -> Result<&str, NotPromotable> {
        if self.status != DeploymentStatus::Ready {
            return Err(NotPromotable::NotReady(self.status));
        }
        self.url().ok_or(NotPromotable::NoUrl)
    }
}

/// What a deployment lacks to become production.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPromotable {
    /// It has this status instead of `Ready`.
    NotReady(DeploymentStatus),
    /// Its pod has named no URL.
    NoUrl,
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

impl DeploymentStatus {
    /// Every status with its wire text.
    pub const ALL: [(&'static str, Self); 3] =
        [("Pending", Self::Pending), ("Ready", Self::Ready), ("Failed", Self::Failed)];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
        }
    }
}

impl fmt::Display for DeploymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
