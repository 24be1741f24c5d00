//! The whole configuration, read once and checked as a whole before anything is opened.

#[cfg_attr(
    not(all(feature = "sgp", feature = "spark", feature = "oidc")),
    allow(dead_code, reason = "configurations of what a build lacks are read and refused")
)]
mod authorization;
mod gateways;
mod kind;
mod settings;
mod sources;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentex::acp::{AcpClient, AcpOptions, ChatOptions, TransferOptions};
use agentex::app::{RetentionSettings, ScheduleSettings, SecretsKey, Settings, SweepSettings};
use agentex::domain::{CleanExtent, Misfire, MisfirePolicy};
use agentex::http::{AllowedOrigins, CorsOptions, HttpOptions};

use kind::Kind;
use settings::Status;
use sources::{Given, Origin};

#[cfg(feature = "sgp")]
pub(crate) use authorization::Legacy;
#[cfg(feature = "spark")]
pub(crate) use authorization::Spark;
pub(crate) use authorization::{Authn, Authorization, Backend};
pub(crate) use sources::{Problem, Sources};

/// A configuration that has been found good.
pub(crate) struct Config {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) drain_timeout: Duration,
    pub(crate) migrate_on_start: bool,
    pub(crate) store: Store,
    pub(crate) streams: Streams,
    pub(crate) redis: Option<Redis>,
    pub(crate) temporal: Option<Temporal>,
    /// Whether `serve` does what comes due, too.
    pub(crate) works: bool,
    /// What becomes of missed occurrences without Temporal.
    pub(crate) misfire: Misfire,
    pub(crate) secrets_key: Option<SecretsKey>,
    pub(crate) api_key_pepper: String,
    pub(crate) authorization: Authorization,
    pub(crate) settings: Settings,
    pub(crate) http: HttpOptions,
    pub(crate) acp: AcpOptions,
    pub(crate) transfer: TransferOptions,
    pub(crate) chat: ChatOptions,
    pub(crate) logs: Logs,
    pub(crate) metrics: Metrics,
    /// What the operator should know although nothing is wrong.
    pub(crate) warnings: Vec<String>,
    /// What was set and does nothing.
    pub(crate) notes: Vec<String>,
}

/// Where rows live.
pub(crate) enum Store {
    /// In this file.
    Sqlite { file: PathBuf },
    /// In this database.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "such a configuration is refused"))]
    Postgres { url: String, read_only_url: Option<String>, pool_size: u32, allow_unknown_baseline: bool },
}

/// What is kept of task streams.
pub(crate) struct Streams {
    pub(crate) max_entries: usize,
    /// In whole seconds; zero never.
    pub(crate) ttl_seconds: u64,
}

/// How to reach Redis.
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "such a configuration is refused"))]
pub(crate) struct Redis {
    pub(crate) url: String,
    pub(crate) connection_timeout: Duration,
    pub(crate) response_timeout: Duration,
}

/// How to reach Temporal.
#[cfg_attr(not(feature = "temporal"), expect(dead_code, reason = "such a configuration is ignored"))]
pub(crate) struct Temporal {
    pub(crate) address: String,
    pub(crate) namespace: Option<String>,
    pub(crate) tls: Option<TemporalTls>,
    pub(crate) api_key: Option<String>,
}

