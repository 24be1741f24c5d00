#[cfg(test)]
mod tests;

use std::sync::Arc;

use agentex_authz::{Operation, Principal, ResourceKind, ResourceRef};
use agentex_domain::input::{self, Problem};
use agentex_domain::ports::{Clock, DeploymentUpsert, StoreError, Stores};
use agentex_domain::{
    Agent, AgentId, AgentInputType, AgentName, ApiKey, ApiKeyId, ApiKeyKind, DeploymentId, DeploymentRegistration,
    JsonObject, Registration,
};
use serde_json::Value;

use crate::guard::Guard;
use crate::lifecycle::{Lifecycle, Written};
use crate::{Absent, Caller, Error, Keyring};

/// Agents registering themselves, and builds registering agents that are not deployed yet.
pub struct Registrations {
    stores: Stores,
    guard: Guard,
    lifecycle: Lifecycle,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
}

/// A pod announcing itself.
#[derive(Debug, Clone)]
pub struct RegisterAgent {
    /// Addresses an existing agent; without it the name decides.
    pub agent_id: Option<AgentId>,
    /// The identity the pod says it acts for.
    pub principal_context: Option<Principal>,
    /// What it says of itself.
    pub registration: Registration,
}

/// A registered agent with the key it shares with the server.
#[derive(Clone)]
pub struct Registered {
    /// The agent as stored.
    pub agent: Agent,
    /// Its internal key, in clear.
    pub api_key: String,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("agent", &self.agent.id).finish_non_exhaustive()
    }
}

/// A build announcing an agent before any pod of it runs.
#[derive(Debug, Clone)]
pub struct RegisterBuild {
    /// The agent's name.
    pub name: AgentName,
    /// For people.
    pub description: String,
    /// Free metadata.
    pub metadata: Option<JsonObject>,
    /// What kind of input it takes.
    pub agent_input_type: Option<AgentInputType>,
}

impl Registrations {
    pub(crate) fn new(
        stores: Stores,
        guard: Guard,
        lifecycle: Lifecycle,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { stores, guard, lifecycle, keyring, clock }
    }

    /// Creates the agent, or brings an existing one up to date, and answers it with its internal key. Repeating it is
    /// harmless: an equal registration changes nothing and answers the same key.
    ///
    /// With `deployment_id` in the metadata only that deployment is brought up to date; the agent's own row stays.
    #[tracing::instrument(name = "registrations.register", skip_all, fields(agent.name = request.registration.name.as_str()))]
    pub async fn register(&self, caller: &Caller, request: RegisterAgent) -> Result<Registered, Error> {
        let deployment_id = validate(&request.registration)?;
        let RegisterAgent { agent_id, principal_context, registration } = request;
        // Pods state whom they act for in the body; a caller that proved who it is needs no such statement.
        let caller = match (caller, principal_context) {
            (Caller::Anonymous, Some(principal)) if principal.is_resolvable_creator() => &Caller::Principal(principal),
            (caller, _) => caller,
        };
        let existing = match &agent_id {
            Some(id) => {
                let absent = || Error::NotFound(Absent::Id(id.as_str().to_owned()));
                Some(self.stores.agents.find(id).await?.ok_or_else(absent)?)
            }
            None => self.stores.agents.find_by_name(registration.name.as_str()).await?,
        };
        let by_id = agent_id.is_some();
        let agent = match (existing, deployment_id) {
            (Some(agent), Some(deployment)) => {
                self.gate_existing(caller, &agent, by_id).await?;
                self.register_deployment(&agent, deployment, &registration).await?;
                agent
            }
            (Some(agent), None) => self.register_again(caller, agent, &registration, by_id).await?,
            (None, deployment) => {
                let agent = self.create(caller, &registration, deployment.is_some()).await?;
                if let Some(deployment) = deployment {
                    self.register_deployment(&agent, deployment, &registration).await?;
                }
                agent
            }
        };
        if agent.is_deleted() {
            return Err(Error::NotFound(Absent::Id(agent.id.into_string())));
        }
        let api_key = self.internal_key(&agent).await?;
        Ok(Registered { agent, api_key })
    }

