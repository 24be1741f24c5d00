#[cfg(test)]
mod tests;
mod webhook;

use std::fmt;
use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, ResourceRef, model};
use agentex_domain::input::{self, Problem, Problems};
use agentex_domain::ports::{ApiKeyFilter, Clock, StoreError, Stores};
use agentex_domain::{Agent, AgentId, ApiKey, ApiKeyId, ApiKeyKind, PageRequest};

use crate::guard::{Guard, NOTHING, Need, Sought};
use crate::lifecycle::{Lifecycle, Written};
use crate::{Absent, AgentSelector, Caller, Error, Keyring};

pub use webhook::{NewWebhookTrigger, WebhookTrigger};

/// Most characters of a name; the column of PostgreSQL holds no more.
const MAX_NAME_CHARS: usize = 256;
/// Fewest characters of an external key that a caller chooses.
const MIN_VALUE_CHARS: usize = 16;
/// Most bytes of a value that a caller chooses: what is indexed may not be larger when sealed.
const MAX_VALUE_BYTES: usize = 1024;
/// How many characters of an external key are kept, so that people can tell keys apart.
const SHOWN_CHARS: usize = 8;

/// Keys of agents: what lets outsiders reach an agent's own routes, and what verifies their webhooks.
///
/// A key belongs to the agent it is made for. Making one takes `update` on the agent; seeing and removing one takes the same
/// on the key, whose permissions the model derives from both. Agents that act in their own scope never manage keys.
pub struct ApiKeys {
    stores: Stores,
    guard: Guard,
    lifecycle: Lifecycle,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    /// Base of webhook URLs, without a slash at the end.
    public_url: Option<String>,
}

/// A key to make.
#[derive(Clone)]
pub struct NewApiKey {
    /// For which agent.
    pub agent: AgentSelector,
    /// Unique among the agent's keys of the kind. For GitHub the repository's full name, for Slack the app's id.
    pub name: String,
    /// What it may be used for. Internal keys come into being when agents register; only the agent itself may make one.
    pub kind: ApiKeyKind,
    /// The secret; a new random one where none or an empty one is given.
    pub value: Option<String>,
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey")
            .field("agent", &self.agent)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A key that was made just now.
#[derive(Clone)]
pub struct CreatedApiKey {
    /// The key as stored.
    pub key: ApiKey,
    /// Its secret, in clear. It cannot be shown again.
    pub value: String,
}

impl fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedApiKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Which keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyQuery {
    /// Of which agent.
    pub agent: AgentSelector,
    /// Only keys of this kind.
    pub kind: Option<ApiKeyKind>,
    /// Which page.
    pub page: PageRequest,
}

/// A key as a caller addresses it by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyName {
    /// Whose key.
    pub agent: AgentSelector,
    /// Its name.
    pub name: String,
    /// Names are unique within a kind only.
    pub kind: ApiKeyKind,
}

