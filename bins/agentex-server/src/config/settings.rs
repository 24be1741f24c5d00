use super::kind::Kind;

/// One thing that can be configured, under all its names. The table below is the only place that knows them; the
/// configuration page of the documentation is printed from it.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The environment variable, which is also what the code calls the setting.
    pub(crate) name: &'static str,
    /// The place in the configuration file, `section.key`; empty when it cannot be set there.
    pub(crate) key: &'static str,
    /// The command-line flag without its dashes; empty when there is none.
    pub(crate) flag: &'static str,
    /// What values it takes.
    pub(crate) kind: Kind,
    /// The value when none is given; empty when there is none.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
    /// Whether it does that yet.
    pub(crate) status: Status,
}

/// Whether a setting has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It works.
    Active,
    /// It is read and checked, so that existing environments work unchanged, and does nothing (yet).
    Accepted,
}

impl Setting {
    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = flag;
        self
    }
}

const fn active(
    name: &'static str,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, key, flag: "", kind, default, meaning, status: Status::Active }
}

const fn accepted(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, key: "", flag: "", kind, default, meaning, status: Status::Accepted }
}

const COUNT: Kind = Kind::Whole { min: 0, max: u32::MAX as u64 };
const AT_LEAST_ONE: Kind = Kind::Whole { min: 1, max: u32::MAX as u64 };
const SIZE: Kind = Kind::Whole { min: 1, max: 1 << 40 };
const POSITIVE_SECONDS: Kind = Kind::Seconds { zero: false };
const PHASE: Kind = Kind::OneOf(&["postgres", "mongodb"]);
const OTLP: &str = "OpenTelemetry export; not in this version.";
const BUILDS: &str = "Read by other parts of the public project; unused there and here.";
const MONGODB: &str = "Document store of the public project; everything is in the relational store here.";

