//! What happens on a clock.

use super::{AT_LEAST_ONE, COUNT, SIZE, Setting, accepted, active};
use crate::config::kind::Kind;

pub(super) const SCHEDULES: &[Setting] = &[
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
    active(
        "TEMPORAL_API_KEY",
        "temporal.api_key",
        Kind::Text,
        "",
        "Sent with every call to Temporal; turns encryption on.",
    ),
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
    active(
        "AGENTEX_SCHEDULE_MISFIRE",
        "schedules.misfire",
        Kind::OneOf(&["skip", "fire_once", "catch_up"]),
        "fire_once",
        "Without Temporal: which occurrences fire that were missed while no server ran: none, the newest, or all.",
    ),
    active(
        "AGENTEX_SCHEDULE_MISFIRE_WINDOW_S",
        "schedules.misfire_window_s",
        COUNT,
        "86400",
        "Seconds after which a missed occurrence never fires; up to a minute late is on time, whatever is set.",
    ),
    accepted("UVICORN_WORKERS", AT_LEAST_ONE, "4", "One process uses all processors."),
    accepted("TEMPORAL_WORKER_ACTIVITY_THREAD_POOL_SIZE", AT_LEAST_ONE, "4", "Unused there and here."),
    accepted("TEMPORAL_WORKER_MAX_ACTIVITIES_PER_WORKER", AT_LEAST_ONE, "10", "Unused there and here."),
];

pub(super) const RETENTION: &[Setting] = &[
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
    active(
        "RETENTION_CLEANUP_ENABLED",
        "retention.sweep_enabled",
        Kind::StrictBool,
        "false",
        "Whether idle tasks are cleaned regularly.",
    ),
    active(
        "RETENTION_CLEANUP_AGENT_ALLOWLIST",
        "retention.sweep_agent_allowlist",
        Kind::List,
        "",
        "Names of the agents whose tasks are; none: no task.",
    ),
    active(
        "RETENTION_CLEANUP_IDLE_DAYS",
        "retention.sweep_idle_days",
        COUNT,
        "7",
        "Days without use after which a task is cleaned.",
    ),
    active("RETENTION_CLEANUP_CRON", "retention.sweep_cron", Kind::Text, "0 4 * * *", "When a sweep begins, in UTC."),
    active("RETENTION_CLEANUP_PAGE_SIZE", "retention.sweep_page_size", AT_LEAST_ONE, "200", "Tasks looked up at once."),
    active(
        "RETENTION_CLEANUP_MAX_IN_FLIGHT",
        "retention.sweep_max_in_flight",
        AT_LEAST_ONE,
        "20",
        "Tasks cleaned at the same time.",
    ),
    active(
        "RETENTION_CLEANUP_DRY_RUN",
        "retention.sweep_dry_run",
        Kind::StrictBool,
        "true",
        "Look only, clean nothing.",
    ),
    active(
        "RETENTION_CLEANUP_STALE_RUNNING_DAYS",
        "retention.sweep_stale_running_days",
        COUNT,
        "0",
        "Days after which a running task counts as abandoned; 0 never.",
    ),
];
