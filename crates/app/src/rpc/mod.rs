mod delivery;
mod dispatch;
mod gate;
mod target;
#[cfg(test)]
mod tests;
mod turn;
mod update;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use agentex_domain::ports::{AgentClient, Clock, DialTarget, Stores};
use agentex_domain::{AcpType, Event, JsonObject, Message, MessageContent, Task, TaskId};
use tokio_util::task::TaskTracker;

use crate::feed::TaskFeed;
use crate::guard::Guard;
use crate::lifecycle::Lifecycle;
use crate::{Caller, Error, Keyring, RequestContext, Settings, TaskSelector};

pub use target::CallTarget;
pub use turn::TurnUpdates;
pub use update::TurnUpdate;

use gate::Target;

/// Calls to agents: one gate for every method and every way in, then the call itself.
#[derive(Clone)]
pub struct Rpc {
    inner: Arc<Inner>,
}

/// What [`Rpc`] is made of.
pub(crate) struct Parts {
    pub(crate) stores: Stores,
    pub(crate) guard: Guard,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) feed: TaskFeed,
    pub(crate) agent_client: Arc<dyn AgentClient>,
    pub(crate) keyring: Keyring,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) background: TaskTracker,
    pub(crate) settings: Settings,
}

struct Inner {
    parts: Parts,
    /// Tasks with a turn in flight, when only one is allowed at a time.
    turns: Arc<Mutex<HashSet<TaskId>>>,
}

/// What a caller asks of an agent. The methods are exhaustive: one without a gate does not compile.
#[derive(Debug, Clone, PartialEq)]
pub enum RpcRequest {
    /// `task/create`: make a task, or address the one that has the name.
    CreateTask {
        /// The task's name.
        name: Option<String>,
        /// For the agent; replaces an existing task's when different.
        params: Option<JsonObject>,
        /// The caller's notes; ignored for an existing task.
        task_metadata: Option<JsonObject>,
    },
    /// `message/send`: say something to an agent that answers within the call.
    SendMessage {
        /// The task to go on with; without one, or with an unknown name, a new one.
        task: Option<TaskSelector>,
        /// What is said.
        content: MessageContent,
        /// Whether the answer comes piece by piece.
        stream: bool,
        /// The task's parameters.
        task_params: Option<JsonObject>,
    },
    /// `event/send`: tell something to an agent that answers later.
    SendEvent {
        /// The task.
        task: TaskSelector,
        /// What is told.
        content: Option<MessageContent>,
    },
    /// `task/cancel`.
    CancelTask {
        /// The task.
        task: TaskSelector,
    },
    /// `task/interrupt`.
    InterruptTask {
        /// The task.
        task: TaskSelector,
    },
}

impl RpcRequest {
    /// The method's wire name.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::CreateTask { .. } => "task/create",
            Self::SendMessage { .. } => "message/send",
            Self::SendEvent { .. } => "event/send",
            Self::CancelTask { .. } => "task/cancel",
            Self::InterruptTask { .. } => "task/interrupt",
        }
    }

    /// The task the request addresses by id.
    const fn task_id(&self) -> Option<&TaskId> {
        match self {
            Self::SendMessage { task: Some(TaskSelector::Id(id)), .. }
            | Self::SendEvent { task: TaskSelector::Id(id), .. }
            | Self::CancelTask { task: TaskSelector::Id(id) }
            | Self::InterruptTask { task: TaskSelector::Id(id) } => Some(id),
            Self::CreateTask { .. }
            | Self::SendMessage { .. }
            | Self::SendEvent { .. }
            | Self::CancelTask { .. }
            | Self::InterruptTask { .. } => None,
        }
    }

    const fn is_allowed_for(&self, acp_type: AcpType) -> bool {
        match self {
            Self::CreateTask { .. } | Self::InterruptTask { .. } => true,
            Self::SendMessage { .. } => acp_type.is_sync(),
            Self::SendEvent { .. } | Self::CancelTask { .. } => !acp_type.is_sync(),
        }
    }
}

/// A request that passed the gate. What was checked is in it; nothing is looked up by name again.
pub struct AuthorizedCall {
    caller: Caller,
    context: RequestContext,
    dial: DialTarget,
    /// Where to call; none when nobody has said where the agent listens.
    url: Option<String>,
    target: Target,
    request: RpcRequest,
    /// Names what is delivered, where it may be delivered again after a crash.
    delivery: Option<String>,
}

impl AuthorizedCall {
    /// The same as a repeatable delivery: however often a call of this `name` is made, what it says is stored once.
    pub(crate) fn delivering(self, name: String) -> Self {
        Self { delivery: Some(name), ..self }
    }

    /// The task the call goes to, where it is there already.
    pub(crate) const fn existing_task(&self) -> Option<&Task> {
        match &self.target {
            Target::Existing(task) => Some(task),
            Target::New { .. } => None,
        }
    }
}

impl std::fmt::Debug for AuthorizedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizedCall")
            .field("method", &self.request.method())
            .field("agent", &self.dial.agent.id)
            .finish_non_exhaustive()
    }
}

/// What a call answers.
#[derive(Debug)]
pub enum RpcOutcome {
    /// The task concerned.
    Task(Task),
    /// The agent's messages, in order.
    Messages(Vec<Message>),
    /// The stored event.
    Event(Event),
    /// The agent's reply as it comes.
    Updates(TurnUpdates),
}

impl Rpc {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts, turns: Arc::default() }) }
    }
}

impl std::ops::Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// The right to run a turn on a task; given back when dropped.
struct TurnLease {
    turns: Arc<Mutex<HashSet<TaskId>>>,
    task_id: TaskId,
}

impl Inner {
    fn lease_turn(&self, task: &Task, dial: &DialTarget) -> Result<Option<TurnLease>, Error> {
        if !self.settings.one_turn_per_task {
            return Ok(None);
        }
        if !self.turns.lock().unwrap_or_else(PoisonError::into_inner).insert(task.id.clone()) {
            return Err(Error::Rpc(format!(
                "Agent {} already processing message send for task {}",
                dial.agent.id, task.id
            )));
        }
        Ok(Some(TurnLease { turns: Arc::clone(&self.turns), task_id: task.id.clone() }))
    }
}

impl Drop for TurnLease {
    fn drop(&mut self) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.task_id);
    }
}
