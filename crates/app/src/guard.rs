#[cfg(test)]
mod tests;

use std::sync::Arc;

use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, ResourceKind, ResourceRef, Scope, Selectors};
use agentex_domain::ports::TaskRepository;
use agentex_domain::{Agent, AgentId, Task, TaskId};

use crate::{Absent, AgentScope, AgentSelector, Caller, Error, TaskSelector};

/// Stands in where a name belongs to nothing, so that asking about an absent name and about a hidden one costs the same
/// questions, and the same look-ups of what is below. Ids are random, so nothing ever has this one.
pub(crate) const NOTHING: &str = "00000000-0000-0000-0000-000000000000";

/// The one place where permissions turn into refusals.
#[derive(Clone)]
pub(crate) struct Guard {
    /// `None`: authorization is off and everything is allowed.
    authorizer: Option<Arc<dyn Authorizer>>,
    agent_scope: AgentScope,
    tasks: Arc<dyn TaskRepository>,
}

/// One thing the caller must be allowed to do, and what to say when it must not know that the thing exists.
#[derive(Clone)]
pub(crate) struct Need {
    operation: Operation,
    resource: ResourceRef,
    /// `None` for `create` on a kind: there is nothing to hide.
    absent: Option<Absent>,
    /// Whether the thing is there at all. What is not is asked about all the same.
    exists: bool,
}

/// Something a caller addressed, and what was found.
pub(crate) struct Sought<'a> {
    pub(crate) kind: ResourceKind,
    /// Its id, if it is there.
    pub(crate) found: Option<&'a str>,
    /// The id the caller typed, where it typed one.
    pub(crate) typed: Option<&'a str>,
    /// What to say where the caller must not know more.
    pub(crate) absent: Absent,
}

impl<'a> Sought<'a> {
    pub(crate) fn agent(selector: &'a AgentSelector, found: Option<&'a Agent>) -> Self {
        let typed = match selector {
            AgentSelector::Id(id) => Some(id.as_str()),
            AgentSelector::Name(_) => None,
        };
        let found = found.map(|agent| agent.id.as_str());
        Self { kind: ResourceKind::Agent, found, typed, absent: selector.absent() }
    }

    pub(crate) fn task(selector: &'a TaskSelector, found: Option<&'a Task>) -> Self {
        let typed = match selector {
            TaskSelector::Id(id) => Some(id.as_str()),
            TaskSelector::Name(_) => None,
        };
        let found = found.map(|task| task.id.as_str());
        Self { kind: ResourceKind::Task, found, typed, absent: selector.absent() }
    }
}

/// What the caller may see of a kind.
pub(crate) struct Visible {
    /// Of these.
    pub(crate) scope: Scope,
    /// And only what is linked to this agent.
    pub(crate) linked_to: Option<AgentId>,
}

impl Need {
    /// On something that is there.
    pub(crate) const fn on(operation: Operation, resource: ResourceRef, absent: Absent) -> Self {
        Self { operation, resource, absent: Some(absent), exists: true }
    }

    /// On something that may not be there: `found` is its id if it is. Something absent is asked about by the id the caller
    /// typed, or by an id that nothing has where it was addressed otherwise.
    pub(crate) fn sought(operation: Operation, sought: Sought<'_>) -> Self {
        let Sought { kind, found, typed, absent } = sought;
        let typed = typed.filter(|id| !id.is_empty() && *id != "*");
        let selector = found.or(typed).unwrap_or(NOTHING).to_owned();
        Self { operation, resource: ResourceRef { kind, selector }, absent: Some(absent), exists: found.is_some() }
    }

    pub(crate) fn create(kind: ResourceKind) -> Self {
        Self { operation: Operation::Create, resource: ResourceRef::any(kind), absent: None, exists: true }
    }

    fn check(&self) -> Check {
        Check { operation: self.operation, resource: self.resource.clone() }
    }
}

impl Guard {
    pub(crate) fn new(
        authorizer: Option<Arc<dyn Authorizer>>,
        agent_scope: AgentScope,
        tasks: Arc<dyn TaskRepository>,
    ) -> Self {
        Self { authorizer, agent_scope, tasks }
    }

