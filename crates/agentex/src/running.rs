use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentex_app::App;
use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::scheduling::OpenScheduler;
use crate::store::OpenStore;
use crate::streams::OpenStreams;

/// How long connections may take to close once nothing is left to be done.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A control plane that is ready to serve.
///
/// Dropping it closes nothing that a router or handle still uses; stop it with [`WorkerHandle::shutdown`] and
/// [`WorkerHandle::drained`].
#[derive(Clone)]
pub struct Agentex {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) worker: WorkerHandle,
}

impl Agentex {
    /// The HTTP surface, complete with authentication, health, CORS and error bodies. Nest it under a path or serve it as
    /// it is; it answers unknown paths itself, so it cannot be merged with a router that does so too.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The use cases, for calls without HTTP. They ask for authorization like any other way in.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The handle that stops it.
    #[must_use]
    pub fn worker(&self) -> WorkerHandle {
        self.worker.clone()
    }
}

impl fmt::Debug for Agentex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agentex").field("app", &self.app).finish_non_exhaustive()
    }
}

/// What runs besides requests, and its end. Clones are the same worker.
#[derive(Clone)]
pub struct WorkerHandle {
    inner: Arc<Inner>,
}

struct Inner {
    app: Arc<App>,
    store: OpenStore,
    streams: OpenStreams,
    /// What runs until the shutdown.
    background: TaskTracker,
    /// Kept only to be let go of: the lock on the embedded store.
    claim: Mutex<Option<Claim>>,
}

#[cfg(feature = "sqlite")]
pub(crate) type Claim = crate::data_folder::DataFolder;
#[cfg(not(feature = "sqlite"))]
pub(crate) type Claim = std::convert::Infallible;

/// Work that outlived its requests was still going on at the deadline and has been cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("work was still going on at the deadline")]
pub struct StillBusy;

impl WorkerHandle {
    /// Starts what runs besides requests.
    pub(crate) fn start(
        app: Arc<App>,
        store: OpenStore,
        streams: OpenStreams,
        claim: Option<Claim>,
        scheduler: Option<OpenScheduler>,
    ) -> Self {
        let background = TaskTracker::new();
        if let Some(scheduler) = scheduler {
            background.spawn(scheduler.run(Arc::clone(&app), app.shutdown_token()));
        }
        let (relay, stop) = (app.relay.clone(), app.shutdown_token());
        background.spawn(async move { relay.run(stop).await });
        let (gateways, stop) = (app.gateways.clone(), app.shutdown_token());
        background.spawn(async move { gateways.run(stop).await });
        Self { inner: Arc::new(Inner { app, store, streams, background, claim: Mutex::new(claim) }) }
    }

    /// Begins the end: readiness reports that no new work should be sent, and open task streams finish. Requests are still
    /// served. Repeats do nothing.
    pub fn shutdown(&self) {
        self.inner.app.shutdown_token().cancel();
    }

    /// Cancelled by [`Self::shutdown`].
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.inner.app.shutdown_token()
    }

    /// Shuts down, waits up to `deadline` for agent turns that outlived their requests and for changes of the authorization
    /// graph that are being finished, then closes the stream backend and
    /// the store, which takes at most five seconds more. Call it after the last request was answered: later ones fail.
    ///
    /// # Errors
    /// [`StillBusy`] when something had to be cut; everything is closed all the same.
    pub async fn drained(&self, deadline: Duration) -> Result<(), StillBusy> {
        self.shutdown();
        let Inner { app, background, .. } = &*self.inner;
        background.close();
        let finished = tokio::time::timeout(deadline, async { tokio::join!(app.drain(), background.wait()) }).await;
        self.inner.streams.close();
        if tokio::time::timeout(CLOSE_LIMIT, self.inner.store.close()).await.is_err() {
            tracing::warn!("the store did not close in time");
        }
        self.inner.claim.lock().expect("nothing panics while it holds the lock").take();
        finished.map(drop).map_err(|_| StillBusy)
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle")
            .field("store", &self.inner.store)
            .field("streams", &self.inner.streams)
            .field("shutting_down", &self.inner.app.shutdown_token().is_cancelled())
            .finish_non_exhaustive()
    }
}
