use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use crate::keys::{KeyDocument, KeySet};
use crate::settings::{OidcSettings, SetupError, is_loopback, is_trustworthy};
use crate::tls;

/// Longest document that is read. Real ones have a few kilobytes.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Where the keys come from.
pub(crate) struct Issuer {
    http: reqwest::Client,
    identifier: String,
    /// Whether the issuer itself is on this machine; only then may it send us to a place on this machine.
    on_loopback: bool,
    keys_at: KeysAt,
    total_timeout: Duration,
}

enum KeysAt {
    Fixed(Url),
    /// Named by the discovery document at this address.
    Discovered(Url),
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("no connection, or it broke")]
    Unreachable(#[source] reqwest::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("answered with status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("the answer is longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    #[error("{0}")]
    Malformed(&'static str),
}

/// What we need of a discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Discovery {
    /// Where the keys of the issuer with this identifier are, if this is its document.
    fn address_of_keys(&self, identifier: &str, on_loopback: bool) -> Result<Url, Fault> {
        if self.issuer != identifier {
            return Err(Fault::Malformed("the discovery document is another issuer's"));
        }
        let url = Url::parse(&self.jwks_uri).map_err(|_| Fault::Malformed("jwks_uri is not a URL"))?;
        if !is_trustworthy(&url) || (is_loopback(&url) && !on_loopback) {
            return Err(Fault::Malformed("jwks_uri is not an address that can be trusted"));
        }
        Ok(url)
    }
}

impl Issuer {
    pub(crate) fn new(settings: &OidcSettings) -> Result<Self, SetupError> {
        let url = Url::parse(&settings.issuer).map_err(|_| SetupError::Issuer)?;
        if !is_trustworthy(&url) || url.query().is_some() || url.fragment().is_some() {
            return Err(SetupError::Issuer);
        }
        let keys_at = match &settings.jwks_url {
            Some(fixed) => {
                let fixed = Url::parse(fixed).map_err(|_| SetupError::JwksUrl)?;
                if !is_trustworthy(&fixed) {
                    return Err(SetupError::JwksUrl);
                }
                KeysAt::Fixed(fixed)
            }
            None => {
                let base = settings.issuer.trim_end_matches('/');
                let document = format!("{base}/.well-known/openid-configuration");
                KeysAt::Discovered(Url::parse(&document).map_err(|_| SetupError::Issuer)?)
            }
        };
        let tls = tls::config().map_err(|error| SetupError::Http(error.into()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A redirect would let another host say which keys are the issuer's.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .build()
            .map_err(|error| SetupError::Http(error.into()))?;
        Ok(Self {
            http,
            identifier: settings.issuer.clone(),
            on_loopback: is_loopback(&url),
            keys_at,
            total_timeout: settings.total_timeout,
        })
    }

    /// The issuer's keys as they are now. A discovery document is read anew each time, so that the keys may move.
    pub(crate) async fn keys(&self) -> Result<KeySet, Fault> {
        let fetched = async {
            let url = match &self.keys_at {
                KeysAt::Fixed(url) => url.clone(),
                KeysAt::Discovered(document) => self.discovered(document).await?,
            };
            let document: KeyDocument = self.get(url, "the keys are not a JSON Web Key Set").await?;
            Ok(KeySet::from(document))
        };
        timeout(self.total_timeout, fetched).await.map_err(|_| Fault::TimedOut(self.total_timeout))?
    }

    async fn discovered(&self, document: &Url) -> Result<Url, Fault> {
        let discovery: Discovery =
            self.get(document.clone(), "the discovery document lacks issuer or jwks_uri, or is not JSON").await?;
        discovery.address_of_keys(&self.identifier, self.on_loopback)
    }

    async fn get<T: DeserializeOwned>(&self, url: Url, otherwise: &'static str) -> Result<T, Fault> {
        let request = self.http.get(url).header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(Fault::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
                return Err(Fault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| Fault::Malformed(otherwise))
    }
}

/// The URL is taken out: an error may be logged far from here, and addresses inside a network are nobody's business.
fn unreachable(error: reqwest::Error) -> Fault {
    Fault::Unreachable(error.without_url())
}

impl Fault {
    /// A label for logs.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_elsewhere_cannot_send_us_to_this_machine() {
        let leads_to = |jwks_uri: &str, on_loopback: bool| {
            let document = Discovery { issuer: "id".to_owned(), jwks_uri: jwks_uri.to_owned() };
            document.address_of_keys("id", on_loopback).is_ok()
        };

        for url in ["http://127.0.0.1/keys", "http://localhost/keys", "https://localhost/keys", "https://[::1]/keys"] {
            assert!(!leads_to(url, false), "{url}");
            assert!(leads_to(url, true), "{url}");
        }
        assert!(leads_to("https://keys.test/keys", false));
        assert!(!leads_to("http://keys.test/keys", false) && !leads_to("http://keys.test/keys", true));
    }
}
