//! Who may do what, who is asking, and what keeps secrets.

use super::{AT_LEAST_ONE, Setting, active};
use crate::config::kind::Kind;

pub(super) const AUTHORIZATION: &[Setting] = &[
    active(
        "AGENTEX_AUTHZ_BACKEND",
        "authorization.backend",
        Kind::OneOf(&["disabled", "local", "http", "sgp", "spark", "routed"]),
        "",
        "Who decides: nobody, this server, the provider at `AGENTEX_AUTH_URL`, the legacy service, SpiceDB, or per \
         account one of the last two. Unset: `http` when `AGENTEX_AUTH_URL` is set, else `disabled`.",
    ),
    active(
        "AGENTEX_AUTHZ_PROFILE",
        "authorization.profile",
        Kind::OneOf(&["strict", "compat"]),
        "strict",
        "`compat` is as pods and clients of the public project expect it; see [authorization](authorization.md).",
    ),
    active(
        "AGENTEX_ALLOW_UNAUTHENTICATED",
        "authorization.allow_unauthenticated",
        Kind::Bool,
        "false",
        "Permit `disabled` on an address that other machines can reach.",
    )
    .flag("allow-unauthenticated"),
    active(
        "AGENTEX_AUTHZ_TIMEOUT_MS",
        "authorization.timeout_ms",
        Kind::Whole { min: 1, max: 600_000 },
        "5000",
        "Longest time for one call to a backend or provider.",
    ),
    active(
        "AGENTEX_AUTHZ_MAX_LIST_IDS",
        "authorization.max_list_ids",
        AT_LEAST_ONE,
        "50000",
        "A backend that names more resources than this in one list is answered with 502, not cut off.",
    ),
    active(
        "AGENTEX_AUTHZ_INTENT_GRACE_S",
        "authorization.intent_grace",
        Kind::Whole { min: 1, max: 86_400 },
        "60",
        "Seconds an unfinished change of the graph is left to the request that began it.",
    ),
    active(
        "AGENTEX_AUTHZ_STREAM_RECHECK_S",
        "authorization.stream_recheck",
        Kind::Whole { min: 1, max: 86_400 },
        "60",
        "Seconds a busy task stream goes on without looking at the reader's permission again.",
    ),
    active(
        "AGENTEX_AGENT_SCOPE",
        "authorization.agent_scope",
        Kind::OneOf(&["own", "all"]),
        "",
        "What an agent may do with its own key. Unset: `own`, in the profile `compat` `all`.",
    ),
    active(
        "AGENTEX_ENFORCE_TASK_AGENT_LINK",
        "authorization.task_agent_link",
        Kind::OneOf(&["enforce", "warn"]),
        "",
        "What happens to a call on a task of another agent. Unset: `enforce`, in the profile `compat` `warn`.",
    ),
    active(
        "SPAN_AUTHZ",
        "authorization.spans",
        Kind::OneOf(&["enforce", "off"]),
        "enforce",
        "Whether spans are seen and changed by those only who may see and change their task. `off`: by every caller.",
    ),
    active(
        "AGENTEX_ALLOW_AGENT_IDENTITY_HEADER",
        "authorization.allow_agent_identity_header",
        Kind::Bool,
        "false",
        "Only `false`: `x-agent-identity` proves nothing and never grants.",
    ),
    active(
        "AGENTEX_SGP_URL",
        "authorization.sgp_url",
        Kind::HttpUrl,
        "",
        "The legacy ownership service, for the backends `sgp` and `routed`.",
    ),
    active(
        "AGENTEX_SGP_REGISTER",
        "authorization.sgp_register",
        Kind::OneOf(&["alias", "noop"]),
        "alias",
        "What registering does there: the same as granting ownership, or nothing.",
    ),
    active(
        "AGENTEX_SPICEDB_ENDPOINT",
        "authorization.spicedb_endpoint",
        Kind::SpiceDbEndpoint,
        "",
        "SpiceDB's gRPC endpoint, for the backends `spark` and `routed`.",
    ),
    active("AGENTEX_SPICEDB_TOKEN", "authorization.spicedb_token", Kind::Text, "", "SpiceDB's preshared key."),
    active(
        "AGENTEX_SPICEDB_TLS",
        "authorization.spicedb_tls",
        Kind::Bool,
        "",
        "Whether to speak TLS to SpiceDB. Unset: as the scheme of the endpoint says, else no.",
    ),
    active(
        "AGENTEX_SPICEDB_WRITE_SCHEMA",
        "authorization.spicedb_write_schema",
        Kind::Bool,
        "false",
        "Write the permission model to SpiceDB at the start, unless others have definitions there. Otherwise it has \
         to be there.",
    ),
    active(
        "AGENTEX_SHADOW_SAMPLE",
        "authorization.shadow_sample",
        Kind::Share,
        "0",
        "The share of decisions of the legacy service that are also asked of SpiceDB and compared (backend `routed`).",
    ),
];

