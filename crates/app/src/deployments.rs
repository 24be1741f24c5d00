use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind};
use agentex_domain::ports::{Clock, DeploymentOrder, Promotion, Removal, Stores};
use agentex_domain::{
    Agent, AgentId, Deployment, DeploymentId, DeploymentStatus, Direction, JsonObject, NotPromotable, PageRequest,
};

use crate::guard::{Guard, Sought};
use crate::registrations::RegistrationTokens;
use crate::{Absent, AgentSelector, Caller, Error, HealthChecks};

/// Deployments of agents. They have no permissions of their own; their agent's count.
pub struct Deployments {
    stores: Stores,
    guard: Guard,
    tokens: RegistrationTokens,
    clock: Arc<dyn Clock>,
    health_checks: HealthChecks,
}

/// A deployment whose pod is still to come.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDeployment {
    /// Image it runs.
    pub docker_image: String,
    /// Free metadata.
    pub registration_metadata: Option<JsonObject>,
    /// What the deploying system calls it.
    pub sgp_deploy_id: Option<String>,
    /// What has to be cleaned up with it.
    pub helm_release_name: Option<String>,
}

/// A deployment that was made.
#[derive(Clone)]
pub struct CreatedDeployment {
    /// The deployment as stored.
    pub deployment: Deployment,
    /// With what its pod can register, in clear: where registering takes a credential, and the caller may change the agent.
    pub registration_token: Option<String>,
}

impl std::fmt::Debug for CreatedDeployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedDeployment").field("deployment", &self.deployment.id).finish_non_exhaustive()
    }
}

/// Which deployments to list, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeploymentQuery {
    /// What to sort by.
    pub order: DeploymentOrder,
    /// Which way.
    pub direction: Direction,
    /// Which page.
    pub page: PageRequest,
}

impl Deployments {
    pub(crate) fn new(stores: Stores, guard: Guard, tokens: RegistrationTokens, clock: Arc<dyn Clock>) -> Self {
        Self { stores, guard, tokens, clock, health_checks: HealthChecks::default() }
    }

    /// The same where agents are asked how they are, at the URL of the deployment that is called.
    pub(crate) fn with_health_checks(self, health_checks: HealthChecks) -> Self {
        Self { health_checks, ..self }
    }

    /// Makes a deployment that waits for its pod to register.
    #[tracing::instrument(name = "deployments.create", skip_all, fields(agent = %agent))]
    pub async fn create(
        &self,
        caller: &Caller,
        agent: &AgentSelector,
        new: NewDeployment,
    ) -> Result<CreatedDeployment, Error> {
        let found = self.live_agent(agent).await?;
        self.guard.require_sought(caller, deploying(caller), Sought::agent(agent, found.as_ref())).await?;
        let found = found.ok_or_else(|| Error::NotFound(agent.absent()))?;
        let NewDeployment { docker_image, registration_metadata, sgp_deploy_id, helm_release_name } = new;
        let deployment = Deployment {
            id: DeploymentId::generate(),
            agent_id: found.id,
            docker_image,
            registration_metadata,
            status: DeploymentStatus::Pending,
            acp_url: None,
            is_production: false,
            sgp_deploy_id,
            helm_release_name,
            created_at: self.clock.now(),
            promoted_at: None,
            expires_at: None,
        };
        if !self.stores.deployments.insert(&deployment).await? {
            return Err(Error::NotFound(agent.absent()));
        }
        let registration_token = self.tokens.for_caller(caller, &deployment.agent_id).await?;
        Ok(CreatedDeployment { deployment, registration_token })
    }

    /// One page of an agent's deployments that are not removed. Where nothing is hidden, an agent that does not exist has
    /// none.
    #[tracing::instrument(name = "deployments.list", skip_all, fields(agent = %agent))]
    pub async fn list(
        &self,
        caller: &Caller,
        agent: &AgentSelector,
        query: DeploymentQuery,
    ) -> Result<Vec<Deployment>, Error> {
        let found = self.live_agent(agent).await?;
        if self.guard.is_enabled() {
            self.guard.require_sought(caller, Operation::Read, Sought::agent(agent, found.as_ref())).await?;
        }
        let Some(found) = found else { return Ok(Vec::new()) };
        let DeploymentQuery { order, direction, page } = query;
        Ok(self.stores.deployments.list(&found.id, order, direction, page).await?)
    }

    /// One deployment, removed or not, if the caller may read its agent.
    #[tracing::instrument(name = "deployments.get", skip_all, fields(agent.id = %agent, deployment.id = %id))]
    pub async fn get(&self, caller: &Caller, agent: &AgentId, id: &DeploymentId) -> Result<Deployment, Error> {
        let found = self.find(agent, id).await?;
        self.authorized(caller, Operation::Read, agent, id, found).await
    }

