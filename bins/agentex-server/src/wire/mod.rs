//! From the configuration to the parts.

mod authorization;

pub(crate) use authorization::authenticator;

use std::sync::Arc;
use std::time::Duration;

use agentex::domain::ports::SystemClock;
use agentex::inprocess::{InProcessOptions, SchedulerOptions};
use agentex::{Agentex, BuildError, Builder, Tools, ToolsUse};

use crate::config::{Config, Store};

/// Everything but where metrics go. Opens nothing.
pub(crate) fn builder(config: &Config) -> anyhow::Result<Builder> {
    let mut builder = store(config)?
        .migrate_on_start(config.migrate_on_start)
        .authorization(authorization::authorization(config)?)
        .api_key_pepper(config.api_key_pepper.clone())
        .settings(config.settings.clone())
        .http(config.http.clone())
        .acp(config.acp.clone())
        .transfer(config.transfer.clone())
        .chat(config.chat.clone());
    if let Some(key) = &config.secrets_key {
        builder = builder.secrets_key(key.clone());
    }
    builder = builder
        .background_work(config.works)
        .in_process_scheduler(SchedulerOptions { misfire: config.misfire, ..SchedulerOptions::default() });
    #[cfg(feature = "temporal")]
    if let Some(options) = temporal_options(config)? {
        builder = builder.temporal(options);
    }
    if config.redis.is_some() {
        return with_redis(builder, config);
    }
    Ok(builder.in_process_streams(InProcessOptions {
        max_entries: config.streams.max_entries,
        idle_ttl: Duration::from_secs(config.streams.ttl_seconds),
        clock: Arc::new(SystemClock),
    }))
}

/// What the server would work with, for commands. `alone`: in place of a server on an embedded store.
pub(crate) async fn tools(config: &Config, alone: bool) -> anyhow::Result<Tools> {
    let tools_use = if alone { ToolsUse::Alone } else { ToolsUse::Beside };
    builder(config)?.open_tools(tools_use).await.map_err(|error| match error {
        BuildError::InUse { .. } => anyhow::Error::from(error).context("stop the server first"),
        BuildError::NoDatabase { .. } | BuildError::Outdated { .. } => {
            anyhow::Error::from(error).context("run agentex migrate first")
        }
        error => error.into(),
    })
}

fn store(config: &Config) -> anyhow::Result<Builder> {
    match &config.store {
        #[cfg(feature = "sqlite")]
        Store::Sqlite { .. } => Ok(Agentex::builder().sqlite(sqlite_options(config)?)),
        #[cfg(feature = "postgres")]
        Store::Postgres { .. } => Ok(Agentex::builder().postgres(postgres_options(config)?)),
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        _ => anyhow::bail!("this build does not have the configured store"),
    }
}

/// How the configured file is used.
#[cfg(feature = "sqlite")]
pub(crate) fn sqlite_options(config: &Config) -> anyhow::Result<agentex::sqlite::SqliteOptions> {
    match &config.store {
        Store::Sqlite { file } => Ok(agentex::sqlite::SqliteOptions::new(file)),
        Store::Postgres { .. } => anyhow::bail!("the configured store is not SQLite"),
    }
}

/// How the configured database is used.
#[cfg(feature = "postgres")]
pub(crate) fn postgres_options(config: &Config) -> anyhow::Result<agentex::postgres::PgOptions> {
    /// What the public project opens beyond its pool size under load.
    const OVERFLOW: u32 = 20;
    match &config.store {
        Store::Postgres { url, read_only_url, pool_size, allow_unknown_baseline } => Ok(agentex::postgres::PgOptions {
            read_only_url: read_only_url.clone(),
            max_connections: pool_size.saturating_add(OVERFLOW),
            allow_unknown_baseline: *allow_unknown_baseline,
            ..agentex::postgres::PgOptions::new(url.as_str())
        }),
        Store::Sqlite { .. } => anyhow::bail!("the configured store is not PostgreSQL"),
    }
}

#[cfg(feature = "redis")]
fn with_redis(builder: Builder, config: &Config) -> anyhow::Result<Builder> {
    Ok(match redis_options(config) {
        Some(options) => builder.redis_options(options),
        None => builder,
    })
}

#[cfg(not(feature = "redis"))]
fn with_redis(_: Builder, _: &Config) -> anyhow::Result<Builder> {
    anyhow::bail!("this build has no Redis")
}

/// How the configured Redis is used.
#[cfg(feature = "redis")]
pub(crate) fn redis_options(config: &Config) -> Option<agentex::redis::RedisOptions> {
    let redis = config.redis.as_ref()?;
    Some(agentex::redis::RedisOptions {
        url: redis.url.clone(),
        max_len: config.streams.max_entries,
        ttl_seconds: config.streams.ttl_seconds,
        connection_timeout: redis.connection_timeout,
        response_timeout: redis.response_timeout,
        ..agentex::redis::RedisOptions::default()
    })
}

/// How the configured Temporal is used.
#[cfg(feature = "temporal")]
pub(crate) fn temporal_options(config: &Config) -> anyhow::Result<Option<agentex::temporal::TemporalOptions>> {
    use agentex::temporal::{ClientIdentity, TemporalOptions, TlsOptions};
    use anyhow::Context as _;

    let Some(temporal) = &config.temporal else { return Ok(None) };
    let read =
        |path: &std::path::Path| std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    let tls = match &temporal.tls {
        None => None,
        Some(tls) => Some(TlsOptions {
            ca: tls.ca.as_deref().map(read).transpose()?,
            server_name: tls.server_name.clone(),
            client: match &tls.client {
                None => None,
                Some((certificate, key)) => Some(ClientIdentity { certificate: read(certificate)?, key: read(key)? }),
            },
        }),
    };
    let defaults = TemporalOptions::default();
    Ok(Some(TemporalOptions {
        address: temporal.address.clone(),
        namespace: temporal.namespace.clone().unwrap_or(defaults.namespace),
        tls,
        api_key: temporal.api_key.clone(),
        identity: defaults.identity,
        connect_timeout: defaults.connect_timeout,
        request_timeout: defaults.request_timeout,
    }))
}