    /// Whether anything can be hidden from anybody.
    pub(crate) const fn is_enabled(&self) -> bool {
        self.authorizer.is_some()
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

    /// Refuses unless what was sought is there and `caller` may perform `operation` on it. Hidden and absent things are asked
    /// about in the same way and answered with the same text.
    pub(crate) async fn require_sought(
        &self,
        caller: &Caller,
        operation: Operation,
        sought: Sought<'_>,
    ) -> Result<(), Error> {
        self.require_all(caller, vec![Need::sought(operation, sought)]).await
    }

    /// Refuses unless the caller may create resources of `kind`.
    pub(crate) async fn require_create(&self, caller: &Caller, kind: ResourceKind) -> Result<(), Error> {
        self.require_all(caller, vec![Need::create(kind)]).await
    }

    /// Refuses unless all needs are met, asking the backend once. The first need that is not met decides the refusal; what
    /// is not there is never met.
    pub(crate) async fn require_all(&self, caller: &Caller, needs: Vec<Need>) -> Result<(), Error> {
        let checks: Vec<Check> = needs.iter().map(Need::check).collect();
        let decisions = self.decide(caller, &checks).await?;
        for (need, decision) in needs.into_iter().zip(decisions) {
            let Need { operation, resource, absent, exists } = need;
            match (decision, absent) {
                (Decision::Allow, Some(absent)) if !exists => return Err(Error::NotFound(absent)),
                (Decision::Allow, _) => {}
                (Decision::Deny, None) => return Err(Error::Forbidden { operation, resource }),
                (Decision::Deny, Some(absent)) => {
                    if operation != Operation::Read && self.may_read(caller, &resource).await? && exists {
                        return Err(Error::Forbidden { operation, resource });
                    }
                    return Err(Error::NotFound(absent));
                }
            }
        }
        Ok(())
    }

    /// Whether the caller may read the resource; for filtering what is embedded in an answer.
    pub(crate) async fn may_read(&self, caller: &Caller, resource: &ResourceRef) -> Result<bool, Error> {
        self.may(caller, Operation::Read, resource).await
    }

    /// Whether the caller may perform the operation.
    pub(crate) async fn may(
        &self,
        caller: &Caller,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<bool, Error> {
        let decisions = self.decide(caller, &[Check { operation, resource: resource.clone() }]).await?;
        Ok(decisions.into_iter().all(Decision::is_allowed))
    }

    /// Which of `resources` the caller may perform `operation` on, in their order, asking the backend once.
    pub(crate) async fn may_each(
        &self,
        caller: &Caller,
        operation: Operation,
        resources: &[ResourceRef],
    ) -> Result<Vec<bool>, Error> {
        let checks: Vec<Check> =
            resources.iter().map(|resource| Check { operation, resource: resource.clone() }).collect();
        let decisions = self.decide(caller, &checks).await?;
        Ok(decisions.into_iter().map(Decision::is_allowed).collect())
    }

    /// What of `kind` the caller may read.
    pub(crate) async fn visible(&self, caller: &Caller, kind: ResourceKind) -> Result<Visible, Error> {
        let Some(authorizer) = &self.authorizer else { return Ok(Visible { scope: Scope::All, linked_to: None }) };
        match caller {
            Caller::Agent { .. } if self.agent_scope == AgentScope::All => {
                Ok(Visible { scope: Scope::All, linked_to: None })
            }
            Caller::Agent { id, .. } => Ok(match kind {
                ResourceKind::Agent => Visible { scope: Scope::Only([id.as_str()].into()), linked_to: None },
                ResourceKind::Task => Visible { scope: Scope::All, linked_to: Some(id.clone()) },
                ResourceKind::ApiKey | ResourceKind::Schedule => {
                    Visible { scope: Scope::Only(Selectors::default()), linked_to: None }
                }
            }),
            Caller::Anonymous | Caller::Principal(_) => {
                let scope = authorizer.list_resources(&caller.principal(), kind, Operation::Read).await?;
                Ok(Visible { scope, linked_to: None })
            }
        }
    }

    async fn decide(&self, caller: &Caller, checks: &[Check]) -> Result<Vec<Decision>, Error> {
        let Some(authorizer) = &self.authorizer else { return Ok(vec![Decision::Allow; checks.len()]) };
        let Caller::Agent { id, acting } = caller else {
            return ask(&**authorizer, &caller.principal(), checks).await;
        };
        if self.agent_scope == AgentScope::All {
            return Ok(vec![Decision::Allow; checks.len()]);
        }
        let mut decisions = Vec::with_capacity(checks.len());
        for check in checks {
            decisions.push(self.within_own_scope(id, check).await?);
        }
        // What is outside its own scope an agent may do for somebody who may, and whose credential it was handed.
        if let Some(acting) = acting {
            let open: Vec<usize> = (0..checks.len())
                .filter(|index| decisions[*index] == Decision::Deny && is_open_to_agents(&checks[*index]))
                .collect();
            let asked: Vec<Check> = open.iter().map(|index| checks[*index].clone()).collect();
            for (index, decision) in open.into_iter().zip(ask(&**authorizer, acting, &asked).await?) {
                decisions[index] = decision;
            }
        }
        Ok(decisions)
    }

    /// An agent by itself may see and run itself, and work on the tasks it is linked to.
    async fn within_own_scope(&self, agent: &AgentId, check: &Check) -> Result<Decision, Error> {
        let selector = check.resource.selector.as_str();
        let allowed = match (check.resource.kind, check.operation) {
            (ResourceKind::Agent, Operation::Read | Operation::Execute) => selector == agent.as_str(),
            // Which agent the task is for is another check of the same call.
            (ResourceKind::Task, Operation::Create) => true,
            (ResourceKind::Task, Operation::Read | Operation::Update | Operation::Execute) => {
                self.tasks.is_linked(&TaskId::from(selector), agent).await?
            }
            _ => false,
        };
        Ok(if allowed { Decision::Allow } else { Decision::Deny })
    }
}

/// Agents never manage agents, keys or schedules, whoever they act for.
fn is_open_to_agents(check: &Check) -> bool {
    match check.resource.kind {
        ResourceKind::Agent => matches!(check.operation, Operation::Read | Operation::Execute),
        ResourceKind::Task => true,
        ResourceKind::ApiKey | ResourceKind::Schedule => false,
    }
}

async fn ask(
    authorizer: &dyn Authorizer,
    principal: &agentex_authz::Principal,
    checks: &[Check],
) -> Result<Vec<Decision>, Error> {
    let decisions = match checks {
        [] => Vec::new(),
        [only] => vec![authorizer.check(principal, only.operation, &only.resource).await?],
        several => authorizer.check_many(principal, several).await?,
    };
    if decisions.len() != checks.len() {
        return Err(AuthzError::Protocol("the number of decisions differs from the number of checks".into()).into());
    }
    Ok(decisions)
}
