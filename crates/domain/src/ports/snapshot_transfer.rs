use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::ports::BoxError;

/// A URL that may be called, and the addresses it may be called at: they were looked at when the name was resolved, and
/// nothing else is dialled. It may hold a signature, so `Debug` shows the host only.
#[derive(Clone, PartialEq, Eq)]
pub struct VettedUrl {
    /// As the caller gave it.
    pub url: String,
    /// Its host, as it may be logged.
    pub host: String,
    /// Where the host is, at least one.
    pub addresses: Vec<SocketAddr>,
}

impl fmt::Debug for VettedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VettedUrl").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Why a URL is not called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlRefusal {
    /// It is no URL, is too long, or is neither HTTP nor HTTPS.
    Malformed,
    /// It is not HTTPS but this.
    Scheme(String),
    /// It has no host.
    NoHost,
    /// It holds a user name or a password.
    Credentials,
    /// It names a port that is not allowed.
    Port(u16),
    /// It names a host that is not allowed.
    Host(String),
    /// Its host cannot be resolved.
    Unresolved(String),
    /// Its host is, or may be, at an address that is not public.
    NotPublic(String),
}

/// A document on its way.
pub struct SnapshotBody {
    /// Its length in bytes.
    pub length: u64,
    /// Its bytes.
    pub chunks: BoxStream<'static, io::Result<Bytes>>,
}

impl fmt::Debug for SnapshotBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotBody").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Why a document did not arrive. The text never holds the URL.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The other side answered with this status; redirects are not followed.
    #[error("status {0}")]
    Status(u16),
    /// The document is larger than this many bytes.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// The connection failed or took too long.
    #[error("the transfer broke off")]
    Broken(#[source] BoxError),
}

/// Carries documents to and from URLs that callers give.
///
/// Callers may give any URL, so nothing is called that is not vetted, and only public addresses are vetted. Redirects count
/// as failures.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait SnapshotTransfer: Send + Sync {
    /// Looks at a URL and resolves its host, once.
    async fn vet(&self, url: &str) -> Result<VettedUrl, UrlRefusal>;

    /// Puts a JSON document there.
    ///
    /// # Errors
    /// [`TransferError::Status`] and [`TransferError::Broken`]; part of the document may have been sent.
    async fn upload(&self, to: &VettedUrl, body: SnapshotBody) -> Result<(), TransferError>;

    /// Gets a document of at most `limit` bytes from there; reading stops as soon as there are more.
    async fn download(&self, from: &VettedUrl, limit: u64) -> Result<Bytes, TransferError>;
}
