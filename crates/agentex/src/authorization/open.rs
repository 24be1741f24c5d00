use std::sync::Arc;

use agentex_authz::Authorizer;
use agentex_authz::local::{GraphAuthorizer, RelationshipStore, StoreUse};
use agentex_authz::router::RolloutStore;
use agentex_authz::wrap::{Bulkhead, CircuitBreaker, Deadline, Recorded};
use agentex_domain::ports::{BoxError, Stores};
#[cfg(feature = "spark")]
use {agentex_authz::AuthzError, agentex_authz_spark::SparkAuthorizer};

use super::{AuthorizationLimits, Backend};
use crate::BuildError;

/// What the store has for a backend.
pub(crate) struct Places {
    pub(crate) stores: Stores,
    pub(crate) relationships: Option<(Arc<dyn RelationshipStore>, StoreUse)>,
    pub(crate) rollout: Option<Arc<dyn RolloutStore>>,
    /// Whether this is the start of a server, which looks at what it will need.
    pub(crate) starting: bool,
}

/// A backend in its wrappers.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    /// SpiceDB alone, where there is one.
    pub(crate) spark: Option<Arc<dyn Authorizer>>,
    /// Accounts' flags.
    pub(crate) rollout: Option<Arc<dyn RolloutStore>>,
}

impl Opened {
    /// Opens the backend over the migrated store.
    pub(crate) async fn open(
        backend: Backend,
        limits: &AuthorizationLimits,
        places: Places,
    ) -> Result<Self, BuildError> {
        let name = backend.name();
        let failed = |source: BoxError| BuildError::Authorization { backend: name, source };
        let Places { stores, relationships, rollout, starting } = places;
        #[cfg(not(feature = "sgp"))]
        drop(stores);
        #[cfg(not(feature = "spark"))]
        let _ = starting;
        let mut opened = Self { rollout, ..Self::default() };
        let backend = match backend {
            Backend::Disabled => return Ok(opened),
            Backend::Own(authorizer) => remote(authorizer, limits),
            Backend::Local(elsewhere) => {
                let (store, store_use) = elsewhere.or(relationships).ok_or_else(|| {
                    failed("a store of one's own keeps no relationships; name a place for them".into())
                })?;
                let graph = GraphAuthorizer::open(store, store_use).await.map_err(|error| failed(error.into()))?;
                // The store limits calls and outages of its own.
                Arc::new(Deadline::new(Arc::new(graph), limits.timeout))
            }
            #[cfg(feature = "sgp")]
            Backend::Provider(options) => {
                let provider = agentex_authz_sgp::ProviderAuthorizer::new(*options);
                remote(Arc::new(provider.map_err(|error| failed(error.into()))?), limits)
            }
            #[cfg(feature = "sgp")]
            Backend::Sgp(options) => remote(sgp(*options, stores).map_err(failed)?, limits),
            #[cfg(feature = "spark")]
            Backend::Spark(options) => {
                let spark = SparkAuthorizer::new(&options.settings).map_err(|error| failed(error.into()))?;
                if starting {
                    prepare(&spark, options.write_schema).await.map_err(|error| failed(explained(error)))?;
                }
                let spark = remote(Arc::new(spark), limits);
                opened.spark = Some(Arc::clone(&spark));
                spark
            }
            #[cfg(all(feature = "sgp", feature = "spark"))]
            Backend::Routed(routed) => {
                let super::Routed { legacy, spark: options, router, rollout } = *routed;
                opened.rollout = rollout.or(opened.rollout);
                let flags = opened.rollout.clone();
                let flags = flags.ok_or_else(|| {
                    failed("a store of one's own keeps no rollout flags; name a place for them".into())
                })?;
                let legacy = remote(sgp(legacy, stores).map_err(failed)?, limits);
                let spark = SparkAuthorizer::new(&options.settings).map_err(|error| failed(error.into()))?;
                if starting {
                    match prepare(&spark, options.write_schema).await {
                        Ok(()) => {}
                        // Accounts that have not moved do not need it.
                        Err(error @ (AuthzError::Unavailable(_) | AuthzError::Busy(_))) => {
                            tracing::warn!(%error, "SpiceDB does not answer; its schema was not looked at");
                        }
                        Err(error) => return Err(failed(explained(error))),
                    }
                }
                let spark = remote(Arc::new(spark), limits);
                opened.spark = Some(Arc::clone(&spark));
                Arc::new(agentex_authz::router::AccountRouter::new(legacy, spark, flags, router))
            }
        };
        opened.authorizer = Some(Arc::new(Recorded::new(backend, name)));
        Ok(opened)
    }
}

/// The usual limits on a service of others; each wrapper says why it is where it is.
fn remote(backend: Arc<dyn Authorizer>, limits: &AuthorizationLimits) -> Arc<dyn Authorizer> {
    let bounded = Arc::new(Deadline::new(backend, limits.timeout));
    let guarded = Arc::new(CircuitBreaker::new(bounded, limits.circuit));
    Arc::new(Bulkhead::new(guarded, limits.max_in_flight, limits.queue_wait))
}

#[cfg(feature = "sgp")]
fn sgp(options: agentex_authz_sgp::SgpOptions, stores: Stores) -> Result<Arc<dyn Authorizer>, BoxError> {
    let parents = Arc::new(super::parents::RowParents(stores));
    Ok(Arc::new(agentex_authz_sgp::SgpAuthorizer::new(options, parents)?))
}

/// Makes sure that SpiceDB has the permission model, by writing it or by asking about everything in it.
#[cfg(feature = "spark")]
async fn prepare(spark: &SparkAuthorizer, write: bool) -> Result<(), AuthzError> {
    use agentex_authz::{Check, Operation, Principal, ResourceKind, ResourceRef};
    use agentex_authz_spark::SchemaChange;

    if write {
        if spark.ensure_schema().await? == SchemaChange::Written {
            tracing::info!("permission model written to SpiceDB");
        }
        return Ok(());
    }
    // Nobody, about nothing: the answers do not matter, only that there are some.
    let nobody = serde_json::json!({ "user_id": "agentex-schema-check", "account_id": "agentex-schema-check" });
    let questions: Vec<Check> = [ResourceKind::Agent, ResourceKind::Task, ResourceKind::ApiKey, ResourceKind::Schedule]
        .into_iter()
        .flat_map(|kind| {
            [Operation::Read, Operation::Update, Operation::Delete, Operation::Execute, Operation::Cancel].map(
                |operation| Check {
                    operation,
                    resource: ResourceRef { kind, selector: "agentex-schema-check".to_owned() },
                },
            )
        })
        .collect();
    spark.check_many(&Principal::from_json(nobody), &questions).await.map(drop)
}

/// Says what to do about a SpiceDB that does not have the model.
#[cfg(feature = "spark")]
fn explained(error: AuthzError) -> BoxError {
    match error {
        AuthzError::Refused => "SpiceDB has a schema with definitions of others; it is left alone".into(),
        AuthzError::Gateway(_) | AuthzError::Protocol(_) | AuthzError::Service(_) => {
            format!("SpiceDB does not have the permission model, or does not accept the token ({error})").into()
        }
        error => error.into(),
    }
}
