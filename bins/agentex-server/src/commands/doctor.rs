use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use agentex::Tools;
use agentex::authz::{AuthnError, CredentialHeaders, Operation, Principal, ResourceRef};
use agentex::domain::ports::{StoreError, Stores};
use agentex::domain::{AgentId, MessageId, TaskId};
use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::config::{Config, Problem, Store};
use crate::telemetry::redact;
use crate::wire;

/// How long each dependency may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The first second of 2025; no clock that is right is before it.
const PLAUSIBLE: Duration = Duration::from_secs(1_735_689_600);

/// Looks at everything the server needs and prints one line about each.
pub(crate) async fn run(config: Result<Config, Vec<Problem>>) -> anyhow::Result<ExitCode> {
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                report("configuration", Err(anyhow::anyhow!("{problem}")));
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut healthy = report("configuration", Ok("can be used".to_owned()));
    for note in config.warnings.iter().chain(&config.notes) {
        super::say(&format!("note  configuration: {note}"));
    }
    if let Store::Sqlite { file } = &config.store {
        healthy &= report("data folder", data_folder(file));
    }
    healthy &= report("store", within_limit(store(&config)).await);
    if config.redis.is_some() {
        healthy &= report("redis", within_limit(redis(&config)).await);
    }
    if config.temporal.is_some() {
        healthy &= report("temporal", within_limit(temporal(&config)).await);
    }
    healthy &= authorization(&config).await;
    healthy &= report("clock", clock());
    healthy &= report("port", port(&config).await);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the line, and says whether it is a good one.
fn report(check: &str, found: anyhow::Result<String>) -> bool {
    let healthy = found.is_ok();
    let line = match found {
        Ok(text) => format!("ok    {check}: {text}"),
        Err(error) => format!("FAIL  {check}: {error:#}"),
    };
    super::say(&redact(&line));
    healthy
}

async fn within_limit(check: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<String> {
    tokio::time::timeout(LIMIT, check).await.context("no answer in time")?
}

/// Tries to write where the database is, or will be, without leaving anything behind.
fn data_folder(database: &Path) -> anyhow::Result<String> {
    let database = std::path::absolute(database).context("the path is not usable")?;
    let folder = database.parent().unwrap_or(&database);
    let existing: PathBuf = folder
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .map(Path::to_owned)
        .context("no folder above it exists")?;
    let trial = existing.join(format!(".agentex-doctor-{}", std::process::id()));
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&trial)
        .and_then(|_| std::fs::remove_file(&trial))
        .with_context(|| format!("{} is not writable", existing.display()))?;
    Ok(if existing == folder {
        format!("{} is writable", folder.display())
    } else {
        format!("{} will be created at the first start", folder.display())
    })
}

async fn store(config: &Config) -> anyhow::Result<String> {
    match &config.store {
        Store::Sqlite { file } if !file.exists() => Ok("the database will be created at the first start".to_owned()),
        #[cfg(feature = "sqlite")]
        Store::Sqlite { .. } => {
            let store = agentex::sqlite::SqliteStore::open(wire::sqlite_options(config)?).await?;
            let found = schema(&store.stores(), store.pending().await.map_err(anyhow::Error::from)).await;
            store.close().await;
            found
        }
        #[cfg(feature = "postgres")]
        Store::Postgres { .. } => {
            let store = agentex::postgres::PgStore::connect(wire::postgres_options(config)?).await?;
            let found = schema(&store.stores(), store.pending().await.map_err(anyhow::Error::from)).await;
            store.close().await;
            found
        }
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        _ => anyhow::bail!("this build does not have the configured store"),
    }
}

/// Whether the store answers and has what the repositories look for.
async fn schema(stores: &Stores, pending: anyhow::Result<u32>) -> anyhow::Result<String> {
    const NOBODY: &str = "agentex-doctor";
    const REMEDY: &str = "agentex migrate (or a start) brings it there";
    stores.probe.probe().await?;
    let pending = pending?;
    anyhow::ensure!(pending == 0, "the schema is {pending} migrations behind; {REMEDY}");
    let looked_up = async {
        stores.agents.find(&AgentId::from(NOBODY)).await?;
        stores.tasks.find(&TaskId::from(NOBODY)).await?;
        stores.messages.find(&MessageId::from(NOBODY)).await?;
        stores.api_keys.find_internal_owner(NOBODY, NOBODY).await?;
        Ok::<(), StoreError>(())
    };
    match looked_up.await {
        Ok(()) => Ok(format!("{} answers and has its tables", stores.probe.name())),
        Err(error @ StoreError::Failed(_)) => {
            Err(error).with_context(|| format!("the schema is not what it should be; {REMEDY}"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks whoever is configured, about nobody in particular.
async fn authorization(config: &Config) -> bool {
    let authorization = &config.authorization;
    if authorization.backend.is_disabled() {
        return report("permissions", Ok("disabled: whoever reaches the server may do everything".to_owned()));
    }
    let mut healthy = report("authentication", within_limit(authentication(config)).await);
    if matches!(&config.store, Store::Sqlite { file } if !file.exists()) {
        return healthy & report("permissions", Ok(format!("{}, from the first start", authorization.backend.name())));
    }
    match tokio::time::timeout(LIMIT, wire::tools(config, false)).await.context("no answer in time").flatten() {
        Ok(tools) => {
            healthy &= report("permissions", within_limit(decision(config, &tools)).await);
            healthy &= report("intents", within_limit(intents(&tools)).await);
            tools.close().await;
            healthy
        }
        Err(error) => report("permissions", Err(error)),
    }
}

async fn authentication(config: &Config) -> anyhow::Result<String> {
    let authenticator = wire::authenticator(config)?;
    let name = config.authorization.authn.name();
    #[cfg(feature = "oidc")]
    if let crate::config::Authn::Oidc(oidc) = &config.authorization.authn {
        agentex::oidc::OidcAuthenticator::new(oidc.settings())?.warm().await?;
        return Ok(format!("{name}: the issuer's keys are there"));
    }
    match authenticator.authenticate(&CredentialHeaders::default()).await {
        Ok(_) | Err(AuthnError::Refused) => Ok(format!("{name} answers")),
        Err(error @ AuthnError::Unavailable(_)) => Err(error).with_context(|| name),
    }
}

/// Whether the backend can decide. That it has what it needs shows in an answer about things that do not exist.
async fn decision(config: &Config, tools: &Tools) -> anyhow::Result<String> {
    let authorizer = tools.authorizer.as_ref().context("authorization is off")?;
    let nobody = Principal::from_json(json!({ "user_id": "agentex-doctor", "account_id": "agentex-doctor" }));
    let nothing = ResourceRef::task("agentex-doctor");
    let (name, profile) = (config.authorization.backend.name(), config.authorization.profile);
    let _ = authorizer.check(&nobody, Operation::Read, &nothing).await.context(name)?;
    if let Some(spark) = &tools.spark {
        let _ = spark.check(&nobody, Operation::Read, &nothing).await.context("SpiceDB")?;
    }
    Ok(format!("{name} decides, profile {profile}"))
}

async fn intents(tools: &Tools) -> anyhow::Result<String> {
    let backlog = tools.stores.intents.backlog().await?;
    let more = if backlog.failing > 0 { "; agentex authz intents shows why" } else { "" };
    Ok(format!("{} changes of the graph unfinished, {} of them failing{more}", backlog.open, backlog.failing))
}

#[cfg(feature = "redis")]
async fn redis(config: &Config) -> anyhow::Result<String> {
    use agentex::domain::ports::Probe as _;
    let options = wire::redis_options(config).context("Redis is not configured")?;
    agentex::redis::RedisStream::connect(options)?.probe().await?;
    Ok("answers".to_owned())
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &Config) -> anyhow::Result<String> {
    anyhow::bail!("this build has no Redis")
}

#[cfg(feature = "temporal")]
async fn temporal(config: &Config) -> anyhow::Result<String> {
    use agentex::domain::ports::Probe as _;
    let options = wire::temporal_options(config)?.context("Temporal is not configured")?;
    let namespace = options.namespace.clone();
    agentex::temporal::Temporal::new(options)?.probe().await?;
    Ok(format!("answers, namespace {namespace}, queue {}", config.settings.schedules.task_queue))
}

#[cfg(not(feature = "temporal"))]
async fn temporal(_: &Config) -> anyhow::Result<String> {
    anyhow::bail!("this build has no Temporal")
}

fn clock() -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    anyhow::ensure!(now >= PLAUSIBLE, "the machine's clock is before 2025; ids and times would be wrong");
    Ok("plausible".to_owned())
}

async fn port(config: &Config) -> anyhow::Result<String> {
    let (host, port) = (config.host.as_str(), config.port);
    TcpListener::bind((host, port)).await.with_context(|| format!("cannot listen on {host} port {port}"))?;
    Ok(format!("{host} port {port} is free"))
}
