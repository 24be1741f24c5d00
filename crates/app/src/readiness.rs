use std::sync::Arc;
use std::time::Duration;

use agentex_domain::ports::Probe;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

/// Whether the dependencies answer.
pub struct Readiness {
    probes: Vec<Arc<dyn Probe>>,
    timeout: Duration,
    shutdown: CancellationToken,
}

/// How one dependency is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// The dependency: `postgres`, `sqlite`, `redis`.
    pub name: &'static str,
    /// What is wrong; `None` when it answers. Names no hosts or credentials.
    pub error: Option<String>,
}

impl Readiness {
    pub(crate) fn new(
        store: Arc<dyn Probe>,
        others: Vec<Arc<dyn Probe>>,
        timeout: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        let mut probes = vec![store];
        probes.extend(others);
        Self { probes, timeout, shutdown }
    }

    /// Asks every dependency at once, each within the configured time.
    pub async fn check(&self) -> Vec<CheckResult> {
        join_all(self.probes.iter().map(|probe| async {
            let error = match tokio::time::timeout(self.timeout, probe.probe()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("Connection timeout".to_owned()),
            };
            CheckResult { name: probe.name(), error }
        }))
        .await
    }

    /// Whether the process is about to stop, so that no new work should be sent.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shutdown.is_cancelled()
    }
}
