use std::fmt;
use std::sync::Arc;

use crate::ports::{
    AgentRepository, ApiKeyRepository, DeploymentRepository, EventRepository, MessageRepository, Probe, TaskRepository,
};

/// Every repository of one store, as an adapter hands them out.
#[derive(Clone)]
pub struct Stores {
    /// Agents.
    pub agents: Arc<dyn AgentRepository>,
    /// Agents' API keys.
    pub api_keys: Arc<dyn ApiKeyRepository>,
    /// Deployments.
    pub deployments: Arc<dyn DeploymentRepository>,
    /// Tasks and their links to agents.
    pub tasks: Arc<dyn TaskRepository>,
    /// Messages.
    pub messages: Arc<dyn MessageRepository>,
    /// Events.
    pub events: Arc<dyn EventRepository>,
    /// Whether the store answers.
    pub probe: Arc<dyn Probe>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("probe", &self.probe.name()).finish_non_exhaustive()
    }
}
