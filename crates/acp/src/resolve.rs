use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agentex_domain::ports::AgentCallError;
use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::AcpSetupError;

/// The name under which containers reach the machine they run on; agents started by the SDK's tools register it.
const DOCKER_HOST: &str = "host.docker.internal";

/// Metadata services that live outside the link-local ranges.
const METADATA_V4: [Ipv4Addr; 1] = [Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Turns an agent's base URL into the one to call.
pub(crate) struct Endpoints {
    replacement: Option<Host>,
}

impl Endpoints {
    /// `host_override` replaces exactly [`DOCKER_HOST`]; none or empty replaces nothing.
    pub(crate) fn new(host_override: Option<&str>) -> Result<Self, AcpSetupError> {
        let Some(text) = host_override.filter(|text| !text.is_empty()) else {
            return Ok(Self { replacement: None });
        };
        let host = match text.parse::<Ipv6Addr>() {
            Ok(address) => Host::Ipv6(address),
            Err(_) => Host::parse(text).map_err(|_| AcpSetupError::HostOverride)?,
        };
        if literal(&host).is_some_and(is_refused) {
            return Err(AcpSetupError::HostOverride);
        }
        Ok(Self { replacement: Some(host) })
    }

    /// The URL of the agent's JSON-RPC endpoint: the base path without trailing slashes, then `/api`; a query stays.
    ///
    /// # Errors
    /// [`AgentCallError::BadUrl`] for anything but HTTP and HTTPS, and for an address literal that is refused.
    pub(crate) fn api_url(&self, base: &str) -> Result<Url, AgentCallError> {
        self.below(base, "api")
    }

    /// The URL of one of the agent's own routes: the base path without trailing slashes, a slash and `path` as it is
    /// encoded; the base's query, then `query`.
    ///
    /// # Errors
    /// As [`Endpoints::api_url`], and for a path that would not stay below the base.
    pub(crate) fn forward_url(&self, base: &str, path: &str, query: Option<&str>) -> Result<Url, AgentCallError> {
        if !stays_below(path) {
            return Err(AgentCallError::BadUrl);
        }
        let mut url = self.below(base, path)?;
        if let Some(query) = query {
            let joined = url.query().filter(|own| !own.is_empty()).map(|own| format!("{own}&{query}"));
            url.set_query(Some(joined.as_deref().unwrap_or(query)));
        }
        Ok(url)
    }

    fn below(&self, base: &str, path: &str) -> Result<Url, AgentCallError> {
        let mut url = Url::parse(base).map_err(|_| AgentCallError::BadUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AgentCallError::BadUrl);
        }
        self.replace_host(&mut url)?;
        if url.host().is_none_or(|host| literal(&host).is_some_and(is_refused)) {
            return Err(AgentCallError::BadUrl);
        }
        let path = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.set_fragment(None);
        Ok(url)
    }

    fn replace_host(&self, url: &mut Url) -> Result<(), AgentCallError> {
        let Some(replacement) = self.replacement.as_ref().filter(|_| url.host_str() == Some(DOCKER_HOST)) else {
            return Ok(());
        };
        url.set_host(Some(&replacement.to_string())).map_err(|_| AgentCallError::BadUrl)?;
        url.set_username("").map_err(|()| AgentCallError::BadUrl)?;
        url.set_password(None).map_err(|()| AgentCallError::BadUrl)
    }
}

/// Whether no URL parser makes anything of `path` but more segments.
fn stays_below(path: &str) -> bool {
    let is_dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    let ends_path = |byte: u8| byte.is_ascii_control() || matches!(byte, b'\\' | b'?' | b'#');
    !path.bytes().any(ends_path) && !path.split('/').any(is_dots)
}

fn literal<S>(host: &Host<S>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
    }
}

/// Whether `address` is never dialled: link-local addresses and cloud metadata services, also when written as an IPv6
/// address that a router or the system turns back into IPv4. Private ranges are fine, agents live there.
fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || METADATA_V4.contains(&address),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || METADATA_V6.contains(&address)
                || embedded_v4(address).is_some_and(|inner| is_refused(inner.into()))
        }
    }
}

