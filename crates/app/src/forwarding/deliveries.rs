use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentex_domain::Timestamp;
use sha2::{Digest as _, Sha256};

/// How long a delivery is remembered.
const WINDOW: Duration = Duration::from_secs(600);
/// Most deliveries remembered; beyond that the oldest are forgotten early.
const CAPACITY: usize = 10_000;

type Fingerprint = [u8; 32];

/// Webhook deliveries of the last minutes, by which a repeated one is known. Of this process only.
#[derive(Clone, Default)]
pub(super) struct Deliveries(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    at: HashMap<Fingerprint, Timestamp>,
    /// The same, oldest first; entries that `at` lacks were forgotten since.
    order: VecDeque<(Timestamp, Fingerprint)>,
}

impl Deliveries {
    /// Remembers a delivery. `None` when it was seen within the last ten minutes; else a claim that forgets it again when it
    /// is dropped before [`Claim::keep`], because what failed may be sent once more.
    pub(super) fn claim(&self, parts: &[&str], now: Timestamp) -> Option<Claim> {
        let fingerprint = fingerprint(parts);
        let mut seen = self.seen();
        seen.drop_old(now);
        if seen.at.contains_key(&fingerprint) {
            return None;
        }
        seen.at.insert(fingerprint, now);
        seen.order.push_back((now, fingerprint));
        Some(Claim { deliveries: self.clone(), fingerprint, kept: false })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn drop_old(&mut self, now: Timestamp) {
        let is_old = |at: Timestamp| now.as_micros().saturating_sub(at.as_micros()) > micros(WINDOW);
        while self.order.front().is_some_and(|(at, _)| is_old(*at)) || self.order.len() >= CAPACITY {
            let Some((at, fingerprint)) = self.order.pop_front() else { break };
            if self.at.get(&fingerprint) == Some(&at) {
                self.at.remove(&fingerprint);
            }
        }
    }
}

/// A delivery that is being passed on.
pub(super) struct Claim {
    deliveries: Deliveries,
    fingerprint: Fingerprint,
    kept: bool,
}

impl Claim {
    /// The agent has it: a repeat is one from now on.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.deliveries.seen().at.remove(&self.fingerprint);
        }
    }
}

fn fingerprint(parts: &[&str]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps neighbouring parts apart.
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap()
    }

    #[test]
    fn a_delivery_is_known_for_ten_minutes() {
        let deliveries = Deliveries::default();

        deliveries.claim(&["agent", "d1"], at(0)).unwrap().keep();

        assert!(deliveries.claim(&["agent", "d1"], at(600)).is_none());
        assert!(deliveries.claim(&["agentd", "1"], at(600)).is_some());
        assert!(deliveries.claim(&["agent", "d1"], at(601)).is_some());
    }

    #[test]
    fn what_did_not_arrive_may_come_again_and_what_is_on_its_way_may_not() {
        let deliveries = Deliveries::default();

        let claim = deliveries.claim(&["d"], at(0)).unwrap();
        assert!(deliveries.claim(&["d"], at(0)).is_none());
        drop(claim);

        assert!(deliveries.claim(&["d"], at(0)).is_some());
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let deliveries = Deliveries::default();
        for number in 0..=CAPACITY {
            deliveries.claim(&[&number.to_string()], at(0)).unwrap().keep();
        }

        assert!(deliveries.seen().at.len() <= CAPACITY);
        assert!(deliveries.claim(&["0"], at(0)).is_some());
        assert!(deliveries.claim(&[&CAPACITY.to_string()], at(0)).is_none());
    }
}
