#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Operation, Principal, ResourceKind, ResourceRef};
use agentex_domain::input::{self, Problem};
use agentex_domain::ports::{Clock, DeploymentUpsert, InternalKey, StoreError, Stores};
use agentex_domain::{
    Agent, AgentId, AgentInputType, AgentName, ApiKey, ApiKeyId, ApiKeyKind, DeploymentId, DeploymentRegistration,
    JsonObject, Registration,
};
use serde_json::Value;

use crate::guard::{Guard, Sought};
use crate::lifecycle::{Lifecycle, Revived, Written};
use crate::{Absent, AgentSelector, AuthorizationSettings, Caller, Error, HealthChecks, Keyring};

pub use tokens::REGISTRATION_TOKEN_PREFIX;
pub(crate) use tokens::RegistrationTokens;

/// Agents registering themselves, and builds registering agents that are not deployed yet.
pub struct Registrations {
    stores: Stores,
    guard: Guard,
    lifecycle: Lifecycle,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    settings: AuthorizationSettings,
    tokens: RegistrationTokens,
    health_checks: HealthChecks,
}

/// A pod announcing itself.
#[derive(Clone)]
pub struct RegisterAgent {
    /// Addresses an existing agent; without it the name decides.
    pub agent_id: Option<AgentId>,
    /// The identity the pod says it acts for, or `{"registration_token": …}`.
    pub principal_context: Option<Principal>,
    /// A registration token that came with the request's credentials.
    pub token: Option<String>,
    /// What it says of itself.
    pub registration: Registration,
}

impl std::fmt::Debug for RegisterAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisterAgent")
            .field("agent_id", &self.agent_id)
            .field("name", &self.registration.name)
            .finish_non_exhaustive()
    }
}

impl RegisterAgent {
    /// The same with a token that came with the request's credentials.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// The token, wherever it was put: unmodified pods can pass one as the identity they act for.
    fn token(&self) -> Option<&str> {
        let stated = || self.principal_context.as_ref()?.as_json().get("registration_token")?.as_str();
        self.token.as_deref().or_else(stated).filter(|token| !token.is_empty())
    }
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

/// A registered build.
#[derive(Clone)]
pub struct BuildRegistered {
    /// The agent as stored.
    pub agent: Agent,
    /// With what its pods can register, in clear: where registering takes a credential, and the caller may change the agent.
    pub registration_token: Option<String>,
}

impl std::fmt::Debug for BuildRegistered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildRegistered").field("agent", &self.agent.id).finish_non_exhaustive()
    }
}

/// Who registers, once it is known to be allowed to try.
enum Registrant {
    /// By its key or a token: this agent, and nothing else.
    Agent(AgentId),
    /// Somebody whose permissions count.
    Principal(Caller),
    /// Whoever it is; only where registering takes no credential.
    Anybody,
}

impl Registrant {
    const fn caller(&self) -> &Caller {
        match self {
            Self::Principal(caller) => caller,
            Self::Agent(_) | Self::Anybody => &Caller::Anonymous,
        }
    }
}

impl Registrations {
    pub(crate) fn new(
        stores: Stores,
        guard: Guard,
        lifecycle: Lifecycle,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        settings: AuthorizationSettings,
    ) -> Self {
        let tokens = RegistrationTokens::new(
            Arc::clone(&stores.registration_tokens),
            guard.clone(),
            keyring.clone(),
            Arc::clone(&clock),
            &settings,
        );
        Self { stores, guard, lifecycle, keyring, clock, settings, tokens, health_checks: HealthChecks::default() }
    }

    /// The same where agents that register are asked how they are from then on.
    pub(crate) fn with_health_checks(self, health_checks: HealthChecks) -> Self {
        Self { health_checks, ..self }
    }

    /// Makes tokens for others who prepare pods.
    pub(crate) fn tokens(&self) -> RegistrationTokens {
        self.tokens.clone()
    }

