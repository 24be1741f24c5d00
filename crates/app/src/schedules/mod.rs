mod agents;
mod failure;
mod list;
mod mend;
pub(crate) mod names;
mod run;
mod shapes;
mod sweep;
mod workflow;

use std::sync::Arc;

use agentex_authz::{Operation, ResourceKind, ResourceRef};
use agentex_domain::ports::{Clock, ScheduleError, Scheduler, Stores};
use agentex_domain::{Agent, AgentId, RunSchedule, RunScheduleId, Timestamp};
use tokio_util::task::TaskTracker;

use crate::guard::{Guard, NOTHING, Sought};
use crate::lifecycle::Lifecycle;
use crate::{Absent, AgentSelector, Caller, Error, ScheduleSettings};

pub use shapes::{
    DeletedSchedule, Live, NewAgentSchedule, NewRunSchedule, NewWorkflowSchedule, Patch, RunScheduleView,
    ScheduleChange, ScheduleHandle, ScheduleKind, ScheduleKinds, ScheduleList, ScheduleQuery, ScheduleView,
    WorkflowScheduleEntry, WorkflowScheduleView,
};

/// Both kinds of schedules of agents. Run schedules have a row, and a clock that the scheduler keeps; workflow schedules are
/// with the scheduler only.
///
/// Making one takes `update` on the agent; everything else is decided on the schedule itself. What is hidden, absent, deleted
/// or of another agent is answered alike. Agents that act in their own scope never manage schedules.
#[derive(Clone)]
pub struct Schedules {
    stores: Stores,
    guard: Guard,
    lifecycle: Lifecycle,
    /// `None`: there are none of either kind.
    scheduler: Option<Arc<dyn Scheduler>>,
    clock: Arc<dyn Clock>,
    background: TaskTracker,
    settings: ScheduleSettings,
    /// Whether somebody who cannot own anything may make a schedule.
    ownerless: bool,
}

/// What [`Schedules`] is made of.
pub(crate) struct Parts {
    pub(crate) stores: Stores,
    pub(crate) guard: Guard,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) scheduler: Option<Arc<dyn Scheduler>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) background: TaskTracker,
    pub(crate) settings: ScheduleSettings,
    pub(crate) ownerless: bool,
}

/// A schedule that the caller may act on.
enum Target {
    Run(Box<RunSchedule>),
    Workflow(WorkflowTarget),
}

/// A workflow schedule that the caller may act on, if the scheduler has it.
struct WorkflowTarget {
    agent: AgentId,
    name: String,
    /// What to say if it does not.
    absent: Absent,
    /// Whether nothing but a workflow schedule was meant.
    certain: bool,
}

impl WorkflowTarget {
    fn id(&self) -> String {
        names::workflow_id(&self.agent, &self.name)
    }

    fn absent(&self) -> Error {
        Error::NotFound(self.absent.clone())
    }
}