impl ApiKeys {
    pub(crate) fn new(
        stores: Stores,
        guard: Guard,
        lifecycle: Lifecycle,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        public_url: Option<&str>,
    ) -> Self {
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned()).filter(|url| !url.is_empty());
        Self { stores, guard, lifecycle, keyring, clock, public_url }
    }

    /// Makes a key for an agent the caller may update. Its secret is answered here and never again.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the agent has a key of that name and kind, or the secret is that of another key: both only
    /// after the permission was found to be there.
    #[tracing::instrument(name = "api_keys.create", skip_all, fields(agent = %new.agent, kind = new.kind.as_str()))]
    pub async fn create(&self, caller: &Caller, new: NewApiKey) -> Result<CreatedApiKey, Error> {
        let NewApiKey { agent: selector, name, kind, value } = new;
        let value = value.filter(|value| !value.is_empty());
        let mut problems = name_problems(&name);
        problems.extend(value.as_deref().and_then(|value| value_problem("body.api_key", kind, value)));
        if !problems.is_empty() {
            return Err(Error::Unprocessable(problems));
        }
        if kind == ApiKeyKind::Internal && !matches!(caller, Caller::Agent { .. }) {
            return Err(not_for_callers());
        }
        let agent = self.updatable_agent(caller, &selector).await?;
        if kind == ApiKeyKind::Internal && !matches!(caller, Caller::Agent { id, .. } if *id == agent.id) {
            return Err(not_for_callers());
        }
        let taken = || {
            let whose = match &selector {
                AgentSelector::Id(id) => format!("agent ID {id}"),
                AgentSelector::Name(_) => "this agent".to_owned(),
            };
            Error::Conflict(format!("{} agent API key '{name}' already exists for {whose}.", kind.as_str()))
        };
        if self.stores.api_keys.find_by_name(&agent.id, &name, kind).await?.is_some() {
            return Err(taken());
        }
        let value = value.unwrap_or_else(Keyring::mint);
        let key = self.sealed(&agent, name.clone(), kind, &value);
        self.insert(caller, &key, &selector, taken).await?;
        Ok(CreatedApiKey { key, value })
    }

    /// One page of an agent's keys that the caller may read, oldest first. An agent the caller may not read has none,
    /// whether it exists or not; where nothing is hidden from anybody, one that does not exist is absent.
    #[tracing::instrument(name = "api_keys.list", skip_all, fields(agent = %query.agent))]
    pub async fn list(&self, caller: &Caller, query: ApiKeyQuery) -> Result<Vec<ApiKey>, Error> {
        let ApiKeyQuery { agent: selector, kind, page } = query;
        let found = self.live_agent(&selector).await?;
        let sought = Sought::agent(&selector, found.as_ref());
        match self.guard.require_sought(caller, Operation::Read, sought).await {
            Err(Error::NotFound(_)) if self.guard.is_enabled() => return Ok(Vec::new()),
            outcome => outcome?,
        }
        let agent = found.ok_or_else(|| Error::NotFound(selector.absent()))?;
        let scope = self.guard.visible(caller, ResourceKind::ApiKey).await?.scope;
        if scope.is_empty() {
            return Ok(Vec::new());
        }
        let filter = ApiKeyFilter { scope, agent_id: agent.id, kind };
        Ok(self.stores.api_keys.list(&filter, page).await?)
    }

    /// The key, if the caller may read it; also of a deleted agent.
    #[tracing::instrument(name = "api_keys.get", skip_all, fields(api_key = %id))]
    pub async fn get(&self, caller: &Caller, id: &ApiKeyId) -> Result<ApiKey, Error> {
        let absent = if self.guard.is_enabled() { Absent::ApiKey } else { Absent::Id(id.as_str().to_owned()) };
        if !model::is_id(id.as_str()) {
            return Err(Error::NotFound(absent));
        }
        let found = self.stores.api_keys.find(id).await?;
        let sought = Sought {
            kind: ResourceKind::ApiKey,
            found: found.as_ref().map(|key| key.id.as_str()),
            typed: Some(id.as_str()),
            absent: absent.clone(),
        };
        self.guard.require_sought(caller, Operation::Read, sought).await?;
        found.ok_or(Error::NotFound(absent))
    }

    /// The agent's key of this name and kind, if the caller may read both.
    #[tracing::instrument(name = "api_keys.get_by_name", skip_all, fields(agent = %key.agent))]
    pub async fn get_by_name(&self, caller: &Caller, key: &ApiKeyName) -> Result<ApiKey, Error> {
        self.named(caller, Operation::Read, key).await
    }

    /// Removes the key. One that is not there is removed already, as far as a caller who might remove it can tell.
    #[tracing::instrument(name = "api_keys.delete", skip_all, fields(api_key = %id))]
    pub async fn delete(&self, caller: &Caller, id: &ApiKeyId) -> Result<(), Error> {
        if !model::is_id(id.as_str()) {
            return if self.guard.is_enabled() { Err(Error::NotFound(Absent::ApiKey)) } else { Ok(()) };
        }
        let resource = ResourceRef::api_key(id.as_str());
        self.guard.require(caller, Operation::Delete, resource, Absent::ApiKey).await?;
        self.remove(caller, id).await?;
        Ok(())
    }

    /// Removes the agent's key of this name and kind: the very key that was found, not one that has taken its name since.
    #[tracing::instrument(name = "api_keys.delete_by_name", skip_all, fields(agent = %key.agent))]
    pub async fn delete_by_name(&self, caller: &Caller, key: &ApiKeyName) -> Result<(), Error> {
        let id = self.named(caller, Operation::Delete, key).await?.id;
        if self.remove(caller, &id).await? { Ok(()) } else { Err(Error::NotFound(Absent::ApiKey)) }
    }

    /// The key behind a name, once the caller may read its agent and perform `operation` on it. An agent that is absent or
    /// hidden and a key that is absent or hidden are asked about with the same questions, and answered alike.
    async fn named(&self, caller: &Caller, operation: Operation, key: &ApiKeyName) -> Result<ApiKey, Error> {
        let ApiKeyName { agent: selector, name, kind } = key;
        let agent = self.live_agent(selector).await?;
        let agent_id = agent.as_ref().map_or_else(|| AgentId::from(NOTHING), |agent| agent.id.clone());
        let found = self.stores.api_keys.find_by_name(&agent_id, name, *kind).await?;
        let absent_agent = if self.guard.is_enabled() { Absent::ApiKey } else { selector.absent() };
        let of_agent = Sought { absent: absent_agent, ..Sought::agent(selector, agent.as_ref()) };
        let of_key = Sought {
            kind: ResourceKind::ApiKey,
            found: found.as_ref().map(|key| key.id.as_str()),
            typed: None,
            absent: Absent::ApiKey,
        };
        let needs = vec![Need::sought(Operation::Read, of_agent), Need::sought(operation, of_key)];
        self.guard.require_all(caller, needs).await?;
        found.ok_or(Error::NotFound(Absent::ApiKey))
    }

    /// Removes the row, then what the graph holds of it. `false`: there was none, and the graph was left alone.
    async fn remove(&self, caller: &Caller, id: &ApiKeyId) -> Result<bool, Error> {
        let departure = self.lifecycle.departure(caller);
        let Some(intents) = self.stores.api_keys.delete(id, self.clock.now(), departure).await? else {
            return Ok(false);
        };
        self.lifecycle.departed(caller, intents).await;
        Ok(true)
    }

    async fn live_agent(&self, selector: &AgentSelector) -> Result<Option<Agent>, Error> {
        let found = match selector {
            AgentSelector::Id(id) => self.stores.agents.find(id).await?,
            AgentSelector::Name(name) => self.stores.agents.find_by_name(name).await?,
        };
        Ok(found.filter(|agent| !agent.is_deleted()))
    }

    async fn updatable_agent(&self, caller: &Caller, selector: &AgentSelector) -> Result<Agent, Error> {
        let found = self.live_agent(selector).await?;
        self.guard.require_sought(caller, Operation::Update, Sought::agent(selector, found.as_ref())).await?;
        found.ok_or_else(|| Error::NotFound(selector.absent()))
    }

    /// The key as it is to be stored. Of an external key only a digest is kept; the others are needed again, internal ones
    /// to call the agent, the rest to verify signatures.
    fn sealed(&self, agent: &Agent, name: String, kind: ApiKeyKind, value: &str) -> ApiKey {
        let (sealed, digest) = match kind {
            ApiKeyKind::External => {
                let shown: String = value.chars().take(SHOWN_CHARS).collect();
                (format!("hashed:v1:{shown}"), Some(self.keyring.digest(value)))
            }
            ApiKeyKind::Internal => (self.keyring.seal(value), Some(self.keyring.digest(value))),
            // Nobody presents these, and one Slack app may serve several agents with one secret.
            ApiKeyKind::Github | ApiKeyKind::Slack => (self.keyring.seal(value), None),
        };
        let agent_id = agent.id.clone();
        ApiKey { id: ApiKeyId::generate(), agent_id, name, kind, sealed, digest, created_at: self.clock.now() }
    }

    /// Registers and stores a key. `taken` is the error when somebody else took the name meanwhile.
    async fn insert(
        &self,
        caller: &Caller,
        key: &ApiKey,
        selector: &AgentSelector,
        taken: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        let owner = self.lifecycle.owner_for(caller).await?;
        let resource = ResourceRef::api_key(key.id.as_str());
        let parent = ResourceRef::agent(key.agent_id.as_str());
        let write = async |settles| self.stores.api_keys.insert(key, settles).await.map(Written::Created);
        match self.lifecycle.create(owner.as_ref(), &resource, Some(parent), write).await {
            Ok(Written::Created(()) | Written::Lost(())) => Ok(()),
            Err(Error::Store(StoreError::Duplicate { what: "api key value" })) => {
                Err(Error::Conflict("An agent API key with this value already exists.".to_owned()))
            }
            Err(Error::Store(StoreError::Duplicate { .. })) => Err(taken()),
            Err(Error::Store(StoreError::Dangling { .. })) => Err(Error::NotFound(selector.absent())),
            Err(error) => Err(error),
        }
    }
}

