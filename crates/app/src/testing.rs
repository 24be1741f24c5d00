//! What the unit tests of use cases share: stores made of mocks, and a log of what happened.

use std::sync::{Arc, Mutex};

use agentex_authz::Authorizer;
use agentex_domain::Timestamp;
use agentex_domain::ports::{
    MockAgentCheckRepository, MockAgentRepository, MockApiKeyRepository, MockCheckpointRepository,
    MockDeploymentHistoryRepository, MockDeploymentRepository, MockEventRepository, MockGatewayRepository,
    MockIdempotencyRepository, MockIntentRepository, MockMessageRepository, MockOwnerRepository,
    MockRegistrationTokenRepository, MockRetentionRepository, MockRunScheduleRepository, MockSpanRepository,
    MockStateRepository, MockTaskRepository, MockTimerRepository, MockTrackerRepository, Opened, Probe, ProbeError,
    Stores, SystemClock,
};
use async_trait::async_trait;

use crate::guard::Guard;
use crate::lifecycle::Lifecycle;
use crate::{AgentScope, RelaySettings};

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Stores in which nothing may be called that a test did not set up.
#[derive(Default)]
pub(crate) struct MockStores {
    pub(crate) agents: MockAgentRepository,
    pub(crate) api_keys: MockApiKeyRepository,
    pub(crate) deployments: MockDeploymentRepository,
    pub(crate) deployment_history: MockDeploymentHistoryRepository,
    pub(crate) tasks: MockTaskRepository,
    pub(crate) messages: MockMessageRepository,
    pub(crate) events: MockEventRepository,
    pub(crate) states: MockStateRepository,
    pub(crate) trackers: MockTrackerRepository,
    pub(crate) spans: MockSpanRepository,
    pub(crate) checkpoints: MockCheckpointRepository,
    pub(crate) registration_tokens: MockRegistrationTokenRepository,
    pub(crate) idempotency: MockIdempotencyRepository,
    pub(crate) run_schedules: MockRunScheduleRepository,
}

impl MockStores {
    pub(crate) fn into_stores(self) -> Stores {
        Stores {
            agents: Arc::new(self.agents),
            api_keys: Arc::new(self.api_keys),
            deployments: Arc::new(self.deployments),
            deployment_history: Arc::new(self.deployment_history),
            tasks: Arc::new(self.tasks),
            messages: Arc::new(self.messages),
            events: Arc::new(self.events),
            states: Arc::new(self.states),
            trackers: Arc::new(self.trackers),
            spans: Arc::new(self.spans),
            checkpoints: Arc::new(self.checkpoints),
            intents: Arc::new(willing_intents()),
            owners: Arc::new(unowned()),
            registration_tokens: Arc::new(self.registration_tokens),
            idempotency: Arc::new(self.idempotency),
            gateways: Arc::new(MockGatewayRepository::new()),
            retention: Arc::new(MockRetentionRepository::new()),
            run_schedules: Arc::new(self.run_schedules),
            timers: Arc::new(MockTimerRepository::new()),
            agent_checks: Arc::new(MockAgentCheckRepository::new()),
            probe: Arc::new(NoProbe),
        }
    }
}

/// Intents that take everything and remember nothing.
pub(crate) fn willing_intents() -> MockIntentRepository {
    let mut intents = MockIntentRepository::new();
    intents.expect_open().returning(|_| Ok(Opened::Done));
    intents.expect_abandon().returning(|_, _| Ok(true));
    intents.expect_close().returning(|_, _, _| Ok(true));
    intents.expect_failed().returning(|_, _, _| Ok(()));
    intents
}

fn unowned() -> MockOwnerRepository {
    let mut owners = MockOwnerRepository::new();
    owners.expect_find().returning(|_| Ok(None));
    owners
}

/// A guard for callers that are no agents.
pub(crate) fn guard(authorizer: Option<Arc<dyn Authorizer>>) -> Guard {
    Guard::new(authorizer, AgentScope::Own, Arc::new(MockTaskRepository::new()))
}

/// A lifecycle whose intents are willing.
pub(crate) fn lifecycle(authorizer: Option<Arc<dyn Authorizer>>) -> Lifecycle {
    let (intents, owners) = (Arc::new(willing_intents()), Arc::new(unowned()));
    Lifecycle::new(authorizer, intents, owners, Arc::new(SystemClock), RelaySettings::default())
}

struct NoProbe;

#[async_trait]
impl Probe for NoProbe {
    fn name(&self) -> &'static str {
        "none"
    }

    async fn probe(&self) -> Result<(), ProbeError> {
        Ok(())
    }
}

/// Some moment.
pub(crate) fn at() -> Timestamp {
    Timestamp::parse("2026-01-02T03:04:05Z").unwrap()
}
