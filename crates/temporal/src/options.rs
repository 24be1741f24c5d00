use std::fmt;
use std::time::Duration;

use temporalio_client::{ConnectionOptions, RetryOptions};
use url::Url;

/// Where Temporal is and how to speak to it.
#[derive(Clone)]
pub struct TemporalOptions {
    /// `host:port`.
    pub address: String,
    /// The namespace everything happens in.
    pub namespace: String,
    /// Encryption; `None`: plain text, unless there is an [`Self::api_key`].
    pub tls: Option<TlsOptions>,
    /// Sent with every call. Turns encryption on.
    pub api_key: Option<String>,
    /// What Temporal shows as the author of changes.
    pub identity: String,
    /// How long reaching the server may take.
    pub connect_timeout: Duration,
    /// How long one call may take, with reaching the server and its repeats.
    pub request_timeout: Duration,
}

/// How the connection is encrypted.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Certificates, as PEM, that vouch for the server; `None`: those the machine trusts.
    pub ca: Option<Vec<u8>>,
    /// The name the server's certificate is for, where it is not the host of the address.
    pub server_name: Option<String>,
    /// What this side shows, where the server asks for it.
    pub client: Option<ClientIdentity>,
}

/// The certificate of this side.
#[derive(Clone)]
pub struct ClientIdentity {
    /// As PEM.
    pub certificate: Vec<u8>,
    /// Its key, as PEM.
    pub key: Vec<u8>,
}

/// The options cannot be used. The text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOptions(&'static str);

impl Default for TemporalOptions {
    /// `localhost:7233`, namespace `default`, plain text; two seconds to connect, five for a call.
    fn default() -> Self {
        Self {
            address: "localhost:7233".to_owned(),
            namespace: "default".to_owned(),
            tls: None,
            api_key: None,
            identity: format!("agentex-{}", std::process::id()),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl TemporalOptions {
    /// What the client library wants to know.
    pub(crate) fn to_connection(&self, retries: RetryOptions) -> Result<ConnectionOptions, InvalidOptions> {
        let encrypted = self.tls.is_some() || self.api_key.is_some();
        let target = target(&self.address, encrypted)?;
        if self.namespace.is_empty() || !self.namespace.is_ascii() {
            return Err(InvalidOptions("the Temporal namespace is not usable"));
        }
        if self.api_key.as_deref().is_some_and(|key| !key.chars().all(|c| c.is_ascii_graphic())) {
            return Err(InvalidOptions("the Temporal API key holds characters no header can carry"));
        }
        let tls = encrypted.then(|| self.tls.clone().unwrap_or_default().to_client());
        Ok(ConnectionOptions::new(target)
            .identity(self.identity.clone())
            .connect_timeout(self.connect_timeout)
            .retry_options(retries)
            .maybe_tls_options(tls)
            .maybe_api_key(self.api_key.clone())
            // Names are looked up again at every new connection, which is enough.
            .dns_load_balancing(None)
            .build())
    }
}

impl TlsOptions {
    fn to_client(&self) -> temporalio_client::TlsOptions {
        let client = self.client.as_ref().map(|client| {
            temporalio_client::ClientTlsOptions::builder()
                .client_cert(client.certificate.clone())
                .client_private_key(client.key.clone())
                .build()
        });
        temporalio_client::TlsOptions::builder()
            .maybe_server_root_ca_cert(self.ca.clone())
            .maybe_domain(self.server_name.clone())
            .maybe_client_tls_options(client)
            .build()
    }
}

fn target(address: &str, encrypted: bool) -> Result<Url, InvalidOptions> {
    const WRONG: InvalidOptions = InvalidOptions("the Temporal address is not host:port");
    let scheme = if encrypted { "https" } else { "http" };
    let target = Url::parse(&format!("{scheme}://{address}")).map_err(|_| WRONG)?;
    let plain = target.username().is_empty()
        && target.password().is_none()
        && target.path() == "/"
        && target.query().is_none()
        && target.fragment().is_none();
    let has_port = target.port_or_known_default().is_some() && address.rsplit_once(':').is_some();
    if plain && has_port && target.has_host() { Ok(target) } else { Err(WRONG) }
}

impl fmt::Debug for TemporalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalOptions")
            .field("address", &self.address)
            .field("namespace", &self.namespace)
            .field("tls", &self.tls)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("identity", &self.identity)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(address: &str) -> bool {
        let options = TemporalOptions { address: address.to_owned(), ..TemporalOptions::default() };
        options.to_connection(RetryOptions::default()).is_ok()
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["localhost:7233", "10.0.0.5:7233", "[::1]:7233", "temporal.example:443"] {
            assert!(checked(good), "{good}");
        }
        for bad in ["", "localhost", "http://localhost:7233", "a b:1", "localhost:99999", "u:p@host:1", "host:1/path"] {
            assert!(!checked(bad), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let client = ClientIdentity { certificate: b"CERTIFICATE".to_vec(), key: b"HIDDEN".to_vec() };
        let options = TemporalOptions {
            api_key: Some("s3cret".to_owned()),
            tls: Some(TlsOptions { client: Some(client), ..TlsOptions::default() }),
            ..TemporalOptions::default()
        };

        let shown = format!("{options:?}");

        assert!(!shown.contains("s3cret") && !shown.contains("HIDDEN") && !shown.contains("72, 73"), "{shown}");
    }

    #[test]
    fn an_api_key_turns_encryption_on() {
        let options = TemporalOptions { api_key: Some("k".to_owned()), ..TemporalOptions::default() };

        let connection = options.to_connection(RetryOptions::default()).unwrap();

        assert_eq!(connection.target.scheme(), "https");
        assert!(connection.tls_options.is_some());
    }
}
