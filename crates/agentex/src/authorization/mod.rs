//! Which backend decides who may do what.

mod open;
#[cfg(feature = "sgp")]
mod parents;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentex_authz::local::{RelationshipStore, StoreUse};
#[cfg(all(feature = "sgp", feature = "spark"))]
use agentex_authz::router::{RolloutStore, RouterSettings};
use agentex_authz::wrap::CircuitOptions;
use agentex_authz::{Authenticator, Authorizer, NoAuthentication};
#[cfg(feature = "sgp")]
use agentex_authz_sgp::{ProviderOptions, SgpOptions};
#[cfg(feature = "spark")]
use agentex_authz_spark::SparkSettings;

pub(crate) use open::{Opened, Places};

/// Who may do what and who is calling, as one choice: a backend decides nothing sensible about callers that nobody has
/// authenticated.
///
/// Nothing is connected before [`Builder::build`](crate::Builder::build).
pub struct Authorization {
    pub(crate) backend: Backend,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) limits: AuthorizationLimits,
}

/// Where decisions come from, before anything is opened.
pub(crate) enum Backend {
    Disabled,
    Own(Arc<dyn Authorizer>),
    /// In the store that everything else is in, unless another place is named.
    Local(Option<(Arc<dyn RelationshipStore>, StoreUse)>),
    #[cfg(feature = "sgp")]
    Provider(Box<ProviderOptions>),
    #[cfg(feature = "sgp")]
    Sgp(Box<SgpOptions>),
    #[cfg(feature = "spark")]
    Spark(Box<SparkOptions>),
    #[cfg(all(feature = "sgp", feature = "spark"))]
    Routed(Box<Routed>),
}

impl Authorization {
    fn new(backend: Backend, authenticator: Arc<dyn Authenticator>) -> Self {
        Self { backend, authenticator, limits: AuthorizationLimits::default() }
    }

    /// Everybody may do everything, nobody is asked who they are, and nothing is recorded: the default.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(Backend::Disabled, Arc::new(NoAuthentication))
    }

    /// A backend of the embedder's own.
    #[must_use]
    pub fn own(authorizer: Arc<dyn Authorizer>, authenticator: Arc<dyn Authenticator>) -> Self {
        Self::new(Backend::Own(authorizer), authenticator)
    }

    /// The permission model evaluated in this process over relationships that the store keeps. With a store of the
    /// embedder's own, use [`Authorization::local_in`].
    #[must_use]
    pub fn local(authenticator: Arc<dyn Authenticator>) -> Self {
        Self::new(Backend::Local(None), authenticator)
    }

    /// Like [`Authorization::local`], over relationships kept elsewhere.
    #[must_use]
    pub fn local_in(
        relationships: Arc<dyn RelationshipStore>,
        store_use: StoreUse,
        authenticator: Arc<dyn Authenticator>,
    ) -> Self {
        Self::new(Backend::Local(Some((relationships, store_use))), authenticator)
    }

    /// All verbs at an external auth provider (`/v1/authz/…`). Who is calling can be the same provider's business: see
    /// [`ProviderAuthenticator`](agentex_authz_sgp::ProviderAuthenticator).
    #[cfg(feature = "sgp")]
    #[must_use]
    pub fn provider(options: ProviderOptions, authenticator: Arc<dyn Authenticator>) -> Self {
        Self::new(Backend::Provider(Box::new(options)), authenticator)
    }

    /// The legacy ownership service alone.
    #[cfg(feature = "sgp")]
    #[must_use]
    pub fn sgp(options: SgpOptions, authenticator: Arc<dyn Authenticator>) -> Self {
        Self::new(Backend::Sgp(Box::new(options)), authenticator)
    }

    /// SpiceDB alone.
    #[cfg(feature = "spark")]
    #[must_use]
    pub fn spark(options: SparkOptions, authenticator: Arc<dyn Authenticator>) -> Self {
        Self::new(Backend::Spark(Box::new(options)), authenticator)
    }

    /// The legacy service and SpiceDB, account by account.
    #[cfg(all(feature = "sgp", feature = "spark"))]
    #[must_use]
    pub fn routed(routed: Routed, authenticator: Arc<dyn Authenticator>) -> Self {
        Self::new(Backend::Routed(Box::new(routed)), authenticator)
    }

    /// How patiently the backend is asked.
    #[must_use]
    pub fn limits(mut self, limits: AuthorizationLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What the backend is called in logs and metrics: `disabled`, `own`, `local`, `http`, `sgp`, `spark` or `routed`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.backend.name()
    }
}

impl Backend {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Own(_) => "own",
            Self::Local(_) => "local",
            #[cfg(feature = "sgp")]
            Self::Provider(_) => "http",
            #[cfg(feature = "sgp")]
            Self::Sgp(_) => "sgp",
            #[cfg(feature = "spark")]
            Self::Spark(_) => "spark",
            #[cfg(all(feature = "sgp", feature = "spark"))]
            Self::Routed(_) => "routed",
        }
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self::disabled()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("backend", &self.name())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How patiently a backend is asked. A call that does not fit is an outage or a busy service to its caller, never a
/// permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationLimits {
    /// Longest time for one call. Default 5 s. Keep it shorter than
    /// [`RelaySettings::grace`](agentex_app::RelaySettings::grace).
    pub timeout: Duration,
    /// Calls under way at a time, per process; a local backend has no such limit. Default 512.
    pub max_in_flight: usize,
    /// How long a call waits for its turn when there are as many. Default 1 s.
    pub queue_wait: Duration,
    /// When a backend that is down is left alone for a while; a local backend never is.
    pub circuit: CircuitOptions,
}

impl Default for AuthorizationLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            max_in_flight: 512,
            queue_wait: Duration::from_secs(1),
            circuit: CircuitOptions::default(),
        }
    }
}

/// How SpiceDB is used.
#[cfg(feature = "spark")]
#[derive(Debug, Clone)]
pub struct SparkOptions {
    /// Where it is.
    pub settings: SparkSettings,
    /// Whether the permission model is written to it at the start, where it is missing or an older one. Otherwise the
    /// model has to be there.
    pub write_schema: bool,
}

#[cfg(feature = "spark")]
impl SparkOptions {
    /// A SpiceDB that somebody else keeps the model in.
    #[must_use]
    pub const fn at(settings: SparkSettings) -> Self {
        Self { settings, write_schema: false }
    }
}

/// Two backends, and who uses which.
#[cfg(all(feature = "sgp", feature = "spark"))]
pub struct Routed {
    /// The legacy service.
    pub legacy: SgpOptions,
    /// SpiceDB.
    pub spark: SparkOptions,
    /// How flags are treated, and whether decisions are compared.
    pub router: RouterSettings,
    /// Where accounts' flags are. `None`: in the store that everything else is in.
    pub rollout: Option<Arc<dyn RolloutStore>>,
}

#[cfg(all(feature = "sgp", feature = "spark"))]
impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed")
            .field("legacy", &self.legacy)
            .field("spark", &self.spark)
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}
