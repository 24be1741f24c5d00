use std::collections::HashSet;

use agentex_domain::ports::CallContext;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::PassThrough;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
const ACTING_API_KEY: &str = "x-acting-user-api-key";
const ACTING_COOKIE: &str = "x-acting-user-cookie";
const ACTING_AUTHORIZATION: &str = "x-acting-user-authorization";
const SELECTED_ACCOUNT: &str = "x-selected-account-id";
const AGENT_API_KEY: &str = "x-agent-api-key";
const REQUEST_ID: &str = "x-request-id";

/// Callers' headers that agents never see: credentials, and claims about identity that an agent might believe because
/// they come from this server. Delegation sets some of them afresh.
const BLOCKED: [&str; 7] = [
    "x-api-key",
    "x-agent-api-key",
    "x-agent-identity",
    "x-selected-account-id",
    "x-service-account-id",
    "x-real-ip",
    "x-request-id",
];
const BLOCKED_PREFIXES: [&str; 3] = ["x-acting-", "x-forwarded-", "x-user-"];

/// Derives the headers of outgoing calls.
pub(crate) struct HeaderRules {
    /// `None` lets everything through that is not blocked.
    only: Option<HashSet<String>>,
    session_cookies: Vec<String>,
}

impl HeaderRules {
    pub(crate) fn new(pass_through: &PassThrough, session_cookies: &[String]) -> Self {
        let only = match pass_through {
            PassThrough::AllExceptBlocked => None,
            PassThrough::Only(names) => Some(names.iter().map(|name| name.trim().to_ascii_lowercase()).collect()),
        };
        Self { only, session_cookies: session_cookies.to_vec() }
    }

    /// The headers of one call besides those of the body. Later groups replace earlier ones: passed through, trace
    /// context, delegation, the agent's key, the request id. What cannot be a header is left out.
    pub(crate) fn outgoing(&self, context: &CallContext, agent_api_key: Option<&str>) -> HeaderMap {
        let mut headers = self.passed_through(context);
        set_trace_context(&mut headers, context);
        if context.delegate {
            self.delegate(&mut headers, context);
        }
        if let Some(key) = agent_api_key {
            set_secret(&mut headers, AGENT_API_KEY, key);
        }
        if let Some(id) = Some(&context.request_id).filter(|id| !id.is_empty()) {
            set(&mut headers, REQUEST_ID, id);
        }
        headers
    }

    fn passed_through(&self, context: &CallContext) -> HeaderMap {
        let connection_options: Vec<String> = values(context, "connection")
            .flat_map(|line| line.split(','))
            .map(|option| option.trim().to_ascii_lowercase())
            .collect();
        let mut headers = HeaderMap::new();
        for (name, value) in &context.inbound {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            let hop_by_hop = connection_options.iter().any(|option| option == name.as_str());
            if hop_by_hop || !self.may_pass(&name) {
                continue;
            }
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.append(name, value);
            }
        }
        headers
    }

    fn may_pass(&self, name: &HeaderName) -> bool {
        let eligible = name.as_str().starts_with("x-") || name == BAGGAGE;
        let blocked =
            BLOCKED.contains(&name.as_str()) || BLOCKED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
        eligible && !blocked && self.only.as_ref().is_none_or(|only| only.contains(name.as_str()))
    }

    /// Hands the caller's credential on, the first kind there is, and with it the account the caller chose. Without a
    /// credential nothing is handed on, not even the account.
    fn delegate(&self, headers: &mut HeaderMap, context: &CallContext) {
        let (name, credential) = if let Some(key) = value(context, "x-api-key") {
            (ACTING_API_KEY, key.to_owned())
        } else if let Some(cookies) = self.session_cookies(context) {
            (ACTING_COOKIE, cookies)
        } else if let Some(bearer) = value(context, "authorization").filter(|value| is_bearer(value)) {
            (ACTING_AUTHORIZATION, bearer.to_owned())
        } else {
            return;
        };
        if set_secret(headers, name, &credential)
            && let Some(account) = value(context, SELECTED_ACCOUNT)
        {
            set(headers, SELECTED_ACCOUNT, account);
        }
    }

    /// The session cookies among all the caller's cookies, as a cookie header; `None` when there are none.
    ///
    /// Read by hand: a cookie that a strict parser rejects must not hide the ones after it.
    fn session_cookies(&self, context: &CallContext) -> Option<String> {
        let find = |wanted: &String| {
            values(context, "cookie")
                .flat_map(|line| line.split(';'))
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim()))
                .find(|(name, _)| name == wanted)
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| format!("{name}={value}"))
        };
        let found: Vec<String> = self.session_cookies.iter().filter_map(find).collect();
        (!found.is_empty()).then(|| found.join("; "))
    }
}

