use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Authorizer, AuthzError, ResourceKind, ResourceRef};
use agentex_domain::Ownership;
use agentex_domain::ports::OwnerRepository;

use crate::Error;

/// Parents before children.
const ORDER: [ResourceKind; 4] =
    [ResourceKind::Agent, ResourceKind::Task, ResourceKind::ApiKey, ResourceKind::Schedule];
const PAGE: u32 = 200;

/// Registers what an account owns already with a permission service that does not know it yet.
///
/// It can be repeated and broken off at any point: registering again changes nothing.
pub struct Backfill {
    owners: Arc<dyn OwnerRepository>,
    target: Arc<dyn Authorizer>,
}

/// Where to go on: after this resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillCursor(ResourceRef);

/// How to go about it.
#[derive(Debug, Clone, Default)]
pub struct BackfillOptions {
    /// Only count.
    pub dry_run: bool,
    /// Most registrations a second; `None` as fast as it goes.
    pub per_second: Option<u32>,
    /// Go on after this resource instead of beginning anew.
    pub after: Option<BackfillCursor>,
}

/// What happened to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackfillEvent {
    /// It is registered (or would be).
    Registered(ResourceRef),
    /// The service has another owner on record; nothing was changed.
    OwnedByAnother(ResourceRef),
    /// Nobody is recorded as its owner, so nobody can be registered. Whose account it is in is not known.
    Unowned(ResourceRef),
}

/// What was found in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackfillReport {
    /// Registered, or would be.
    pub registered: u64,
    /// Owned by somebody else in the service.
    pub refused: u64,
    /// Live rows without a recorded owner, in every account.
    pub unowned: u64,
}

impl Backfill {
    /// From the recorded owners to `target`.
    #[must_use]
    pub fn new(owners: Arc<dyn OwnerRepository>, target: Arc<dyn Authorizer>) -> Self {
        Self { owners, target }
    }

    /// Registers everything owned in `account`, agents first, then tasks, keys and schedules, and tells `on_event` of each.
    ///
    /// # Errors
    /// The store or the service failed; what was told of before is done.
    pub async fn run(
        &self,
        account: &str,
        options: &BackfillOptions,
        mut on_event: impl FnMut(&BackfillEvent),
    ) -> Result<BackfillReport, Error> {
        let mut report = BackfillReport::default();
        let mut pace = options.per_second.map(|rate| {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            pace
        });
        let begin = options.after.as_ref().map(|cursor| &cursor.0);
        let first = begin.and_then(|resource| ORDER.iter().position(|kind| *kind == resource.kind)).unwrap_or(0);
        for kind in ORDER.into_iter().skip(first) {
            let mut after = begin.filter(|resource| resource.kind == kind).map(|resource| resource.selector.clone());
            loop {
                let page = self.owners.page(kind, after.take(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.resource.selector.clone());
                for ownership in page.into_iter().filter(|found| found.owner.account_id() == Some(account)) {
                    if let Some(pace) = pace.as_mut().filter(|_| !options.dry_run) {
                        pace.tick().await;
                    }
                    let registered = options.dry_run || self.register(&ownership).await?;
                    let event = if registered {
                        report.registered += 1;
                        BackfillEvent::Registered(ownership.resource)
                    } else {
                        report.refused += 1;
                        BackfillEvent::OwnedByAnother(ownership.resource)
                    };
                    on_event(&event);
                }
            }
        }
        for kind in ORDER {
            let mut after = None;
            loop {
                let page = self.owners.unowned(kind, after.take(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.clone());
                for selector in page {
                    report.unowned += 1;
                    on_event(&BackfillEvent::Unowned(ResourceRef { kind, selector }));
                }
            }
        }
        Ok(report)
    }

    /// Whether the service took it.
    async fn register(&self, ownership: &Ownership) -> Result<bool, Error> {
        let Ownership { resource, parent, owner, .. } = ownership;
        match self.target.register(owner, resource, parent.clone()).await {
            Ok(()) => {}
            Err(AuthzError::Refused) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        // It may have been deleted, and cleared, while it was being registered.
        if self.owners.find(resource).await?.is_none() {
            self.target.deregister(owner, resource).await?;
        }
        Ok(true)
    }
}

impl fmt::Debug for Backfill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backfill").finish_non_exhaustive()
    }
}

impl BackfillCursor {
    /// After this resource.
    #[must_use]
    pub const fn after(resource: ResourceRef) -> Self {
        Self(resource)
    }
}

impl FromStr for BackfillCursor {
    type Err = &'static str;