pub(super) const AUTHENTICATION: &[Setting] = &[
    active(
        "AGENTEX_AUTHN",
        "authentication.by",
        Kind::OneOf(&["provider", "oidc", "tokens"]),
        "",
        "Who says who is calling. Unset: `provider` when `AGENTEX_AUTH_URL` is set, else `oidc` when \
         `AGENTEX_OIDC_ISSUER` is, else `tokens` when `AGENTEX_TOKENS_FILE` is. A backend needs one.",
    ),
    active(
        "AGENTEX_AUTH_URL",
        "authentication.auth_url",
        Kind::HttpUrl,
        "",
        "The auth provider: `/v1/authn`, and for the backend `http` `/v1/authz/…`.",
    ),
    active(
        "AGENTEX_AUTHN_FORWARD_HEADERS",
        "authentication.forward_headers",
        Kind::List,
        "",
        "The only request headers the provider sees. Unset or empty: all but those of the connection.",
    ),
    active(
        "AGENTEX_AUTHN_COLLAPSE_ERRORS",
        "authentication.collapse_errors",
        Kind::Bool,
        "",
        "Answer 401 instead of 503 when nobody can tell who is calling. Unset: as the profile says.",
    ),
    active(
        "AGENTEX_OIDC_ISSUER",
        "authentication.oidc_issuer",
        Kind::Text,
        "",
        "The OpenID Connect issuer whose tokens are believed, exactly as in their `iss`.",
    ),
    active(
        "AGENTEX_OIDC_AUDIENCE",
        "authentication.oidc_audience",
        Kind::List,
        "",
        "Who the tokens have to be for; at least one.",
    ),
    active(
        "AGENTEX_OIDC_JWKS_URL",
        "authentication.oidc_jwks_url",
        Kind::Text,
        "",
        "Where the issuer's keys are. Unset: where its discovery document says.",
    ),
    active(
        "AGENTEX_OIDC_USER_CLAIM",
        "authentication.oidc_user_claim",
        Kind::Text,
        "sub",
        "The claim with the user's id.",
    ),
    active(
        "AGENTEX_OIDC_ACCOUNT_CLAIM",
        "authentication.oidc_account_claim",
        Kind::Text,
        "account_id",
        "The claim with the account, or a list of accounts, the caller may act in.",
    ),
    active(
        "AGENTEX_TOKENS_FILE",
        "authentication.tokens_file",
        Kind::Text,
        "",
        "A TOML file with `[[token]]` tables (`token`, `user_id` or `service_account_id`, `accounts`). On loopback, \
         or with `ENVIRONMENT=development`.",
    ),
    active(
        "AGENTEX_REGISTRATION_AUTH",
        "authentication.registration",
        Kind::OneOf(&["credential", "open"]),
        "",
        "What a pod needs to register. Unset: `credential`, but `open` in the profile `compat` and with \
         `ENVIRONMENT=development`.",
    ),
    active(
        "AGENTEX_TRUST_BODY_PRINCIPAL",
        "authentication.trust_body_principal",
        Kind::Bool,
        "",
        "Whether the identity that a registering pod states is believed. Unset: as the profile says.",
    ),
    active(
        "AGENTEX_REGISTRATION_TOKEN_DAYS",
        "authentication.registration_token_days",
        Kind::Whole { min: 1, max: 3650 },
        "90",
        "How long a registration token is good for.",
    ),
];

pub(super) const SECRETS: &[Setting] = &[
    active(
        "AGENTEX_SECRETS_KEY",
        "secrets.key",
        Kind::SecretsKey,
        "",
        "Encrypts stored secrets: 32 bytes, as 64 hexadecimal digits or base64. Unset: `secrets.key` beside a \
         SQLite file, made at the first start; with PostgreSQL secrets stay in clear.",
    ),
    active(
        "AGENTEX_API_KEY_PEPPER",
        "secrets.api_key_pepper",
        Kind::Text,
        "",
        "Key of look-up digests. Changing it makes existing API keys unknown.",
    ),
];
