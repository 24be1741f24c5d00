use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::flags::{RolloutFlags, RolloutStore, RolloutStoreError};

/// Flags in memory, gone with the process: for tests, and for rollouts that configuration states.
#[derive(Debug, Default)]
pub struct MemoryRollout(Mutex<BTreeMap<String, RolloutFlags>>);

impl MemoryRollout {
    fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, RolloutFlags>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RolloutStore for MemoryRollout {
    async fn flags(&self, account: &str) -> Result<Option<RolloutFlags>, RolloutStoreError> {
        Ok(self.accounts().get(account).copied())
    }

    async fn set(&self, account: &str, flags: RolloutFlags) -> Result<(), RolloutStoreError> {
        if !flags.is_valid() || account.is_empty() || account.contains('\0') {
            return Err(RolloutStoreError::Invalid);
        }
        self.accounts().insert(account.to_owned(), flags);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<(String, RolloutFlags)>, RolloutStoreError> {
        Ok(self.accounts().iter().map(|(account, flags)| (account.clone(), *flags)).collect())
    }
}
