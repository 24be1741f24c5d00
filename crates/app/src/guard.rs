use std::sync::Arc;

use agentex_authz::{Authorizer, Check, Decision, Operation, ResourceKind, ResourceRef, Scope};

use crate::{Absent, Caller, Error};

/// The one place where permissions turn into refusals.
#[derive(Clone)]
pub(crate) struct Guard {
    authorizer: Arc<dyn Authorizer>,
}

/// One thing the caller must be allowed to do, and what to say when it must not know that the thing exists.
pub(crate) struct Need {
    pub(crate) operation: Operation,
    pub(crate) resource: ResourceRef,
    /// `None` for `create` on a kind: there is nothing to hide.
    pub(crate) absent: Option<Absent>,
}

impl Need {
    pub(crate) fn on(operation: Operation, resource: ResourceRef, absent: Absent) -> Self {
        Self { operation, resource, absent: Some(absent) }
    }

    pub(crate) fn create(kind: ResourceKind) -> Self {
        Self { operation: Operation::Create, resource: ResourceRef::any(kind), absent: None }
    }
}

impl Guard {
    pub(crate) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }

    /// Refuses unless `caller` may perform `operation` on `resource`.
    ///
    /// A caller who cannot even read the resource is told `absent`, so ids cannot be probed across accounts. An outage is
    /// an error of its own and never looks like either answer.
    pub(crate) async fn require(
        &self,
        caller: &Caller,
        operation: Operation,
        resource: ResourceRef,
        absent: Absent,
    ) -> Result<(), Error> {
        self.require_all(caller, vec![Need::on(operation, resource, absent)]).await
    }

    /// Refuses unless the caller may create resources of `kind`.
    pub(crate) async fn require_create(&self, caller: &Caller, kind: ResourceKind) -> Result<(), Error> {
        self.require_all(caller, vec![Need::create(kind)]).await
    }

    /// Refuses unless all needs are met, asking the backend once. The first need that is not met decides the refusal.
    pub(crate) async fn require_all(&self, caller: &Caller, needs: Vec<Need>) -> Result<(), Error> {
        let principal = caller.principal();
        let decisions = match needs.as_slice() {
            [only] => vec![self.authorizer.check(&principal, only.operation, &only.resource).await?],
            several => {
                let checks: Vec<Check> = several
                    .iter()
                    .map(|need| Check { operation: need.operation, resource: need.resource.clone() })
                    .collect();
                self.authorizer.check_many(&principal, &checks).await?
            }
        };
        if decisions.len() != needs.len() {
            let source = "the number of decisions differs from the number of checks".into();
            return Err(agentex_authz::AuthzError::Protocol(source).into());
        }
        for (need, decision) in needs.into_iter().zip(decisions) {
            if decision == Decision::Allow {
                continue;
            }
            let Need { operation, resource, absent } = need;
            let Some(absent) = absent else { return Err(Error::Forbidden { operation, resource }) };
            if operation != Operation::Read
                && self.authorizer.check(&principal, Operation::Read, &resource).await? == Decision::Allow
            {
                return Err(Error::Forbidden { operation, resource });
            }
            return Err(Error::NotFound(absent));
        }
        Ok(())
    }

    /// Whether the caller may read the resource; for filtering what is embedded in an answer.
    pub(crate) async fn may_read(&self, caller: &Caller, resource: &ResourceRef) -> Result<bool, Error> {
        Ok(self.authorizer.check(&caller.principal(), Operation::Read, resource).await?.is_allowed())
    }

    /// Which resources of `kind` the caller may read.
    pub(crate) async fn readable(&self, caller: &Caller, kind: ResourceKind) -> Result<Scope, Error> {
        Ok(self.authorizer.list_resources(&caller.principal(), kind, Operation::Read).await?)
    }
}

#[cfg(test)]
mod tests {
    use agentex_authz::{AuthzError, MockAuthorizer, Principal};
    use serde_json::json;

    use super::*;

    fn alice() -> Caller {
        Caller::Principal(Principal::from_json(json!({"user_id": "alice"})))
    }

    fn answering(answer: impl Fn(Operation) -> Result<Decision, AuthzError> + Send + Sync + 'static) -> Guard {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_check().returning(move |_, operation, _| answer(operation));
        Guard::new(Arc::new(authorizer))
    }

    async fn outcome(guard: &Guard, operation: Operation) -> Result<(), Error> {
        guard.require(&alice(), operation, ResourceRef::task("t"), Absent::Id("t".into())).await
    }

    #[tokio::test]
    async fn a_denied_read_looks_like_absence() {
        let guard = answering(|_| Ok(Decision::Deny));

        for operation in [Operation::Read, Operation::Update, Operation::Cancel] {
            let refused = outcome(&guard, operation).await;
            assert!(matches!(refused, Err(Error::NotFound(Absent::Id(_)))), "{operation}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_readable_resource_is_forbidden_rather_than_absent() {
        let guard =
            answering(|operation| Ok(if operation == Operation::Read { Decision::Allow } else { Decision::Deny }));

        assert!(matches!(outcome(&guard, Operation::Update).await, Err(Error::Forbidden { .. })));
        assert!(outcome(&guard, Operation::Read).await.is_ok());
    }

    #[tokio::test]
    async fn an_outage_is_neither_absence_nor_permission() {
        let down = || Err(AuthzError::Unavailable("down".into()));
        let first = answering(move |_| down());
        let follow_up =
            answering(move |operation| if operation == Operation::Read { down() } else { Ok(Decision::Deny) });

        for guard in [first, follow_up] {
            let refused = outcome(&guard, Operation::Update).await;
            assert!(matches!(refused, Err(Error::Authz(AuthzError::Unavailable(_)))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_misses_a_check_is_an_error() {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_check_many().returning(|_, _| Ok(vec![Decision::Allow]));
        let guard = Guard::new(Arc::new(authorizer));
        let needs = vec![Need::create(ResourceKind::Task), Need::create(ResourceKind::Agent)];

        let refused = guard.require_all(&alice(), needs).await;

        assert!(matches!(refused, Err(Error::Authz(AuthzError::Protocol(_)))), "{refused:?}");
    }

    #[tokio::test]
    async fn creating_a_kind_is_forbidden_without_a_second_question() {
        let mut authorizer = MockAuthorizer::new();
        authorizer.expect_check().once().returning(|_, _, _| Ok(Decision::Deny));
        let guard = Guard::new(Arc::new(authorizer));

        let refused = guard.require_create(&alice(), ResourceKind::Agent).await;

        assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
    }
}
