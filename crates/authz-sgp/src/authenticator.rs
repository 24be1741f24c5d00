use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Authenticator, AuthnError, CredentialHeaders, Principal};
use async_trait::async_trait;
use http::StatusCode;
use serde_json::Value;
use url::Url;

use crate::cache::{CacheClock, PrincipalCache, SystemClock};
use crate::credentials::{Forward, Shown};
use crate::wire::{Answer, Fault, Repeat, SetupError, Wire, WireOptions};

/// How an external auth provider is asked who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatorOptions {
    /// Where it is.
    pub wire: WireOptions,
    /// Which headers it sees. Default [`Forward::All`].
    pub forward: Forward,
    /// Whether a provider that cannot answer counts as a refusal, as in the public project. Default no.
    pub collapse_errors: bool,
    /// How many principals are remembered; 0 switches the cache off. Default 1000.
    pub cache_capacity: usize,
    /// How long a principal is remembered at most. Default 60 s.
    pub cache_ttl: Duration,
}

impl AuthenticatorOptions {
    /// The defaults, for the provider behind `wire`.
    #[must_use]
    pub const fn at(wire: WireOptions) -> Self {
        Self {
            wire,
            forward: Forward::All,
            collapse_errors: false,
            cache_capacity: 1000,
            cache_ttl: Duration::from_secs(60),
        }
    }
}

/// Asks an external auth provider (`/v1/authn`) who is calling, and remembers the answer for a short time.
///
/// The principal is the non-empty JSON object of a 200 answer. Other JSON in a 200, a 401 and a 403 are refusals; anything
/// else is an outage.
///
/// An answer is remembered under a keyed digest of exactly the headers the provider saw, except those that differ from
/// request to request and identify nobody: `accept`, `accept-encoding`, `accept-language`, `baggage`, `cache-control`,
/// `content-encoding`, `content-type`, `last-event-id`, `pragma`, `traceparent`, `tracestate`, `user-agent`,
/// `x-correlation-id`, `x-request-id` and `x-stainless-*`. It is forgotten when a token among the headers or the
/// principal itself says it has expired. Failures are never remembered, nor principals that carry an `api_key`, nor
/// answers to requests without anything that looks like a credential. Counted as `auth_cache_access_total{cache, result}`
/// and `auth_cache_eviction_total{cache}` with the cache `auth_gateway`.
pub struct ProviderAuthenticator {
    wire: Wire,
    authn: Url,
    forward: Forward,
    collapse_errors: bool,
    cache: PrincipalCache,
    cache_ttl: Duration,
    /// Makes the digests of this process useless elsewhere.
    secret: [u8; 32],
}

impl fmt::Debug for ProviderAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderAuthenticator")
            .field("wire", self.wire.options())
            .field("forward", &self.forward)
            .field("collapse_errors", &self.collapse_errors)
            .field("cache_ttl", &self.cache_ttl)
            .finish_non_exhaustive()
    }
}

impl ProviderAuthenticator {
    /// Makes the adapter; nothing is dialled.
    ///
    /// # Errors
    /// The address is unusable, a limit is zero, or the HTTP library refuses the configuration.
    pub fn new(options: AuthenticatorOptions) -> Result<Self, SetupError> {
        Self::with_clock(options, Arc::new(SystemClock::start()))
    }

    /// The same with another clock for the cache.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_clock(options: AuthenticatorOptions, clock: Arc<dyn CacheClock>) -> Result<Self, SetupError> {
        let wire = Wire::new(options.wire)?;
        Ok(Self {
            authn: wire.endpoint("/v1/authn")?,
            wire,
            forward: options.forward,
            collapse_errors: options.collapse_errors,
            cache: PrincipalCache::new(options.cache_capacity, clock),
            cache_ttl: options.cache_ttl,
            secret: rand::random(),
        })
    }

    async fn ask(&self, shown: &Shown<'_>) -> Result<Principal, AuthnError> {
        let Some(headers) = shown.to_headers() else { return Err(AuthnError::Refused) };
        let fault = match self.wire.post(&self.authn, headers, Vec::new(), Repeat::Never).await {
            Ok(Answer::Ok(body)) => match serde_json::from_slice(&body) {
                Ok(Value::Object(members)) if !members.is_empty() => {
                    return Ok(Principal::from_json(Value::Object(members)));
                }
                Ok(_) => return Err(AuthnError::Refused),
                Err(_) => Fault::Malformed("the answer is not JSON"),
            },
            Ok(Answer::Other(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => return Err(AuthnError::Refused),
            Ok(Answer::Other(status)) => Fault::Status(status),
            Err(fault) => fault,
        };
        tracing::warn!(
            error.kind = fault.kind(),
            error.status = fault.status(),
            error = &fault as &(dyn std::error::Error + 'static),
            "authentication provider gave no usable answer"
        );
        Err(if self.collapse_errors { AuthnError::Refused } else { AuthnError::Unavailable(fault.into()) })
    }

    /// How long the answer may be remembered; `None` when it may not.
    fn keep_for(&self, shown: &Shown<'_>, principal: &Principal) -> Option<Duration> {
        if carries_api_key(principal) {
            return None;
        }
        let Some(expiry) = shown.expiry(principal) else { return Some(self.cache_ttl) };
        let left = Duration::from_secs(expiry).checked_sub(self.cache.clock().unix())?;
        Some(left.min(self.cache_ttl)).filter(|left| !left.is_zero())
    }
}

/// A principal with a key inside is a credential itself; it is not kept in memory longer than its request.
fn carries_api_key(principal: &Principal) -> bool {
    match principal.as_json().get("api_key") {
        None | Some(Value::Null) => false,
        Some(Value::String(key)) => !key.is_empty(),
        Some(_) => true,
    }
}

#[async_trait]
impl Authenticator for ProviderAuthenticator {
    #[tracing::instrument(name = "authn.provider", skip_all)]
    async fn authenticate(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        let shown = Shown::new(headers, &self.forward);
        let key = shown.cache_key(&self.secret);
        if let Some(principal) = key.as_ref().and_then(|key| self.cache.get(key)) {
            return Ok(Some(principal));
        }
        let principal = self.ask(&shown).await?;
        if let Some(key) = key
            && let Some(keep_for) = self.keep_for(&shown, &principal)
        {
            self.cache.put(key, principal.clone(), keep_for);
        }
        Ok(Some(principal))
    }
}
