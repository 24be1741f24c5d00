//! How the server listens, and what it says of itself.

use super::{AT_LEAST_ONE, BUILDS, OTLP, POSITIVE_SECONDS, SIZE, Setting, accepted, active};
use crate::config::kind::Kind;

pub(super) const SERVER: &[Setting] = &[
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
];

pub(super) const LOGS_AND_METRICS: &[Setting] = &[
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
];

pub(super) const OTHERS: &[Setting] = &[
    accepted("OPENAI_API_KEY", Kind::Text, "", BUILDS),
    accepted("AGENTEX_BASE_URL", Kind::Text, "", BUILDS),
    accepted("BUILD_REGISTRY_URL", Kind::Text, "", BUILDS),
    accepted("BUILD_CONTEXTS_PATH", Kind::Text, "", BUILDS),
    accepted("BUILD_CONTEXT_PVC_NAME", Kind::Text, "", BUILDS),
    accepted("BUILD_REGISTRY_SECRET_NAME", Kind::Text, "", BUILDS),
    accepted("AGENTS_NAMESPACE", Kind::Text, "", BUILDS),
    accepted("IMAGE_PULL_SECRET_NAME", Kind::Text, "", BUILDS),
];
