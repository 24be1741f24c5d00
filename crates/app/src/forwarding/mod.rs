//! The way in for outsiders: webhooks and holders of an agent's external key reach the agent's own routes.

mod deliveries;
mod headers;
mod path;
#[cfg(test)]
mod tests;
mod webhook;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use agentex_authz::{CredentialHeaders, Operation};
use agentex_domain::AgentId;
use agentex_domain::ports::{
    AgentForwarder, BoxError, Clock, DialTarget, ForwardError, ForwardReply, ForwardRequest, Stores,
};
use bytes::Bytes;

use self::deliveries::Deliveries;
use self::webhook::Webhook;
use crate::guard::{Guard, Sought};
use crate::{AgentSelector, Authentication, Caller, Error, Keyring};

const EXTERNAL_KEY: &str = "x-agent-api-key";
const GITHUB_SIGNATURE: &str = "x-hub-signature-256";
const SLACK_SIGNATURE: &str = "x-slack-signature";
/// The scheme of `Authorization` that carries an external key.
const SCHEME: &str = "AgentKey";
/// Whose keys are looked up where there is no such agent, so that both cases cost the same queries. No agent has this id.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// How requests of outsiders are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardingSettings {
    /// Paths of agents that outsiders never reach. Default `api`, where agents take calls of this server, and `healthz`.
    pub reserved_paths: Vec<String>,
    /// Whether a webhook delivery that this process has passed on within the last ten minutes is answered without passing it
    /// on again. Default false.
    pub ignore_duplicates: bool,
}

impl Default for ForwardingSettings {
    fn default() -> Self {
        Self { reserved_paths: vec!["api".to_owned(), "healthz".to_owned()], ignore_duplicates: false }
    }
}

/// A request of an outsider to one of an agent's own routes.
#[derive(Clone)]
pub struct ForwardCall {
    /// `GET` or `POST`.
    pub method: String,
    /// The agent's name as it was sent, percent-encoding kept.
    pub agent_name: String,
    /// The path below the agent's URL as it was sent, percent-encoding kept.
    pub path: String,
    /// The raw query, without the question mark.
    pub query: Option<String>,
    /// All headers in the order they came, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Bytes,
    /// This server's id of the request.
    pub request_id: String,
    /// The address at the other end of the connection, where it is known.
    pub peer: Option<IpAddr>,
}

impl ForwardCall {
    /// The first value of a header; an empty one counts as absent.
    fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(candidate, value)| candidate == name && !value.is_empty());
        found.map(|(_, value)| value.as_slice())
    }

    /// The same where it is text.
    fn header_text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header(name)?).ok()
    }

    /// The external key that is presented, if any; `Some(None)` for one that cannot be one.
    fn external_key(&self) -> Option<Option<&str>> {
        if self.header(EXTERNAL_KEY).is_some() {
            return Some(self.header_text(EXTERNAL_KEY));
        }
        let (scheme, key) = self.header_text("authorization")?.trim().split_once([' ', '\t'])?;
        let key = key.trim();
        (scheme.eq_ignore_ascii_case(SCHEME) && !key.is_empty()).then_some(Some(key))
    }
}

impl fmt::Debug for ForwardCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardCall").field("method", &self.method).finish_non_exhaustive()
    }
}

/// What comes of a forwarded request.
#[derive(Debug)]
pub enum Forwarded {
    /// The agent's answer, without the headers of its connection.
    Reply(ForwardReply),
    /// Slack asked whether somebody listens here, and wants this text back. The agent was not called.
    Challenge(String),
    /// The delivery was passed on before. The agent was not called.
    Duplicate,
}

