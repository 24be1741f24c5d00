use std::future::Future;
use std::sync::Arc;

use agentex_authz::{Authorizer, Operation, Principal, ResourceRef};

use crate::Error;

/// Keeps the two halves of a resource — its row and its edges in the authorization graph — together: registered before
/// the row exists, granted after, taken back when the row does not come to be, removed after the row is gone.
#[derive(Clone)]
pub(crate) struct Lifecycle {
    authorizer: Arc<dyn Authorizer>,
}

/// What the write of a row did.
pub(crate) enum Written<T> {
    /// A new row.
    Created(T),
    /// Somebody else's row was there first; nothing was written.
    Lost(T),
}

impl Lifecycle {
    pub(crate) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }

    /// Creates `resource`: register, `write` the row, grant.
    ///
    /// Without an owner nothing is recorded in the graph (a deployment without authorization, or an agent creating on its
    /// own). A write that fails or loses a race takes the registration back with the same principal; that never hides the
    /// write's own outcome. A grant that fails does not undo the resource: registration already made it the owner's.
    pub(crate) async fn create<T, E: Into<Error>>(
        &self,
        owner: Option<&Principal>,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
        write: impl Future<Output = Result<Written<T>, E>>,
    ) -> Result<Written<T>, Error> {
        let Some(owner) = owner else {
            tracing::debug!(%resource, "created without an owner: the caller names no user or service account");
            return write.await.map_err(Into::into);
        };
        self.authorizer.register(owner, resource, parent).await?;
        match write.await {
            Ok(Written::Created(row)) => {
                if let Err(error) = self.authorizer.grant(owner, Operation::Create, resource).await {
                    tracing::error!(%resource, %error, "grant after create failed");
                }
                Ok(Written::Created(row))
            }
            Ok(Written::Lost(row)) => {
                self.forget(owner, resource).await;
                Ok(Written::Lost(row))
            }
            Err(error) => {
                self.forget(owner, resource).await;
                Err(error.into())
            }
        }
    }

    /// Removes the edges of a resource whose row is gone. The delete has already succeeded, so failures are logged, not
    /// returned.
    pub(crate) async fn removed(&self, principal: &Principal, resource: &ResourceRef) {
        self.forget(principal, resource).await;
        if let Err(error) = self.authorizer.revoke(principal, Operation::Delete, resource).await {
            tracing::error!(%resource, %error, "revoke after delete failed");
        }
    }

    async fn forget(&self, principal: &Principal, resource: &ResourceRef) {
        if let Err(error) = self.authorizer.deregister(principal, resource).await {
            tracing::error!(%resource, %error, "deregister failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use agentex_authz::{AuthzError, MockAuthorizer};
    use agentex_domain::ports::StoreError;
    use mockall::Sequence;
    use serde_json::json;

    use super::*;

    fn alice() -> Principal {
        Principal::from_json(json!({"user_id": "alice"}))
    }

    fn task() -> ResourceRef {
        ResourceRef::task("t")
    }

    #[tokio::test]
    async fn a_create_registers_before_and_grants_after_the_row() {
        let mut order = Sequence::new();
        let mut authorizer = MockAuthorizer::new();
        authorizer
            .expect_register()
            .once()
            .in_sequence(&mut order)
            .withf(|owner, resource, parent| {
                owner.user_id() == Some("alice") && *resource == task() && *parent == Some(ResourceRef::agent("a"))
            })
            .returning(|_, _, _| Ok(()));
        authorizer
            .expect_grant()
            .once()
            .in_sequence(&mut order)
            .withf(|_, operation, _| *operation == Operation::Create)
            .returning(|_, _, _| Ok(()));
        let lifecycle = Lifecycle::new(Arc::new(authorizer));

        let write = async { Ok::<_, StoreError>(Written::Created(1)) };
        let created = lifecycle.create(Some(&alice()), &task(), Some(ResourceRef::agent("a")), write).await;

        assert!(matches!(created, Ok(Written::Created(1))));
    }

    #[tokio::test]
    async fn a_failed_registration_writes_no_row() {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_register().returning(|_, _, _| Err(AuthzError::Unavailable("down".into())));
        let lifecycle = Lifecycle::new(Arc::new(authorizer));
        let mut written = false;

        let write = async {
            written = true;
            Ok::<_, StoreError>(Written::Created(()))
        };
        let refused = lifecycle.create(Some(&alice()), &task(), None, write).await;

        assert!(matches!(refused, Err(Error::Authz(AuthzError::Unavailable(_)))));
        assert!(!written);
    }

    #[tokio::test]
    async fn a_failed_write_takes_the_registration_back_and_keeps_its_own_error() {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_register().once().returning(|_, _, _| Ok(()));
        authorizer
            .expect_deregister()
            .once()
            .withf(|principal, _| principal.user_id() == Some("alice"))
            .returning(|_, _| Err(AuthzError::Unavailable("down".into())));
        let lifecycle = Lifecycle::new(Arc::new(authorizer));

        let write = async { Err::<Written<()>, _>(StoreError::Duplicate { what: "task" }) };
        let refused = lifecycle.create(Some(&alice()), &task(), None, write).await;

        assert!(matches!(refused, Err(Error::Store(StoreError::Duplicate { .. }))));
    }

    #[tokio::test]
    async fn the_loser_of_a_race_is_deregistered_and_never_granted() {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_register().once().returning(|_, _, _| Ok(()));
        authorizer.expect_deregister().once().returning(|_, _| Ok(()));
        let lifecycle = Lifecycle::new(Arc::new(authorizer));

        let write = async { Ok::<_, StoreError>(Written::Lost("winner")) };
        let lost = lifecycle.create(Some(&alice()), &task(), None, write).await;

        assert!(matches!(lost, Ok(Written::Lost("winner"))));
    }

    #[tokio::test]
    async fn a_failed_grant_does_not_undo_the_create() {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_register().returning(|_, _, _| Ok(()));
        authorizer.expect_grant().once().returning(|_, _, _| Err(AuthzError::Unavailable("down".into())));
        let lifecycle = Lifecycle::new(Arc::new(authorizer));

        let created =
            lifecycle.create(Some(&alice()), &task(), None, async { Ok::<_, StoreError>(Written::Created(())) }).await;

        assert!(matches!(created, Ok(Written::Created(()))));
    }

    #[tokio::test]
    async fn a_removed_resource_is_deregistered_then_revoked_whatever_fails() {
        let mut order = Sequence::new();
        let mut authorizer = MockAuthorizer::new();
        authorizer
            .expect_deregister()
            .once()
            .in_sequence(&mut order)
            .returning(|_, _| Err(AuthzError::Unavailable("down".into())));
        authorizer
            .expect_revoke()
            .once()
            .in_sequence(&mut order)
            .withf(|_, operation, _| *operation == Operation::Delete)
            .returning(|_, _, _| Err(AuthzError::Unavailable("down".into())));

        Lifecycle::new(Arc::new(authorizer)).removed(&alice(), &task()).await;
    }
}
