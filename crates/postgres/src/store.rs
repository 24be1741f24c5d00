use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentex_authz::local::RelationshipStore;
use agentex_authz::router::RolloutStore;
use agentex_domain::ports::{Probe, ProbeError, StoreError, Stores};
use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};

use crate::agent_checks::PgAgentChecks;
use crate::agents::PgAgents;
use crate::api_keys::PgApiKeys;
use crate::checkpoints::PgCheckpoints;
use crate::deployment_history::PgDeploymentHistory;
use crate::deployments::PgDeployments;
use crate::error::store_error;
use crate::events::PgEvents;
use crate::gateways::PgGateways;
use crate::idempotency::PgIdempotency;
use crate::intents::PgIntents;
use crate::messages::PgMessages;
use crate::migrate::{self, MigrateError};
use crate::options::PgOptions;
use crate::owners::PgOwners;
use crate::registration_tokens::PgRegistrationTokens;
use crate::relationships::PgRelationships;
use crate::retention::PgRetention;
use crate::rollout::PgRollout;
use crate::run_schedules::PgRunSchedules;
use crate::spans::PgSpans;
use crate::states::PgStates;
use crate::tasks::PgTasks;
use crate::timers::PgTimers;
use crate::trackers::PgTrackers;

/// A connection idle for longer than this is asked whether it is alive before it is used; younger ones are trusted,
/// which saves busy servers a round trip per statement.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// PostgreSQL as the store of everything. Clones share their connections.
#[derive(Clone)]
pub struct PgStore {
    pools: Pools,
    allow_unknown_baseline: bool,
}

/// Where statements go.
#[derive(Clone)]
pub(crate) struct Pools {
    /// Writes, and reads that must see every write.
    pub(crate) primary: PgPool,
    /// Lists, which may be a little behind. The same pool when there is no replica.
    pub(crate) reader: PgPool,
}

impl PgStore {
    /// Connects to the primary; a replica is only connected to when it is first needed. Does not migrate.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when a URL is malformed or the primary does not answer in `acquire_timeout`. The
    /// text never shows a URL.
    pub async fn connect(options: PgOptions) -> Result<Self, StoreError> {
        let (primary, replica) = (options.primary()?, options.replica()?);
        let primary = pool_options(&options).connect_with(primary).await.map_err(store_error("connection"))?;
        let reader = match replica {
            Some(replica) => pool_options(&options).connect_lazy_with(replica),
            None => primary.clone(),
        };
        Ok(Self { pools: Pools { primary, reader }, allow_unknown_baseline: options.allow_unknown_baseline })
    }

    /// Brings the schema up to date and says how many migrations that took. Of several callers on one database one
    /// migrates and the others wait for it.
    ///
    /// # Errors
    /// [`MigrateError`]; a migration that failed leaves nothing behind, or is completed by the next call.
    pub async fn migrate(&self) -> Result<u32, MigrateError> {
        let options: PgConnectOptions = (*self.pools.primary.connect_options()).clone();
        migrate::run(&options, self.allow_unknown_baseline).await
    }

    /// How many migrations [`PgStore::migrate`] would apply. Applies none and waits for nobody.
    ///
    /// # Errors
    /// [`MigrateError`], as `migrate` would refuse the database.
    pub async fn pending(&self) -> Result<u32, MigrateError> {
        let mut session = self.pools.primary.acquire().await?;
        migrate::pending(&mut session, self.allow_unknown_baseline).await
    }

    /// The repositories. They live as long as any clone of them.
    #[must_use]
    pub fn stores(&self) -> Stores {
        Stores {
            agents: Arc::new(PgAgents::new(self.pools.clone())),
            api_keys: Arc::new(PgApiKeys::new(self.pools.clone())),
            deployments: Arc::new(PgDeployments::new(self.pools.clone())),
            deployment_history: Arc::new(PgDeploymentHistory::new(self.pools.clone())),
            tasks: Arc::new(PgTasks::new(self.pools.clone())),
            messages: Arc::new(PgMessages::new(self.pools.clone())),
            events: Arc::new(PgEvents::new(self.pools.primary.clone())),
            states: Arc::new(PgStates::new(self.pools.primary.clone())),
            trackers: Arc::new(PgTrackers::new(self.pools.primary.clone())),
            spans: Arc::new(PgSpans::new(self.pools.clone())),
            checkpoints: Arc::new(PgCheckpoints::new(self.pools.primary.clone())),
            intents: Arc::new(PgIntents::new(self.pools.primary.clone())),
            owners: Arc::new(PgOwners::new(self.pools.primary.clone())),
            registration_tokens: Arc::new(PgRegistrationTokens::new(self.pools.primary.clone())),
            idempotency: Arc::new(PgIdempotency::new(self.pools.primary.clone())),
            gateways: Arc::new(PgGateways::new(self.pools.primary.clone())),
            retention: Arc::new(PgRetention::new(self.pools.primary.clone())),
            run_schedules: Arc::new(PgRunSchedules::new(self.pools.clone())),
            timers: Arc::new(PgTimers::new(self.pools.primary.clone())),
            agent_checks: Arc::new(PgAgentChecks::new(self.pools.primary.clone())),
            probe: Arc::new(PgProbe { pool: self.pools.primary.clone() }),
        }
    }

    /// The relationships of embedded authorization, kept in this database.
    #[must_use]
    pub fn relationships(&self) -> Arc<dyn RelationshipStore> {
        Arc::new(PgRelationships::new(self.pools.primary.clone()))
    }

    /// How far accounts are on their way to another permission service, kept in this database.
    #[must_use]
    pub fn rollout(&self) -> Arc<dyn RolloutStore> {
        Arc::new(PgRollout::new(self.pools.primary.clone()))
    }

    /// Closes every connection once the statement on it is done; calls made later are answered
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.pools.reader.close().await;
        self.pools.primary.close().await;
    }
}

/// Says how the pools are used, never where they lead.
impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore")
            .field("connections", &self.pools.primary.size())
            .field("idle", &self.pools.primary.num_idle())
            .finish_non_exhaustive()
    }
}

fn pool_options(options: &PgOptions) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(options.max_connections)
        .min_connections(options.min_connections)
        .acquire_timeout(options.acquire_timeout)
        .max_lifetime(MAX_LIFETIME)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

struct PgProbe {
    pool: PgPool,
}

#[async_trait]
impl Probe for PgProbe {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn probe(&self) -> Result<(), ProbeError> {
        match sqlx::query("SELECT 1").execute(&self.pool).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "probe failed");
                Err(ProbeError("the database does not answer".to_owned()))
            }
        }
    }
}