    /// Makes sure an agent of this name exists before it is deployed. A live agent is answered as it is; a deleted one
    /// comes back as a build.
    #[tracing::instrument(name = "registrations.register_build", skip_all, fields(agent.name = request.name.as_str()))]
    pub async fn register_build(&self, caller: &Caller, request: RegisterBuild) -> Result<Agent, Error> {
        self.guard.require_create(caller, ResourceKind::Agent).await?;
        let existing = self.stores.agents.find_by_name(request.name.as_str()).await?;
        match existing {
            Some(agent) if agent.is_deleted() => self.revive_build(caller, agent, request).await,
            Some(agent) => self.readable_or_unavailable(caller, agent).await,
            None => {
                let RegisterBuild { name, description, metadata, agent_input_type } = request;
                let agent = Agent::build_only(name, description, metadata, agent_input_type, self.clock.now());
                match self.insert(caller, agent).await? {
                    Written::Created(agent) => Ok(agent),
                    Written::Lost(winner) => self.readable_or_unavailable(caller, winner).await,
                }
            }
        }
    }

    async fn register_again(
        &self,
        caller: &Caller,
        agent: Agent,
        registration: &Registration,
        by_id: bool,
    ) -> Result<Agent, Error> {
        let resource = ResourceRef::agent(agent.id.as_str());
        let again = async {
            let done = self.stores.agents.register_again(&agent.id, registration, by_id, self.clock.now()).await?;
            done.ok_or_else(|| Error::NotFound(absent(&agent, by_id)))
        };
        if !agent.is_deleted() {
            self.gate_existing(caller, &agent, by_id).await?;
            return Ok(again.await?.agent);
        }
        // A deleted agent has no owner any more: bringing it back is a create for authorization.
        self.require_create(caller).await?;
        let write = async {
            let again = again.await?;
            // Somebody may have brought it back in between; then it has its owner already.
            Ok::<_, Error>(if again.revived { Written::Created(again.agent) } else { Written::Lost(again.agent) })
        };
        match self.lifecycle.create(caller.creator(), &resource, None, write).await? {
            Written::Created(agent) | Written::Lost(agent) => Ok(agent),
        }
    }

    async fn create(&self, caller: &Caller, registration: &Registration, scoped: bool) -> Result<Agent, Error> {
        self.require_create(caller).await?;
        match self.insert(caller, registration.clone().into_agent(self.clock.now())).await? {
            Written::Created(agent) => Ok(agent),
            // Several pods of one new agent start at once: the losers carry on with the winner's row.
            Written::Lost(winner) if scoped || !winner.is_deleted() => {
                self.gate_existing(caller, &winner, false).await?;
                Ok(winner)
            }
            Written::Lost(winner) => Err(Error::NotFound(Absent::Name(winner.name))),
        }
    }

    async fn insert(&self, caller: &Caller, agent: Agent) -> Result<Written<Agent>, Error> {
        let resource = ResourceRef::agent(agent.id.as_str());
        let write = async {
            match self.stores.agents.insert(&agent).await {
                Ok(()) => Ok(Written::Created(agent)),
                Err(error @ StoreError::Duplicate { .. }) => {
                    let winner = self.stores.agents.find_by_name(&agent.name).await?;
                    winner.map(Written::Lost).ok_or(error)
                }
                Err(error) => Err(error),
            }
        };
        self.lifecycle.create(caller.creator(), &resource, None, write).await
    }

    async fn revive_build(&self, caller: &Caller, dead: Agent, request: RegisterBuild) -> Result<Agent, Error> {
        let resource = ResourceRef::agent(dead.id.as_str());
        let write = async {
            let RegisterBuild { description, metadata, .. } = request;
            let revived = self.stores.agents.revive_as_build(&dead.id, description, metadata, self.clock.now()).await?;
            match revived {
                Some(agent) => Ok(Written::Created(agent)),
                None => {
                    let winner = self.stores.agents.find(&dead.id).await?;
                    winner.map(Written::Lost).ok_or(StoreError::Duplicate { what: "agent" })
                }
            }
        };
        match self.lifecycle.create(caller.creator(), &resource, None, write).await? {
            Written::Created(agent) => Ok(agent),
            Written::Lost(winner) => self.readable_or_unavailable(caller, winner).await,
        }
    }

