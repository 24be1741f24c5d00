//! What the product needs from outside, as promises. Each trait's documentation is its contract; `testkit` holds the suite
//! that every adapter must pass.

mod agent_client;
mod agent_forwarder;
mod agents;
mod api_keys;
mod checkpoints;
mod clock;
mod deployments;
mod error;
mod event_stream;
mod events;
mod intents;
mod messages;
mod probe;
mod registration_tokens;
mod spans;
mod states;
mod stores;
mod task_items;
mod tasks;
mod trackers;

#[cfg(any(test, feature = "mock"))]
pub use agent_client::MockAgentClient;
pub use agent_client::{AgentCall, AgentCallError, AgentClient, AgentRequest, CallContext, UpdateStream};
#[cfg(any(test, feature = "mock"))]
pub use agent_forwarder::MockAgentForwarder;
pub use agent_forwarder::{AgentForwarder, ForwardError, ForwardReply, ForwardRequest};
#[cfg(any(test, feature = "mock"))]
pub use agents::MockAgentRepository;
pub use agents::{AgentFilter, AgentOrder, AgentRepository, DialTarget, Reregistered};
#[cfg(any(test, feature = "mock"))]
pub use api_keys::MockApiKeyRepository;
pub use api_keys::{ApiKeyFilter, ApiKeyRepository, InternalKey, KeyOwner};
#[cfg(any(test, feature = "mock"))]
pub use checkpoints::MockCheckpointRepository;
pub use checkpoints::{CheckpointFilter, CheckpointRepository, RepeatedWrite};
pub use clock::{Clock, SystemClock};
#[cfg(any(test, feature = "mock"))]
pub use deployments::MockDeploymentRepository;
pub use deployments::{DeploymentRepository, DeploymentUpsert};
pub use error::{BoxError, StoreError, StreamError};
pub use event_stream::{Cursor, Delivery, Entry, EventStream, StartAt, Subscription};
pub use events::EventRepository;
#[cfg(any(test, feature = "mock"))]
pub use events::MockEventRepository;
pub use intents::{Backlog, Departure, IntentRepository, Opened, OwnerRepository, Settlement};
#[cfg(any(test, feature = "mock"))]
pub use intents::{MockIntentRepository, MockOwnerRepository};
#[cfg(any(test, feature = "mock"))]
pub use messages::MockMessageRepository;
pub use messages::{MessageOrder, MessageRepository, UpdateMany};
pub use probe::{Probe, ProbeError};
#[cfg(any(test, feature = "mock"))]
pub use registration_tokens::MockRegistrationTokenRepository;
pub use registration_tokens::{RegistrationToken, RegistrationTokenRepository};
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
pub use trackers::MockTrackerRepository;
pub use trackers::{TrackerChange, TrackerOrder, TrackerRepository, TrackerUpdate};
