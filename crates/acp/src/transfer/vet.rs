use std::net::IpAddr;

use agentex_domain::ports::UrlRefusal;
use url::{Host, Url};

use super::TransferOptions;

/// Longest URL that is looked at. Signed ones are long.
const MAX_URL_CHARS: usize = 8192;

/// The host of a URL: a name, or an address in the form in which URLs hold it.
pub(super) struct UrlHost {
    text: String,
    address: Option<IpAddr>,
}

impl UrlHost {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// The address, if that is what the URL holds.
    pub(super) const fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// Everything that can be said about a URL without resolving its host.
pub(super) fn checked(text: &str, options: &TransferOptions) -> Result<(UrlHost, u16), UrlRefusal> {
    if text.chars().nth(MAX_URL_CHARS).is_some() {
        return Err(UrlRefusal::Malformed);
    }
    let url = Url::parse(text).map_err(|_| UrlRefusal::Malformed)?;
    match url.scheme() {
        "https" => {}
        "http" => return Err(UrlRefusal::Scheme("http".to_owned())),
        _ => return Err(UrlRefusal::Malformed),
    }
    let address = match url.host() {
        None => return Err(UrlRefusal::NoHost),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    let text = url.host_str().unwrap_or_default().to_owned();
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefusal::Credentials);
    }
    let port = url.port_or_known_default().unwrap_or(443);
    if !options.allowed_ports.contains(&port) {
        return Err(UrlRefusal::Port(port));
    }
    if !options.allowed_hosts.is_empty() && !options.allowed_hosts.iter().any(|allowed| is_below(&text, allowed)) {
        return Err(UrlRefusal::Host(text));
    }
    Ok((UrlHost { text, address }, port))
}

/// Whether `host` is `domain` or below it. A dot at the beginning of `domain` or the end of `host` means nothing.
fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.trim_end_matches('.'), domain.trim_start_matches('.').to_ascii_lowercase());
    let Some(rest) = host.strip_suffix(&domain) else { return false };
    !domain.is_empty() && (rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, options: &TransferOptions) -> Option<UrlRefusal> {
        checked(text, options).err()
    }

    #[test]
    fn only_https_urls_of_bounded_length_without_credentials_go_on() {
        let options = TransferOptions::default();
        let long = |length: usize| format!("https://a.example/{}", "x".repeat(length - "https://a.example/".len()));

        for good in ["https://a.example/x?sig=1", "HTTPS://A.example", "https://a.example:443/x", &long(8192)] {
            assert_eq!(refusal(good, &options), None, "{good}");
        }
        for bad in ["", "a.example/x", "ftp://a.example", "file:///etc/passwd", "https://", "https://a b/", &long(8193)]
        {
            assert_eq!(refusal(bad, &options), Some(UrlRefusal::Malformed), "{bad}");
        }
        assert_eq!(refusal("http://a.example", &options), Some(UrlRefusal::Scheme("http".to_owned())));
        for text in ["https://u@a.example", "https://u:p@a.example", "https://:p@a.example"] {
            assert_eq!(refusal(text, &options), Some(UrlRefusal::Credentials), "{text}");
        }
        assert_eq!(refusal("https://a.example:8443/", &options), Some(UrlRefusal::Port(8443)));
    }

    #[test]
    fn ports_and_hosts_can_be_listed() {
        let options = TransferOptions {
            allowed_ports: vec![443, 8443],
            allowed_hosts: vec![".store.example".to_owned(), "Other.example".to_owned()],
            ..TransferOptions::default()
        };

        for good in ["https://store.example:8443", "https://a.b.STORE.example.", "https://other.example"] {
            assert_eq!(refusal(good, &options), None, "{good}");
        }
        for bad in ["https://evilstore.example", "https://store.example.evil", "https://8.8.8.8", "https://example"] {
            assert!(matches!(refusal(bad, &options), Some(UrlRefusal::Host(_))), "{bad}");
        }
        assert_eq!(refusal("https://store.example:444", &options), Some(UrlRefusal::Port(444)));
    }
}
