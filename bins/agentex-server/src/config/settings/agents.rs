//! How agents are called.

use super::{AT_LEAST_ONE, COUNT, POSITIVE_SECONDS, SIZE, Setting, accepted, active};
use crate::config::kind::Kind;

pub(super) const CALLS: &[Setting] = &[
    active(
        "HTTPX_CONNECT_TIMEOUT",
        "agents.connect_timeout",
        POSITIVE_SECONDS,
        "10",
        "How long to wait for a connection to an agent.",
    ),
    active(
        "HTTPX_STREAMING_READ_TIMEOUT",
        "agents.stream_idle_timeout",
        POSITIVE_SECONDS,
        "300",
        "Longest silence in a streamed reply.",
    ),
    active(
        "HTTPX_MAX_KEEPALIVE_CONNECTIONS",
        "agents.max_idle_connections",
        COUNT,
        "100",
        "Unused connections kept per agent.",
    ),
    accepted("HTTPX_MAX_CONNECTIONS", AT_LEAST_ONE, "200", "Calls are limited per agent instead, to 256 at once."),
    accepted("HTTPX_READ_TIMEOUT", POSITIVE_SECONDS, "30", "Calls that are not streamed have 60 s in all."),
    accepted("HTTPX_WRITE_TIMEOUT", POSITIVE_SECONDS, "30", "Covered by the time for the whole call."),
    accepted("HTTPX_POOL_TIMEOUT", POSITIVE_SECONDS, "10", "Covered by the time for the whole call."),
    active(
        "AGENTEX_ACP_HOST_OVERRIDE",
        "agents.host_override",
        Kind::Text,
        "",
        "Host dialled in place of `host.docker.internal` in agents' URLs.",
    ),
    active(
        "AGENTEX_DELEGATION_SESSION_COOKIE_NAMES",
        "agents.session_cookie_names",
        Kind::List,
        "_identityJwt",
        "Session cookies that may be delegated to agents, best first; set but empty: none.",
    ),
    active(
        "USE_STREAMING_ADVISORY_LOCK",
        "agents.one_turn_per_task",
        Kind::Yes,
        "false",
        "Refuse a message to a task while another one is being answered in this process.",
    ),
    active(
        "WEBHOOK_REQUEST_TIMEOUT",
        "agents.forward_timeout",
        POSITIVE_SECONDS,
        "15",
        "How long an agent may take to begin its answer to a forwarded request.",
    ),
    active(
        "AGENTEX_FORWARD_MAX_BODY_BYTES",
        "agents.forward_max_body_bytes",
        SIZE,
        "10485760",
        "Largest body of a request that is forwarded to an agent; larger ones get 413.",
    ),
    active(
        "AGENTEX_PUBLIC_URL",
        "agents.public_url",
        Kind::HttpUrl,
        "",
        "Where outsiders reach this server: the base of the webhook URLs it shows.",
    ),
];
