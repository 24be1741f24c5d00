#![doc = include_str!("../README.md")]

mod access;
mod agents;
mod api_keys;
mod authentication;
mod backfill;
mod caller;
mod checkpoints;
mod deployment_history;
mod deployments;
mod error;
mod events;
mod feed;
mod forwarding;
mod gateways;
mod guard;
mod health_checks;
mod idempotency;
mod jobs;
mod lifecycle;
mod messages;
mod readiness;
mod registrations;
mod retention;
mod rpc;
mod schedules;
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
use agentex_domain::ports::{
    AgentClient, AgentForwarder, AgentHealthProbe, Clock, EventStream, Probe, Scheduler, SnapshotTransfer, Stores,
    WorkflowGateway,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use access::{Access, AccessQuestion, AccessSubject};
pub use agents::{AgentQuery, Agents};
pub use api_keys::{ApiKeyName, ApiKeyQuery, ApiKeys, CreatedApiKey, NewApiKey, NewWebhookTrigger, WebhookTrigger};
pub use authentication::Authentication;
pub use backfill::{Backfill, BackfillCursor, BackfillEvent, BackfillOptions, BackfillReport};
pub use caller::{Caller, RequestContext};
pub use checkpoints::{Checkpoints, NewWrites};
pub use deployment_history::{DeploymentHistory, DeploymentHistoryQuery};
pub use deployments::{CreatedDeployment, DeploymentQuery, Deployments, NewDeployment};
pub use error::{Absent, Error};
pub use events::{EventQuery, Events};
pub use forwarding::{ForwardCall, ForwardRefusal, Forwarded, Forwarding, ForwardingSettings};
pub use gateways::{
    AgentChoice, ChatPorts, ChatSettings, GatewaySettings, Gateways, LinearGateway, LinearPrompt, LinearSettings,
    ReplySettings, SlackGateway, SlackMessage, SlackSettings,
};
pub use idempotency::{Idempotency, KeyHold, KeyedOutcome, RecordedAnswer, RepeatableRequest};
pub use lifecycle::{IntentRelay, Relayed};
pub use messages::{Messages, NewMessage};
pub use readiness::{CheckResult, Readiness};
pub use registrations::{
    BuildRegistered, REGISTRATION_TOKEN_PREFIX, RegisterAgent, RegisterBuild, Registered, Registrations,
};
pub use retention::{
    CleanReport, CleanRequest, Exported, MessageDraft, RehydrateFrom, Retention, RetentionSettings, SnapshotDraft,
    StateDraft, SweepReport, SweepSettings, Swept, SweptPage, Uploaded,
};
pub use rpc::{AuthorizedCall, CallTarget, Rpc, RpcOutcome, RpcRequest, TurnUpdate, TurnUpdates};
pub use secrets::{Keyring, SecretsKey, SecretsKeyError};
pub use selectors::{AgentSelector, TaskSelector};
pub use settings::{
    AgentScope, AuthorizationSettings, LinkRule, RegistrationAuth, RelaySettings, ScheduleSettings, Settings,
};
pub use spans::{NewSpan, SpanQuery, Spans};
pub use states::{NewTaskState, StateQuery, States};
pub use task_streams::{StreamItem, TaskStreams};
pub use tasks::{TaskQuery, TaskWithAgents, Tasks};
pub use trackers::{TrackerQuery, Trackers};

pub use health_checks::HealthChecks;
pub use jobs::AppJobs;
pub use schedules::{
    DeletedSchedule, Live, NewAgentSchedule, NewRunSchedule, NewWorkflowSchedule, Patch, RunScheduleView,
    ScheduleChange, ScheduleHandle, ScheduleKind, ScheduleKinds, ScheduleList, ScheduleQuery, ScheduleView, Schedules,
    WorkflowScheduleEntry, WorkflowScheduleView,
};

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
    /// How agents are.
    pub agent_health: Arc<dyn AgentHealthProbe>,
    /// Keeps schedules. `None`: there are none.
    pub scheduler: Option<Arc<dyn Scheduler>>,
    /// The workflow engine, where there is one.
    pub workflows: Option<Arc<dyn WorkflowGateway>>,
    /// Documents to and from URLs that callers give.
    pub transfer: Arc<dyn SnapshotTransfer>,
    /// The way out to chat applications.
    pub chat: ChatPorts,
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
    /// Deployments of agents.
    pub deployments: Deployments,
    /// Which commits were deployed.
    pub deployment_history: DeploymentHistory,
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
    /// Schedules of agents.
    pub schedules: Schedules,
    /// Starts the health checks of agents.
    pub health_checks: HealthChecks,
    /// Requests of outsiders to agents.
    pub forwarding: Forwarding,
    /// Chats whose people talk to agents.
    pub gateways: Gateways,
    /// Contents of tasks: written out, taken away, put back.
    pub retention: Retention,
    /// Finishes what was left unfinished in the authorization graph.
    pub relay: IntentRelay,
    /// Requests that callers may repeat.
    pub idempotency: Idempotency,
    /// Watching tasks.
    pub task_streams: TaskStreams,
    /// Whether the dependencies answer.
    pub readiness: Readiness,
    agent_health: Arc<dyn AgentHealthProbe>,
    stores: Stores,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
    background: TaskTracker,
}

