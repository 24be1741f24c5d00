//! What every `RolloutStore` must do. An adapter runs all of it with [`rollout_contract!`](crate::rollout_contract).

#![expect(missing_docs, reason = "the names of the cases are the sentences")]

use std::sync::Arc;

use agentex_authz::router::{RolloutFlags, RolloutStore, RolloutStoreError};

const OFF: RolloutFlags = RolloutFlags { dual_write: false, read: false };
const DUAL: RolloutFlags = RolloutFlags { dual_write: true, read: false };
const BOTH: RolloutFlags = RolloutFlags { dual_write: true, read: true };
const WRONG: RolloutFlags = RolloutFlags { dual_write: false, read: true };

/// Runs the contract against one adapter: one test per case.
///
/// The argument is evaluated in each test and yields `(Arc<dyn RolloutStore>, guard)`: an empty, migrated store and
/// whatever must live as long as the test. The calling crate needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! rollout_contract {
    ($setup:expr) => {
        $crate::rollout_contract! { @cases $setup;
            an_account_that_was_never_set_has_no_flags
            flags_read_back_as_they_were_set
            setting_replaces_both_flags_and_repeating_it_changes_nothing
            reading_without_writing_is_refused_and_changes_nothing
            an_account_needs_a_name
            accounts_are_listed_in_byte_order
            accounts_are_data
            concurrent_settings_leave_one_of_them
        }
    };
    (@cases $setup:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (rollout, _guard) = $setup;
                $crate::contract::rollout::$case(&rollout).await;
            }
        )+
    };
}

pub async fn an_account_that_was_never_set_has_no_flags(rollout: &Arc<dyn RolloutStore>) {
    assert_eq!(rollout.flags("acme").await.unwrap(), None);
    assert_eq!(rollout.list().await.unwrap(), []);
}

pub async fn flags_read_back_as_they_were_set(rollout: &Arc<dyn RolloutStore>) {
    for (account, flags) in [("off", OFF), ("dual", DUAL), ("both", BOTH)] {
        rollout.set(account, flags).await.unwrap();
    }

    for (account, flags) in [("off", OFF), ("dual", DUAL), ("both", BOTH)] {
        assert_eq!(rollout.flags(account).await.unwrap(), Some(flags), "{account}");
    }
    assert_eq!(rollout.flags("another").await.unwrap(), None);
}

pub async fn setting_replaces_both_flags_and_repeating_it_changes_nothing(rollout: &Arc<dyn RolloutStore>) {
    rollout.set("other", DUAL).await.unwrap();
    for flags in [DUAL, DUAL, BOTH, OFF, BOTH, DUAL, OFF] {
        rollout.set("acme", flags).await.unwrap();
        assert_eq!(rollout.list().await.unwrap(), [("acme".to_owned(), flags), ("other".to_owned(), DUAL)]);
    }
}

/// authz §7: 196
pub async fn reading_without_writing_is_refused_and_changes_nothing(rollout: &Arc<dyn RolloutStore>) {
    rollout.set("acme", BOTH).await.unwrap();

    for account in ["acme", "new"] {
        let refused = rollout.set(account, WRONG).await;
        assert!(matches!(refused, Err(RolloutStoreError::Invalid)), "{refused:?}");
    }

    assert_eq!(rollout.list().await.unwrap(), [("acme".to_owned(), BOTH)]);
}

pub async fn an_account_needs_a_name(rollout: &Arc<dyn RolloutStore>) {
    for account in ["", "\0", "a\0b"] {
        let refused = rollout.set(account, DUAL).await;
        assert!(matches!(refused, Err(RolloutStoreError::Invalid)), "{account:?}: {refused:?}");
        assert_eq!(rollout.flags(account).await.unwrap(), None, "{account:?}");
    }
    assert_eq!(rollout.list().await.unwrap(), []);
}

pub async fn accounts_are_listed_in_byte_order(rollout: &Arc<dyn RolloutStore>) {
    let mut accounts = ["b", "B", "a-1", "a:1", "\u{e9}", "0", "z"].map(str::to_owned);
    for account in &accounts {
        rollout.set(account, DUAL).await.unwrap();
    }
    accounts.sort_unstable();

    assert_eq!(rollout.list().await.unwrap(), accounts.map(|account| (account, DUAL)));
}

pub async fn accounts_are_data(rollout: &Arc<dyn RolloutStore>) {
    rollout.set("acme", DUAL).await.unwrap();
    for odd in ["' OR '1'='1", "%", "ACME", "acme ", " ", "\u{1F980}"] {
        assert_eq!(rollout.flags(odd).await.unwrap(), None, "{odd:?}");
        rollout.set(odd, BOTH).await.unwrap();
        assert_eq!(rollout.flags(odd).await.unwrap(), Some(BOTH), "{odd:?}");
    }
    assert_eq!(rollout.flags("acme").await.unwrap(), Some(DUAL));
}

pub async fn concurrent_settings_leave_one_of_them(rollout: &Arc<dyn RolloutStore>) {
    let settings = (0..16).map(|number| {
        let rollout = Arc::clone(rollout);
        let flags = if number % 2 == 0 { OFF } else { BOTH };
        tokio::spawn(async move { rollout.set("acme", flags).await.unwrap() })
    });
    for done in futures::future::join_all(settings).await {
        done.unwrap();
    }

    let left = rollout.flags("acme").await.unwrap().unwrap();
    assert!(left == OFF || left == BOTH, "{left:?}");
    assert_eq!(rollout.list().await.unwrap(), [("acme".to_owned(), left)]);
}

#[cfg(test)]
mod in_memory {
    use std::sync::Arc;

    use agentex_authz::router::{MemoryRollout, RolloutStore};

    crate::rollout_contract!({
        let rollout: Arc<dyn RolloutStore> = Arc::new(MemoryRollout::default());
        (rollout, ())
    });
}