    /// Creates the agent, or brings an existing one up to date, and answers it with its internal key. Repeating it is
    /// harmless: an equal registration changes nothing and answers the same key.
    ///
    /// With `deployment_id` in the metadata only that deployment is brought up to date; the agent's own row stays.
    #[tracing::instrument(name = "registrations.register", skip_all, fields(agent.name = request.registration.name.as_str()))]
    pub async fn register(&self, caller: &Caller, request: RegisterAgent) -> Result<Registered, Error> {
        let registrant = self.registrant(caller, &request).await?;
        let deployment_id = validate(&request.registration)?;
        let RegisterAgent { agent_id, registration, .. } = request;
        let existing = match &agent_id {
            Some(id) => {
                let found = self.stores.agents.find(id).await?;
                if found.is_none() {
                    self.gate_absent(&registrant, id).await?;
                }
                found
            }
            None => self.stores.agents.find_by_name(registration.name.as_str()).await?,
        };
        let by_id = agent_id.is_some();
        let agent = match (existing, deployment_id) {
            (Some(agent), Some(deployment)) => {
                self.gate_existing(&registrant, &agent, by_id).await?;
                self.register_deployment(&agent, deployment, &registration).await?;
                agent
            }
            (Some(agent), None) => self.register_again(&registrant, agent, &registration, by_id).await?,
            (None, deployment) => {
                let agent = self.create(&registrant, &registration, deployment.is_some()).await?;
                if let Some(deployment) = deployment {
                    self.register_deployment(&agent, deployment, &registration).await?;
                }
                agent
            }
        };
        if agent.is_deleted() {
            return Err(Error::NotFound(Absent::Id(agent.id.into_string())));
        }
        let api_key = self.internal_key(&registrant, &agent).await?;
        self.health_checks.registered(&agent);
        Ok(Registered { agent, api_key })
    }

    /// Makes sure an agent of this name exists before it is deployed. A live agent is answered as it is; a deleted one
    /// comes back as a build.
    #[tracing::instrument(name = "registrations.register_build", skip_all, fields(agent.name = request.name.as_str()))]
    pub async fn register_build(&self, caller: &Caller, request: RegisterBuild) -> Result<BuildRegistered, Error> {
        self.guard.require_create(caller, ResourceKind::Agent).await?;
        let existing = self.stores.agents.find_by_name(request.name.as_str()).await?;
        let agent = match existing {
            Some(agent) if agent.is_deleted() => self.revive_build(caller, agent, request).await?,
            Some(agent) => self.readable_or_unavailable(caller, agent).await?,
            None => {
                let RegisterBuild { name, description, metadata, agent_input_type } = request;
                let agent = Agent::build_only(name, description, metadata, agent_input_type, self.clock.now());
                match self.insert(caller, agent).await? {
                    Written::Created(agent) => agent,
                    Written::Lost(winner) => self.readable_or_unavailable(caller, winner).await?,
                }
            }
        };
        let registration_token = self.tokens.for_caller(caller, &agent.id).await?;
        Ok(BuildRegistered { agent, registration_token })
    }

    /// Makes a token with which pods of this agent, and of no other, can register for as long as `lifetime`. For the
    /// operator's tools: nobody's permissions are asked for.
    ///
    /// # Errors
    /// The agent is absent or deleted, or the store failed.
    pub async fn issue_token(&self, agent: &AgentSelector, lifetime: Duration) -> Result<String, Error> {
        let found = match agent {
            AgentSelector::Id(id) => self.stores.agents.find(id).await?,
            AgentSelector::Name(name) => self.stores.agents.find_by_name(name).await?,
        };
        let found = found.filter(|found| !found.is_deleted()).ok_or_else(|| Error::NotFound(agent.absent()))?;
        self.tokens.mint(&found.id, lifetime).await
    }

