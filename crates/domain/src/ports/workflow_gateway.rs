use async_trait::async_trait;
use serde_json::Value;

use crate::ports::BoxError;

/// Why a workflow engine did not do its job.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// There is no engine, or it cannot be reached.
    #[error("workflow engine unavailable")]
    Unavailable(#[source] BoxError),
    /// No answer in time.
    #[error("the workflow engine did not answer in time")]
    DeadlineExceeded(#[source] BoxError),
    /// A workflow of that id is running.
    #[error("workflow already exists")]
    AlreadyExists,
    /// There is no such workflow, or it has ended.
    #[error("workflow not found")]
    NotFound,
    /// The workflow knows no query of that name.
    #[error("unknown query")]
    UnknownQuery,
    /// The engine does not accept an argument.
    #[error("workflow refused: {0}")]
    Invalid(String),
    /// It failed in another way.
    #[error("workflow engine failed")]
    Failed(#[source] BoxError),
}

/// A workflow to start.
#[derive(Debug, Clone, PartialEq)]
pub struct StartWorkflow {
    /// Its type.
    pub workflow_type: String,
    /// Its id.
    pub id: String,
    /// Its arguments, in order.
    pub arguments: Vec<Value>,
    /// Queue its worker listens to.
    pub task_queue: String,
}

/// Whether and how a workflow runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkflowState {
    /// It runs.
    Running,
    /// It ended by itself.
    Completed,
    /// It ended in an error, or ran out of time.
    Failed,
    /// Somebody ended it.
    Stopped,
}

/// Starts and watches workflows of a workflow engine.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait WorkflowGateway: Send + Sync {
    /// Starts a workflow. An ended one of the same id does not count.
    async fn start(&self, workflow: &StartWorkflow) -> Result<(), WorkflowError>;

    /// Sends a signal with one argument, or none.
    async fn signal(&self, id: &str, signal: &str, argument: Option<Value>) -> Result<(), WorkflowError>;

    /// Asks a workflow; the answer is its JSON.
    async fn query(&self, id: &str, query: &str, argument: Option<Value>) -> Result<Value, WorkflowError>;

    /// How the newest run of the id is.
    async fn describe(&self, id: &str) -> Result<WorkflowState, WorkflowError>;

    /// Asks a workflow to end.
    async fn cancel(&self, id: &str) -> Result<(), WorkflowError>;

    /// Ends a workflow at once.
    async fn terminate(&self, id: &str, reason: &str) -> Result<(), WorkflowError>;
}
