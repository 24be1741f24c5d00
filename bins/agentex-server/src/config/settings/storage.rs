//! Where things are kept and streamed.

use super::{AT_LEAST_ONE, COUNT, MONGODB, PHASE, POSITIVE_SECONDS, Setting, accepted, active};
use crate::config::kind::Kind;

pub(super) const DATABASE: &[Setting] = &[
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
    accepted(
        "POSTGRES_SLOW_QUERY_THRESHOLD",
        Kind::Seconds { zero: true },
        "0.5",
        "Slow query metric; not in this version.",
    ),
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
];

pub(super) const STREAMS: &[Setting] = &[
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
    active(
        "SSE_STREAM_STALL_THRESHOLD_SECONDS",
        "streams.stall_threshold",
        COUNT,
        "30",
        "After how many seconds without an event an open stream is counted as stalled; 0: never.",
    ),
];
