use agentex_authz::{Operation, ResourceKind, ResourceRef, Scope};
use agentex_domain::ports::{FoundSpan, SpanFilter, SpanOrder, SpanUpdate, StoreError, Stores};
use agentex_domain::{Direction, PageRequest, Span, SpanChange, SpanData, SpanId, TaskId, Timestamp};

use crate::guard::{Guard, Need, Sought, Visible};
use crate::{Absent, Caller, Error};

/// How often a change is tried again of a span that was moved to another task meanwhile.
const LOOKS: usize = 3;

/// Spans of agents' work. They have no permissions of their own; their task's count. A span that names no task belongs to the
/// task whose id is its trace's when it is read, as older writers had it, and to nobody when it is written: anybody may write
/// it, and only agents, and everybody where authorization is off or does not cover spans, may read it.
pub struct Spans {
    stores: Stores,
    guard: Guard,
}

/// A span to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSpan {
    /// The reporter's own id for it; one is made when there is none.
    pub id: Option<SpanId>,
    /// What groups spans.
    pub trace_id: String,
    /// The task it belongs to.
    pub task_id: Option<TaskId>,
    /// The span it is a part of.
    pub parent_id: Option<String>,
    /// What is done.
    pub name: String,
    /// When it began.
    pub start_time: Timestamp,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// What it was given.
    pub input: Option<SpanData>,
    /// What came of it.
    pub output: Option<SpanData>,
    /// Anything else.
    pub data: Option<SpanData>,
}

/// Which spans to list, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanQuery {
    /// Only spans of this trace.
    pub trace_id: Option<String>,
    /// Only spans of this task, and those whose trace has its id.
    pub task_id: Option<TaskId>,
    /// Sorted by this.
    pub order: SpanOrder,
    /// In this direction.
    pub direction: Direction,
    /// Which of them.
    pub page: PageRequest,
}

impl NewSpan {
    fn into_span(self) -> Span {
        let Self { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data } = self;
        let id = id.unwrap_or_else(SpanId::generate);
        Span { id, trace_id, task_id, parent_id, name, start_time, end_time, input, output, data }
    }
}

impl Spans {
    pub(crate) const fn new(stores: Stores, guard: Guard) -> Self {
        Self { stores, guard }
    }

    /// Stores a span, if the caller may update the task it names; anybody may store one that names none.
    #[tracing::instrument(name = "spans.create", skip_all)]
    pub async fn create(&self, caller: &Caller, new: NewSpan) -> Result<Span, Error> {
        if let Some(task_id) = &new.task_id {
            self.guard.require_all(caller, vec![on_task(task_id)]).await?;
        }
        let span = new.into_span();
        if self.stores.spans.insert(&span).await? {
            return Ok(span);
        }
        Err(self.no_such_task(span.task_id.as_ref()))
    }

    /// Changes a span, if the caller may update the task it names and the one it is moved to. Who may change it but not read
    /// it gets back what it carries only as far as the change itself says it.
    #[tracing::instrument(name = "spans.update", skip_all, fields(span.id = %id))]
    pub async fn update(&self, caller: &Caller, id: &SpanId, change: SpanChange) -> Result<Span, Error> {
        let absent = || Absent::Id(id.as_str().to_owned());
        for _ in 0..LOOKS {
            let found = self.stores.spans.find(id).await?;
            let named = found.as_ref().and_then(|found| found.span.task_id.clone());
            let mut needs = Vec::new();
            if named.is_some() || found.is_none() {
                let found = named.as_ref().map(TaskId::as_str);
                let sought = Sought { kind: ResourceKind::Task, found, typed: None, absent: absent() };
                needs.push(Need::sought(Operation::Update, sought));
            }
            needs.extend(change.task_id.as_ref().map(on_task));
            if !needs.is_empty() {
                self.guard.require_all(caller, needs).await?;
            }
            if found.is_none() {
                return Err(Error::NotFound(absent()));
            }
            match self.stores.spans.update(id, named, &change).await? {
                SpanUpdate::Updated(span) if span.task_id.is_none() && !self.reads_all(caller) => {
                    let SpanChange { input, output, data, .. } = change;
                    return Ok(Span { input, output, data, ..*span });
                }
                SpanUpdate::Updated(span) => return Ok(*span),
                SpanUpdate::NoSuchTask => return Err(self.no_such_task(change.task_id.as_ref())),
                SpanUpdate::Elsewhere => {}
            }
        }
        Err(StoreError::Unavailable("the span changed too often".into()).into())
    }

    /// One span, if the caller may read its task.
    #[tracing::instrument(name = "spans.get", skip_all, fields(span.id = %id))]
    pub async fn get(&self, caller: &Caller, id: &SpanId) -> Result<Span, Error> {
        let absent = || Absent::Id(id.as_str().to_owned());
        let found = self.stores.spans.find(id).await?;
        if let Some(FoundSpan { span, task: None }) = &found
            && self.reads_all(caller)
        {
            return Ok(span.clone());
        }
        let task = found.as_ref().and_then(|found| found.task.as_ref()).map(TaskId::as_str);
        let sought = Sought { kind: ResourceKind::Task, found: task, typed: None, absent: absent() };
        self.guard.require_sought(caller, Operation::Read, sought).await?;
        found.map(|found| found.span).ok_or_else(|| Error::NotFound(absent()))
    }

    /// One page of the spans the caller may read. Of a task that is asked for, spans of its trace that name another task are
    /// listed to agents linked to that one, and to everybody where authorization is off.
    #[tracing::instrument(name = "spans.list", skip_all)]
    pub async fn list(&self, caller: &Caller, query: SpanQuery) -> Result<Vec<Span>, Error> {
        let SpanQuery { trace_id, task_id, order, direction, page } = query;
        let Visible { scope, linked_to } = match &task_id {
            Some(task_id) => {
                let absent = Absent::Id(task_id.as_str().to_owned());
                self.guard.require(caller, Operation::Read, ResourceRef::task(task_id.as_str()), absent).await?;
                if self.reads_all(caller) {
                    // Asks nobody: what agents see is known here.
                    self.guard.visible(caller, ResourceKind::Task).await?
                } else {
                    Visible { scope: Scope::Only([task_id.as_str()].into()), linked_to: None }
                }
            }
            None => self.guard.visible(caller, ResourceKind::Task).await?,
        };
        let filter = SpanFilter { scope, linked_to, trace_id, task_id };
        Ok(self.stores.spans.list(&filter, order, direction, page).await?)
    }

    /// Whether the caller may read spans that belong to no task.
    const fn reads_all(&self, caller: &Caller) -> bool {
        !self.guard.is_enabled() || matches!(caller, Caller::Agent { .. })
    }

    /// A task that is gone is hidden where anything is; elsewhere the input is wrong.
    fn no_such_task(&self, task_id: Option<&TaskId>) -> Error {
        match task_id {
            Some(task_id) if self.guard.is_enabled() => Error::NotFound(Absent::Id(task_id.as_str().to_owned())),
            _ => StoreError::Dangling { what: "span" }.into(),
        }
    }
}

fn on_task(task_id: &TaskId) -> Need {
    let absent = Absent::Id(task_id.as_str().to_owned());
    Need::on(Operation::Update, ResourceRef::task(task_id.as_str()), absent)
}
