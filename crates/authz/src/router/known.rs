use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::flags::{RolloutFlags, RolloutStore, RolloutStoreError};

/// A store that just failed is not asked again at once: otherwise each request of an outage waits for it.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Accounts remembered. Beyond it, those whose value is too old to be used are forgotten.
const REMEMBERED_ACCOUNTS: usize = 10_000;

/// The flags of accounts as last seen.
pub(super) struct KnownFlags {
    store: Arc<dyn RolloutStore>,
    fresh_for: Duration,
    known_for: Duration,
    answer_within: Duration,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
}

#[derive(Default)]
struct Account {
    seen: Mutex<Seen>,
    /// One at a time asks the store; the others wait for its answer instead of asking the same.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    answer: Option<(RolloutFlags, Instant)>,
    failed_at: Option<Instant>,
}

impl KnownFlags {
    pub(super) fn new(
        store: Arc<dyn RolloutStore>,
        fresh_for: Duration,
        known_for: Duration,
        answer_within: Duration,
    ) -> Self {
        Self { store, fresh_for, known_for, answer_within, accounts: Mutex::default() }
    }

    /// The flags of `account`: fresh ones, else what the store says, else what it said not too long ago; `None` when
    /// nobody knows.
    pub(super) async fn of(&self, account: &str) -> Option<RolloutFlags> {
        let entry = self.entry(account);
        if let Some(flags) = self.without_asking(&entry) {
            return flags;
        }
        let _turn = entry.turn.lock().await;
        if let Some(flags) = self.without_asking(&entry) {
            return flags;
        }
        let answer = timeout(self.answer_within, self.store.flags(account)).await;
        let answer = answer.unwrap_or_else(|elapsed| Err(RolloutStoreError::Unavailable(elapsed.into())));
        match answer {
            Ok(flags) => {
                let flags = flags.unwrap_or_default();
                *entry.seen() = Seen { answer: Some((flags, Instant::now())), failed_at: None };
                Some(flags)
            }
            Err(error) => {
                entry.seen().failed_at = Some(Instant::now());
                let last_known = entry.seen().within(self.known_for);
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, account, known = last_known.is_some(), "the rollout flags cannot be read");
                last_known
            }
        }
    }

    /// What can be said without the store; the outer `None` means that it has to be asked.
    fn without_asking(&self, entry: &Account) -> Option<Option<RolloutFlags>> {
        let seen = *entry.seen();
        if let Some(flags) = seen.within(self.fresh_for) {
            return Some(Some(flags));
        }
        let retry_after = RETRY_AFTER.min(self.fresh_for);
        let just_failed = seen.failed_at.is_some_and(|at| at.elapsed() < retry_after);
        just_failed.then(|| seen.within(self.known_for))
    }

    fn entry(&self, account: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = accounts.get(account) {
            return Arc::clone(entry);
        }
        if accounts.len() >= REMEMBERED_ACCOUNTS {
            accounts.retain(|_, entry| entry.seen().within(self.known_for).is_some());
        }
        Arc::clone(accounts.entry(account.to_owned()).or_default())
    }
}

impl Account {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn within(&self, age: Duration) -> Option<RolloutFlags> {
        self.answer.filter(|(_, at)| at.elapsed() < age).map(|(flags, _)| flags)
    }
}