/// Why a request was not forwarded, or came to nothing. The texts are read by clients.
#[derive(Debug, thiserror::Error)]
pub enum ForwardRefusal {
    /// The path is one of the agent's that is not for outsiders.
    #[error("Not Found")]
    Reserved,
    /// The path could mean something else to the agent than it does here.
    #[error("The path must not contain dot segments, backslashes, control characters or encoded '?' or '#'.")]
    BadPath,
    /// There is no such agent as far as this caller may know, or it cannot be reached.
    #[error("Agent {0} not found or has no ACP URL.")]
    NoAgent(String),
    /// The credentials are wrong. With authorization on, unknown agents are refused like this, too.
    #[error("Unauthorized")]
    Unauthorized,
    /// There are no credentials, and nobody who could tell who is calling without.
    #[error("Missing authentication for forward request.")]
    NoCredentials,
    /// A signed request that does not look like one of its service.
    #[error("{0}")]
    BadWebhook(&'static str),
    /// A signed request whose signature is wrong or lacks a part.
    #[error("{0}")]
    NotGenuine(&'static str),
    /// The agent has no key for the sender of a signed request.
    #[error("No API key found for {sender} {name}.")]
    NoKey {
        /// What the name is the name of.
        sender: &'static str,
        /// The sender, as the request says.
        name: String,
    },
    /// The agent could not be connected to, or broke the protocol.
    #[error("Agent {agent} is unreachable.")]
    Unreachable {
        /// Its name.
        agent: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The agent took too long to begin its answer.
    #[error("Agent {0} did not respond in time.")]
    TimedOut(String),
    /// Something else, as everywhere.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Passes requests of outsiders on to agents.
///
/// With authorization on, nobody learns from a refusal whether an agent exists: unknown agents, unknown keys and wrong
/// signatures get one answer after the same work. With authorization off the refusals say what is wrong, as the public
/// project's do.
pub struct Forwarding {
    stores: Stores,
    guard: Guard,
    authentication: Authentication,
    keyring: Keyring,
    forwarder: Arc<dyn AgentForwarder>,
    clock: Arc<dyn Clock>,
    /// Whether refusals must not tell what exists.
    hides: bool,
    settings: ForwardingSettings,
    deliveries: Deliveries,
}

/// What [`Forwarding`] is made of.
pub(crate) struct Parts {
    pub(crate) stores: Stores,
    pub(crate) guard: Guard,
    pub(crate) authentication: Authentication,
    pub(crate) keyring: Keyring,
    pub(crate) forwarder: Arc<dyn AgentForwarder>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authorization_is_on: bool,
    pub(crate) settings: ForwardingSettings,
}

impl Forwarding {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { stores, guard, authentication, keyring, forwarder, clock, authorization_is_on, settings } = parts;
        Self {
            stores,
            guard,
            authentication,
            keyring,
            forwarder,
            clock,
            hides: authorization_is_on,
            settings,
            deliveries: Deliveries::default(),
        }
    }

    /// Sends the request to the agent, if whoever sent it proves that it may: with an external key of the agent, with the
    /// signature of a service the agent has a key for, or as a principal who may execute the agent. The first kind of proof
    /// that is there decides.
    ///
    /// The agent sees the method, path, query, body and headers as they came, without credentials, and with its own internal
    /// key, by which it knows that the request passed here.
    #[tracing::instrument(name = "forwarding.forward", skip_all, fields(agent = %call.agent_name))]
    pub async fn forward(&self, call: ForwardCall) -> Result<Forwarded, ForwardRefusal> {
        let path = path::checked(&call.path, &self.settings.reserved_paths)?.to_owned();
        let name = path::percent_decoded(&call.agent_name)
            .map_or_else(|| call.agent_name.clone(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
        let agent = self.find(&name).await?;
        let no_agent = || ForwardRefusal::NoAgent(name.clone());
        if !self.hides && agent.as_ref().and_then(DialTarget::url).is_none() {
            return Err(no_agent());
        }
        if let Some(challenge) = webhook::challenge(&call)? {
            return Ok(Forwarded::Challenge(challenge));
        }
        let webhook = self.admit(&call, &name, agent.as_ref()).await?;
        let agent = agent.ok_or_else(no_agent)?;
        let url = agent.url().ok_or_else(no_agent)?.to_owned();

        let mut claim = None;
        if let Some(delivery) = webhook.and_then(|webhook| webhook.delivery).filter(|_| self.settings.ignore_duplicates)
        {
            claim = self.deliveries.claim(&[agent.agent.id.as_str(), &delivery], self.clock.now());
            if claim.is_none() {
                return Ok(Forwarded::Duplicate);
            }
        }
        let agent_key = match &agent.internal_key {
            Some(key) => Some(self.keyring.open(&key.sealed)?),
            None => None,
        };
        let request = ForwardRequest {
            agent_url: url,
            method: call.method.clone(),
            path,
            query: call.query.clone(),
            headers: headers::outgoing(&call, agent_key),
            body: call.body,
        };
        let mut reply = self.forwarder.forward(request).await.map_err(|error| failed(error, name))?;
        if let Some(claim) = claim.filter(|_| reply.status < 500) {
            claim.keep();
        }
        reply.headers = headers::relayed(&reply.headers);
        Ok(Forwarded::Reply(reply))
    }

    async fn find(&self, name: &str) -> Result<Option<DialTarget>, Error> {
        // No store can be asked for such text.
        if name.contains('\0') {
            return Ok(None);
        }
        let found = self.stores.agents.dial_target_by_name(name).await?;
        Ok(found.filter(|found| !found.agent.is_deleted()))
    }

    /// Refuses whoever may not reach the agent. What proved itself with a signature is answered.
    async fn admit(
        &self,
        call: &ForwardCall,
        name: &str,
        agent: Option<&DialTarget>,
    ) -> Result<Option<Webhook>, ForwardRefusal> {
        let id = agent.map_or_else(|| AgentId::from(NOBODY), |target| target.agent.id.clone());
        if let Some(key) = call.external_key() {
            let key = key.ok_or(ForwardRefusal::Unauthorized)?;
            let digest = self.keyring.digest(key);
            let known = self.stores.api_keys.has_external(&id, &digest, key).await.map_err(Error::from)?;
            return if known { Ok(None) } else { Err(ForwardRefusal::Unauthorized) };
        }
        let webhook = if let Some(signature) = call.header(GITHUB_SIGNATURE) {
            Webhook::github(call, signature)?
        } else if let Some(signature) = call.header(SLACK_SIGNATURE) {
            Webhook::slack(call, signature, self.clock.now())?
        } else {
            return self.admit_principal(call, name, agent).await.map(|()| None);
        };
        let secret = self.secret(&id, &webhook).await?;
        let genuine = webhook.is_signed_with(secret.as_deref().unwrap_or_default(), &call.body);
        match secret {
            Some(_) if genuine => Ok(Some(webhook)),
            _ if self.hides => Err(ForwardRefusal::Unauthorized),
            Some(_) => Err(webhook.not_genuine()),
            None => Err(webhook.no_key()),
        }
    }

    async fn admit_principal(
        &self,
        call: &ForwardCall,
        name: &str,
        agent: Option<&DialTarget>,
    ) -> Result<(), ForwardRefusal> {
        let text = |(name, value): &(String, Vec<u8>)| Some((name.clone(), String::from_utf8(value.clone()).ok()?));
        let credentials = CredentialHeaders::new(call.headers.iter().filter_map(text));
        let principal = match self.authentication.principal(&credentials).await {
            Ok(Some(principal)) => principal,
            Ok(None) => return Err(ForwardRefusal::NoCredentials),
            Err(Error::Unauthenticated) => return Err(ForwardRefusal::Unauthorized),
            Err(error) => return Err(error.into()),
        };
        let selector = AgentSelector::Name(name.to_owned());
        let sought = Sought::agent(&selector, agent.map(|target| &target.agent));
        match self.guard.require_sought(&Caller::Principal(principal), Operation::Execute, sought).await {
            Err(Error::NotFound(_)) => Err(ForwardRefusal::NoAgent(name.to_owned())),
            decided => Ok(decided?),
        }
    }

    /// The secret a webhook of this sender is signed with. An empty one proves nothing and counts as none.
    async fn secret(&self, agent: &AgentId, webhook: &Webhook) -> Result<Option<String>, Error> {
        if !webhook.can_have_key() {
            return Ok(None);
        }
        let found = self.stores.api_keys.find_by_name(agent, &webhook.key_name, webhook.kind).await?;
        let secret = found.map(|key| self.keyring.open(&key.sealed)).transpose()?;
        Ok(secret.filter(|secret| !secret.is_empty()))
    }
}

fn failed(error: ForwardError, agent: String) -> ForwardRefusal {
    match error {
        ForwardError::TimedOut => ForwardRefusal::TimedOut(agent),
        ForwardError::Unreachable(source) => ForwardRefusal::Unreachable { agent, source },
        // The path has been checked, so it is the agent's own URL.
        ForwardError::BadTarget => ForwardRefusal::Unreachable { agent, source: error.into() },
    }
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarding").field("settings", &self.settings).finish_non_exhaustive()
    }
}