impl App {
    /// Wires the use cases.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let Ports {
            stores,
            streams,
            agent_client,
            forwarder,
            agent_health,
            scheduler,
            workflows,
            transfer,
            chat,
            authorizer,
            authenticator,
            keyring,
            clock,
            probes,
        } = ports;
        let shutdown = CancellationToken::new();
        let background = TaskTracker::new();
        let scope = settings.authorization.agent_scope;
        let guard = Guard::new(authorizer.clone(), scope, Arc::clone(&stores.tasks));
        let guard_of_spans = if settings.authorization.spans_are_guarded {
            guard.clone()
        } else {
            Guard::new(None, scope, Arc::clone(&stores.tasks))
        };
        let access = Access::new(guard.clone(), authorizer.clone());
        let lifecycle = Lifecycle::over(
            authorizer,
            Arc::clone(&stores.intents),
            Arc::clone(&stores.owners),
            Arc::clone(&clock),
            settings.relay.clone(),
            scheduler.clone(),
        );
        let health_checks =
            HealthChecks::new(Arc::clone(&stores.agents), workflows.clone(), &settings.schedules, background.clone());
        let schedules = Schedules::new(schedules::Parts {
            stores: stores.clone(),
            guard: guard.clone(),
            lifecycle: lifecycle.clone(),
            scheduler,
            clock: Arc::clone(&clock),
            background: background.clone(),
            settings: settings.schedules.clone(),
            ownerless: settings.authorization.ownerless_schedules,
        });
        let feed = TaskFeed::new(Arc::clone(&streams));
        let agents = Agents::new(stores.clone(), guard.clone(), lifecycle.clone(), Arc::clone(&clock))
            .with_schedules(schedules.clone());
        let tasks = Tasks::new(stores.clone(), guard.clone(), lifecycle.clone(), feed.clone(), Arc::clone(&clock))
            .with_workflows(workflows);
        let messages = Messages::new(stores.clone(), guard.clone(), Arc::clone(&clock), &settings);
        let registrations = Registrations::new(
            stores.clone(),
            guard.clone(),
            lifecycle.clone(),
            keyring.clone(),
            Arc::clone(&clock),
            settings.authorization.clone(),
        )
        .with_health_checks(health_checks.clone());
        let authentication = Authentication::new(
            authenticator,
            Arc::clone(&stores.api_keys),
            keyring.clone(),
            lifecycle.is_enabled(),
            settings.authorization.clone(),
        );
        let rpc = Rpc::new(rpc::Parts {
            stores: stores.clone(),
            guard: guard.clone(),
            lifecycle: lifecycle.clone(),
            feed,
            agent_client,
            keyring: keyring.clone(),
            clock: Arc::clone(&clock),
            background: background.clone(),
            settings: settings.clone(),
        });
        Self {
            gateways: Gateways::new(gateways::Parts {
                stores: stores.clone(),
                guard: guard.clone(),
                authentication: authentication.clone(),
                rpc: rpc.clone(),
                streams: Arc::clone(&streams),
                chat,
                clock: Arc::clone(&clock),
                background: background.clone(),
                shutdown: shutdown.clone(),
                settings: settings.gateways.clone(),
            }),
            schedules,
            health_checks: health_checks.clone(),
            agent_health,
            stores: stores.clone(),
            clock: Arc::clone(&clock),
            idempotency: Idempotency::new(
                Arc::clone(&stores.idempotency),
                keyring.clone(),
                Arc::clone(&clock),
                background.clone(),
            ),
            retention: Retention::new(retention::Parts {
                stores: stores.clone(),
                guard: guard.clone(),
                streams: Arc::clone(&streams),
                transfer,
                clock: Arc::clone(&clock),
                settings: settings.retention.clone(),
            }),
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
            spans: Spans::new(stores.clone(), guard_of_spans),
            checkpoints: Checkpoints::new(stores.clone(), guard.clone()),
            deployments: Deployments::new(stores.clone(), guard.clone(), registrations.tokens(), Arc::clone(&clock))
                .with_health_checks(health_checks),
            deployment_history: DeploymentHistory::new(stores.clone(), guard.clone()),
            registrations,
            rpc,
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

    /// Makes sure that the regular clean of idle tasks has the schedule of the settings, where it is switched on, and none
    /// otherwise.
    ///
    /// # Errors
    /// The scheduler cannot be reached, or the cron expression is none.
    pub async fn keep_sweep(&self) -> Result<(), Error> {
        self.schedules.keep_sweep(&self.retention.settings().sweep).await
    }

    /// Starts work that goes on when whoever asked for it has gone; [`Self::drain`] waits for it.
    pub fn outlive(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.background.spawn(work);
    }

    /// Waits until all work that outlives its request is done. Call after the last request ended.
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
