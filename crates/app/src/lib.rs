#![doc = include_str!("../README.md")]

mod agents;
mod authentication;
mod caller;
mod error;
mod feed;
mod guard;
mod lifecycle;
mod messages;
mod readiness;
mod registrations;
mod rpc;
mod secrets;
mod selectors;
mod task_streams;
mod tasks;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use agentex_authz::{Authenticator, Authorizer};
use agentex_domain::ports::{AgentClient, Clock, EventStream, Probe, Stores};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use agents::{AgentQuery, Agents};
pub use authentication::Authentication;
pub use caller::{Caller, RequestContext};
pub use error::{Absent, Error};
pub use messages::{Messages, NewMessage};
pub use readiness::{CheckResult, Readiness};
pub use registrations::{RegisterAgent, RegisterBuild, Registered, Registrations};
pub use rpc::{AuthorizedCall, Rpc, RpcOutcome, RpcRequest, TurnUpdate, TurnUpdates};
pub use secrets::{Keyring, SecretsKey, SecretsKeyError};
pub use selectors::{AgentSelector, TaskSelector};
pub use task_streams::{StreamItem, TaskStreams};
pub use tasks::{TaskQuery, TaskWithAgents, Tasks};

use feed::TaskFeed;
use guard::Guard;
use lifecycle::Lifecycle;

/// What the use cases work with.
#[derive(Clone)]
pub struct Ports {
    /// Rows.
    pub stores: Stores,
    /// Live task streams.
    pub streams: Arc<dyn EventStream>,
    /// Calls to agents.
    pub agent_client: Arc<dyn AgentClient>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Who is calling.
    pub authenticator: Arc<dyn Authenticator>,
    /// Sealing and digesting of stored secrets.
    pub keyring: Keyring,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What readiness asks besides the store.
    pub probes: Vec<Arc<dyn Probe>>,
}

/// What can be tuned.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often an idle task stream gets a keepalive and re-checks the task and the caller's permission.
    pub stream_keepalive: Duration,
    /// How often the text of a reply in flight is stored, so that a crash loses at most this much of it.
    pub turn_checkpoint: Duration,
    /// Refuse a second `message/send` on a task while one is running in this process.
    pub one_turn_per_task: bool,
    /// Largest content of one message, in bytes of its JSON form.
    pub max_content_bytes: usize,
    /// Most messages in one batch.
    pub max_batch: usize,
    /// How long one readiness probe may take.
    pub probe_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_keepalive: Duration::from_secs(15),
            turn_checkpoint: Duration::from_secs(1),
            one_turn_per_task: false,
            max_content_bytes: 1024 * 1024,
            max_batch: 1000,
            probe_timeout: Duration::from_secs(2),
        }
    }
}

/// All use cases over one set of ports.
pub struct App {
    /// Who is calling.
    pub authentication: Authentication,
    /// Reading and deleting agents.
    pub agents: Agents,
    /// Agents registering themselves, and builds registering agents.
    pub registrations: Registrations,
    /// Tasks.
    pub tasks: Tasks,
    /// Messages.
    pub messages: Messages,
    /// Calls to agents.
    pub rpc: Rpc,
    /// Watching tasks.
    pub task_streams: TaskStreams,
    /// Whether the dependencies answer.
    pub readiness: Readiness,
    shutdown: CancellationToken,
    background: TaskTracker,
}

impl App {
    /// Wires the use cases.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let Ports { stores, streams, agent_client, authorizer, authenticator, keyring, clock, probes } = ports;
        let shutdown = CancellationToken::new();
        let background = TaskTracker::new();
        let guard = Guard::new(Arc::clone(&authorizer));
        let lifecycle = Lifecycle::new(authorizer);
        let feed = TaskFeed::new(Arc::clone(&streams));
        let agents = Agents::new(stores.clone(), guard.clone(), lifecycle.clone(), Arc::clone(&clock));
        let tasks = Tasks::new(stores.clone(), guard.clone(), lifecycle.clone(), feed.clone(), Arc::clone(&clock));
        let messages = Messages::new(stores.clone(), guard.clone(), Arc::clone(&clock), &settings);
        Self {
            authentication: Authentication::new(authenticator, Arc::clone(&stores.api_keys), keyring.clone()),
            registrations: Registrations::new(
                stores.clone(),
                guard.clone(),
                lifecycle.clone(),
                keyring.clone(),
                Arc::clone(&clock),
            ),
            rpc: Rpc::new(rpc::Parts {
                stores: stores.clone(),
                guard: guard.clone(),
                lifecycle,
                feed,
                agent_client,
                keyring,
                clock,
                background: background.clone(),
                settings: settings.clone(),
            }),
            task_streams: TaskStreams::new(stores.clone(), guard, streams, settings.stream_keepalive, shutdown.clone()),
            readiness: Readiness::new(stores.probe, probes, settings.probe_timeout, shutdown.clone()),
            agents,
            tasks,
            messages,
            shutdown,
            background,
        }
    }

    /// Cancelled when the process is asked to stop; readiness then reports draining and task streams end.
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits until every turn that outlives its request has been stored. Call after the last request ended.
    pub async fn drain(&self) {
        self.background.close();
        self.background.wait().await;
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("draining", &self.shutdown.is_cancelled()).finish_non_exhaustive()
    }
}