/// Files with certificates, as PEM.
#[cfg_attr(not(feature = "temporal"), expect(dead_code, reason = "such a configuration is ignored"))]
pub(crate) struct TemporalTls {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    pub(crate) server_name: Option<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) filter: String,
    /// `None`: text on a terminal, else JSON.
    pub(crate) json: Option<bool>,
    /// Fields every line carries.
    pub(crate) labels: Vec<(&'static str, String)>,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    Off,
    /// Beside the API.
    WithApi,
    /// On a listener of their own.
    On(SocketAddr),
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the documentation.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let given = sources::collect(sources, &mut problems);
        let values = Values::checked(given, &mut problems);
        let config = values.config(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// Values that are each allowed by themselves.
struct Values {
    given: BTreeMap<&'static str, Given>,
}

impl Values {
    /// Drops what is not allowed, after noting it, so that one bad value does not hide other problems.
    fn checked(given: BTreeMap<&'static str, Given>, problems: &mut Vec<Problem>) -> Self {
        let mut kept = BTreeMap::new();
        for setting in settings::all() {
            let Some(value) = given.get(setting.name) else { continue };
            let from_environment = matches!(value.origin, Origin::Environment | Origin::DotEnv);
            // `NAME=` is how environment files say "not set"; for lists it says "none".
            let says_something = matches!(setting.kind, Kind::List | Kind::StrictBool);
            if value.text.is_empty() && from_environment && !says_something {
                continue;
            }
            if setting.kind.accepts(&value.text) {
                kept.insert(setting.name, value.clone());
            } else {
                let allowed = format!("expected {}", setting.kind.allowed());
                problems.push(Problem::new(value.name_of(setting), allowed));
            }
        }
        Self { given: kept }
    }

    /// The text of a setting, its default included; `None` when it is empty.
    fn text(&self, name: &str) -> Option<&str> {
        let text = self.given.get(name).map_or(settings::named(name).default, |given| given.text.as_str());
        (!text.is_empty()).then_some(text)
    }

    /// The value of a setting that has a default.
    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        self.optional(name, parse).expect("the setting has a default")
    }

    /// The value of a setting without a default, when it was given.
    fn optional<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.text(name).map(|text| parse(text).expect("values were checked before, defaults by a test"))
    }

    fn boolean(&self, name: &str) -> bool {
        self.parsed(name, kind::boolean)
    }

    fn seconds(&self, name: &str) -> Duration {
        self.parsed(name, kind::seconds)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> T {
        self.parsed(name, |text| text.parse().ok())
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.text(name).map(kind::list).unwrap_or_default()
    }

    /// What the user knows a setting by: where it was given, else its variable.
    fn name_of(&self, name: &'static str) -> String {
        self.given.get(name).map_or_else(|| name.to_owned(), |given| given.name_of(settings::named(name)))
    }

    fn config(&self, problems: &mut Vec<Problem>) -> Config {
        let mut warnings = Vec::new();
        let host = self.text("AGENTEX_LISTEN_HOST").unwrap_or_default().to_owned();
        if host.is_empty() {
            let name = self.name_of("AGENTEX_LISTEN_HOST");
            problems.push(Problem::new(name, "expected an address or a host name"));
        }
        let authorization = self.authorization(&host, problems, &mut warnings);
        let store = self.store(problems, &mut warnings);
        let redis = self.redis(problems);
        let temporal = self.temporal(problems, &mut warnings);

        Config {
            store,
            redis,
            temporal,
            works: self.boolean("AGENTEX_BACKGROUND_WORK"),
            misfire: Misfire {
                policy: self.parsed("AGENTEX_SCHEDULE_MISFIRE", misfire_policy),
                window: Duration::from_secs(self.number("AGENTEX_SCHEDULE_MISFIRE_WINDOW_S")),
                ..Misfire::default()
            },
            warnings,
            notes: self.notes(),
            port: self.number("AGENTEX_LISTEN_PORT"),
            drain_timeout: self.seconds("AGENTEX_DRAIN_TIMEOUT"),
            migrate_on_start: self.boolean("AGENTEX_MIGRATE_ON_START"),
            streams: Streams {
                max_entries: self.number("REDIS_STREAM_MAXLEN"),
                ttl_seconds: self.number("REDIS_STREAM_TTL_SECONDS"),
            },
            secrets_key: self.optional("AGENTEX_SECRETS_KEY", |text| SecretsKey::parse(text).ok()),
            api_key_pepper: self.text("AGENTEX_API_KEY_PEPPER").unwrap_or_default().to_owned(),
            authorization,
            settings: Settings {
                stream_keepalive: self.seconds("SSE_KEEPALIVE_PING_INTERVAL"),
                stream_recheck: Duration::from_secs(self.number("AGENTEX_AUTHZ_STREAM_RECHECK_S")),
                stream_stall: Duration::from_secs(self.number("SSE_STREAM_STALL_THRESHOLD_SECONDS")),
                authorization: self.applied(),
                relay: self.relay(),
                retention: self.retention(),
                schedules: self.schedules(),
                gateways: self.gateways(problems),
                public_url: self.text("AGENTEX_PUBLIC_URL").map(str::to_owned),
                one_turn_per_task: self.parsed("USE_STREAMING_ADVISORY_LOCK", kind::yes),
                ..Settings::default()
            },
            http: self.http(),
            acp: self.acp(problems),
            transfer: self.transfer(),
            chat: self.chat(),
            logs: self.logs(),
            metrics: self.metrics(&host),
            host,
        }
    }

    fn notes(&self) -> Vec<String> {
        self.given
            .iter()
            .map(|(name, given)| (settings::named(name), given))
            .filter(|(setting, _)| setting.status == Status::Accepted)
            .map(|(setting, given)| format!("{} has no effect. {}", given.name_of(setting), setting.meaning))
            .collect()
    }

    fn store(&self, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Store {
        for phase in ["TASK_STATE_STORAGE_PHASE", "TASK_MESSAGE_STORAGE_PHASE"] {
            if self.text(phase) == Some("mongodb") {
                let allowed = "expected postgres; everything is kept in the relational store, there is no MongoDB";
                problems.push(Problem::new(self.name_of(phase), allowed));
            }
        }
        if self.text("MONGODB_URI").is_some() {
            warnings.push("MONGODB_URI is set, but nothing is kept in MongoDB; it is ignored".to_owned());
        }

        let read_only_url = self.text("READ_ONLY_DATABASE_URL").map(str::to_owned);
        match self.text("DATABASE_URL") {
            Some(url) if kind::is_postgres(url) => {
                if !cfg!(feature = "postgres") {
                    problems.push(Problem::new(self.name_of("DATABASE_URL"), "this build has no PostgreSQL"));
                }
                Store::Postgres {
                    url: url.to_owned(),
                    read_only_url,
                    pool_size: self.number("POSTGRES_POOL_SIZE"),
                    allow_unknown_baseline: self.boolean("ALLOW_UNKNOWN_BASELINE"),
                }
            }
            url => {
                if !cfg!(feature = "sqlite") {
                    let allowed = "expected a PostgreSQL URL, because this build has no SQLite";
                    problems.push(Problem::new(self.name_of("DATABASE_URL"), allowed));
                }
                if read_only_url.is_some() {
                    let name = self.name_of("READ_ONLY_DATABASE_URL");
                    problems.push(Problem::new(name, "needs a PostgreSQL DATABASE_URL"));
                }
                let in_folder =
                    || Path::new(self.text("AGENTEX_DATA_DIR").unwrap_or("./agentex-data")).join("agentex.db");
                Store::Sqlite { file: url.and_then(kind::sqlite_path).map_or_else(in_folder, PathBuf::from) }
            }
        }
    }

    fn redis(&self, problems: &mut Vec<Problem>) -> Option<Redis> {
        let url = self.text("REDIS_URL")?.to_owned();
        if !cfg!(feature = "redis") {
            problems.push(Problem::new(self.name_of("REDIS_URL"), "this build has no Redis"));
        }
        Some(Redis {
            url,
            connection_timeout: self.seconds("REDIS_CONNECTION_TIMEOUT"),
            response_timeout: self.seconds("REDIS_SOCKET_TIMEOUT"),
        })
    }

    fn temporal(&self, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Option<Temporal> {
        let address = self.text("TEMPORAL_ADDRESS").map(str::trim).filter(|address| is_temporal(address))?;
        if !cfg!(feature = "temporal") {
            warnings.push(
                "TEMPORAL_ADDRESS is set, but this build has no Temporal; schedules are kept in the store".to_owned(),
            );
            return None;
        }
        let path = |name: &str| self.text(name).map(PathBuf::from);
        let client = match (path("TEMPORAL_TLS_CERT"), path("TEMPORAL_TLS_KEY")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                let name = self.name_of("TEMPORAL_TLS_CERT");
                problems.push(Problem::new(name, "expected TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY together"));
                None
            }
        };
        let (ca, server_name) = (path("TEMPORAL_TLS_CA"), self.text("TEMPORAL_TLS_SERVER_NAME").map(str::to_owned));
        let asked_for = client.is_some() || ca.is_some() || server_name.is_some();
        let api_key = self.text("TEMPORAL_API_KEY").map(str::to_owned);
        let secure = self.optional("TEMPORAL_TLS", kind::boolean);
        if secure == Some(false) && (asked_for || api_key.is_some()) {
            let allowed = "contradicts the other settings of TEMPORAL_TLS_*, or TEMPORAL_API_KEY";
            problems.push(Problem::new(self.name_of("TEMPORAL_TLS"), allowed));
        }
        let tls = (asked_for || secure == Some(true)).then_some(TemporalTls { ca, client, server_name });
        let namespace = self.text("TEMPORAL_NAMESPACE").map(str::to_owned);
        Some(Temporal { address: address.to_owned(), namespace, tls, api_key })
    }

    fn schedules(&self) -> ScheduleSettings {
        let defaults = ScheduleSettings::default();
        let queue = self.text("AGENTEX_SERVER_TASK_QUEUE").map(str::trim).filter(|queue| !queue.is_empty());
        ScheduleSettings {
            run_schedules: self.boolean("ENABLE_AGENT_RUN_SCHEDULES"),
            workflow_schedules: self.boolean("ENABLE_WORKFLOW_SCHEDULES"),
            health_checks: self.boolean("ENABLE_HEALTH_CHECK_WORKFLOW"),
            task_queue: queue.map_or(defaults.task_queue, str::to_owned),
            denials_before_pause: defaults.denials_before_pause,
        }
    }

    fn http(&self) -> HttpOptions {
        let origins = self.list("ALLOWED_ORIGINS");
        let allowed_origins = if origins.iter().any(|origin| origin == "*") {
            AllowedOrigins::Any
        } else {
            AllowedOrigins::Only(origins)
        };
        HttpOptions {
            cors: CorsOptions { allowed_origins },
            max_body_bytes: self.number("AGENTEX_MAX_BODY_BYTES"),
            max_forward_body_bytes: self.number("AGENTEX_FORWARD_MAX_BODY_BYTES"),
            max_checkpoint_body_bytes: self.number("AGENTEX_CHECKPOINT_MAX_BODY_BYTES"),
            request_timeout: self.seconds("AGENTEX_REQUEST_TIMEOUT"),
            strict_ordering: self.boolean("AGENTEX_STRICT_ORDERING"),
            invalid_cursor_tolerated: self.boolean("AGENTEX_TOLERATE_INVALID_CURSORS"),
            docs: self.boolean("AGENTEX_DOCS_PAGES"),
            schedules: self.boolean("ENABLE_AGENT_RUN_SCHEDULES") || self.boolean("ENABLE_WORKFLOW_SCHEDULES"),
            ..HttpOptions::default()
        }
    }

    fn acp(&self, problems: &mut Vec<Problem>) -> AcpOptions {
        let options = AcpOptions {
            connect_timeout: self.seconds("HTTPX_CONNECT_TIMEOUT"),
            forward_timeout: self.seconds("WEBHOOK_REQUEST_TIMEOUT"),
            stream_idle_timeout: self.seconds("HTTPX_STREAMING_READ_TIMEOUT"),
            pool_max_idle_per_host: self.number("HTTPX_MAX_KEEPALIVE_CONNECTIONS"),
            host_override: self.text("AGENTEX_ACP_HOST_OVERRIDE").map(str::to_owned),
            session_cookie_names: self.list("AGENTEX_DELEGATION_SESSION_COOKIE_NAMES"),
            ..AcpOptions::default()
        };
        if options.host_override.is_some() && AcpClient::new(options.clone()).is_err() {
            let name = self.name_of("AGENTEX_ACP_HOST_OVERRIDE");
            problems.push(Problem::new(name, "expected a host name or address that may be called"));
        }
        options
    }

    fn transfer(&self) -> TransferOptions {
        TransferOptions {
            allowed_ports: self.parsed("RETENTION_URL_ALLOWED_PORTS", kind::ports),
            allowed_hosts: self.list("RETENTION_URL_ALLOWED_HOSTS"),
            http_proxy: self.text("RETENTION_HTTP_PROXY").map(str::to_owned),
            ..TransferOptions::default()
        }
    }

    fn retention(&self) -> RetentionSettings {
        let strictly = |name| self.parsed(name, |text| kind::boolean(text.trim()));
        RetentionSettings {
            extent: match self.text("RETENTION_SCOPE") {
                Some("upstream") => CleanExtent::Contents,
                _ => CleanExtent::Everything,
            },
            max_snapshot_bytes: self.number("RETENTION_MAX_SNAPSHOT_BYTES"),
            sweep: SweepSettings {
                enabled: strictly("RETENTION_CLEANUP_ENABLED"),
                agents: self.list("RETENTION_CLEANUP_AGENT_ALLOWLIST"),
                idle_days: self.number("RETENTION_CLEANUP_IDLE_DAYS"),
                cron: self.text("RETENTION_CLEANUP_CRON").unwrap_or_default().to_owned(),
                page_size: self.number("RETENTION_CLEANUP_PAGE_SIZE"),
                max_in_flight: self.number("RETENTION_CLEANUP_MAX_IN_FLIGHT"),
                dry_run: strictly("RETENTION_CLEANUP_DRY_RUN"),
                stale_running_days: self.number("RETENTION_CLEANUP_STALE_RUNNING_DAYS"),
            },
        }
    }

    fn logs(&self) -> Logs {
        let development = self.text("ENVIRONMENT") == Some("development");
        let labels = [("dd.service", "DD_SERVICE"), ("dd.env", "DD_ENV"), ("dd.version", "DD_VERSION")];
        Logs {
            filter: self.text("RUST_LOG").unwrap_or("info").to_owned(),
            json: self.text("AGENTEX_LOG_FORMAT").map(|format| format == "json").or(development.then_some(false)),
            labels: labels.into_iter().filter_map(|(label, name)| Some((label, self.text(name)?.to_owned()))).collect(),
        }
    }

    fn metrics(&self, host: &str) -> Metrics {
        if let Some(address) = self.optional("AGENTEX_METRICS_LISTEN", |text| text.parse().ok()) {
            return Metrics::On(address);
        }
        match self.optional("AGENTEX_METRICS", kind::boolean).unwrap_or_else(|| is_loopback(host)) {
            true => Metrics::WithApi,
            false => Metrics::Off,
        }
    }
}

/// Whether only this machine can reach `host`. Names other than `localhost` can mean anything.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The texts that deployments write where they have no Temporal.
fn is_temporal(address: &str) -> bool {
    !["", "false", "False", "null", "None", "undefined"].contains(&address)
}

fn misfire_policy(text: &str) -> Option<MisfirePolicy> {
    match text {
        "skip" => Some(MisfirePolicy::Skip),
        "fire_once" => Some(MisfirePolicy::FireOnce),
        "catch_up" => Some(MisfirePolicy::CatchUp),
        _ => None,
    }
}

/// Every flag that stands for a setting.
#[cfg(test)]
pub(crate) fn flags() -> impl Iterator<Item = &'static str> {
    settings::all().map(|setting| setting.flag).filter(|flag| !flag.is_empty())
}