impl Schedules {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { stores, guard, lifecycle, scheduler, clock, background, settings, ownerless } = parts;
        Self { stores, guard, lifecycle, scheduler, clock, background, settings, ownerless }
    }

    /// Makes a schedule of an agent the caller may update. It is registered under the agent before its scheduler knows it,
    /// and what was done is undone when something fails; it goes on when the caller goes away.
    ///
    /// # Errors
    /// A name that either kind of schedule has is [`Error::Invalid`] for run schedules and [`Error::Conflict`] for workflow
    /// schedules.
    #[tracing::instrument(name = "schedules.create", skip_all, fields(agent.id = %agent, kind = new.kind().as_str()))]
    pub async fn create(&self, caller: &Caller, agent: &AgentId, new: NewAgentSchedule) -> Result<ScheduleView, Error> {
        new.check()?;
        let agent = self.updatable_agent(caller, agent).await?;
        if !self.is_enabled(new.kind()) {
            return Err(Error::NotFound(Absent::Id(agent.id.into_string())));
        }
        if self.guard.is_enabled() && caller.creator().is_none() && !self.ownerless {
            // A schedule that nobody owns could be seen by nobody, and would never be allowed to do anything.
            let resource = ResourceRef::any(ResourceKind::Schedule);
            return Err(Error::Forbidden { operation: Operation::Create, resource });
        }
        let (this, caller) = (self.clone(), caller.clone());
        self.detached(async move {
            match new {
                NewAgentSchedule::Run(new) => this.create_run(&caller, &agent, new).await.map(ScheduleView::from),
                NewAgentSchedule::Workflow(new) => {
                    this.create_workflow(&caller, &agent, new).await.map(ScheduleView::from)
                }
            }
        })
        .await
    }

    /// The schedule, if the caller may read it.
    #[tracing::instrument(name = "schedules.get", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn get(&self, caller: &Caller, agent: &AgentId, handle: &ScheduleHandle) -> Result<ScheduleView, Error> {
        match self.authorized(caller, Operation::Read, agent, handle).await? {
            Target::Run(schedule) => self.run_view(*schedule).await.map(ScheduleView::from),
            Target::Workflow(target) => self.workflow_view(&target).await.map(ScheduleView::from),
        }
    }

    /// Changes what `change` names. Single occurrences that were skipped stay skipped.
    #[tracing::instrument(name = "schedules.update", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn update(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
        change: ScheduleChange,
    ) -> Result<ScheduleView, Error> {
        match self.authorized(caller, Operation::Update, agent, handle).await? {
            Target::Run(schedule) => {
                let changed = self.update_run(*schedule, change).await?;
                self.run_view(changed).await.map(ScheduleView::from)
            }
            Target::Workflow(target) => {
                self.update_workflow(&target, change).await?;
                self.workflow_view(&target).await.map(ScheduleView::from)
            }
        }
    }

    /// Passes over its occurrences from now on. Repeating it is no error.
    #[tracing::instrument(name = "schedules.pause", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn pause(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
        note: Option<String>,
    ) -> Result<ScheduleView, Error> {
        let note = note.unwrap_or_else(|| "Paused via API".to_owned());
        self.set_paused(caller, agent, handle, true, &note).await
    }

    /// Undoes [`Self::pause`]. Repeating it is no error.
    #[tracing::instrument(name = "schedules.resume", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn resume(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
        note: Option<String>,
    ) -> Result<ScheduleView, Error> {
        let note = note.unwrap_or_else(|| "Unpaused via API".to_owned());
        self.set_paused(caller, agent, handle, false, &note).await
    }

    async fn set_paused(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
        paused: bool,
        note: &str,
    ) -> Result<ScheduleView, Error> {
        match self.authorized(caller, Operation::Update, agent, handle).await? {
            Target::Run(schedule) => {
                let changed = self.set_run_paused(*schedule, paused, note).await?;
                self.run_view(changed).await.map(ScheduleView::from)
            }
            Target::Workflow(target) => {
                let scheduler = self.scheduler_of(&target)?;
                let outcome = if paused {
                    scheduler.pause(&target.id(), note).await
                } else {
                    scheduler.resume(&target.id(), note).await
                };
                let verb = if paused { "pause" } else { "unpause" };
                outcome.map_err(|error| failure::of_workflow(verb, &target, error))?;
                self.workflow_view(&target).await.map(ScheduleView::from)
            }
        }
    }

    /// Runs it once, now, paused or not.
    #[tracing::instrument(name = "schedules.trigger", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn trigger(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
    ) -> Result<ScheduleView, Error> {
        match self.authorized(caller, Operation::Update, agent, handle).await? {
            Target::Run(schedule) => {
                let fire_id = names::manual_fire_id(&schedule.id, self.clock.now());
                let started = self.scheduler()?.run_now(&schedule.id, &fire_id).await;
                started.map_err(|error| failure::of_run("trigger", &schedule, error))?;
                self.run_view(*schedule).await.map(ScheduleView::from)
            }
            Target::Workflow(target) => {
                let triggered = self.scheduler_of(&target)?.trigger(&target.id()).await;
                triggered.map_err(|error| failure::of_workflow("trigger", &target, error))?;
                self.workflow_view(&target).await.map(ScheduleView::from)
            }
        }
    }

    /// Passes over the one occurrence at `at`, which must be among the next ones.
    #[tracing::instrument(name = "schedules.skip", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn skip(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
        at: Timestamp,
    ) -> Result<ScheduleView, Error> {
        self.move_occurrence(caller, agent, handle, at, true).await
    }

    /// Undoes [`Self::skip`].
    #[tracing::instrument(name = "schedules.unskip", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn unskip(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
        at: Timestamp,
    ) -> Result<ScheduleView, Error> {
        self.move_occurrence(caller, agent, handle, at, false).await
    }

    async fn move_occurrence(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
        at: Timestamp,
        skip: bool,
    ) -> Result<ScheduleView, Error> {
        let verb = if skip { "skip" } else { "unskip" };
        let moved = async |scheduler: &dyn Scheduler, id: &str| {
            if skip { scheduler.skip(id, at).await } else { scheduler.unskip(id, at).await }
        };
        match self.authorized(caller, Operation::Update, agent, handle).await? {
            Target::Run(schedule) => {
                let id = names::clock_id(&schedule.id);
                let outcome = moved(&**self.scheduler()?, &id).await;
                outcome.map_err(|error| failure::of_run(verb, &schedule, error))?;
                self.run_view(*schedule).await.map(ScheduleView::from)
            }
            Target::Workflow(target) => {
                let outcome = moved(&**self.scheduler_of(&target)?, &target.id()).await;
                outcome.map_err(|error| failure::of_workflow(verb, &target, error))?;
                self.workflow_view(&target).await.map(ScheduleView::from)
            }
        }
    }

    /// Removes the schedule: its clock, its row, then what the graph holds of it. What it has started goes on.
    #[tracing::instrument(name = "schedules.delete", skip_all, fields(agent.id = %agent, schedule = handle.as_str()))]
    pub async fn delete(
        &self,
        caller: &Caller,
        agent: &AgentId,
        handle: &ScheduleHandle,
    ) -> Result<DeletedSchedule, Error> {
        let target = self.authorized(caller, Operation::Delete, agent, handle).await?;
        let (this, caller) = (self.clone(), caller.clone());
        self.detached(async move {
            match target {
                Target::Run(schedule) => {
                    this.delete_run(&caller, &schedule).await?;
                    Ok(DeletedSchedule { id: schedule.id.into_string(), kind: ScheduleKind::AgentRun })
                }
                Target::Workflow(target) => {
                    this.delete_workflow(&caller, &target).await?;
                    Ok(DeletedSchedule { id: target.id(), kind: ScheduleKind::Workflow })
                }
            }
        })
        .await
    }

    /// Whether the caller may know of the schedule, without looking at it any further.
    pub async fn readable(&self, caller: &Caller, agent: &AgentId, handle: &ScheduleHandle) -> Result<(), Error> {
        self.authorized(caller, Operation::Read, agent, handle).await.map(drop)
    }

    /// The schedule behind a handle, once the caller may perform `operation` on it. Of a workflow schedule only the scheduler
    /// knows whether it is there.
    async fn authorized(
        &self,
        caller: &Caller,
        operation: Operation,
        agent: &AgentId,
        handle: &ScheduleHandle,
    ) -> Result<Target, Error> {
        match handle {
            ScheduleHandle::Handle(handle) if names::is_row_id(handle) => {
                let absent = absent_run(handle, agent);
                let found = if self.is_enabled(ScheduleKind::AgentRun) {
                    self.stores.run_schedules.find(&RunScheduleId::from(handle.as_str())).await?
                } else {
                    None
                };
                let found = found.filter(|found| found.deleted_at.is_none() && found.agent_id == *agent);
                let selector = names::run_selector(agent, handle);
                let sought = Sought {
                    kind: ResourceKind::Schedule,
                    found: found.as_ref().map(|_| selector.as_str()),
                    typed: Some(&selector),
                    absent: absent.clone(),
                };
                self.guard.require_sought(caller, operation, sought).await?;
                found.map(|found| Target::Run(Box::new(found))).ok_or(Error::NotFound(absent))
            }
            ScheduleHandle::Handle(name) if names::is_name(name) => {
                let absent = Absent::Id(names::workflow_id(agent, name));
                self.authorized_workflow(caller, operation, agent, name, absent, true).await
            }
            ScheduleHandle::Handle(other) => Err(Error::NotFound(Absent::Id(other.clone()))),
            ScheduleHandle::Name(name) => {
                let absent = absent_run(name, agent);
                if !names::is_name(name) {
                    return Err(Error::NotFound(absent));
                }
                let found = if self.is_enabled(ScheduleKind::AgentRun) {
                    self.stores.run_schedules.find_by_name(agent, name).await?
                } else {
                    None
                };
                let Some(found) = found else {
                    return self.authorized_workflow(caller, operation, agent, name, absent, false).await;
                };
                let resource = names::run_resource(agent, found.id.as_str());
                self.guard.require(caller, operation, resource, absent).await?;
                Ok(Target::Run(Box::new(found)))
            }
        }
    }

    async fn authorized_workflow(
        &self,
        caller: &Caller,
        operation: Operation,
        agent: &AgentId,
        name: &str,
        absent: Absent,
        certain: bool,
    ) -> Result<Target, Error> {
        let possible = self.is_enabled(ScheduleKind::Workflow) && (certain || self.workflow_scheduler().is_ok());
        // Where a name can only be a run schedule's, an absent one is asked about as such.
        let selector =
            if possible || certain { names::workflow_id(agent, name) } else { names::run_selector(agent, NOTHING) };
        let sought = Sought {
            kind: ResourceKind::Schedule,
            found: possible.then_some(selector.as_str()),
            typed: Some(&selector),
            absent: absent.clone(),
        };
        self.guard.require_sought(caller, operation, sought).await?;
        Ok(Target::Workflow(WorkflowTarget { agent: agent.clone(), name: name.to_owned(), absent, certain }))
    }

    async fn updatable_agent(&self, caller: &Caller, id: &AgentId) -> Result<Agent, Error> {
        let selector = AgentSelector::Id(id.clone());
        let found = self.live_agent(id).await?;
        self.guard.require_sought(caller, Operation::Update, Sought::agent(&selector, found.as_ref())).await?;
        found.ok_or_else(|| Error::NotFound(selector.absent()))
    }

    async fn live_agent(&self, id: &AgentId) -> Result<Option<Agent>, Error> {
        Ok(self.stores.agents.find(id).await?.filter(|agent| !agent.is_deleted()))
    }

    /// Whether anything is hidden from or refused to anybody.
    pub(crate) const fn are_guarded(&self) -> bool {
        self.guard.is_enabled()
    }

    /// How often in a row a creator may be denied.
    pub(crate) const fn denials_before_pause(&self) -> u32 {
        self.settings.denials_before_pause
    }

    const fn is_enabled(&self, kind: ScheduleKind) -> bool {
        match kind {
            ScheduleKind::AgentRun => self.settings.run_schedules,
            ScheduleKind::Workflow => self.settings.workflow_schedules,
        }
    }

    fn scheduler(&self) -> Result<&Arc<dyn Scheduler>, Error> {
        self.scheduler.as_ref().ok_or(failure::NOT_CONNECTED)
    }

    /// The scheduler, if it can start workflows.
    fn workflow_scheduler(&self) -> Result<&Arc<dyn Scheduler>, Error> {
        self.scheduler.as_ref().filter(|scheduler| scheduler.starts_workflows()).ok_or(failure::NOT_CONNECTED)
    }

    /// The same for what was addressed by a name that may as well be a run schedule's: where no workflow can be started,
    /// there is no such schedule.
    fn scheduler_of(&self, target: &WorkflowTarget) -> Result<&Arc<dyn Scheduler>, Error> {
        self.workflow_scheduler().map_err(|error| if target.certain { error } else { target.absent() })
    }

    /// Whether the scheduler has an agent's workflow schedule of that name.
    async fn has_workflow(&self, agent: &AgentId, name: &str) -> Result<bool, ScheduleError> {
        let Ok(scheduler) = self.workflow_scheduler() else { return Ok(false) };
        match scheduler.describe(&names::workflow_id(agent, name)).await {
            Ok(_) => Ok(true),
            Err(ScheduleError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Does the work on its own, so that a caller that goes away does not leave it half done.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        match self.background.spawn(work).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, "work on a schedule ended abnormally");
                Err(Error::Unavailable("Internal error"))
            }
        }
    }
}

fn absent_run(handle: &str, agent: &AgentId) -> Absent {
    Absent::RunSchedule { handle: handle.to_owned(), agent: agent.as_str().to_owned() }
}
