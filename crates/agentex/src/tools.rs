use std::fmt;
use std::sync::Arc;

use agentex_app::App;
use agentex_authz::Authorizer;
use agentex_authz::router::RolloutStore;
use agentex_domain::ports::Stores;

use crate::authorization::Opened;
use crate::running::Claim;
use crate::store::OpenStore;

/// Whether an embedded store is opened beside a server that may hold it. Other stores can always be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolsUse {
    /// Whether or not a server is running. A server holds the relationships of an embedded store in memory and does not
    /// see what others write, so nothing must be registered, granted or taken back then.
    Beside,
    /// In place of a server: refused while one is running.
    Alone,
}

/// The parts of a control plane without its router, for commands that look at it and administer it.
pub struct Tools {
    /// Rows.
    pub stores: Stores,
    /// Accounts' rollout flags; `None` for a store of the embedder's own.
    pub rollout: Option<Arc<dyn RolloutStore>>,
    /// Who may do what, as the server would ask; `None` when authorization is off.
    pub authorizer: Option<Arc<dyn Authorizer>>,
    /// SpiceDB by itself, where it is part of the backend.
    pub spark: Option<Arc<dyn Authorizer>>,
    /// The use cases.
    pub app: Arc<App>,
    store: OpenStore,
    /// Kept only to be let go of.
    _claim: Option<Claim>,
}

impl Tools {
    pub(crate) fn new(app: Arc<App>, opened: Opened, store: OpenStore, claim: Option<Claim>) -> Self {
        let Opened { authorizer, spark, rollout } = opened;
        Self { stores: store.stores(), rollout, authorizer, spark, app, store, _claim: claim }
    }

    /// Waits for running statements and closes the store; the parts fail after that.
    pub async fn close(self) {
        self.store.close().await;
    }
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").field("store", &self.store).finish_non_exhaustive()
    }
}