    /// Makes a deployment the one that calls to its agent go to, at once and instead of the present one. Repeating it is
    /// harmless.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no pod has registered for it.
    #[tracing::instrument(name = "deployments.promote", skip_all, fields(agent.id = %agent, deployment.id = %id))]
    pub async fn promote(&self, caller: &Caller, agent: &AgentId, id: &DeploymentId) -> Result<Deployment, Error> {
        let found = self.find(agent, id).await?.filter(|found| !found.is_expired());
        self.authorized(caller, deploying(caller), agent, id, found).await?;
        match self.stores.deployments.promote(agent, id, self.clock.now()).await? {
            Promotion::Promoted(deployment) => {
                self.health_checks.promoted(agent, &deployment.id, deployment.url());
                Ok(deployment)
            }
            Promotion::Refused(NotPromotable::NotReady(status)) => Err(Error::Invalid(format!(
                "Cannot promote deployment with status {status}. Deployment must be in {} status.",
                DeploymentStatus::Ready
            ))),
            Promotion::Refused(NotPromotable::NoUrl) => Err(without_url(id)),
            Promotion::Absent => Err(Error::NotFound(absent(agent, id))),
        }
    }

    /// Removes a deployment that is not production. It can still be read.
    ///
    /// # Errors
    /// [`Error::Invalid`] when calls to the agent go there.
    #[tracing::instrument(name = "deployments.delete", skip_all, fields(agent.id = %agent, deployment.id = %id))]
    pub async fn delete(&self, caller: &Caller, agent: &AgentId, id: &DeploymentId) -> Result<(), Error> {
        let found = self.find(agent, id).await?.filter(|found| !found.is_expired());
        self.authorized(caller, Operation::Delete, agent, id, found).await?;
        match self.stores.deployments.remove(agent, id, self.clock.now()).await? {
            Removal::Removed(_) => Ok(()),
            Removal::IsProduction => Err(Error::Invalid(
                "Cannot delete the current production deployment. Promote a different deployment first.".to_owned(),
            )),
            Removal::Absent => Err(Error::NotFound(absent(agent, id))),
        }
    }

    async fn live_agent(&self, agent: &AgentSelector) -> Result<Option<Agent>, Error> {
        let found = match agent {
            AgentSelector::Id(id) => self.stores.agents.find(id).await?,
            AgentSelector::Name(name) => self.stores.agents.find_by_name(name).await?,
        };
        Ok(found.filter(|found| !found.is_deleted()))
    }

    /// The deployment of an agent that is not deleted.
    async fn find(&self, agent: &AgentId, id: &DeploymentId) -> Result<Option<Deployment>, Error> {
        let (agent, found) = tokio::try_join!(self.stores.agents.find(agent), self.stores.deployments.find(agent, id))?;
        Ok(found.filter(|_| agent.is_some_and(|agent| !agent.is_deleted())))
    }

    async fn authorized(
        &self,
        caller: &Caller,
        operation: Operation,
        agent: &AgentId,
        id: &DeploymentId,
        found: Option<Deployment>,
    ) -> Result<Deployment, Error> {
        self.guard.require_sought(caller, operation, sought(agent, id, found.as_ref())).await?;
        found.ok_or_else(|| Error::NotFound(absent(agent, id)))
    }
}

/// What a caller seeks who addresses a deployment: its agent. Whichever of the two is missing or hidden, and if they do not
/// belong together, the answer is the same.
fn sought<'a>(agent: &'a AgentId, id: &DeploymentId, found: Option<&'a Deployment>) -> Sought<'a> {
    Sought {
        kind: ResourceKind::Agent,
        found: found.map(|found| found.agent_id.as_str()),
        typed: Some(agent.as_str()),
        absent: absent(agent, id),
    }
}

pub(crate) fn absent(agent: &AgentId, id: &DeploymentId) -> Absent {
    Absent::DeploymentOfAgent { deployment: id.as_str().to_owned(), agent: agent.as_str().to_owned() }
}

pub(crate) fn without_url(id: &DeploymentId) -> Error {
    Error::Invalid(format!("Deployment {id} does not have an ACP URL configured"))
}

/// What deploying takes. Agents may execute themselves, which is to be called, but never deploy, whoever they act for; so of
/// them it takes what they are never allowed.
const fn deploying(caller: &Caller) -> Operation {
    match caller {
        Caller::Agent { .. } => Operation::Update,
        Caller::Anonymous | Caller::Principal(_) => Operation::Execute,
    }
}
