//! What the product needs from outside, as promises. Each trait's documentation is its contract; `testkit` holds the suite
//! that every adapter must pass.

mod agent_checks;
mod agent_client;
mod agent_forwarder;
mod agent_health;
mod agents;
mod api_keys;
mod chat;
mod checkpoints;
mod clock;
mod deployment_history;
mod deployments;
mod error;
mod event_stream;
mod events;
mod gateways;
mod idempotency;
mod intents;
mod jobs;
mod messages;
mod probe;
mod registration_tokens;
mod retention;
mod run_schedules;
mod scheduler;
mod snapshot_transfer;
mod spans;
mod states;
mod stores;
mod task_items;
mod tasks;
mod timers;
mod trackers;
mod workflow_gateway;

#[cfg(any(test, feature = "mock"))]
pub use agent_checks::MockAgentCheckRepository;
pub use agent_checks::{AgentCheck, AgentCheckRepository};
#[cfg(any(test, feature = "mock"))]
pub use agent_client::MockAgentClient;
pub use agent_client::{AgentCall, AgentCallError, AgentClient, AgentRequest, CallContext, UpdateStream};
#[cfg(any(test, feature = "mock"))]
pub use agent_forwarder::MockAgentForwarder;
pub use agent_forwarder::{AgentForwarder, ForwardError, ForwardReply, ForwardRequest};
pub use agent_health::AgentHealthProbe;
#[cfg(any(test, feature = "mock"))]
pub use agent_health::MockAgentHealthProbe;
#[cfg(any(test, feature = "mock"))]
pub use agents::MockAgentRepository;
pub use agents::{AgentFilter, AgentOrder, AgentRepository, DialTarget, Reregistered};
#[cfg(any(test, feature = "mock"))]
pub use api_keys::MockApiKeyRepository;
pub use api_keys::{ApiKeyFilter, ApiKeyRepository, InternalKey, KeyOwner};
pub use chat::{ChatError, ChatProvider, ChatWorkspace, Conversation, DirectoryCaller, GatewayDirectory};
#[cfg(any(test, feature = "mock"))]
pub use checkpoints::MockCheckpointRepository;
pub use checkpoints::{CheckpointFilter, CheckpointRepository, RepeatedWrite};
pub use clock::{Clock, Sleeper, SystemClock};
#[cfg(any(test, feature = "mock"))]
pub use deployment_history::MockDeploymentHistoryRepository;
pub use deployment_history::{DeploymentHistoryOrder, DeploymentHistoryRepository};
#[cfg(any(test, feature = "mock"))]
pub use deployments::MockDeploymentRepository;
pub use deployments::{DeploymentOrder, DeploymentRepository, DeploymentUpsert, Promotion, Removal};
pub use error::{BoxError, StoreError, StreamError};
pub use event_stream::{Cursor, Delivery, Entry, EventStream, StartAt, Subscription};
pub use events::EventRepository;
#[cfg(any(test, feature = "mock"))]
pub use events::MockEventRepository;
#[cfg(any(test, feature = "mock"))]
pub use gateways::MockGatewayRepository;
pub use gateways::{GatewayAccepted, GatewayClaim, GatewayEvent, GatewayRepository, NewGatewayEvent};
#[cfg(any(test, feature = "mock"))]
pub use idempotency::MockIdempotencyRepository;
pub use idempotency::{Claimed, IdempotencyClaim, IdempotencyRepository, StoredAnswer};
pub use intents::{Backlog, Departure, IntentRepository, Opened, OwnerRepository, Settlement};
#[cfg(any(test, feature = "mock"))]
pub use intents::{MockIntentRepository, MockOwnerRepository};
#[cfg(any(test, feature = "mock"))]
pub use jobs::MockJobs;
pub use jobs::{AgentHealth, CleanOutcome, JobError, Jobs, RunOutcome, SweepConfig};
#[cfg(any(test, feature = "mock"))]
pub use messages::MockMessageRepository;
pub use messages::{MessageOrder, MessageRepository, UpdateMany};
pub use probe::{Probe, ProbeError};
#[cfg(any(test, feature = "mock"))]
pub use registration_tokens::MockRegistrationTokenRepository;
pub use registration_tokens::{RegistrationToken, RegistrationTokenRepository};
#[cfg(any(test, feature = "mock"))]
pub use retention::MockRetentionRepository;
pub use retention::{
    CleanCandidate, CleanOrder, Cleaned, Rehydrated, RetentionRepository, SNAPSHOT_PAGE, SnapshotPage, SnapshotPages,
};
#[cfg(any(test, feature = "mock"))]
pub use run_schedules::MockRunScheduleRepository;
pub use run_schedules::RunScheduleRepository;
#[cfg(any(test, feature = "mock"))]
pub use scheduler::MockScheduler;
pub use scheduler::{NewSchedule, ScheduleDescription, ScheduleEntry, ScheduleError, ScheduleListing, Scheduler};
#[cfg(any(test, feature = "mock"))]
pub use snapshot_transfer::MockSnapshotTransfer;
pub use snapshot_transfer::{SnapshotBody, SnapshotTransfer, TransferError, UrlRefusal, VettedUrl};
#[cfg(any(test, feature = "mock"))]
pub use spans::MockSpanRepository;
pub use spans::{FoundSpan, SpanFilter, SpanOrder, SpanRepository, SpanUpdate};
#[cfg(any(test, feature = "mock"))]
pub use states::MockStateRepository;
pub use states::{StateOrder, StateRepository};
pub use stores::Stores;
pub use task_items::TaskItemFilter;
#[cfg(any(test, feature = "mock"))]
pub use tasks::MockTaskRepository;
pub use tasks::{DeletedTask, TaskChange, TaskFilter, TaskInsert, TaskOrder, TaskRepository, Transitioned};
#[cfg(any(test, feature = "mock"))]
pub use timers::MockTimerRepository;
pub use timers::{FinishedFire, FireLease, FireNow, SetAside, TimerRepository};
#[cfg(any(test, feature = "mock"))]
pub use trackers::MockTrackerRepository;
pub use trackers::{TrackerChange, TrackerOrder, TrackerRepository, TrackerUpdate};
#[cfg(any(test, feature = "mock"))]
pub use workflow_gateway::MockWorkflowGateway;
pub use workflow_gateway::{StartWorkflow, WorkflowError, WorkflowGateway, WorkflowState};
