use async_trait::async_trait;

use crate::Principal;

/// The request headers an authentication provider may look at: lower-case names, in arrival order.
///
/// They hold credentials, so `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CredentialHeaders(Vec<(String, String)>);

impl CredentialHeaders {
    /// Takes name and value pairs; names are lower-cased.
    pub fn new(headers: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
    }

    /// The first value of `name`, which is given in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }

    /// All pairs in arrival order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl std::fmt::Debug for CredentialHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Why nobody could be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// The credentials are missing or wrong.
    #[error("credentials refused")]
    Refused,
    /// The provider could not be asked; the caller may try again.
    #[error("authentication provider unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Finds out who is calling.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The principal behind `headers`; `None` when this deployment does not authenticate callers at all.
    ///
    /// # Errors
    /// [`AuthnError::Refused`] for missing or wrong credentials, [`AuthnError::Unavailable`] when nobody could tell.
    async fn authenticate(&self, headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError>;
}

/// No authentication: every caller is anonymous. Belongs with [`crate::AllowAll`] on a loopback address.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAuthentication;

#[async_trait]
impl Authenticator for NoAuthentication {
    async fn authenticate(&self, _headers: &CredentialHeaders) -> Result<Option<Principal>, AuthnError> {
        Ok(None)
    }
}
