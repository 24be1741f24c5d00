use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Holds the agent at a place of its script until the test opens it. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new(Inner { open: watch::Sender::new(false), arrived: watch::Sender::new(0) }))
    }

    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Waits until the agent stands at the gate, or has passed it.
    ///
    /// # Panics
    /// When it does not get there within ten seconds.
    pub async fn reached(&self) {
        let mut arrived = self.0.arrived.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(10), arrived.wait_for(|count| *count > 0)).await;
        assert!(waited.is_ok(), "the agent did not get to the gate");
    }

    pub(super) async fn pass(&self) {
        self.0.arrived.send_modify(|count| *count += 1);
        let mut open = self.0.open.subscribe();
        // The sender lives as long as this gate.
        let _ = open.wait_for(|open| *open).await;
    }
}
