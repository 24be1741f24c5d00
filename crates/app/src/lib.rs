#![doc = include_str!("../README.md")]

mod access;
mod agents;
mod api_keys;
mod authentication;
mod backfill;
mod caller;
mod checkpoints;
mod error;
mod events;
mod feed;
mod forwarding;
mod guard;
mod lifecycle;
mod messages;
mod readiness;
mod registrations;
mod rpc;
mod secrets;
mod selectors;
mod settings;
mod spans;
mod states;
mod task_streams;
mod tasks;
#[cfg(test)]
mod testing;
mod trackers;

use std::sync::Arc;

use agentex_authz::{Authenticator, Authorizer};
use agentex_domain::ports::{AgentClient, AgentForwarder, Clock, EventStream, Probe, Stores};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use access::{Access, AccessQuestion, AccessSubject};
pub use agents::{AgentQuery, Agents};
pub use api_keys::{ApiKeyName, ApiKeyQuery, ApiKeys, CreatedApiKey, NewApiKey, NewWebhookTrigger, WebhookTrigger};
pub use authentication::Authentication;
pub use backfill::{Backfill, BackfillCursor, BackfillEvent, BackfillOptions, BackfillReport};
pub use caller::{Caller, RequestContext};
pub use checkpoints::{Checkpoints, NewWrites};
pub use error::{Absent, Error};
pub use events::{EventQuery, Events};
pub use forwarding::{ForwardCall, ForwardRefusal, Forwarded, Forwarding, ForwardingSettings};
pub use lifecycle::{IntentRelay, Relayed};
pub use messages::{Messages, NewMessage};
pub use readiness::{CheckResult, Readiness};
pub use registrations::{
    BuildRegistered, REGISTRATION_TOKEN_PREFIX, RegisterAgent, RegisterBuild, Registered, Registrations,
};
pub use rpc::{AuthorizedCall, Rpc, RpcOutcome, RpcRequest, TurnUpdate, TurnUpdates};
pub use secrets::{Keyring, SecretsKey, SecretsKeyError};
pub use selectors::{AgentSelector, TaskSelector};
pub use settings::{AgentScope, AuthorizationSettings, LinkRule, RegistrationAuth, RelaySettings, Settings};
pub use spans::{NewSpan, SpanQuery, Spans};
pub use states::{NewTaskState, StateQuery, States};
pub use task_streams::{StreamItem, TaskStreams};
pub use tasks::{TaskQuery, TaskWithAgents, Tasks};
pub use trackers::{TrackerQuery, Trackers};

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
    /// Requests of outsiders to agents.
    pub forwarder: Arc<dyn AgentForwarder>,
    /// Who may do what. `None`: everybody everything, and nothing is recorded.
    pub authorizer: Option<Arc<dyn Authorizer>>,
    /// Who is calling.
    pub authenticator: Arc<dyn Authenticator>,
    /// Sealing and digesting of stored secrets.
    pub keyring: Keyring,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What readiness asks besides the store.
    pub probes: Vec<Arc<dyn Probe>>,
}

/// All use cases over one set of ports.
pub struct App {
    /// Who is calling.
    pub authentication: Authentication,
    /// Reading and deleting agents.
    pub agents: Agents,
    /// Why somebody may do something.
    pub access: Access,
    /// Keys of agents.
    pub api_keys: ApiKeys,
    /// Agents registering themselves, and builds registering agents.
    pub registrations: Registrations,
    /// Tasks.
    pub tasks: Tasks,
    /// Messages.
    pub messages: Messages,
    /// What agents remember about tasks.
    pub states: States,
    /// What agents were told about tasks.
    pub events: Events,
    /// How far agents have processed the events of tasks.
    pub trackers: Trackers,
    /// Spans.
    pub spans: Spans,
    /// Saved states of graphs that agents run.
    pub checkpoints: Checkpoints,
    /// Calls to agents.
    pub rpc: Rpc,
    /// Requests of outsiders to agents.
    pub forwarding: Forwarding,
    /// Finishes what was left unfinished in the authorization graph.
    pub relay: IntentRelay,
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
        let Ports { stores, streams, agent_client, forwarder, authorizer, authenticator, keyring, clock, probes } =
            ports;
        let shutdown = CancellationToken::new();
        let background = TaskTracker::new();
        let scope = settings.authorization.agent_scope;
        let guard = Guard::new(authorizer.clone(), scope, Arc::clone(&stores.tasks));
        let access = Access::new(guard.clone(), authorizer.clone());
        let lifecycle = Lifecycle::new(
            authorizer,
            Arc::clone(&stores.intents),
            Arc::clone(&stores.owners),
            Arc::clone(&clock),
            settings.relay.clone(),
        );
        let feed = TaskFeed::new(Arc::clone(&streams));
        let agents = Agents::new(stores.clone(), guard.clone(), lifecycle.clone(), Arc::clone(&clock));
        let tasks = Tasks::new(stores.clone(), guard.clone(), lifecycle.clone(), feed.clone(), Arc::clone(&clock));
        let messages = Messages::new(stores.clone(), guard.clone(), Arc::clone(&clock), &settings);
        let authentication = Authentication::new(
            authenticator,
            Arc::clone(&stores.api_keys),
            keyring.clone(),
            lifecycle.is_enabled(),
            settings.authorization.clone(),
        );
        Self {
            forwarding: Forwarding::new(forwarding::Parts {
                stores: stores.clone(),
                guard: guard.clone(),
                authentication: authentication.clone(),
                keyring: keyring.clone(),
                forwarder,
                clock: Arc::clone(&clock),
                authorization_is_on: lifecycle.is_enabled(),
                settings: settings.forwarding.clone(),
            }),
            states: States::new(
                stores.clone(),
                guard.clone(),
                Arc::clone(&clock),
                settings.authorization.task_agent_link,
            ),
            events: Events::new(stores.clone(), guard.clone()),
            trackers: Trackers::new(stores.clone(), guard.clone(), Arc::clone(&clock)),
            authentication,
            relay: IntentRelay::new(lifecycle.clone()),
            api_keys: ApiKeys::new(
                stores.clone(),
                guard.clone(),
                lifecycle.clone(),
                keyring.clone(),
                Arc::clone(&clock),
                settings.public_url.as_deref(),
            ),
            access,
            spans: Spans::new(stores.clone(), guard.clone()),
            checkpoints: Checkpoints::new(stores.clone(), guard.clone()),
            registrations: Registrations::new(
                stores.clone(),
                guard.clone(),
                lifecycle.clone(),
                keyring.clone(),
                Arc::clone(&clock),
                settings.authorization.clone(),
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
            task_streams: TaskStreams::new(stores.clone(), guard, streams, &settings, shutdown.clone()),
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
