use agentex_authz::Scope;
use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{AgentId, Direction, PageRequest, Span, SpanChange, SpanId, TaskId};

/// A span, and whose permissions count for it.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpan {
    /// The span.
    pub span: Span,
    /// The task it names, or, where it names none, the task whose id is its trace's.
    pub task: Option<TaskId>,
}

/// What an update of a span did.
#[derive(Debug, Clone, PartialEq)]
pub enum SpanUpdate {
    /// This is the span now.
    Updated(Box<Span>),
    /// The span is not, or no longer, one of the task given; nothing was changed.
    Elsewhere,
    /// The task it was to be moved to is absent or deleted; nothing was changed.
    NoSuchTask,
}

/// Which spans to list.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanFilter {
    /// Only spans that name one of these tasks or, naming none, have its id as their trace's. `All` does not even ask for a
    /// task.
    pub scope: Scope,
    /// Only spans whose task (told as for `scope`) is linked to this agent, and spans that have none.
    pub linked_to: Option<AgentId>,
    /// Only spans of this trace.
    pub trace_id: Option<String>,
    /// Only spans that name this task or have its id as their trace's.
    pub task_id: Option<TaskId>,
}

/// What spans can be sorted by; ties are broken by id, in the same direction. What is missing sorts as the smallest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpanOrder {
    /// When they began.
    #[default]
    StartTime,
    /// When they ended.
    EndTime,
    /// Id.
    Id,
    /// Trace.
    TraceId,
    /// Task.
    TaskId,
    /// The span they are a part of.
    ParentId,
    /// Name.
    Name,
}

/// Keeps spans. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait SpanRepository: Send + Sync {
    /// Stores a span, in one statement. `false` when the task it names is absent or deleted; nothing is stored then.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when there is a span with its id.
    async fn insert(&self, span: &Span) -> Result<bool, StoreError>;

    /// The span with this id.
    async fn find(&self, id: &SpanId) -> Result<Option<FoundSpan>, StoreError>;

    /// Changes the span with this id if the task it names is `of` (`None`: if it names none). Concurrent changes keep each
    /// other's fields and each other's keys of `data`.
    async fn update(&self, id: &SpanId, of: Option<TaskId>, change: &SpanChange) -> Result<SpanUpdate, StoreError>;

    /// One page of spans. An empty scope is answered without a query.
    async fn list(
        &self,
        filter: &SpanFilter,
        order: SpanOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Span>, StoreError>;
}