fn not_for_callers() -> Error {
    Error::Invalid("Internal agent API keys are made when the agent registers.".to_owned())
}

fn problem(path: &str, text: impl Into<String>) -> Problem {
    Problem { path: path.to_owned(), text: text.into() }
}

fn name_problems(name: &str) -> Problems {
    let text = if name.is_empty() {
        "String should have at least 1 character".to_owned()
    } else if name.chars().count() > MAX_NAME_CHARS {
        format!("String should have at most {MAX_NAME_CHARS} characters")
    } else if name.contains('\0') {
        input::HAS_NUL.to_owned()
    } else {
        return Problems::new();
    };
    vec![problem("body.name", text)]
}

/// What is wrong with a value a caller chose. The value is never repeated.
fn value_problem(path: &str, kind: ApiKeyKind, value: &str) -> Option<Problem> {
    let presented = matches!(kind, ApiKeyKind::Internal | ApiKeyKind::External);
    if presented && value.chars().count() < MIN_VALUE_CHARS {
        return Some(problem(path, format!("String should have at least {MIN_VALUE_CHARS} characters")));
    }
    if presented && !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(problem(path, "String should be visible ASCII characters"));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Some(problem(path, format!("String should have at most {MAX_VALUE_BYTES} bytes")));
    }
    None
}
