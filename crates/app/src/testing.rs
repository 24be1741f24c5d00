//! What the unit tests of use cases share: stores made of mocks, and a log of what happened.

use std::sync::{Arc, Mutex};

use agentex_domain::Timestamp;
use agentex_domain::ports::{
    MockAgentRepository, MockApiKeyRepository, MockDeploymentRepository, MockEventRepository, MockMessageRepository,
    MockTaskRepository, Probe, ProbeError, Stores,
};
use async_trait::async_trait;

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
    pub(crate) tasks: MockTaskRepository,
    pub(crate) messages: MockMessageRepository,
    pub(crate) events: MockEventRepository,
}

impl MockStores {
    pub(crate) fn into_stores(self) -> Stores {
        Stores {
            agents: Arc::new(self.agents),
            api_keys: Arc::new(self.api_keys),
            deployments: Arc::new(self.deployments),
            tasks: Arc::new(self.tasks),
            messages: Arc::new(self.messages),
            events: Arc::new(self.events),
            probe: Arc::new(NoProbe),
        }
    }
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