    /// Reads `kind:selector`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, selector) = text.split_once(':').ok_or("expected kind:selector")?;
        let kind = ORDER.into_iter().find(|known| known.as_str() == kind).ok_or("unknown kind of resource")?;
        Ok(Self(ResourceRef { kind, selector: selector.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use agentex_authz::{MockAuthorizer, Principal};
    use agentex_domain::ports::MockOwnerRepository;
    use serde_json::json;

    use super::*;
    use crate::testing::at;

    fn owned(resource: ResourceRef, user: &str, account: &str) -> Ownership {
        let owner = Principal::from_json(json!({"user_id": user, "account_id": account}));
        let parent = (resource.kind != ResourceKind::Agent).then(|| ResourceRef::agent("a"));
        Ownership { resource, parent, owner, created_at: at() }
    }

    fn owners() -> Arc<MockOwnerRepository> {
        let all = vec![
            owned(ResourceRef::agent("a"), "alice", "acme"),
            owned(ResourceRef::agent("b"), "bob", "other"),
            owned(ResourceRef::task("t"), "alice", "acme"),
            owned(ResourceRef::task("u"), "carol", "acme"),
            owned(ResourceRef::api_key("k"), "alice", "acme"),
        ];
        let mut owners = MockOwnerRepository::new();
        let pages = all.clone();
        owners.expect_page().returning(move |kind, after, _| {
            // Pages of one, so that the walk over pages shows.
            let rest = pages.iter().filter(|found| found.resource.kind == kind);
            Ok(rest
                .filter(|found| after.as_ref().is_none_or(|after| found.resource.selector > *after))
                .take(1)
                .cloned()
                .collect())
        });
        owners
            .expect_find()
            .returning(move |resource| Ok(all.iter().find(|found| found.resource == *resource).cloned()));
        owners.expect_unowned().returning(|kind, after, _| {
            Ok(if kind == ResourceKind::Task && after.is_none() { vec!["orphan".to_owned()] } else { Vec::new() })
        });
        Arc::new(owners)
    }

    /// authz §7: 210
    #[tokio::test]
    async fn parents_go_before_children_and_other_accounts_are_left_out() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let mut target = MockAuthorizer::new();
        target.expect_register().returning(move |owner, resource, parent| {
            assert_eq!(parent.is_some(), resource.kind != ResourceKind::Agent);
            seen.lock().unwrap().push(format!("{} {resource}", owner.user_id().unwrap()));
            if resource.selector == "u" { Err(AuthzError::Refused) } else { Ok(()) }
        });
        let backfill = Backfill::new(owners(), Arc::new(target));
        let mut events = Vec::new();

        let report =
            backfill.run("acme", &BackfillOptions::default(), |event| events.push(event.clone())).await.unwrap();

        assert_eq!(*order.lock().unwrap(), ["alice agent:a", "alice task:t", "carol task:u", "alice api_key:k"]);
        assert_eq!(report, BackfillReport { registered: 3, refused: 1, unowned: 1 });
        assert_eq!(events[2], BackfillEvent::OwnedByAnother(ResourceRef::task("u")));
        assert_eq!(events[4], BackfillEvent::Unowned(ResourceRef::task("orphan")));
    }

    #[tokio::test]
    async fn a_dry_run_registers_nothing_and_a_cursor_skips_what_was_done() {
        let options =
            BackfillOptions { dry_run: true, after: Some("task:t".parse().unwrap()), ..BackfillOptions::default() };
        let backfill = Backfill::new(owners(), Arc::new(MockAuthorizer::new()));

        let report = backfill.run("acme", &options, |_| {}).await.unwrap();

        assert_eq!(report, BackfillReport { registered: 2, refused: 0, unowned: 1 });
        for bad in ["", "task", "message:m"] {
            assert!(bad.parse::<BackfillCursor>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_is_deleted_meanwhile_is_cleared_again() {
        let gone = owned(ResourceRef::agent("gone"), "alice", "acme");
        let mut owners = MockOwnerRepository::new();
        let page = gone.clone();
        owners.expect_page().returning(move |kind, after, _| {
            Ok(if kind == ResourceKind::Agent && after.is_none() { vec![page.clone()] } else { Vec::new() })
        });
        owners.expect_find().returning(|_| Ok(None));
        owners.expect_unowned().returning(|_, _, _| Ok(Vec::new()));
        let mut target = MockAuthorizer::new();
        target.expect_register().once().returning(|_, _, _| Ok(()));
        target.expect_deregister().once().withf(move |_, resource| *resource == gone.resource).returning(|_, _| Ok(()));

        let backfill = Backfill::new(Arc::new(owners), Arc::new(target));

        backfill.run("acme", &BackfillOptions::default(), |_| {}).await.unwrap();
    }
}