    /// Names are global, so a caller who may not see the agent must still be told that the name is taken, and nothing
    /// else.
    async fn readable_or_unavailable(&self, caller: &Caller, agent: Agent) -> Result<Agent, Error> {
        if self.guard.may_read(caller, &ResourceRef::agent(agent.id.as_str())).await? {
            Ok(agent)
        } else {
            Err(Error::Conflict(format!("Agent name '{}' is not available.", agent.name)))
        }
    }

    /// Pods without any identity may create in this mode of registration; those with one must be allowed to.
    async fn require_create(&self, caller: &Caller) -> Result<(), Error> {
        match caller.creator() {
            Some(_) => self.guard.require_create(caller, ResourceKind::Agent).await,
            None => Ok(()),
        }
    }

    async fn gate_existing(&self, caller: &Caller, agent: &Agent, by_id: bool) -> Result<(), Error> {
        let resource = ResourceRef::agent(agent.id.as_str());
        match caller {
            Caller::Agent(id) if *id == agent.id => Ok(()),
            Caller::Agent(_) => Err(Error::AgentKeyRefused),
            Caller::Principal(_) if caller.creator().is_some() => {
                self.guard.require(caller, Operation::Update, resource, absent(agent, by_id)).await
            }
            Caller::Principal(_) | Caller::Anonymous => Ok(()),
        }
    }

    async fn register_deployment(
        &self,
        agent: &Agent,
        id: DeploymentId,
        registration: &Registration,
    ) -> Result<(), Error> {
        let image = registration.metadata.as_ref().and_then(|metadata| metadata.get("docker_image")?.as_str());
        let deployment = DeploymentRegistration {
            acp_url: registration.acp_url.clone(),
            docker_image: image.or(agent.docker_image.as_deref()).unwrap_or("unknown").to_owned(),
            metadata: registration.metadata.clone(),
            id,
        };
        match self.stores.deployments.register(&agent.id, &deployment, self.clock.now()).await? {
            DeploymentUpsert::Stored(_) => Ok(()),
            DeploymentUpsert::OtherAgent => Err(Error::NotFound(Absent::DeploymentOfAgent {
                deployment: deployment.id.into_string(),
                agent: agent.id.as_str().to_owned(),
            })),
            DeploymentUpsert::Expired => {
                Err(Error::Invalid(format!("Deployment {} has been deleted and cannot register", deployment.id)))
            }
        }
    }

    async fn internal_key(&self, agent: &Agent) -> Result<String, Error> {
        let secret = Keyring::mint();
        let candidate = ApiKey {
            id: ApiKeyId::generate(),
            agent_id: agent.id.clone(),
            name: format!("{}-api-key", agent.name),
            kind: ApiKeyKind::Internal,
            sealed: self.keyring.seal(&secret),
            digest: Some(self.keyring.digest(&secret)),
            created_at: self.clock.now(),
        };
        let key = self.stores.api_keys.internal_key_or_insert(&candidate).await?;
        self.keyring.open(&key.sealed)
    }
}

fn absent(agent: &Agent, by_id: bool) -> Absent {
    if by_id { Absent::Id(agent.id.as_str().to_owned()) } else { Absent::Name(agent.name.clone()) }
}

/// Checks what the types leave open and finds out whether the registration is for one deployment only.
fn validate(registration: &Registration) -> Result<Option<DeploymentId>, Error> {
    let mut problems = Vec::new();
    let mut problem = |path: &str, text: &str| problems.push(Problem { path: path.to_owned(), text: text.to_owned() });
    let usable = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !url::Url::parse(&registration.acp_url).is_ok_and(|url| usable(&url)) {
        problem("body.acp_url", "Input should be a valid http or https URL");
    }
    let stated = registration.metadata.as_ref().and_then(|metadata| metadata.get("deployment_id"));
    let deployment_id = match stated {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if id.is_empty() => None,
        Some(Value::String(id)) => Some(DeploymentId::from(id.as_str())),
        Some(_) => {
            problem("body.registration_metadata.deployment_id", input::NOT_A_STRING);
            None
        }
    };
    if problems.is_empty() { Ok(deployment_id) } else { Err(Error::Unprocessable(problems)) }
}
