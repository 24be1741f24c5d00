use std::fmt;
use std::sync::Arc;

use crate::ports::{
    AgentCheckRepository, AgentRepository, ApiKeyRepository, CheckpointRepository, DeploymentHistoryRepository,
    DeploymentRepository, EventRepository, GatewayRepository, IdempotencyRepository, IntentRepository,
    MessageRepository, OwnerRepository, Probe, RegistrationTokenRepository, RetentionRepository, RunScheduleRepository,
    SpanRepository, StateRepository, TaskRepository, TimerRepository, TrackerRepository,
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
    /// Which commits were deployed.
    pub deployment_history: Arc<dyn DeploymentHistoryRepository>,
    /// Tasks and their links to agents.
    pub tasks: Arc<dyn TaskRepository>,
    /// Messages.
    pub messages: Arc<dyn MessageRepository>,
    /// Events.
    pub events: Arc<dyn EventRepository>,
    /// What agents remember about tasks.
    pub states: Arc<dyn StateRepository>,
    /// How far agents have processed the events of tasks.
    pub trackers: Arc<dyn TrackerRepository>,
    /// Spans.
    pub spans: Arc<dyn SpanRepository>,
    /// Saved states of graphs that agents run.
    pub checkpoints: Arc<dyn CheckpointRepository>,
    /// Unfinished changes of the authorization graph.
    pub intents: Arc<dyn IntentRepository>,
    /// Who owns what.
    pub owners: Arc<dyn OwnerRepository>,
    /// Permissions to register agents.
    pub registration_tokens: Arc<dyn RegistrationTokenRepository>,
    /// Requests that were carried out under idempotency keys.
    pub idempotency: Arc<dyn IdempotencyRepository>,
    /// What was said in chats and is not carried out yet.
    pub gateways: Arc<dyn GatewayRepository>,
    /// Taking contents of tasks away and putting them back.
    pub retention: Arc<dyn RetentionRepository>,
    /// Rows of run schedules.
    pub run_schedules: Arc<dyn RunScheduleRepository>,
    /// What the embedded scheduler keeps.
    pub timers: Arc<dyn TimerRepository>,
    /// How often agents have failed to answer.
    pub agent_checks: Arc<dyn AgentCheckRepository>,
    /// Whether the store answers.
    pub probe: Arc<dyn Probe>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("probe", &self.probe.name()).finish_non_exhaustive()
    }
}
