use std::sync::Arc;

use agentex_authz::{Authenticator, AuthnError, CredentialHeaders, Principal};
use agentex_domain::ports::ApiKeyRepository;

use crate::{AuthorizationSettings, Caller, Error, Keyring, RegistrationAuth};

const AGENT_KEY_HEADER: &str = "x-agent-api-key";
/// What an agent passes on of the caller it acts for, and the header each stands for.
const ACTING: [(&str, &str); 3] = [
    ("x-acting-user-api-key", "x-api-key"),
    ("x-acting-user-cookie", "cookie"),
    ("x-acting-user-authorization", "authorization"),
];
const SELECTED_ACCOUNT: &str = "x-selected-account-id";
/// Headers that say that somebody wants to be recognized.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "x-api-key"];

/// Turns credentials into a [`Caller`].
///
/// Nothing is kept of an agent's key between requests: a deleted key or agent is refused at once, in every process. The
/// look-up is one indexed query. What providers answer may be kept by the [`Authenticator`] itself.
#[derive(Clone)]
pub struct Authentication {
    authenticator: Arc<dyn Authenticator>,
    api_keys: Arc<dyn ApiKeyRepository>,
    keyring: Keyring,
    /// Whether permissions are applied at all.
    enabled: bool,
    settings: AuthorizationSettings,
}

impl Authentication {
    pub(crate) fn new(
        authenticator: Arc<dyn Authenticator>,
        api_keys: Arc<dyn ApiKeyRepository>,
        keyring: Keyring,
        enabled: bool,
        settings: AuthorizationSettings,
    ) -> Self {
        Self { authenticator, api_keys, keyring, enabled, settings }
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
        Ok(self.principal(headers).await?.map_or(Caller::Anonymous, Caller::Principal))
    }

    /// Who is registering. Pods register before they have credentials, and may bring a token that only the use case can
    /// judge; so credentials that are refused make nobody, and where registering takes none they are not looked at.
    ///
    /// # Errors
    /// [`Error::AgentKeyRefused`] for a key of no live agent, [`Error::AuthenticationUnavailable`] when credentials came
    /// and the provider cannot tell whose they are.
    pub async fn identify_registering(&self, headers: &CredentialHeaders) -> Result<Caller, Error> {
        if let Some(caller) = self.agent(headers).await? {
            return Ok(caller);
        }
        let looks = self.enabled && self.settings.registration == RegistrationAuth::Credential;
        if !looks || !CREDENTIALS.iter().any(|name| headers.get(name).is_some()) {
            return Ok(Caller::Anonymous);
        }
        match self.principal(headers).await {
            Ok(principal) => Ok(principal.map_or(Caller::Anonymous, Caller::Principal)),
            Err(Error::Unauthenticated) => Ok(Caller::Anonymous),
            Err(error) => Err(error),
        }
    }

    /// The principal behind the headers, an agent's key not looked at.
    ///
    /// # Errors
    /// As [`Self::identify`].
    pub(crate) async fn principal(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, Error> {
        match self.authenticator.authenticate(headers).await {
            Ok(principal) => Ok(principal),
            Err(AuthnError::Refused) => Err(Error::Unauthenticated),
            Err(AuthnError::Unavailable(error)) if self.settings.collapse_authentication_errors => {
                tracing::error!(%error, "authentication provider unavailable; answered like wrong credentials");
                Err(Error::Unauthenticated)
            }
            Err(AuthnError::Unavailable(source)) => Err(Error::AuthenticationUnavailable(source)),
        }
    }

    async fn agent(&self, headers: &CredentialHeaders) -> Result<Option<Caller>, Error> {
        let Some(key) = headers.get(AGENT_KEY_HEADER).filter(|key| !key.is_empty()) else { return Ok(None) };
        let owner = self.api_keys.find_internal_owner(&self.keyring.digest(key), key).await?;
        let id = owner.ok_or(Error::AgentKeyRefused)?.agent_id;
        let acting = if self.enabled { self.acting_for(headers).await? } else { None };
        Ok(Some(Caller::Agent { id, acting }))
    }

    /// The principal whose credential an agent passes on. One that is not good any more counts as none: what the agent may
    /// do by itself stays.
    async fn acting_for(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, Error> {
        let delegated = ACTING.iter().find_map(|(delegated, name)| Some((*name, headers.get(delegated)?)));
        let Some((name, value)) = delegated else { return Ok(None) };
        let mut presented = vec![(name.to_owned(), value.to_owned())];
        presented
            .extend(headers.get(SELECTED_ACCOUNT).map(|account| (SELECTED_ACCOUNT.to_owned(), account.to_owned())));
        match self.principal(&CredentialHeaders::new(presented)).await {
            Ok(principal) => Ok(principal),
            Err(Error::Unauthenticated) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use agentex_authz::{MockAuthenticator, NoAuthentication};
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

        let known = Authentication::new(
            provider(),
            keys(Some("a")),
            Keyring::new(None, ""),
            true,
            AuthorizationSettings::strict(),
        );
        assert_eq!(known.identify(&presented).await.unwrap(), Caller::agent("a".into()));
        let unknown =
            Authentication::new(provider(), keys(None), Keyring::new(None, ""), true, AuthorizationSettings::strict());
        assert!(matches!(unknown.identify(&presented).await, Err(Error::AgentKeyRefused)));
    }

    #[tokio::test]
    async fn a_failing_look_up_is_an_outage_and_not_a_refusal() {
        let mut keys = MockApiKeyRepository::new();
        keys.expect_find_internal_owner().returning(|_, _| Err(StoreError::Unavailable("down".into())));
        let authentication = Authentication::new(
            Arc::new(NoAuthentication),
            Arc::new(keys),
            Keyring::new(None, ""),
            true,
            AuthorizationSettings::strict(),
        );

        let refused = authentication.identify(&headers(&[("x-agent-api-key", "k")])).await;

        assert!(matches!(refused, Err(Error::Store(StoreError::Unavailable(_)))));
    }

    #[tokio::test]
    async fn the_providers_answers_are_told_apart() {
        let with = |answer: fn() -> Result<Option<Principal>, AuthnError>| {
            let mut provider = MockAuthenticator::new();
            provider.expect_authenticate().returning(move |_| answer());
            Authentication::new(
                Arc::new(provider),
                keys(None),
                Keyring::new(None, ""),
                true,
                AuthorizationSettings::strict(),
            )
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