/// The IPv4 address inside a mapped (`::ffff:0:0/96`), compatible (`::/96`) or translated (`64:ff9b::/96`) address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    address.to_ipv4()
}

/// A name that resolved to nothing but refused addresses. Found again in the sources of the HTTP library's error.
#[derive(Debug)]
pub(crate) struct RefusedAddress;

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name resolves to addresses that are never dialled")
    }
}

impl Error for RefusedAddress {}

impl RefusedAddress {
    /// Whether `error` was caused by a refused address.
    pub(crate) fn caused(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::caused)
    }
}

pub(crate) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// The system's resolver, minus the addresses that are never dialled. Because the connection goes to what this
/// returned, a name cannot resolve to something harmless when checked and to something else when dialled.
pub(crate) struct GuardedResolver {
    lookup: Lookup,
}

impl GuardedResolver {
    pub(crate) fn system() -> Self {
        Self::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }))
    }

    pub(crate) fn new(lookup: Lookup) -> Self {
        Self { lookup }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await?;
            let any = !found.is_empty();
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| !is_refused(address.ip())).collect();
            if any && allowed.is_empty() {
                return Err(RefusedAddress.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(host_override: Option<&str>, base: &str) -> Option<String> {
        Endpoints::new(host_override).unwrap().api_url(base).ok().map(String::from)
    }

    /// rpc §7: 14
    #[test]
    fn the_endpoint_has_exactly_one_slash_before_api() {
        for (base, expected) in [
            ("http://echo:8000", "http://echo:8000/api"),
            ("http://echo:8000/", "http://echo:8000/api"),
            ("http://echo:8000/x//", "http://echo:8000/x/api"),
            ("https://echo/x?tenant=a", "https://echo/x/api?tenant=a"),
        ] {
            assert_eq!(dialled(None, base).as_deref(), Some(expected), "{base}");
        }
    }

    #[test]
    fn a_forwarded_path_is_appended_as_it_is_encoded() {
        let url = |base, path, query| {
            Endpoints::new(Some("127.0.0.1")).unwrap().forward_url(base, path, query).ok().map(String::from)
        };
        for (base, path, query, expected) in [
            ("http://echo:8000", "a/b", None, "http://echo:8000/a/b"),
            ("http://echo:8000/x//", "a//b/", Some("q=1&q=2"), "http://echo:8000/x/a//b/?q=1&q=2"),
            ("http://echo:8000", "", None, "http://echo:8000/"),
            ("http://echo:8000", "a%20b%2Fc%C3%a9", Some("x=%26+y"), "http://echo:8000/a%20b%2Fc%C3%a9?x=%26+y"),
            ("http://echo/x?tenant=a", "b", Some("c=d"), "http://echo/x/b?tenant=a&c=d"),
            ("http://echo", "//evil.example/x", None, "http://echo///evil.example/x"),
            ("http://echo", "@evil.example/x", None, "http://echo/@evil.example/x"),
            ("http://host.docker.internal:1", "a", None, "http://127.0.0.1:1/a"),
        ] {
            assert_eq!(url(base, path, query).as_deref(), Some(expected), "{base} {path}");
        }
        for path in ["..", "a/../b", "a/%2E%2e/b", ".", "a\\..\\b", "a?b", "a#b", "a\tb", "a\nb"] {
            assert_eq!(url("http://echo/x", path, None), None, "{path}");
        }
        for base in ["ftp://echo", "", "http://169.254.169.254"] {
            assert_eq!(url(base, "a", None), None, "{base}");
        }
    }

    /// rpc §7: 13
    /// conventions §11: 58
    #[test]
    fn the_override_replaces_exactly_the_docker_host() {
        for (base, expected) in [
            ("http://host.docker.internal:8001/x", "http://127.0.0.1:8001/x/api"),
            ("https://host.docker.internal/x?q=1", "https://127.0.0.1/x/api?q=1"),
            ("http://me:secret@host.docker.internal:8001", "http://127.0.0.1:8001/api"),
            ("http://HOST.docker.INTERNAL:8001", "http://127.0.0.1:8001/api"),
            ("http://me:secret@echo:8001/x", "http://me:secret@echo:8001/x/api"),
            ("http://a.host.docker.internal", "http://a.host.docker.internal/api"),
            ("http://host.docker.internal.example", "http://host.docker.internal.example/api"),
            ("http://echo/host.docker.internal", "http://echo/host.docker.internal/api"),
        ] {
            assert_eq!(dialled(Some("127.0.0.1"), base).as_deref(), Some(expected), "{base}");
        }
    }

    #[test]
    fn the_override_may_be_a_name_or_an_ipv6_address_and_empty_means_none() {
        let base = "http://host.docker.internal:8001";

        assert_eq!(dialled(Some("gateway"), base).as_deref(), Some("http://gateway:8001/api"));
        assert_eq!(dialled(Some("::1"), base).as_deref(), Some("http://[::1]:8001/api"));
        assert_eq!(dialled(Some("[::1]"), base).as_deref(), Some("http://[::1]:8001/api"));
        assert_eq!(dialled(Some(""), base).as_deref(), Some("http://host.docker.internal:8001/api"));
    }

    #[test]
    fn an_unusable_override_stops_the_setup() {
        for text in ["a b", "http://gateway", "gateway:80", "169.254.169.254", "fe80::1"] {
            assert!(matches!(Endpoints::new(Some(text)), Err(AcpSetupError::HostOverride)), "{text}");
        }
    }

    #[test]
    fn only_http_urls_with_a_host_are_called() {
        for base in ["", "echo:8000", "/x", "ftp://echo", "file:///etc/passwd", "http://", "unix:/run/x", "http://a b"]
        {
            assert_eq!(dialled(None, base), None, "{base}");
        }
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_spelling() {
        for host in [
            "169.254.169.254",
            "169.254.0.1",
            "0xa9fea9fe",
            "2852039166",
            "0251.0376.0251.0376",
            "169.254.169.254.",
            "100.100.100.200",
            "[fe80::1]",
            "[febf::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[::ffff:169.254.169.254]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
        ] {
            assert_eq!(dialled(None, &format!("http://{host}:80/latest")), None, "{host}");
        }
    }

    #[test]
    fn private_and_loopback_addresses_are_called() {
        for host in ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.253.0.1", "[::1]", "[fd00::1]"] {
            assert!(dialled(None, &format!("http://{host}")).is_some(), "{host}");
        }
    }

    async fn resolved(lookup: Lookup) -> Result<Vec<SocketAddr>, bool> {
        let found = GuardedResolver::new(lookup).resolve("agent".parse().unwrap()).await;
        found.map(Iterator::collect).map_err(|error| RefusedAddress::caused(&*error))
    }

    #[tokio::test]
    async fn refused_addresses_are_left_out_of_what_a_name_resolves_to() {
        let (inside, metadata) = (SocketAddr::from(([10, 0, 0, 7], 0)), "169.254.169.254:0");
        assert!(is_refused(metadata.parse::<SocketAddr>().unwrap().ip()));

        let mixed =
            resolved(|_| Box::pin(async { Ok(vec![([169, 254, 169, 254], 0).into(), ([10, 0, 0, 7], 0).into()]) }));
        assert_eq!(mixed.await, Ok(vec![inside]));

        let only_refused = resolved(|_| Box::pin(async { Ok(vec![([169, 254, 169, 254], 0).into()]) }));
        assert_eq!(only_refused.await, Err(true));

        let unknown = resolved(|_| Box::pin(async { Err(io::ErrorKind::NotFound.into()) }));
        assert_eq!(unknown.await, Err(false));
    }
}
