use std::time::Duration;

use url::{Host, Url};

use crate::algorithm::SigningAlgorithm;

/// More than this is no clock that is a little off, but one that nobody sets.
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);

/// Which tokens are believed, and what their claims mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// The issuer's identifier, exactly as it stands in its tokens' `iss`: an `https` URL without query and fragment.
    /// Plain `http` is for loopback hosts only.
    pub issuer: String,
    /// Who the tokens are for. At least one; a token for any of them is good.
    pub audience: Vec<String>,
    /// Where the issuer's keys are, `https` as well. Default: the `jwks_uri` of
    /// `{issuer}/.well-known/openid-configuration`.
    pub jwks_url: Option<String>,
    /// The signature algorithms that are accepted. Default RS256, PS256, ES256 and EdDSA.
    pub algorithms: Vec<SigningAlgorithm>,
    /// The claim with the user's id, a string. Default `sub`.
    pub user_claim: String,
    /// The claim with the accounts the caller may act in: a string or an array of strings. Default `account_id`.
    pub account_claim: String,
    /// The claim with a service account's id, a string. A token with this claim stands for the service account, not for
    /// a user. Default: there are no service accounts.
    pub service_account_claim: Option<String>,
    /// How far the issuer's clock may be off, in whole seconds, at most five minutes. Default 30 s.
    pub leeway: Duration,
    /// Longest time to resolve, connect and shake hands with the issuer. Default 2 s.
    pub connect_timeout: Duration,
    /// Longest time to fetch the keys, discovery included. Default 5 s.
    pub total_timeout: Duration,
    /// Least time between the end of one attempt to fetch the keys and the next one. Default 10 s.
    pub min_refresh_interval: Duration,
    /// How long fetched keys are used without asking again. Default 1 h.
    pub keys_fresh_for: Duration,
    /// How long fetched keys are used while the issuer cannot be asked. Default 24 h.
    pub keys_usable_for: Duration,
}

impl OidcSettings {
    /// The defaults, for tokens of `issuer` that are meant for any of `audience`.
    pub fn new<A: Into<String>>(issuer: impl Into<String>, audience: impl IntoIterator<Item = A>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into_iter().map(Into::into).collect(),
            jwks_url: None,
            algorithms: vec![
                SigningAlgorithm::Rs256,
                SigningAlgorithm::Ps256,
                SigningAlgorithm::Es256,
                SigningAlgorithm::EdDsa,
            ],
            user_claim: "sub".to_owned(),
            account_claim: "account_id".to_owned(),
            service_account_claim: None,
            leeway: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(2),
            total_timeout: Duration::from_secs(5),
            min_refresh_interval: Duration::from_secs(10),
            keys_fresh_for: Duration::from_secs(60 * 60),
            keys_usable_for: Duration::from_secs(24 * 60 * 60),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), SetupError> {
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            return Err(SetupError::Audience);
        }
        if self.algorithms.is_empty() {
            return Err(SetupError::Algorithms);
        }
        for (name, claim) in [
            ("user_claim", Some(&self.user_claim)),
            ("account_claim", Some(&self.account_claim)),
            ("service_account_claim", self.service_account_claim.as_ref()),
        ] {
            if claim.is_some_and(String::is_empty) {
                return Err(SetupError::Claim(name));
            }
        }
        if self.leeway > LONGEST_LEEWAY {
            return Err(SetupError::Leeway);
        }
        for (name, limit) in [
            ("connect_timeout", self.connect_timeout),
            ("total_timeout", self.total_timeout),
            ("min_refresh_interval", self.min_refresh_interval),
            ("keys_fresh_for", self.keys_fresh_for),
        ] {
            if limit.is_zero() {
                return Err(SetupError::Zero(name));
            }
        }
        if self.keys_usable_for < self.keys_fresh_for {
            return Err(SetupError::KeyAges);
        }
        Ok(())
    }
}

/// Why tokens cannot be checked with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The issuer is not an `https` URL (or `http` on a loopback host), or holds a user, a query or a fragment.
    #[error("the issuer must be an https URL without user, query and fragment; http is for loopback hosts only")]
    Issuer,
    /// The address of the keys is not an `https` URL (or `http` on a loopback host), or holds a user.
    #[error("the address of the issuer's keys must be an https URL without user; http is for loopback hosts only")]
    JwksUrl,
    /// There is no audience, or an empty one.
    #[error("at least one audience is needed, and none may be empty")]
    Audience,
    /// No algorithm is accepted.
    #[error("at least one signature algorithm is needed")]
    Algorithms,
    /// The name of a claim is empty.
    #[error("{0} must not be empty")]
    Claim(&'static str),
    /// A limit is zero, so that nothing could ever succeed or everybody could make us call the issuer at will.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// The leeway is longer than five minutes.
    #[error("leeway must be at most five minutes")]
    Leeway,
    /// Keys would be thrown away before they are asked for again.
    #[error("keys_usable_for must not be shorter than keys_fresh_for")]
    KeyAges,
    /// The TLS or HTTP library refused the configuration.
    #[error("HTTP client cannot be configured")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Whether keys from this address can be believed: nobody between us and it can change them.
pub(crate) fn is_trustworthy(url: &Url) -> bool {
    let anonymous = url.username().is_empty() && url.password().is_none();
    anonymous && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trustworthy(url: &str) -> bool {
        is_trustworthy(&Url::parse(url).unwrap())
    }

    #[test]
    fn plain_http_is_for_loopback_hosts_only() {
        for url in
            ["https://id.test", "http://localhost:1/x", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]:80"]
        {
            assert!(trustworthy(url), "{url}");
        }
        for url in [
            "http://id.test",
            "http://localhost.id.test",
            "http://127.0.0.1.id.test",
            "http://[::2]",
            "http://10.0.0.1",
            "ftp://localhost",
            "file:///keys",
            "https://me@id.test",
            "https://:pw@id.test",
        ] {
            assert!(!trustworthy(url), "{url}");
        }
    }

    #[test]
    fn settings_under_which_nothing_can_be_checked_are_refused() {
        let refused = |change: fn(&mut OidcSettings)| {
            let mut settings = OidcSettings::new("https://id.test", ["agentex"]);
            change(&mut settings);
            settings.validate().unwrap_err().to_string()
        };

        assert!(OidcSettings::new("https://id.test", ["agentex"]).validate().is_ok());
        assert!(refused(|s| s.audience.clear()).contains("audience"));
        assert!(refused(|s| s.audience.push(String::new())).contains("audience"));
        assert!(refused(|s| s.algorithms.clear()).contains("algorithm"));
        assert!(refused(|s| s.user_claim.clear()).contains("user_claim"));
        assert!(refused(|s| s.account_claim.clear()).contains("account_claim"));
        assert!(refused(|s| s.service_account_claim = Some(String::new())).contains("service_account_claim"));
        assert!(refused(|s| s.leeway = Duration::from_secs(301)).contains("leeway"));
        assert!(refused(|s| s.connect_timeout = Duration::ZERO).contains("connect_timeout"));
        assert!(refused(|s| s.total_timeout = Duration::ZERO).contains("total_timeout"));
        assert!(refused(|s| s.min_refresh_interval = Duration::ZERO).contains("min_refresh_interval"));
        assert!(refused(|s| s.keys_fresh_for = Duration::ZERO).contains("keys_fresh_for"));
        assert!(refused(|s| s.keys_usable_for = Duration::from_secs(1)).contains("keys_usable_for"));
    }
}