/// Every setting, grouped as the documentation shows them.
pub(crate) const GROUPS: &[(&str, &[Setting])] = &[
    (
        "Server",
        &[
            active("AGENTEX_LISTEN_HOST", "server.host", Kind::Text, "127.0.0.1", "Address or host name to listen on.")
                .flag("host"),
            active(
                "AGENTEX_LISTEN_PORT",
                "server.port",
                Kind::Whole { min: 0, max: 65535 },
                "5003",
                "Port to listen on; 0 takes a free one.",
            )
            .flag("port"),
            active(
                "AGENTEX_DATA_DIR",
                "server.data_dir",
                Kind::Text,
                "./agentex-data",
                "Folder of the embedded store: the database, its lock and the key of its secrets. Unused with `DATABASE_URL`.",
            )
            .flag("data-dir"),
            active(
                "AGENTEX_DRAIN_TIMEOUT",
                "server.drain_timeout",
                Kind::Seconds { zero: true },
                "30",
                "How long requests in flight may take after SIGTERM.",
            )
            .flag("drain-timeout"),
            active(
                "AGENTEX_MIGRATE_ON_START",
                "server.migrate_on_start",
                Kind::Bool,
                "true",
                "Whether `serve` brings the schema up to date; otherwise run `agentex migrate` before.",
            )
            .flag("migrate-on-start"),
            active(
                "ENVIRONMENT",
                "server.environment",
                Kind::OneOf(&["development", "staging", "production"]),
                "",
                "`development` logs text, reads `.env` of the working folder, which overrides the environment, lets agents register \
                 without credentials, and permits `AGENTEX_TOKENS_FILE` on any address.",
            ),
            active(
                "ALLOWED_ORIGINS",
                "server.allowed_origins",
                Kind::List,
                "*",
                "Origins of web pages that may call. `*` allows all, without credentials.",
            ),
            active(
                "AGENTEX_MAX_BODY_BYTES",
                "server.max_body_bytes",
                SIZE,
                "10485760",
                "Largest request body; larger ones get 413.",
            ),
            active(
                "AGENTEX_CHECKPOINT_MAX_BODY_BYTES",
                "server.checkpoint_max_body_bytes",
                SIZE,
                "67108864",
                "Largest body of a request that stores a checkpoint or writes for one; larger ones get 413.",
            ),
            active(
                "AGENTEX_REQUEST_TIMEOUT",
                "server.request_timeout",
                POSITIVE_SECONDS,
                "60",
                "Longest time to an answer's headers, except for calls to agents and streams.",
            ),
            active(
                "AGENTEX_STRICT_ORDERING",
                "server.strict_ordering",
                Kind::Bool,
                "false",
                "Refuse unknown `order_by` and `order_direction` values with 422 instead of ignoring them.",
            ),
            active(
                "AGENTEX_TOLERATE_INVALID_CURSORS",
                "server.tolerate_invalid_cursors",
                Kind::Bool,
                "false",
                "Take an unreadable message cursor for the first page instead of refusing it with 400.",
            ),
            active(
                "AGENTEX_DOCS_PAGES",
                "server.docs_pages",
                Kind::Bool,
                "true",
                "Serve the API pages `/api` and `/swagger`. `/openapi.json` is always there.",
            ),
        ],
    ),
    (
        "Database",
        &[
            active(
                "DATABASE_URL",
                "database.url",
                Kind::DatabaseUrl,
                "",
                "PostgreSQL, or `sqlite://PATH`. Unset: a SQLite file in the data folder.",
            ),
            active(
                "READ_ONLY_DATABASE_URL",
                "database.read_only_url",
                Kind::PostgresUrl,
                "",
                "A PostgreSQL replica for lists. Unset: the primary.",
            ),
            active(
                "POSTGRES_POOL_SIZE",
                "database.pool_size",
                AT_LEAST_ONE,
                "10",
                "Connections per pool; under load up to 20 more are opened.",
            ),
            active(
                "ALLOW_UNKNOWN_BASELINE",
                "database.allow_unknown_baseline",
                Kind::Bool,
                "false",
                "Adopt a database of the public project at a revision unknown here.",
            ),
            accepted("POSTGRES_MIDDLEWARE_POOL_SIZE", AT_LEAST_ONE, "5", "There is one pool for everything."),
            accepted("POSTGRES_SLOW_QUERY_THRESHOLD", Kind::Seconds { zero: true }, "0.5", "Slow query metric; not in this version."),
            active(
                "TASK_STATE_STORAGE_PHASE",
                "",
                PHASE,
                "postgres",
                "Only `postgres`: the relational store, whichever it is. `mongodb` stops the start.",
            ),
            active("TASK_MESSAGE_STORAGE_PHASE", "", PHASE, "postgres", "Like `TASK_STATE_STORAGE_PHASE`."),
            active("MONGODB_URI", "", Kind::Text, "", "Accepted with a warning: nothing is kept in MongoDB."),
            accepted("MONGODB_DATABASE_NAME", Kind::Text, "agentex", MONGODB),
            accepted("MONGODB_MAX_POOL_SIZE", COUNT, "50", MONGODB),
            accepted("MONGODB_MIN_POOL_SIZE", COUNT, "5", MONGODB),
        ],
    ),
    (
        "Streams",
        &[
            active(
                "REDIS_URL",
                "redis.url",
                Kind::RedisUrl,
                "",
                "Redis for task streams. Unset: in the memory of the process.",
            ),
            active(
                "REDIS_STREAM_MAXLEN",
                "redis.stream_maxlen",
                AT_LEAST_ONE,
                "10000",
                "Entries kept per task stream, also in memory.",
            ),
            active(
                "REDIS_STREAM_TTL_SECONDS",
                "redis.stream_ttl_seconds",
                COUNT,
                "3600",
                "Seconds after the last entry when a task stream is forgotten, also in memory; 0 never.",
            ),
            active(
                "REDIS_CONNECTION_TIMEOUT",
                "redis.connection_timeout",
                POSITIVE_SECONDS,
                "20",
                "How long to wait for a connection to Redis.",
            ),
            active(
                "REDIS_SOCKET_TIMEOUT",
                "redis.socket_timeout",
                POSITIVE_SECONDS,
                "30",
                "How long to wait for an answer of Redis.",
            ),
            accepted("REDIS_MAX_CONNECTIONS", AT_LEAST_ONE, "200", "A process uses two connections."),
            active(
                "SSE_KEEPALIVE_PING_INTERVAL",
                "streams.keepalive_interval",
                POSITIVE_SECONDS,
                "15",
                "Pause between pings on an idle stream; the task and the viewer's permission are looked at as often.",
            ),
            accepted("SSE_STREAM_STALL_THRESHOLD_SECONDS", COUNT, "30", "Stall metric; not in this version."),
        ],
    ),
    (
        "Calls to agents",
        &[
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
        ],
    ),
    (
        "Authorization",
        &[
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
            active(
                "AGENTEX_SPICEDB_TOKEN",
                "authorization.spicedb_token",
                Kind::Text,
                "",
                "SpiceDB's preshared key.",
            ),
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
        ],
    ),
    (
        "Authentication",
        &[
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
        ],
    ),
    (
        "Secrets",
        &[
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
        ],
    ),
    (
        "Logs and metrics",
        &[
            active(
                "RUST_LOG",
                "log.filter",
                Kind::LogFilter,
                "info",
                "What is logged: a level, or directives such as `info,agentex_acp=debug`.",
            )
            .flag("log"),
            active(
                "AGENTEX_LOG_FORMAT",
                "log.format",
                Kind::OneOf(&["json", "text"]),
                "",
                "Unset: text when `ENVIRONMENT=development` or standard error is a terminal, else JSON.",
            )
            .flag("log-format"),
            active(
                "AGENTEX_METRICS",
                "metrics.enabled",
                Kind::Bool,
                "",
                "Serve `GET /metrics` beside the API. Unset: only when listening on loopback.",
            )
            .flag("metrics"),
            active(
                "AGENTEX_METRICS_LISTEN",
                "metrics.listen",
                Kind::Address,
                "",
                "Serve `GET /metrics` on this address and port instead.",
            )
            .flag("metrics-listen"),
            active("DD_SERVICE", "log.service", Kind::Text, "", "The log field `dd.service`."),
            active("DD_ENV", "log.env", Kind::Text, "", "The log field `dd.env`."),
            active("DD_VERSION", "log.version", Kind::Text, "", "The log field `dd.version`."),
            accepted("DD_AGENT_HOST", Kind::Text, "", "StatsD; not in this version."),
            accepted("DD_STATSD_PORT", Kind::Whole { min: 1, max: 65535 }, "8125", "StatsD; not in this version."),
            accepted("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", Kind::Text, "", OTLP),
            accepted("OTEL_EXPORTER_OTLP_ENDPOINT", Kind::Text, "", OTLP),
            accepted("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", Kind::Text, "", OTLP),
            accepted("OTEL_EXPORTER_OTLP_PROTOCOL", Kind::Text, "", OTLP),
            accepted("OTEL_METRICS_EXPORT_INTERVAL_MS", AT_LEAST_ONE, "30000", OTLP),
            accepted("OTEL_SERVICE_NAME", Kind::Text, "agentex", OTLP),
            accepted("OTEL_RESOURCE_ATTRIBUTES", Kind::Text, "", OTLP),
            accepted("SERVICE_VERSION", Kind::Text, "0.1.0", OTLP),
        ],
    ),
    (
        "Schedules and background work",
        &[
            active(
                "TEMPORAL_ADDRESS",
                "temporal.address",
                Kind::Text,
                "",
                "`host:port` of Temporal, which then keeps schedules and does background work. Unset, empty, `false`, `null`, \
                 `None` and `undefined`: the store and this process do. Needs a build with the feature `temporal`.",
            ),
            active("TEMPORAL_NAMESPACE", "temporal.namespace", Kind::Text, "", "Namespace; unset: `default`."),
            active(
                "TEMPORAL_TLS",
                "temporal.tls",
                Kind::Bool,
                "",
                "Whether to encrypt. Unset: where one of the other `TEMPORAL_TLS_*` or `TEMPORAL_API_KEY` is set.",
            ),
            active("TEMPORAL_TLS_CA", "temporal.tls_ca", Kind::Text, "", "File with the certificates to trust, as PEM."),
            active("TEMPORAL_TLS_CERT", "temporal.tls_cert", Kind::Text, "", "File with this side's certificate, as PEM."),
            active("TEMPORAL_TLS_KEY", "temporal.tls_key", Kind::Text, "", "File with the key of that certificate, as PEM."),
            active(
                "TEMPORAL_TLS_SERVER_NAME",
                "temporal.tls_server_name",
                Kind::Text,
                "",
                "Name in the server's certificate, where it is not the host of the address.",
            ),
            active("TEMPORAL_API_KEY", "temporal.api_key", Kind::Text, "", "Sent with every call to Temporal; turns encryption on."),
            active(
                "AGENTEX_SERVER_TASK_QUEUE",
                "temporal.task_queue",
                Kind::Text,
                "agentex-server",
                "Queue of this product's own workflows; servers and workers must agree.",
            ),
            active(
                "AGENTEX_BACKGROUND_WORK",
                "schedules.background_work",
                Kind::Bool,
                "true",
                "Whether `serve` also does what comes due: scheduled runs, health checks, retention sweeps. With false \
                 `agentex worker` must run somewhere, which takes Temporal.",
            ),
            active(
                "ENABLE_HEALTH_CHECK_WORKFLOW",
                "schedules.health_checks",
                Kind::Bool,
                "false",
                "Ask every agent every 30 s how it is; after five failures it is `Unhealthy`.",
            ),
            active(
                "ENABLE_AGENT_RUN_SCHEDULES",
                "schedules.run_schedules",
                Kind::Bool,
                "true",
                "Schedules that create tasks of agents. With this and the next one off there are no schedule routes.",
            ),
            active(
                "ENABLE_WORKFLOW_SCHEDULES",
                "schedules.workflow_schedules",
                Kind::Bool,
                "true",
                "Schedules that start workflows of other people's workers; they take Temporal.",
            ),
            accepted("UVICORN_WORKERS", AT_LEAST_ONE, "4", "One process uses all processors."),
            accepted("TEMPORAL_WORKER_ACTIVITY_THREAD_POOL_SIZE", AT_LEAST_ONE, "4", "Unused there and here."),
            accepted("TEMPORAL_WORKER_MAX_ACTIVITIES_PER_WORKER", AT_LEAST_ONE, "10", "Unused there and here."),
        ],
    ),
    (
        "Retention",
        &[
            active(
                "RETENTION_SCOPE",
                "retention.scope",
                Kind::OneOf(&["full", "upstream"]),
                "full",
                "What a clean takes away: `upstream` messages, states and events; `full` also parameters, saved states of \
                 graphs, payloads of spans and the stream.",
            ),
            active(
                "RETENTION_MAX_SNAPSHOT_BYTES",
                "retention.max_snapshot_bytes",
                SIZE,
                "268435456",
                "Largest snapshot that is downloaded; larger ones get 400.",
            ),
            active(
                "RETENTION_URL_ALLOWED_PORTS",
                "retention.url_allowed_ports",
                Kind::Ports,
                "443",
                "Ports that URLs of snapshots may name.",
            ),
            active(
                "RETENTION_URL_ALLOWED_HOSTS",
                "retention.url_allowed_hosts",
                Kind::List,
                "",
                "Hosts that URLs of snapshots may name: these and everything below them. Unset: any at a public address.",
            ),
            active(
                "RETENTION_HTTP_PROXY",
                "retention.http_proxy",
                Kind::HttpUrl,
                "",
                "Proxy for snapshots, which resolves names once more by itself. `HTTP_PROXY` and the like do not count.",
            ),
            active("RETENTION_CLEANUP_ENABLED", "retention.sweep_enabled", Kind::StrictBool, "false", "Whether idle tasks are cleaned regularly."),
            active("RETENTION_CLEANUP_AGENT_ALLOWLIST", "retention.sweep_agent_allowlist", Kind::List, "", "Names of the agents whose tasks are; none: no task."),
            active("RETENTION_CLEANUP_IDLE_DAYS", "retention.sweep_idle_days", COUNT, "7", "Days without use after which a task is cleaned."),
            active("RETENTION_CLEANUP_CRON", "retention.sweep_cron", Kind::Text, "0 4 * * *", "When a sweep begins, in UTC. A schedule that exists keeps its time."),
            active("RETENTION_CLEANUP_PAGE_SIZE", "retention.sweep_page_size", AT_LEAST_ONE, "200", "Tasks looked up at once."),
            active("RETENTION_CLEANUP_MAX_IN_FLIGHT", "retention.sweep_max_in_flight", AT_LEAST_ONE, "20", "Tasks cleaned at the same time."),
            active("RETENTION_CLEANUP_DRY_RUN", "retention.sweep_dry_run", Kind::StrictBool, "true", "Look only, clean nothing."),
            active("RETENTION_CLEANUP_STALE_RUNNING_DAYS", "retention.sweep_stale_running_days", COUNT, "0", "Days after which a running task counts as abandoned; 0 never."),
        ],
    ),
    (
        "Chat gateways",
        &[
            active("SLACK_SIGNING_SECRET", "slack.signing_secret", Kind::Text, "", "What Slack signs its requests with. Unset: there are no routes of Slack."),
            active("SLACK_BOT_TOKEN", "slack.bot_token", Kind::Text, "", "Token of the bot. Unset: nothing is posted to Slack."),
            active("SLACK_API_BASE", "slack.api_base", Kind::HttpUrl, "https://slack.com/api", "Where Slack's Web API is."),
            active("SLACK_GATEWAY_DEFAULT_MCPS", "slack.default_mcps", Kind::List, "", "Told to agents with the first turn as `mcps`."),
            active("SLACK_GATEWAY_ACTING_BOT_API_KEY", "slack.acting_bot_api_key", Kind::Text, "", "The credential of the bot that every turn from Slack runs as. Where callers authenticate, no turn runs without."),
            active("SLACK_GATEWAY_ACCOUNT_ID", "slack.account_id", Kind::Text, "", "The account the bot acts in."),
            active("SLACK_GATEWAY_DEFAULT_AGENT", "slack.default_agent", Kind::Text, "golden-agent", "The agent for whoever names none."),
            active("SLACK_GATEWAY_DEFAULT_CONFIG_ID", "slack.default_config_id", Kind::Text, "", "The default agent's configuration where none is named."),
            active("SLACK_GATEWAY_SGP_BASE_URL", "slack.sgp_base_url", Kind::HttpUrl, "", "Directory of the names of configurations. Unset: there are none."),
            active("SLACK_EVENT_DEDUP_TTL", "slack.event_dedup_ttl", AT_LEAST_ONE, "600", "Seconds for which a delivery is remembered, so that it is carried out once."),
            active("SLACK_CREATE_RACE_ATTEMPTS", "slack.create_race_attempts", AT_LEAST_ONE, "4", "How often a call is made that meets another one that makes the same task."),
            active("SLACK_CREATE_RACE_BACKOFF_S", "slack.create_race_backoff", Kind::Seconds { zero: true }, "0.25", "Pause between these calls."),
            active("SLACK_GATEWAY_DEV_SKIP_VERIFY", "slack.dev_skip_verify", Kind::Yes, "false", "Believe requests without a signature; only where `ENVIRONMENT` is `development`."),
            active("LINEAR_WEBHOOK_SIGNING_SECRET", "linear.webhook_signing_secret", Kind::Text, "", "What Linear signs its requests with. Unset: there are no routes of Linear."),
            active("LINEAR_WEBHOOK_MAX_AGE_MS", "linear.webhook_max_age_ms", AT_LEAST_ONE, "60000", "Milliseconds by which a delivery may be older or newer than now."),
            active("LINEAR_CLIENT_ID", "linear.client_id", Kind::Text, "", "Client of Linear's OAuth. Unset: nothing is posted to Linear."),
            active("LINEAR_CLIENT_SECRET", "linear.client_secret", Kind::Text, "", "Its secret. Unset: nothing is posted to Linear."),
            active("LINEAR_API_BASE", "linear.api_base", Kind::HttpUrl, "https://api.linear.app", "Where Linear's API is."),
            active("LINEAR_GATEWAY_ACTING_BOT_API_KEY", "linear.acting_bot_api_key", Kind::Text, "", "The credential of the bot that every turn from Linear runs as. Where callers authenticate, no turn runs without."),
            active("LINEAR_GATEWAY_ACCOUNT_ID", "linear.account_id", Kind::Text, "", "The account the bot acts in."),
            active("LINEAR_GATEWAY_DEFAULT_AGENT", "linear.default_agent", Kind::Text, "golden-agent", "The agent for whoever names none."),
            active("LINEAR_GATEWAY_DEFAULT_CONFIG_ID", "linear.default_config_id", Kind::Text, "", "The default agent's configuration where none is named."),
            active("LINEAR_GATEWAY_SGP_BASE_URL", "linear.sgp_base_url", Kind::HttpUrl, "", "Directory of the names of configurations. Unset: there are none."),
            active("LINEAR_EVENT_DEDUP_TTL", "linear.event_dedup_ttl", AT_LEAST_ONE, "600", "Seconds for which a delivery is remembered, so that it is carried out once."),
            active("LINEAR_CREATE_RACE_ATTEMPTS", "linear.create_race_attempts", AT_LEAST_ONE, "4", "How often a call is made that meets another one that makes the same task."),
            active("LINEAR_CREATE_RACE_BACKOFF_S", "linear.create_race_backoff", Kind::Seconds { zero: true }, "0.25", "Pause between these calls."),
            active("LINEAR_GATEWAY_DEV_SKIP_VERIFY", "linear.dev_skip_verify", Kind::Yes, "false", "Believe requests without a signature; only where `ENVIRONMENT` is `development`."),
        ],
    ),
    (
        "Others",
        &[
            accepted("OPENAI_API_KEY", Kind::Text, "", BUILDS),
            accepted("AGENTEX_BASE_URL", Kind::Text, "", BUILDS),
            accepted("BUILD_REGISTRY_URL", Kind::Text, "", BUILDS),
            accepted("BUILD_CONTEXTS_PATH", Kind::Text, "", BUILDS),
            accepted("BUILD_CONTEXT_PVC_NAME", Kind::Text, "", BUILDS),
            accepted("BUILD_REGISTRY_SECRET_NAME", Kind::Text, "", BUILDS),
            accepted("AGENTS_NAMESPACE", Kind::Text, "", BUILDS),
            accepted("IMAGE_PULL_SECRET_NAME", Kind::Text, "", BUILDS),
        ],
    ),
];

/// All settings in the order of the documentation.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|(_, settings)| settings.iter())
}

/// The setting called `name`.
pub(crate) fn named(name: &str) -> &'static Setting {
    all().find(|setting| setting.name == name).expect("the code asks only for settings of the table")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_keys_and_flags_are_unique() {
        let names: [fn(&'static Setting) -> &'static str; 3] = [|s| s.name, |s| s.key, |s| s.flag];
        for of in names {
            let mut seen = BTreeSet::new();
            for text in all().map(of).filter(|text| !text.is_empty()) {
                assert!(seen.insert(text), "{text} is there twice");
            }
        }
    }

    #[test]
    fn defaults_are_allowed_values() {
        for setting in all().filter(|setting| !setting.default.is_empty()) {
            assert!(setting.kind.accepts(setting.default), "{}", setting.name);
        }
    }
}
