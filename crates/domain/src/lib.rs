#![doc = include_str!("../README.md")]

mod accumulator;
mod agent;
mod api_key;
mod cadence;
mod checkpoint;
mod content;
mod deployment;
mod deployment_history;
mod event;
mod exact_json;
mod filter;
mod ids;
pub mod input;
mod intent;
mod message;
mod paging;
pub mod ports;
mod retention;
mod schedule;
mod span;
mod state;
mod task;
mod time;
mod timer;
mod tracker;
mod update;

pub use accumulator::{Accumulator, FoldError};
pub use agent::{AcpType, Agent, AgentInputType, AgentName, AgentStatus, Registration};
pub use api_key::{ApiKey, ApiKeyKind};
pub use cadence::{Occurrences, TimingProblem, UPCOMING, names_zone};
pub use checkpoint::{Checkpoint, CheckpointBlob, CheckpointTuple, CheckpointWrite};
pub use content::{Attachment, Author, MessageContent, Style, TextFormat};
pub use deployment::{Deployment, DeploymentRegistration, DeploymentStatus, NotPromotable};
pub use deployment_history::DeploymentHistoryEntry;
pub use event::Event;
pub use exact_json::{ExactJson, NotExactJson};
pub use filter::{FilterTerm, MessageFilter};
pub use ids::{
    AgentId, ApiKeyId, DeploymentHistoryId, DeploymentId, EventId, GatewayEventId, IntentId, MessageId, RunScheduleId,
    SpanId, StateId, TaskId, TrackerId,
};
pub use intent::{Intent, IntentStep, Ownership};
pub use message::{Message, StreamingStatus};
pub use paging::{Direction, MessageCursor, MessagePage, PageRequest, TimeDirection};
pub use retention::{
    CleanCounts, CleanExtent, CleanOverrides, CleanRefusal, CleanRules, CleanVerdict, Snapshot, TaskActivity,
};
pub use schedule::{Cadence, RunSchedule, RunTrigger, ScheduleInput, ScheduledAction, Timing, WorkflowAction};
pub use span::{Span, SpanChange, SpanData};
pub use state::TaskState;
pub use task::{NewTask, Task, TaskStatus, Transition};
pub use time::Timestamp;
pub use timer::{ClaimedFire, Fire, Misfire, MisfirePolicy, Timer, TimerAction};
pub use tracker::Tracker;
pub use update::{Delta, DeltaKind, MessageUpdate};

/// A JSON object, as metadata, parameters and data contents hold it.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;
