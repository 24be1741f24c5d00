use std::sync::Arc;

use agentex_authz::{Authenticator, AuthnError, CredentialHeaders};
use agentex_domain::ports::ApiKeyRepository;

use crate::{Caller, Error, Keyring};

const AGENT_KEY_HEADER: &str = "x-agent-api-key";

/// Turns credentials into a [`Caller`].
pub struct Authentication {
    authenticator: Arc<dyn Authenticator>,
    api_keys: Arc<dyn ApiKeyRepository>,
    keyring: Keyring,
}

impl Authentication {
    pub(crate) fn new(
        authenticator: Arc<dyn Authenticator>,
        api_keys: Arc<dyn ApiKeyRepository>,
        keyring: Keyring,
    ) -> Self {
        Self { authenticator, api_keys, keyring }
    }

    /// Who is calling: the agent whose internal key is presented, else whoever the provider says, else nobody.
    ///
    /// # Errors
    /// [`Error::AgentKeyRefused`] for a key of no live agent (the provider is not asked then),
    /// [`Error::Unauthenticated`] when the provider refuses, [`Error::AuthenticationUnavailable`] when it cannot tell.
    pub async fn identify(&self, headers: &CredentialHeaders) -> Result<Caller, Error> {
        if let Some(caller) = self.agent(headers).await? {
            return Ok(caller);
        }
        match self.authenticator.authenticate(headers).await {
            Ok(Some(principal)) => Ok(Caller::Principal(principal)),
            Ok(None) => Ok(Caller::Anonymous),
            Err(AuthnError::Refused) => Err(Error::Unauthenticated),
            Err(AuthnError::Unavailable(source)) => Err(Error::AuthenticationUnavailable(source)),
        }
    }

    /// Who is registering: agents register before they have credentials, so only an agent key is looked at.
    ///
    /// # Errors
    /// [`Error::AgentKeyRefused`] for a key of no live agent.
    pub async fn identify_registering(&self, headers: &CredentialHeaders) -> Result<Caller, Error> {
        Ok(self.agent(headers).await?.unwrap_or(Caller::Anonymous))
    }

    async fn agent(&self, headers: &CredentialHeaders) -> Result<Option<Caller>, Error> {
        let Some(key) = headers.get(AGENT_KEY_HEADER).filter(|key| !key.is_empty()) else { return Ok(None) };
        let owner = self.api_keys.find_internal_owner(&self.keyring.digest(key), key).await?;
        match owner {
            Some(owner) => Ok(Some(Caller::Agent(owner.agent_id))),
            None => Err(Error::AgentKeyRefused),
        }
    }
}

#[cfg(test)]
mod tests {
    use agentex_authz::{MockAuthenticator, NoAuthentication, Principal};
    use agentex_domain::AgentId;
    use agentex_domain::ports::{KeyOwner, MockApiKeyRepository, StoreError};
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> CredentialHeaders {
        CredentialHeaders::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn keys(owner: Option<&'static str>) -> Arc<MockApiKeyRepository> {
        let mut keys = MockApiKeyRepository::new();
        keys.expect_find_internal_owner()
            .returning(move |_, _| Ok(owner.map(|id| KeyOwner { agent_id: AgentId::from(id) })));
        Arc::new(keys)
    }

    #[tokio::test]
    async fn an_agent_key_wins_over_the_provider_and_an_unknown_one_never_reaches_it() {
        let provider = || {
            let mut provider = MockAuthenticator::new();
            provider.expect_authenticate().never();
            Arc::new(provider)
        };
        let presented = headers(&[("X-Agent-Api-Key", "k"), ("authorization", "Bearer b")]);

        let known = Authentication::new(provider(), keys(Some("a")), Keyring::new(None, ""));
        assert_eq!(known.identify(&presented).await.unwrap(), Caller::Agent("a".into()));
        let unknown = Authentication::new(provider(), keys(None), Keyring::new(None, ""));
        assert!(matches!(unknown.identify(&presented).await, Err(Error::AgentKeyRefused)));
    }

    #[tokio::test]
    async fn a_failing_look_up_is_an_outage_and_not_a_refusal() {
        let mut keys = MockApiKeyRepository::new();
        keys.expect_find_internal_owner().returning(|_, _| Err(StoreError::Unavailable("down".into())));
        let authentication = Authentication::new(Arc::new(NoAuthentication), Arc::new(keys), Keyring::new(None, ""));

        let refused = authentication.identify(&headers(&[("x-agent-api-key", "k")])).await;

        assert!(matches!(refused, Err(Error::Store(StoreError::Unavailable(_)))));
    }

    #[tokio::test]
    async fn the_providers_answers_are_told_apart() {
        let with = |answer: fn() -> Result<Option<Principal>, AuthnError>| {
            let mut provider = MockAuthenticator::new();
            provider.expect_authenticate().returning(move |_| answer());
            Authentication::new(Arc::new(provider), keys(None), Keyring::new(None, ""))
        };
        let none = headers(&[]);

        assert!(matches!(with(|| Err(AuthnError::Refused)).identify(&none).await, Err(Error::Unauthenticated)));
        let down = with(|| Err(AuthnError::Unavailable("down".into())));
        assert!(matches!(down.identify(&none).await, Err(Error::AuthenticationUnavailable(_))));
        let alice = with(|| Ok(Some(Principal::from_json(json!({"user_id": "alice"})))));
        assert!(matches!(alice.identify(&none).await, Ok(Caller::Principal(_))));
        assert_eq!(alice.identify_registering(&none).await.unwrap(), Caller::Anonymous);
    }
}
