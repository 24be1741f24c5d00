use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Operation, ResourceRef};
use agentex_domain::AgentId;
use agentex_domain::ports::{Clock, RegistrationToken, RegistrationTokenRepository};

use crate::guard::Guard;
use crate::{AuthorizationSettings, Caller, Error, Keyring, RegistrationAuth};

/// How registration tokens begin, so that people and secret scanners recognize them.
pub const REGISTRATION_TOKEN_PREFIX: &str = "agxr_";

/// Makes the tokens with which pods register where that takes a credential.
#[derive(Clone)]
pub(crate) struct RegistrationTokens {
    tokens: Arc<dyn RegistrationTokenRepository>,
    guard: Guard,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    takes_credentials: bool,
    lifetime: Duration,
}

impl RegistrationTokens {
    pub(super) fn new(
        tokens: Arc<dyn RegistrationTokenRepository>,
        guard: Guard,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        settings: &AuthorizationSettings,
    ) -> Self {
        let takes_credentials = guard.is_enabled() && settings.registration == RegistrationAuth::Credential;
        let lifetime = settings.registration_token_lifetime;
        Self { tokens, guard, keyring, clock, takes_credentials, lifetime }
    }

    /// Whether a pod must present something to register.
    pub(super) const fn are_needed(&self) -> bool {
        self.takes_credentials
    }

    /// A token of the agent for a caller who may change it; none where pods need none.
    pub(crate) async fn for_caller(&self, caller: &Caller, agent: &AgentId) -> Result<Option<String>, Error> {
        let resource = ResourceRef::agent(agent.as_str());
        if !self.takes_credentials || !self.guard.may(caller, Operation::Update, &resource).await? {
            return Ok(None);
        }
        self.mint(agent, self.lifetime).await.map(Some)
    }

    /// A token that is good for `lifetime`, whoever asks.
    pub(super) async fn mint(&self, agent: &AgentId, lifetime: Duration) -> Result<String, Error> {
        let token = format!("{REGISTRATION_TOKEN_PREFIX}{}", Keyring::mint());
        let now = self.clock.now();
        let stored = RegistrationToken {
            digest: self.keyring.digest(&token),
            agent_id: agent.clone(),
            created_at: now,
            expires_at: now.plus_millis(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)),
        };
        self.tokens.insert(&stored).await?;
        Ok(token)
    }
}