    /// Who registers: the agent whose key or token is presented, else the principal that proved itself, else the one the
    /// body states where that is believed.
    async fn registrant(&self, caller: &Caller, request: &RegisterAgent) -> Result<Registrant, Error> {
        if let Caller::Agent { id, .. } = caller {
            return Ok(Registrant::Agent(id.clone()));
        }
        if let Some(token) = request.token()
            && self.lifecycle.is_enabled()
        {
            let agent =
                self.stores.registration_tokens.find_agent(&self.keyring.digest(token), self.clock.now()).await?;
            return agent.map(Registrant::Agent).ok_or(Error::Unauthenticated);
        }
        if caller.creator().is_some() {
            return Ok(Registrant::Principal(caller.clone()));
        }
        let stated = request.principal_context.as_ref().filter(|principal| principal.is_resolvable_creator());
        match (stated, caller) {
            (Some(principal), _) if self.settings.trust_body_principal => {
                Ok(Registrant::Principal(Caller::Principal(principal.clone())))
            }
            (_, Caller::Principal(_)) if self.tokens.are_needed() => Ok(Registrant::Principal(caller.clone())),
            _ if self.tokens.are_needed() => Err(Error::Unauthenticated),
            _ => Ok(Registrant::Anybody),
        }
    }

    async fn register_again(
        &self,
        registrant: &Registrant,
        agent: Agent,
        registration: &Registration,
        by_id: bool,
    ) -> Result<Agent, Error> {
        let again = async |settles| {
            let at = self.clock.now();
            let done = self.stores.agents.register_again(&agent.id, registration, by_id, at, settles).await?;
            done.ok_or_else(|| Error::NotFound(absent(&agent, by_id)))
        };
        let live = async || {
            let at = self.clock.now();
            let done = self.stores.agents.register_live(&agent.id, registration, by_id, at).await?;
            Ok::<_, Error>(done.map(|done| done.agent))
        };
        if !agent.is_deleted() {
            self.gate_existing(registrant, &agent, by_id).await?;
            if let Some(agent) = live().await? {
                return Ok(agent);
            }
            // It was deleted just now.
        }
        // A deleted agent has no owner any more: bringing it back is a create for authorization.
        self.require_create(registrant).await?;
        let write = async |settles| {
            let again = again(settles).await?;
            Ok::<_, Error>(if again.revived { Written::Created(again.agent) } else { Written::Lost(again.agent) })
        };
        let resource = ResourceRef::agent(agent.id.as_str());
        let owner = registrant.caller().creator();
        match self.lifecycle.revive(owner, &resource, None, self.is_deleted(&agent.id), write).await? {
            Revived::Written(Written::Created(agent) | Written::Lost(agent)) => Ok(agent),
            // Several pods of one deleted agent start at once: one brings it back, the others find it.
            Revived::Occupied => {
                self.gate_existing(registrant, &agent, by_id).await?;
                live().await?.ok_or(Error::Unavailable("the agent was deleted meanwhile; try again"))
            }
        }
    }

    async fn is_deleted(&self, id: &AgentId) -> Result<bool, Error> {
        Ok(self.stores.agents.find(id).await?.is_some_and(|agent| agent.is_deleted()))
    }

    async fn create(&self, registrant: &Registrant, registration: &Registration, scoped: bool) -> Result<Agent, Error> {
        self.require_create(registrant).await?;
        match self.insert(registrant.caller(), registration.clone().into_agent(self.clock.now())).await? {
            Written::Created(agent) => Ok(agent),
            // Several pods of one new agent start at once: the losers carry on with the winner's row.
            Written::Lost(winner) if scoped || !winner.is_deleted() => {
                self.gate_existing(registrant, &winner, false).await?;
                Ok(winner)
            }
            Written::Lost(winner) => Err(Error::NotFound(Absent::Name(winner.name))),
        }
    }

    async fn insert(&self, caller: &Caller, agent: Agent) -> Result<Written<Agent>, Error> {
        let resource = ResourceRef::agent(agent.id.as_str());
        let write = async |settles| match self.stores.agents.insert(&agent, settles).await {
            Ok(()) => Ok(Written::Created(agent.clone())),
            Err(error @ StoreError::Duplicate { .. }) => {
                let winner = self.stores.agents.find_by_name(&agent.name).await?;
                winner.map(Written::Lost).ok_or(error)
            }
            Err(error) => Err(error),
        };
        self.lifecycle.create(caller.creator(), &resource, None, write).await
    }

