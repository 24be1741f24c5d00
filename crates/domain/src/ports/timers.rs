use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{ClaimedFire, Fire, Misfire, Timer, Timestamp};

/// Proof of holding a fire: its id and the fence of the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FireLease {
    /// The fire.
    pub fire_id: String,
    /// Of the claim.
    pub fence: i64,
}

/// The end of a fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedFire {
    /// By whom.
    pub lease: FireLease,
    /// Why it was given up, if it was; holds no secret.
    pub error: Option<String>,
}

/// What became of [`TimerRepository::fire_now`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FireNow {
    /// It is stored and waits to be claimed.
    Stored,
    /// A fire of that id is known, finished or not; nothing was changed.
    Known,
    /// Its timer does not exist; nothing was changed.
    NoTimer,
}

/// Timers that a process could not read, and until when it leaves them alone.
#[derive(Debug, Default)]
pub struct SetAside(Mutex<HashMap<String, Timestamp>>);

impl SetAside {
    /// Leaves the timer alone until then.
    pub fn add(&self, id: String, until: Timestamp) {
        self.lock().insert(id, until);
    }

    /// Those that are left alone at `now`. The others are forgotten.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Vec<String> {
        let mut all = self.lock();
        all.retain(|_, until| *until > now);
        all.keys().cloned().collect()
    }

    /// Those that have not been tried again.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// When the first is tried again.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.lock().values().min().copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what the embedded scheduler knows: timers, and the fires they have brought about. Every method is atomic by itself;
/// of several callers at once each fire has one holder at a time.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait TimerRepository: Send + Sync {
    /// Stores a new timer exactly as given. [`StoreError::Duplicate`] when the id is taken.
    async fn insert(&self, timer: &Timer) -> Result<(), StoreError>;

    /// The timer with this id.
    async fn find(&self, id: &str) -> Result<Option<Timer>, StoreError>;

    /// Up to `limit` timers whose id begins with `prefix` and, where `only` is given, is among it; by id, byte by byte.
    async fn list(&self, prefix: &str, only: Option<Arc<[String]>>, limit: u32) -> Result<Vec<Timer>, StoreError>;

    /// Stores everything of `timer` but the time it was made, if the stored version is still `timer.version`, and counts the
    /// version on. Answers whether it did.
    async fn replace(&self, timer: &Timer) -> Result<bool, StoreError>;

    /// Removes the timer; answers whether it was there. Its fires go on.
    async fn delete(&self, id: &str) -> Result<bool, StoreError>;

    /// Applies [`Timer::come_due`] to up to `limit` timers that are due at `now`, longest due first, and stores what they
    /// fire, claimed by the caller until `until`. Timers that somebody else is working on are left out, and so are fires
    /// whose id is known already. One that cannot be read is said to the log and left as it is, and tried again some minutes
    /// later; the others fire.
    async fn fire_due(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
        misfire: Misfire,
    ) -> Result<Vec<ClaimedFire>, StoreError>;

    /// Stores a fire that anybody may claim from `at` on. One that has a timer counts as its action.
    async fn fire_now(&self, fire: &Fire, at: Timestamp) -> Result<FireNow, StoreError>;

    /// Claims up to `limit` unfinished fires that are waiting or whose lease has ended at `now`, longest first, until `until`.
    /// Each counts as one more attempt. One that cannot be read is said to the log and comes again when its lease ends.
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<ClaimedFire>, StoreError>;

    /// Makes leases end at `until`; answers the fires that the caller does not hold any more.
    async fn extend(&self, leases: &[FireLease], until: Timestamp) -> Result<Vec<String>, StoreError>;

    /// Ends fires at `at`; answers how many. Those that the caller does not hold any more are left alone.
    async fn finish(&self, fires: &[FinishedFire], at: Timestamp) -> Result<u64, StoreError>;

    /// Puts a fire off until `due_at` and keeps why. Answers whether the caller still held it; nothing is changed otherwise.
    async fn retry(&self, lease: &FireLease, due_at: Timestamp, error: &str) -> Result<bool, StoreError>;

    /// Gives fires back that were not carried out: they may be claimed from `at` on, and the attempt does not count.
    async fn release(&self, leases: &[FireLease], at: Timestamp) -> Result<(), StoreError>;

    /// When there is something to do next: the soonest of all occurrences, retries and ends of leases, and of the moments
    /// when what could not be read is tried again.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Forgets up to `limit` fires that ended before `before`; answers how many. Their ids are unknown from then on.
    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
