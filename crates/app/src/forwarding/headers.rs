use super::ForwardCall;

/// Headers of one connection, not of the message; those that begin with `proxy-` come on top.
const HOP_BY_HOP: [&str; 6] = ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
/// What the request to the agent has of its own.
const OWN: [&str; 8] = [
    "content-length",
    "host",
    "expect",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-agent-api-key",
];
/// The caller's credentials, and claims about identity that an agent might believe because they come from this server.
const PRIVATE: [&str; 7] = [
    "authorization",
    "cookie",
    "x-api-key",
    "x-agent-identity",
    "x-selected-account-id",
    "x-service-account-id",
    "x-real-ip",
];
const PRIVATE_PREFIXES: [&str; 2] = ["x-acting-", "x-user-"];
/// Of the agent's reply: what this server says itself, and the key it must never show.
const NOT_RELAYED: [&str; 3] = ["server", "date", "x-agent-api-key"];

/// What the agent is sent: the caller's headers without the connection's and the private ones, where the request came from,
/// its id, and the key by which the agent knows this server.
pub(super) fn outgoing(call: &ForwardCall, agent_key: Option<String>) -> Vec<(String, Vec<u8>)> {
    let mut headers = end_to_end(&call.headers, |name| {
        OWN.contains(&name) || PRIVATE.contains(&name) || PRIVATE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    let mut add = |name: &str, value: Vec<u8>| headers.push((name.to_owned(), value));
    if let Some(addresses) = forwarded_for(call) {
        add("x-forwarded-for", addresses);
    }
    if let Some(host) = call.header("x-forwarded-host").or_else(|| call.header("host")) {
        add("x-forwarded-host", host.to_vec());
    }
    // The server itself speaks no TLS; whoever ends it in front says so.
    add("x-forwarded-proto", call.header("x-forwarded-proto").unwrap_or(b"http").to_vec());
    add("x-request-id", call.request_id.clone().into_bytes());
    if let Some(key) = agent_key {
        add("x-agent-api-key", key.into_bytes());
    }
    headers
}

/// What the caller is answered.
pub(super) fn relayed(headers: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    end_to_end(headers, |name| NOT_RELAYED.contains(&name))
}

fn end_to_end(headers: &[(String, Vec<u8>)], is_dropped: impl Fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
    let listed: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name == "connection")
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|option| String::from_utf8_lossy(option).trim().to_ascii_lowercase())
        .collect();
    let of_the_connection = |name: &str| {
        HOP_BY_HOP.contains(&name) || name.starts_with("proxy-") || listed.iter().any(|option| option == name)
    };
    headers.iter().filter(|(name, _)| !of_the_connection(name) && !is_dropped(name)).cloned().collect()
}

/// The addresses the request came through, as others reported them and as seen here.
fn forwarded_for(call: &ForwardCall) -> Option<Vec<u8>> {
    let mut addresses: Vec<Vec<u8>> = call
        .headers
        .iter()
        .filter(|(name, value)| name == "x-forwarded-for" && !value.is_empty())
        .map(|(_, value)| value.clone())
        .collect();
    addresses.extend(call.peer.map(|peer| peer.to_string().into_bytes()));
    (!addresses.is_empty()).then(|| addresses.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(headers: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn call(headers: &[(&str, &str)]) -> ForwardCall {
        ForwardCall {
            method: "POST".to_owned(),
            agent_name: "a".to_owned(),
            path: String::new(),
            query: None,
            headers: pairs(headers),
            body: bytes::Bytes::new(),
            request_id: "req-1".to_owned(),
            peer: None,
        }
    }

    /// What is left of the given headers, besides what is always added.
    fn left(headers: &[(&str, &str)]) -> Vec<String> {
        let added = ["x-request-id", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-for"];
        let sent = outgoing(&call(headers), None).into_iter().map(|(name, _)| name);
        sent.filter(|name| !added.contains(&name.as_str())).collect()
    }

    /// authz §7: 191; api-keys §7: 53
    #[test]
    fn credentials_and_claims_of_identity_stay_behind() {
        for name in [
            "authorization",
            "cookie",
            "x-api-key",
            "x-agent-api-key",
            "x-agent-identity",
            "x-acting-user-api-key",
            "x-acting-user-cookie",
            "x-acting-user-authorization",
            "x-acting-as-agent",
            "x-acting-whatever",
            "x-selected-account-id",
            "x-service-account-id",
            "x-user-id",
            "x-user-email",
            "x-real-ip",
            "host",
            "content-length",
            "expect",
            "transfer-encoding",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-authorization",
            "proxy-anything",
        ] {
            assert_eq!(left(&[(name, "1")]), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn the_rest_passes_unchanged_and_in_order() {
        let headers = [
            ("content-type", "application/json"),
            ("x-hub-signature-256", "sha256=00"),
            ("x-github-event", "push"),
            ("accept", "a"),
            ("accept", "b"),
            ("traceparent", "00-a-b-01"),
        ];

        assert_eq!(left(&headers), headers.map(|(name, _)| name));
    }

    #[test]
    fn what_the_connection_header_lists_goes_with_it() {
        assert_eq!(left(&[("x-hop", "1"), ("connection", "close, X-Hop"), ("x-end", "2")]), ["x-end"]);
        let relayed = relayed(&pairs(&[("x-hop", "1"), ("connection", "x-hop"), ("server", "s"), ("x-end", "2")]));
        assert_eq!(relayed, pairs(&[("x-end", "2")]));
    }

    #[test]
    fn the_agent_learns_where_the_request_came_from() {
        let mut call = call(&[
            ("host", "h:1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "theirs"),
        ]);
        call.peer = Some([3, 3, 3, 3].into());

        assert_eq!(
            outgoing(&call, Some("secret".to_owned())),
            pairs(&[
                ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 3.3.3.3"),
                ("x-forwarded-host", "h:1"),
                ("x-forwarded-proto", "https"),
                ("x-request-id", "req-1"),
                ("x-agent-api-key", "secret"),
            ])
        );
    }
}
