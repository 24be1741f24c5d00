use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use agentex_authz::Principal;

/// The value of the `cache` label of this cache's metrics.
const NAME: &str = "auth_gateway";

/// A keyed digest of what the caller showed.
pub(crate) type CacheKey = [u8; 32];

/// What the cache of principals tells the time by.
pub trait CacheClock: Send + Sync {
    /// Time since some moment before the first call; never goes back.
    fn monotonic(&self) -> Duration;

    /// Time since the Unix epoch, compared only with the `exp` of tokens.
    fn unix(&self) -> Duration;
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl CacheClock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn unix(&self) -> Duration {
        // A machine that believes to be before 1970 keeps tokens for their usual time.
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// Principals by what their callers showed: bounded, least recently used first out, each for a limited time.
pub(crate) struct PrincipalCache {
    capacity: usize,
    clock: Arc<dyn CacheClock>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<CacheKey, Entry>,
    /// Keys by when they were last used, oldest first.
    by_use: BTreeMap<u64, CacheKey>,
    uses: u64,
}

struct Entry {
    principal: Principal,
    stored_at: Duration,
    keep_for: Duration,
    used: u64,
}

impl PrincipalCache {
    pub(crate) fn new(capacity: usize, clock: Arc<dyn CacheClock>) -> Self {
        Self { capacity, clock, entries: Mutex::default() }
    }

    pub(crate) fn clock(&self) -> &dyn CacheClock {
        &*self.clock
    }

    /// The principal stored under `key`, unless it is older than it was to be kept.
    pub(crate) fn get(&self, key: &CacheKey) -> Option<Principal> {
        let now = self.clock.monotonic();
        let (result, principal) = self.entries().get(key, now);
        count(|| metrics::counter!("auth_cache_access_total", "cache" => NAME, "result" => result).increment(1));
        principal
    }

    /// Stores `principal` for `keep_for`, in place of what was under `key`. A full cache loses what was not used for the
    /// longest time, and only when the key is new.
    pub(crate) fn put(&self, key: CacheKey, principal: Principal, keep_for: Duration) {
        if self.capacity == 0 {
            return;
        }
        let stored_at = self.clock.monotonic();
        let mut entries = self.entries();
        entries.remove(&key);
        let full = entries.by_key.len() >= self.capacity;
        if full {
            entries.remove_oldest();
        }
        entries.insert(key, principal, stored_at, keep_for);
        drop(entries);
        if full {
            count(|| metrics::counter!("auth_cache_eviction_total", "cache" => NAME).increment(1));
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn get(&mut self, key: &CacheKey, now: Duration) -> (&'static str, Option<Principal>) {
        let Some(entry) = self.by_key.get_mut(key) else { return ("miss_absent", None) };
        if now.saturating_sub(entry.stored_at) > entry.keep_for {
            self.remove(key);
            return ("miss_expired", None);
        }
        self.uses += 1;
        self.by_use.remove(&entry.used);
        self.by_use.insert(self.uses, *key);
        entry.used = self.uses;
        ("hit", Some(entry.principal.clone()))
    }

    fn insert(&mut self, key: CacheKey, principal: Principal, stored_at: Duration, keep_for: Duration) {
        self.uses += 1;
        self.by_use.insert(self.uses, key);
        self.by_key.insert(key, Entry { principal, stored_at, keep_for, used: self.uses });
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.by_key.remove(key) {
            self.by_use.remove(&entry.used);
        }
    }

    fn remove_oldest(&mut self) {
        if let Some((_, key)) = self.by_use.pop_first() {
            self.by_key.remove(&key);
        }
    }
}

/// Counts, whatever the recorder does: who is let in must not depend on a metrics exporter.
fn count(emit: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(emit));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Still;

    impl CacheClock for Still {
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn unix(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn user(name: &str) -> Principal {
        Principal::from_json(json!({ "user_id": name }))
    }

    #[test]
    fn a_full_cache_loses_what_was_not_used_for_the_longest_time() {
        let cache = PrincipalCache::new(2, Arc::new(Still));
        let ever = Duration::MAX;
        cache.put([1; 32], user("one"), ever);
        cache.put([2; 32], user("two"), ever);
        assert_eq!(cache.get(&[1; 32]), Some(user("one")));

        cache.put([3; 32], user("three"), ever);

        assert_eq!(cache.get(&[2; 32]), None);
        assert_eq!(cache.get(&[1; 32]), Some(user("one")));
        assert_eq!(cache.get(&[3; 32]), Some(user("three")));
    }

    #[test]
    fn a_stored_key_is_overwritten_in_place() {
        let cache = PrincipalCache::new(2, Arc::new(Still));
        cache.put([1; 32], user("one"), Duration::MAX);
        cache.put([2; 32], user("two"), Duration::MAX);

        cache.put([1; 32], user("uno"), Duration::MAX);

        assert_eq!(cache.get(&[1; 32]), Some(user("uno")));
        assert_eq!(cache.get(&[2; 32]), Some(user("two")));
        let entries = cache.entries();
        assert_eq!((entries.by_key.len(), entries.by_use.len()), (2, 2));
    }
}
