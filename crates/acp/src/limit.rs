use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agentex_domain::AgentId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const FIRST_SWEEP: usize = 64;

/// Bounds how many calls each agent has open, so that one stuck agent cannot use up the connections of all.
///
/// Waiting calls are served in the order they came. Agents without open calls are forgotten.
pub(crate) struct PerAgentLimit {
    permits: usize,
    agents: Mutex<Agents>,
}

struct Agents {
    slots: HashMap<AgentId, Weak<Semaphore>>,
    sweep_at: usize,
}

impl PerAgentLimit {
    pub(crate) fn new(permits: usize) -> Self {
        let agents = Agents { slots: HashMap::new(), sweep_at: FIRST_SWEEP };
        Self { permits: permits.min(Semaphore::MAX_PERMITS), agents: Mutex::new(agents) }
    }

    /// Waits for a free slot of `agent`, which is free again when the permit is dropped.
    pub(crate) async fn acquire(&self, agent: &AgentId) -> OwnedSemaphorePermit {
        let slots = self.slots_of(agent);
        slots.acquire_owned().await.expect("the semaphore is never closed")
    }

    fn slots_of(&self, agent: &AgentId) -> Arc<Semaphore> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = agents.slots.get(agent).and_then(Weak::upgrade) {
            return slots;
        }
        if agents.slots.len() >= agents.sweep_at {
            agents.slots.retain(|_, slots| slots.strong_count() > 0);
            agents.sweep_at = FIRST_SWEEP.max(agents.slots.len() * 2);
        }
        let slots = Arc::new(Semaphore::new(self.permits));
        agents.slots.insert(agent.clone(), Arc::downgrade(&slots));
        slots
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_full_agent_waits_until_a_permit_is_dropped_and_others_do_not() {
        let limit = PerAgentLimit::new(1);
        let (busy, idle) = (AgentId::from("busy"), AgentId::from("idle"));

        let held = limit.acquire(&busy).now_or_never().unwrap();

        assert!(limit.acquire(&busy).now_or_never().is_none());
        assert!(limit.acquire(&idle).now_or_never().is_some());
        drop(held);
        assert!(limit.acquire(&busy).now_or_never().is_some());
    }

    #[test]
    fn agents_without_open_calls_are_forgotten_and_the_others_kept() {
        let limit = PerAgentLimit::new(1);
        let busy = AgentId::from("busy");
        let _held = limit.acquire(&busy).now_or_never().unwrap();

        for number in 0..10_000 {
            drop(limit.acquire(&AgentId::from(format!("agent-{number}"))).now_or_never().unwrap());
        }

        assert!(limit.agents.lock().unwrap().slots.len() <= FIRST_SWEEP + 1);
        assert!(limit.acquire(&busy).now_or_never().is_none());
    }
}
