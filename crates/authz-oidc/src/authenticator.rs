use std::fmt;
use std::sync::Arc;

use agentex_authz::{Authenticator, AuthnError, CredentialHeaders, Principal};
use async_trait::async_trait;

use crate::claims::ClaimNames;
use crate::issuer::Issuer;
use crate::rotation::{KeyClock, KeysUnavailable, NoKey, RotatingKeys, SystemClock};
use crate::settings::{OidcSettings, SetupError};
use crate::token::{Refusal, Verifier, bearer, single};

/// Believes the signed tokens of one OpenID Connect issuer.
///
/// The token is the bearer token of the `authorization` header; no other header is a credential here.
/// `x-selected-account-id` picks among the accounts the token allows and is refused when it names another one.
///
/// The principal has exactly `user_id` or `service_account_id`, `principal_type` (`user` or `service_account`) and
/// `account_id`, the last only when the token has an account. There is nothing secret in it.
///
/// Keys are fetched when the first token comes, or by [`Self::warm`], again when they are no longer fresh, and when a
/// token names a key that is not among them; concurrent callers share one attempt, and attempts keep their distance. A
/// key that the issuer withdraws is believed until the next attempt. While the issuer cannot be asked or answers
/// nonsense, the last keys are used until they are too old.
///
/// Verified tokens are not remembered: the signature is checked each time, which takes some 150 to 300 µs on the thread
/// of the caller, and a token is never believed for longer than it says.
pub struct OidcAuthenticator {
    issuer: String,
    verifier: Verifier,
    claims: ClaimNames,
    keys: RotatingKeys,
}

impl fmt::Debug for OidcAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcAuthenticator").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl OidcAuthenticator {
    /// Makes the adapter; nothing is dialled.
    ///
    /// # Errors
    /// An address, an audience, a claim or a limit is unusable, or the HTTP library refuses the configuration.
    pub fn new(settings: OidcSettings) -> Result<Self, SetupError> {
        Self::with_clock(settings, Arc::new(SystemClock::start()))
    }

    /// The same with another clock for the age of keys. Tokens expire by the clock of the machine all the same.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_clock(settings: OidcSettings, clock: Arc<dyn KeyClock>) -> Result<Self, SetupError> {
        settings.validate()?;
        let issuer = Issuer::new(&settings)?;
        Ok(Self {
            keys: RotatingKeys::new(issuer, &settings, clock),
            verifier: Verifier::new(&settings),
            claims: ClaimNames::new(&settings),
            issuer: settings.issuer,
        })
    }

    /// Fetches the issuer's keys, so that the first caller need not wait for them and a wrong address shows at the
    /// start. Does nothing while there are fresh ones.
    ///
    /// # Errors
    /// [`AuthnError::Unavailable`] when there are no usable keys; the next token tries again.
    pub async fn warm(&self) -> Result<(), AuthnError> {
        self.keys.warm().await.map_err(unavailable)
    }

    async fn principal(&self, headers: &CredentialHeaders) -> Result<Principal, Failure> {
        let token = bearer(headers)?;
        let selected = single(headers, "x-selected-account-id")?;
        let announced = self.verifier.announced(token)?;
        let key =
            self.keys.find(announced.key_id.as_deref(), announced.algorithm).await.map_err(|no_key| match no_key {
                NoKey::Unknown => Failure::Refused(Refusal::UnknownKey),
                NoKey::Unavailable(error) => Failure::Unavailable(error),
            })?;
        let claims = self.verifier.claims(token, &key, announced.algorithm)?;
        Ok(self.claims.principal(&claims, selected)?)
    }
}

enum Failure {
    Refused(Refusal),
    Unavailable(KeysUnavailable),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn unavailable(error: KeysUnavailable) -> AuthnError {
    AuthnError::Unavailable(error.into())
}

#[async_trait]
impl Authenticator for OidcAuthenticator {
    #[tracing::instrument(name = "authn.oidc", skip_all)]
    async fn authenticate(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        match self.principal(headers).await {
            Ok(principal) => Ok(Some(principal)),
            Err(Failure::Refused(reason)) => {
                tracing::debug!(%reason, "token refused");
                Err(AuthnError::Refused)
            }
            Err(Failure::Unavailable(error)) => Err(unavailable(error)),
        }
    }
}
