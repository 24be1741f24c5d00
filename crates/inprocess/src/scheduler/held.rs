use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentex_domain::ClaimedFire;
use agentex_domain::ports::FireLease;
use tokio_util::sync::CancellationToken;

/// The fires that this process holds, with a way to stop the work on each.
#[derive(Default)]
pub(super) struct Held {
    fires: Mutex<HashMap<String, Entry>>,
    /// Taken while fires are claimed, and while leases are made longer: a fire that this process claims anew is not lost.
    pub(super) turn: tokio::sync::Mutex<()>,
}

struct Entry {
    /// Of the newest claim by this process.
    fence: i64,
    stopped: CancellationToken,
    /// Whether the work is done and only its end is not stored yet.
    ended: bool,
}

impl Held {
    /// Remembers the fire until the answer is dropped. `None` when this process is at it already: it had been away for
    /// longer than its lease and took its own fire again, which goes on under the new claim.
    pub(super) fn hold(self: &Arc<Self>, claimed: &ClaimedFire) -> Option<Holding> {
        let mut held = self.lock();
        if let Some(entry) = held.get_mut(&claimed.fire.id)
            && !entry.stopped.is_cancelled()
        {
            entry.fence = claimed.fence;
            return None;
        }
        let stopped = CancellationToken::new();
        let entry = Entry { fence: claimed.fence, stopped: stopped.clone(), ended: false };
        held.insert(claimed.fire.id.clone(), entry);
        let fire_id = claimed.fire.id.clone();
        Some(Holding { fire_id, fence: claimed.fence, stopped, held: Arc::clone(self) })
    }

    pub(super) fn leases(&self) -> Vec<FireLease> {
        let lease = |(fire_id, entry): (&String, &Entry)| FireLease { fire_id: fire_id.clone(), fence: entry.fence };
        self.lock().iter().map(lease).collect()
    }

    /// Whether the end of this fire is still to be stored.
    pub(super) fn has_ended(&self, fire_id: &str) -> bool {
        self.lock().get(fire_id).is_some_and(|entry| entry.ended)
    }

    /// Stops the work on what belongs to somebody else now.
    pub(super) fn lost(&self, asked: &[FireLease], lost: &[String]) {
        let held = self.lock();
        for id in lost {
            // It may have been taken anew since it was asked about.
            let same = |entry: &&Entry| asked.iter().any(|lease| lease.fire_id == *id && lease.fence == entry.fence);
            if let Some(entry) = held.get(id).filter(same) {
                entry.stopped.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.fires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fire that is held as long as this lives.
pub(super) struct Holding {
    fire_id: String,
    /// Of the first claim.
    fence: i64,
    pub(super) stopped: CancellationToken,
    held: Arc<Held>,
}

impl Holding {
    /// The lease as it is now.
    pub(super) fn lease(&self) -> FireLease {
        let fence = self.mine(&mut self.held.lock()).map_or(self.fence, |entry| entry.fence);
        FireLease { fire_id: self.fire_id.clone(), fence }
    }

    /// The work is done.
    pub(super) fn end(&self) {
        if let Some(entry) = self.mine(&mut self.held.lock()) {
            entry.ended = true;
        }
    }

    /// Work that was stopped may have been begun anew before it noticed; then the entry is not its own any more.
    fn mine<'a>(&self, held: &'a mut HashMap<String, Entry>) -> Option<&'a mut Entry> {
        held.get_mut(&self.fire_id).filter(|entry| entry.stopped.is_cancelled() == self.stopped.is_cancelled())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if self.mine(&mut held).is_some() {
            held.remove(&self.fire_id);
        }
    }
}