fn set_trace_context(headers: &mut HeaderMap, context: &CallContext) {
    if let Some(parent) = value(context, TRACEPARENT) {
        set(headers, TRACEPARENT, parent);
    }
    let states: Vec<&str> = values(context, TRACESTATE).map(str::trim).filter(|s| !s.is_empty()).collect();
    if !states.is_empty() {
        set(headers, TRACESTATE, &states.join(","));
    }
}

fn is_bearer(authorization: &str) -> bool {
    authorization.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "))
}

fn values<'a>(context: &'a CallContext, name: &'a str) -> impl Iterator<Item = &'a str> {
    context.inbound.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The first value of `name`; an empty one counts as absent.
fn value<'a>(context: &'a CallContext, name: &'a str) -> Option<&'a str> {
    values(context, name).next().filter(|value| !value.is_empty())
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) -> bool {
    let value = HeaderValue::from_bytes(value.as_bytes());
    value.is_ok_and(|value| {
        headers.insert(name, value);
        true
    })
}

/// Like [`set`], and keeps the value out of debug output and header compression tables.
fn set_secret(headers: &mut HeaderMap, name: &'static str, value: &str) -> bool {
    let set = set(headers, name, value);
    if let Some(value) = headers.get_mut(name).filter(|_| set) {
        value.set_sensitive(true);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> HeaderRules {
        HeaderRules::new(&PassThrough::AllExceptBlocked, &["_identityJwt".to_owned()])
    }

    fn context(inbound: &[(&str, &str)]) -> CallContext {
        let inbound = inbound.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CallContext { inbound, delegate: false, request_id: "req-1".to_owned() }
    }

    fn delegating(inbound: &[(&str, &str)]) -> CallContext {
        CallContext { delegate: true, ..context(inbound) }
    }

    /// Everything but the request id, sorted by name.
    fn shown(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let mut shown: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .filter(|(name, _)| *name != "x-request-id")
            .collect();
        shown.sort_by_key(|(name, _)| *name);
        shown
    }

    /// rpc §7: 49
    #[test]
    fn only_custom_headers_are_passed_through() {
        let headers = rules().outgoing(
            &context(&[
                ("x-custom", "1"),
                ("authorization", "Bearer t"),
                ("cookie", "_identityJwt=j"),
                ("x-api-key", "k"),
                ("x-agent-identity", "a"),
                ("te", "trailers"),
                ("content-type", "text/plain"),
                ("accept", "text/html"),
                ("host", "example"),
                ("baggage", "a=b"),
            ]),
            None,
        );

        assert_eq!(shown(&headers), [("baggage", "a=b"), ("x-custom", "1")]);
    }

    /// authz §7: 186
    #[test]
    fn credentials_and_identity_claims_never_pass_even_when_listed() {
        let blocked = [
            "authorization",
            "cookie",
            "x-api-key",
            "x-agent-api-key",
            "x-acting-user-api-key",
            "x-acting-user-cookie",
            "x-acting-user-authorization",
            "x-acting-as-agent",
            "x-acting-anything",
            "x-selected-account-id",
            "x-agent-identity",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "x-user-id",
            "x-user-email",
            "x-service-account-id",
            "connection",
            "keep-alive",
            "transfer-encoding",
            "content-length",
            "host",
        ];
        let inbound: Vec<(&str, &str)> = blocked.iter().map(|name| (*name, "1")).collect();
        let listed = HeaderRules::new(&PassThrough::Only(blocked.map(str::to_owned).to_vec()), &[]);

        for rules in [rules(), listed] {
            assert_eq!(shown(&rules.outgoing(&context(&inbound), None)), []);
        }
    }

    #[test]
    fn upper_case_names_are_blocked_like_lower_case_ones() {
        let headers =
            rules().outgoing(&context(&[("X-Api-Key", "k"), ("X-Acting-As-Agent", "a"), ("X-Custom", "1")]), None);

        assert_eq!(shown(&headers), [("x-custom", "1")]);
    }

    #[test]
    fn headers_named_by_the_connection_header_stay_behind() {
        let headers =
            rules().outgoing(&context(&[("x-hop", "1"), ("connection", "close, X-Hop"), ("x-end", "2")]), None);

        assert_eq!(shown(&headers), [("x-end", "2")]);
    }

    #[test]
    fn an_allowlist_narrows_what_passes_but_not_the_trace_context() {
        let rules = HeaderRules::new(&PassThrough::Only(vec!["X-Tenant".to_owned(), "accept".to_owned()]), &[]);

        let headers = rules.outgoing(
            &context(&[
                ("x-tenant", "t"),
                ("x-other", "o"),
                ("accept", "a"),
                ("baggage", "b=1"),
                ("traceparent", "tp"),
            ]),
            None,
        );

        assert_eq!(shown(&headers), [("traceparent", "tp"), ("x-tenant", "t")]);
    }

    #[test]
    fn repeated_custom_headers_keep_all_values() {
        let headers = rules().outgoing(&context(&[("x-tag", "a"), ("x-tag", "b")]), None);

        assert_eq!(shown(&headers), [("x-tag", "a"), ("x-tag", "b")]);
    }

    /// rpc §7: 50
    #[test]
    fn trace_headers_are_recognised_in_any_case_and_tracestate_lines_are_joined() {
        let headers = rules().outgoing(
            &context(&[
                ("TraceParent", "00-a-b-01"),
                ("tracestate", "v1=1"),
                ("TraceState", ""),
                ("tracestate", "v2=2"),
            ]),
            None,
        );

        assert_eq!(shown(&headers), [("traceparent", "00-a-b-01"), ("tracestate", "v1=1,v2=2")]);
    }

    #[test]
    fn what_cannot_be_a_header_is_left_out() {
        let headers =
            rules().outgoing(&context(&[("x-a b", "1"), ("x-line", "a\r\nx-injected: 1"), ("x-ok", "é")]), None);

        assert_eq!(headers.get("x-ok").unwrap().as_bytes(), "é".as_bytes());
        assert_eq!(headers.len(), 2, "{headers:?}");
    }

    /// authz §7: 186
    #[test]
    fn the_agents_key_and_the_servers_request_id_replace_the_callers() {
        let context = context(&[("x-request-id", "theirs"), ("x-agent-api-key", "theirs")]);

        let headers = rules().outgoing(&context, Some("secret"));

        assert_eq!(headers["x-request-id"], "req-1");
        assert_eq!(headers["x-agent-api-key"], "secret");
        assert_eq!(headers.len(), 2);
        assert!(!format!("{headers:?}").contains("secret"));
    }

    #[test]
    fn without_an_own_request_id_the_callers_is_still_not_passed_on() {
        let context = CallContext { request_id: String::new(), ..context(&[("x-request-id", "theirs")]) };

        assert!(rules().outgoing(&context, None).is_empty());
    }

    /// authz §7: 181
    /// rpc §7: 52
    #[test]
    fn an_api_key_wins_over_a_cookie_a_cookie_over_a_bearer_and_each_brings_the_account() {
        let mut brought = vec![
            ("authorization", "Bearer t"),
            ("x-selected-account-id", "acme"),
            ("cookie", "_identityJwt=j"),
            ("x-api-key", "k"),
        ];
        for winner in [
            ("x-acting-user-api-key", "k"),
            ("x-acting-user-cookie", "_identityJwt=j"),
            ("x-acting-user-authorization", "Bearer t"),
        ] {
            let headers = rules().outgoing(&delegating(&brought), None);

            assert_eq!(shown(&headers), [winner, ("x-selected-account-id", "acme")]);
            brought.pop();
        }
    }

    /// authz §7: 185
    #[test]
    fn nothing_is_delegated_unless_asked() {
        let headers = rules().outgoing(
            &context(&[
                ("x-api-key", "k"),
                ("cookie", "_identityJwt=j"),
                ("authorization", "Bearer t"),
                ("x-selected-account-id", "acme"),
            ]),
            None,
        );

        assert_eq!(shown(&headers), []);
    }

    fn delegated_cookie(names: &[&str], cookies: &[&str]) -> Option<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let inbound: Vec<(&str, &str)> = cookies.iter().map(|line| ("cookie", *line)).collect();
        let headers = HeaderRules::new(&PassThrough::AllExceptBlocked, &names).outgoing(&delegating(&inbound), None);
        assert!(headers.len() <= 2, "{headers:?}");
        headers.get("x-acting-user-cookie").map(|value| value.to_str().unwrap().to_owned())
    }

    /// authz §7: 183
    /// rpc §7: 53
    #[test]
    fn the_session_cookie_is_found_among_messy_ones_and_the_others_stay_behind() {
        let messy =
            "_ga=GA1.2.3; weird cookie=a b#c; =nameless; flag; ;; json={\"a\":\"b=c\"}; eq===; _identityJwt=ey.J=.x=";

        assert_eq!(delegated_cookie(&["_identityJwt"], &[messy]).as_deref(), Some("_identityJwt=ey.J=.x="));
    }

    /// authz §7: 183
    #[test]
    fn the_first_of_several_equal_cookies_wins_across_lines() {
        let cookie = delegated_cookie(&["_identityJwt"], &["a=1; _identityJwt = one ", "_identityJwt=two"]);

        assert_eq!(cookie.as_deref(), Some("_identityJwt=one"));
    }

    /// authz §7: 184
    #[test]
    fn several_session_cookies_are_joined_and_names_match_exactly() {
        let cookies = ["b=2; A=0; a=1; aa=3"];

        assert_eq!(delegated_cookie(&["a", "b"], &cookies).as_deref(), Some("a=1; b=2"));
        assert_eq!(delegated_cookie(&["c"], &cookies), None);
        assert_eq!(delegated_cookie(&[], &cookies), None);
    }

    fn delegated(inbound: &[(&str, &str)]) -> Vec<(String, String)> {
        let headers = rules().outgoing(&delegating(inbound), None);
        shown(&headers).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// authz §7: 182, 184
    /// rpc §7: 54
    #[test]
    fn a_cookie_header_without_a_session_leaves_room_for_the_bearer() {
        let bearer = vec![("x-acting-user-authorization".to_owned(), "bEaReR t0k=".to_owned())];

        assert_eq!(delegated(&[("cookie", "other=1"), ("authorization", "bEaReR t0k=")]), bearer);
        assert_eq!(delegated(&[("cookie", "_identityJwt="), ("authorization", "bEaReR t0k=")]), bearer);
        let no_cookies = HeaderRules::new(&PassThrough::AllExceptBlocked, &[]);
        let headers =
            no_cookies.outgoing(&delegating(&[("cookie", "=x; _identityJwt=j"), ("authorization", "Bearer t")]), None);
        assert_eq!(shown(&headers), [("x-acting-user-authorization", "Bearer t")]);
    }

    /// rpc §7: 55
    #[test]
    fn other_schemes_and_a_lone_account_are_not_delegated() {
        assert_eq!(delegated(&[("authorization", "Basic dTpw"), ("x-selected-account-id", "acme")]), []);
        assert_eq!(delegated(&[("authorization", "bearer")]), []);
        assert_eq!(delegated(&[("authorization", "ééééé")]), []);
        assert_eq!(delegated(&[("x-api-key", ""), ("x-selected-account-id", "acme")]), []);
    }

    /// authz §7: 186
    #[test]
    fn a_caller_cannot_forge_what_delegation_sets() {
        let forged = [("x-acting-user-api-key", "forged"), ("x-acting-user-cookie", "forged"), ("x-api-key", "k")];

        assert_eq!(delegated(&forged), [("x-acting-user-api-key".to_owned(), "k".to_owned())]);
    }
}
