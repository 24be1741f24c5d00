//! Documents to and from URLs that callers give.

mod address;
mod vet;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agentex_domain::ports::{SnapshotBody, SnapshotTransfer, TransferError, UrlRefusal, VettedUrl};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Client, Proxy, Response};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::{AcpSetupError, tls};

/// How documents are carried to and from URLs that callers give.
#[derive(Clone, PartialEq, Eq)]
pub struct TransferOptions {
    /// Ports that a URL may name. Default 443 alone.
    pub allowed_ports: Vec<u16>,
    /// Hosts that a URL may name: these and everything below them. Default empty, which means any.
    pub allowed_hosts: Vec<String>,
    /// A proxy for all transfers, which then resolves names once more by itself. Default none; the environment is not asked.
    pub http_proxy: Option<String>,
    /// Longest time to connect and shake hands. Default 5 s.
    pub connect_timeout: Duration,
    /// Longest time for a whole transfer. Default 300 s.
    pub total_timeout: Duration,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self {
            allowed_ports: vec![443],
            allowed_hosts: Vec::new(),
            http_proxy: None,
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(300),
        }
    }
}

/// The URL of a proxy may hold a password.
impl fmt::Debug for TransferOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransferOptions")
            .field("allowed_ports", &self.allowed_ports)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("http_proxy", &self.http_proxy.is_some())
            .field("connect_timeout", &self.connect_timeout)
            .field("total_timeout", &self.total_timeout)
            .finish()
    }
}

/// Tells where hosts are.
#[async_trait]
pub trait HostResolver: Send + Sync {
    /// The addresses of `host`, with `port` or with one that is dialled instead where a URL names none.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of the machine.
struct SystemResolver;

#[async_trait]
impl HostResolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Which addresses are dialled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Global unicast only.
    #[default]
    PublicOnly,
    /// Loopback too, and there without TLS: for fixtures of tests, never for a server.
    LoopbackInClear,
    /// Loopback too, with TLS like everywhere: for fixtures of tests, never for a server.
    Loopback,
}

/// Carries documents over HTTPS. Nothing is kept between transfers: each dials only the addresses its URL was vetted with.
pub struct HttpTransfer {
    options: TransferOptions,
    policy: AddressPolicy,
    resolver: Arc<dyn HostResolver>,
    tls: ClientConfig,
}

impl HttpTransfer {
    /// Prepares transfers; nothing is dialled.
    ///
    /// # Errors
    /// The proxy is unusable, or the HTTP library refuses the configuration.
    pub fn new(options: TransferOptions) -> Result<Self, AcpSetupError> {
        Self::with_network(options, Arc::new(SystemResolver), AddressPolicy::PublicOnly)
    }

    /// The same on a network that a test makes up.
    ///
    /// # Errors
    /// As [`HttpTransfer::new`].
    pub fn with_network(
        options: TransferOptions,
        resolver: Arc<dyn HostResolver>,
        policy: AddressPolicy,
    ) -> Result<Self, AcpSetupError> {
        let tls = tls::config().map_err(|error| AcpSetupError::Http(error.into()))?;
        let transfer = Self { options, policy, resolver, tls };
        transfer.client(None).map_err(|error| AcpSetupError::Http(error.without_url().into()))?;
        Ok(transfer)
    }

    /// The same for servers that a test makes up: these certificate authorities count, and those of the machine do not.
    ///
    /// # Errors
    /// TLS cannot be set up with them.
    pub fn trusting(mut self, authorities: RootCertStore) -> Result<Self, AcpSetupError> {
        self.tls = tls::trusting(authorities).map_err(|error| AcpSetupError::Http(error.into()))?;
        Ok(self)
    }

    /// The addresses of a host; none when there are none, or nobody can tell in time.
    async fn resolved(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        match tokio::time::timeout(self.options.connect_timeout, self.resolver.resolve(host, port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "a host was not resolved");
                Vec::new()
            }
            Err(_) => {
                tracing::debug!(host, "a host was not resolved in time");
                Vec::new()
            }
        }
    }

    /// A client for one transfer, which knows no other address of the host than the vetted ones.
    fn client(&self, to: Option<(&str, &[SocketAddr])>) -> reqwest::Result<Client> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            // A redirect would lead to an address that nobody looked at.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.options.connect_timeout)
            .timeout(self.options.total_timeout)
            .pool_max_idle_per_host(0);
        builder = match &self.options.http_proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy)?),
            None => builder.no_proxy(),
        };
        if let Some((host, addresses)) = to {
            builder = builder.resolve_to_addrs(host, addresses);
        }
        builder.build()
    }

    /// The client and the URL to use for what was vetted.
    fn prepared(&self, vetted: &VettedUrl) -> Result<(Client, Url), TransferError> {
        let mut url = Url::parse(&vetted.url).map_err(|error| TransferError::Broken(error.into()))?;
        let on_loopback = vetted.addresses.iter().all(|address| address.ip().is_loopback());
        if self.policy == AddressPolicy::LoopbackInClear && on_loopback {
            // Both schemes are special ones, so this cannot fail.
            let _ = url.set_scheme("http");
        }
        let client = self.client(Some((&vetted.host, &vetted.addresses))).map_err(broken)?;
        Ok((client, url))
    }
}

impl fmt::Debug for HttpTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransfer")
            .field("options", &self.options)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SnapshotTransfer for HttpTransfer {
    async fn vet(&self, url: &str) -> Result<VettedUrl, UrlRefusal> {
        let (host, port) = vet::checked(url, &self.options)?;
        let addresses = match host.address() {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => self.resolved(host.as_str(), port).await,
        };
        if addresses.is_empty() {
            return Err(UrlRefusal::Unresolved(host.into_string()));
        }
        // One address that is not public is enough: which of them would be dialled is not ours to choose for good.
        if !addresses.iter().all(|address| address::is_allowed(address.ip(), self.policy)) {
            return Err(UrlRefusal::NotPublic(host.into_string()));
        }
        Ok(VettedUrl { url: url.to_owned(), host: host.into_string(), addresses })
    }

    #[tracing::instrument(name = "transfer.upload", skip_all, fields(host = %to.host, bytes = body.length))]
    async fn upload(&self, to: &VettedUrl, body: SnapshotBody) -> Result<(), TransferError> {
        let SnapshotBody { length, chunks } = body;
        let (client, url) = self.prepared(to)?;
        let sending = client
            .put(url)
            .header(CONTENT_TYPE, "application/json")
            // Object stores refuse uploads that do not say how long they are.
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(chunks));
        successful(sending.send().await.map_err(broken)?).map(drop)
    }

    #[tracing::instrument(name = "transfer.download", skip_all, fields(host = %from.host))]
    async fn download(&self, from: &VettedUrl, limit: u64) -> Result<Bytes, TransferError> {
        let (client, url) = self.prepared(from)?;
        let mut response = successful(client.get(url).send().await.map_err(broken)?)?;
        let too_large = |length: u64| length > limit;
        if response.content_length().is_some_and(too_large) {
            return Err(TransferError::TooLarge(limit));
        }
        let mut document = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if too_large((document.len() + chunk.len()) as u64) {
                return Err(TransferError::TooLarge(limit));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document.freeze())
    }
}

fn successful(response: Response) -> Result<Response, TransferError> {
    if response.status().is_success() { Ok(response) } else { Err(TransferError::Status(response.status().as_u16())) }
}

/// The failure without the URL, which may hold a signature.
fn broken(error: reqwest::Error) -> TransferError {
    TransferError::Broken(error.without_url().into())
}
