use std::sync::Arc;

use agentex_authz::model::Explanation;
use agentex_authz::{Authorizer, Operation, Principal, ResourceRef};
use agentex_domain::input::Problem;
use serde_json::{Map, Value, json};

use crate::guard::Guard;
use crate::{Absent, Caller, Error};

/// Tells why somebody may do something, or may not.
pub struct Access {
    guard: Guard,
    /// `None`: authorization is off.
    authorizer: Option<Arc<dyn Authorizer>>,
}

/// A decision to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessQuestion {
    /// About which resource. `*` stands for creating one of the kind, and only callers themselves can be asked about.
    pub resource: ResourceRef,
    /// Doing what.
    pub operation: Operation,
    /// Who; the caller itself where nobody is named.
    pub subject: Option<AccessSubject>,
}

/// Somebody whose permissions are asked for; it is taken to act in the caller's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessSubject {
    /// A user, by id.
    User(String),
    /// A service account, by id.
    ServiceAccount(String),
}

impl Access {
    pub(crate) fn new(guard: Guard, authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        Self { guard, authorizer }
    }

    /// How the decision comes about. Callers learn it of themselves for what they may read, and of others for what they may
    /// delete: sharing is the owner's business. `None`: authorization is off, everything is allowed.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for agents, whatever they ask.
    #[tracing::instrument(name = "access.explain", skip_all, fields(resource = %question.resource))]
    pub async fn explain(&self, caller: &Caller, question: AccessQuestion) -> Result<Option<Explanation>, Error> {
        let AccessQuestion { resource, operation, subject } = question;
        let of_any = resource.selector == "*";
        if of_any && operation != Operation::Create {
            let (path, text) =
                ("query.resource".to_owned(), "'*' stands for what is created, and nothing else".to_owned());
            return Err(Error::Unprocessable(vec![Problem { path, text }]));
        }
        let Some(authorizer) = &self.authorizer else { return Ok(None) };
        if matches!(caller, Caller::Agent { .. }) || (of_any && subject.is_some()) {
            return Err(Error::Forbidden { operation, resource });
        }
        let absent = Absent::Id(resource.selector.clone());
        let principal = match subject {
            None => {
                // Nothing is hidden about what does not exist yet.
                if !of_any {
                    self.guard.require(caller, Operation::Read, resource.clone(), absent).await?;
                }
                caller.principal().into_owned()
            }
            Some(subject) => {
                self.guard.require(caller, Operation::Delete, resource.clone(), absent).await?;
                subject.beside(&caller.principal())
            }
        };
        Ok(Some(authorizer.explain(&principal, operation, &resource).await?))
    }
}

impl AccessSubject {
    /// The subject, acting where `caller` acts.
    fn beside(self, caller: &Principal) -> Principal {
        let (member, id) = match self {
            Self::User(id) => ("user_id", id),
            Self::ServiceAccount(id) => ("service_account_id", id),
        };
        let mut members = Map::from_iter([(member.to_owned(), Value::String(id))]);
        members.extend(caller.account_id().map(|account| ("account_id".to_owned(), json!(account))));
        Principal::from_json(Value::Object(members))
    }
}