    async fn revive_build(&self, caller: &Caller, dead: Agent, request: RegisterBuild) -> Result<Agent, Error> {
        let resource = ResourceRef::agent(dead.id.as_str());
        let RegisterBuild { description, metadata, .. } = request;
        let winner = async || {
            let winner = self.stores.agents.find(&dead.id).await?;
            winner.ok_or(StoreError::Duplicate { what: "agent" })
        };
        let write = async |settles| {
            let at = self.clock.now();
            let revived = self.stores.agents.revive_as_build(&dead.id, description, metadata, at, settles).await?;
            match revived {
                Some(agent) => Ok(Written::Created(agent)),
                None => winner().await.map(Written::Lost),
            }
        };
        let vacant = self.is_deleted(&dead.id);
        match self.lifecycle.revive(caller.creator(), &resource, None, vacant, write).await? {
            Revived::Written(Written::Created(agent)) => Ok(agent),
            Revived::Written(Written::Lost(winner)) => self.readable_or_unavailable(caller, winner).await,
            Revived::Occupied => self.readable_or_unavailable(caller, winner().await?).await,
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

    /// Where registering takes no credential, whoever has none may create; those with one must be allowed to.
    async fn require_create(&self, registrant: &Registrant) -> Result<(), Error> {
        match registrant {
            Registrant::Principal(caller) => self.guard.require_create(caller, ResourceKind::Agent).await,
            Registrant::Agent(_) => Err(Error::AgentKeyRefused),
            Registrant::Anybody => Ok(()),
        }
    }

    async fn gate_existing(&self, registrant: &Registrant, agent: &Agent, by_id: bool) -> Result<(), Error> {
        match registrant {
            Registrant::Agent(id) if *id == agent.id => Ok(()),
            Registrant::Agent(_) => Err(Error::AgentKeyRefused),
            Registrant::Principal(caller) => {
                let resource = ResourceRef::agent(agent.id.as_str());
                self.guard.require(caller, Operation::Update, resource, absent(agent, by_id)).await
            }
            Registrant::Anybody => Ok(()),
        }
    }

    /// Refuses a registration by an id that nothing has, as if something had it.
    async fn gate_absent(&self, registrant: &Registrant, id: &AgentId) -> Result<(), Error> {
        let absent = Absent::Id(id.as_str().to_owned());
        match registrant {
            Registrant::Agent(_) => Err(Error::AgentKeyRefused),
            Registrant::Principal(caller) => {
                let typed = Some(id.as_str());
                let sought = Sought { kind: ResourceKind::Agent, found: None, typed, absent };
                self.guard.require_sought(caller, Operation::Update, sought).await
            }
            Registrant::Anybody => Err(Error::NotFound(absent)),
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

    /// The agent's internal key, made if there is none. It belongs to whoever registers, else to the agent's owner, so that
    /// somebody can list and revoke it.
    async fn internal_key(&self, registrant: &Registrant, agent: &Agent) -> Result<String, Error> {
        if let Some(key) = self.stores.api_keys.internal_key(&agent.id).await? {
            return self.keyring.open(&key.sealed);
        }
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
        let parent = ResourceRef::agent(agent.id.as_str());
        let owner = match registrant.caller().creator() {
            Some(creator) => Some(creator.clone()),
            None => self.lifecycle.owner_of(&parent).await?,
        };
        let write = async |settles| {
            let InternalKey { key, stored } = self.stores.api_keys.internal_key_or_insert(&candidate, settles).await?;
            Ok::<_, StoreError>(if stored { Written::Created(key) } else { Written::Lost(key) })
        };
        let resource = ResourceRef::api_key(candidate.id.as_str());
        let written = match self.lifecycle.create(owner.as_ref(), &resource, Some(parent), write).await {
            // Deleted a moment ago.
            Err(Error::Store(StoreError::Dangling { .. })) => {
                return Err(Error::NotFound(Absent::Name(agent.name.clone())));
            }
            written => written?,
        };
        let (Written::Created(key) | Written::Lost(key)) = written;
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
