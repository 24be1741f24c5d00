//! Run schedules: a row, a clock, and edges in the authorization graph.

use std::future::Future;

use agentex_authz::{Principal, ResourceRef};
use agentex_domain::input::Problem;
use agentex_domain::ports::{NewSchedule, ScheduleError, Scheduler, StoreError};
use agentex_domain::{Agent, AgentId, Cadence, RunSchedule, RunScheduleId, ScheduledAction};
use serde_json::Value;

use super::shapes::{check_run, method_of};
use super::{
    Live, NewRunSchedule, Patch, RunScheduleView, ScheduleChange, ScheduleKind, Schedules, absent_run, failure, names,
};
use crate::lifecycle::Written;
use crate::{Caller, Error};

/// How often a change is tried again that somebody else came before.
const TRIES: u32 = 3;

impl Schedules {
    /// Registers, stores the row, grants, then starts the clock; in reverse when that fails.
    pub(super) async fn create_run(
        &self,
        caller: &Caller,
        agent: &Agent,
        new: NewRunSchedule,
    ) -> Result<RunScheduleView, Error> {
        let scheduler = self.scheduler()?;
        self.require_free_name(&agent.id, &new.name).await?;
        let schedule = self.row(caller, agent, new);
        let resource = names::run_resource(&agent.id, schedule.id.as_str());
        let parent = ResourceRef::agent(agent.id.as_str());
        let write = async |settles| self.stores.run_schedules.insert(&schedule, settles).await.map(Written::Created);
        match self.lifecycle.create(caller.creator(), &resource, Some(parent), write).await {
            Ok(Written::Created(()) | Written::Lost(())) => {}
            Err(Error::Store(StoreError::Duplicate { .. })) => return Err(taken(&schedule.name, &agent.id)),
            Err(error) => return Err(error),
        }
        let created = match scheduler.create(&clock_of(&schedule)).await {
            // The id is this row's alone: another process that was just mending schedules saw the row without a clock.
            Err(ScheduleError::AlreadyExists) => Ok(()),
            created => created,
        };
        failure::count("create", &created);
        if let Err(error) = created
            && !is_there_all_the_same(&**scheduler, &schedule, &error).await
        {
            self.undo(caller, &**scheduler, &schedule, &error).await;
            return Err(failure::of_run("create", &schedule, error));
        }
        let live = self.live(&schedule).await;
        Ok(RunScheduleView { schedule, method: method_of(agent.acp_type), live })
    }

    async fn require_free_name(&self, agent: &AgentId, name: &str) -> Result<(), Error> {
        let row = async { Ok(self.stores.run_schedules.find_by_name(agent, name).await?.is_some()) };
        let workflow = async {
            let both = self.is_enabled(ScheduleKind::Workflow);
            if !both {
                return Ok(false);
            }
            let outcome = self.has_workflow(agent, name).await;
            outcome.map_err(|error| failure::of("create", &names::workflow_id(agent, name), error))
        };
        let (row, workflow) = tokio::try_join!(row, workflow)?;
        if row || workflow { Err(taken(name, agent)) } else { Ok(()) }
    }

    fn row(&self, caller: &Caller, agent: &Agent, new: NewRunSchedule) -> RunSchedule {
        let NewRunSchedule {
            name,
            description,
            cadence,
            timezone,
            start_at,
            end_at,
            paused,
            task_params,
            task_metadata,
            initial_input,
        } = new;
        let creator = match caller.creator().map(Principal::identity) {
            Some(identity) => match identity.as_json() {
                Value::Object(members) => members.clone(),
                _ => serde_json::Map::new(),
            },
            None => serde_json::Map::new(),
        };
        let now = self.clock.now();
        RunSchedule {
            id: RunScheduleId::generate(),
            agent_id: agent.id.clone(),
            name,
            description,
            cadence,
            timezone,
            start_at,
            end_at,
            paused,
            creator_principal: creator,
            task_params,
            task_metadata,
            initial_input,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            version: 1,
        }
    }

    /// Takes back what a create did whose clock could not be started. A clock that was started all the same, later, finds
    /// the row gone when it fires, and is stopped then.
    async fn undo(&self, caller: &Caller, scheduler: &dyn Scheduler, schedule: &RunSchedule, error: &ScheduleError) {
        if !is_definite(error) {
            let deleted = scheduler.delete(&names::clock_id(&schedule.id)).await;
            if let Err(error) = deleted {
                tracing::warn!(schedule.id = %schedule.id, %error, "a clock may be left behind");
            }
        }
        if let Err(error) = self.forget_row(caller, schedule).await {
            tracing::error!(schedule.id = %schedule.id, %error, "the row of a schedule without a clock is left behind");
        }
    }

    /// Removes the row, then the edges. `false`: it was gone.
    async fn forget_row(&self, caller: &Caller, schedule: &RunSchedule) -> Result<bool, Error> {
        let departure = self.lifecycle.departure(caller);
        let deleted = self.stores.run_schedules.delete(&schedule.id, self.clock.now(), departure).await?;
        let Some(intent) = deleted else { return Ok(false) };
        self.lifecycle.departed(caller, intent.into_iter().collect()).await;
        Ok(true)
    }

    pub(super) async fn run_view(&self, schedule: RunSchedule) -> Result<RunScheduleView, Error> {
        let agent = async { Ok::<_, Error>(self.stores.agents.find(&schedule.agent_id).await?) };
        let live = async { Ok(self.live(&schedule).await) };
        let (agent, live) = tokio::try_join!(agent, live)?;
        let method = agent.map_or("event/send", |agent| method_of(agent.acp_type));
        Ok(RunScheduleView { schedule, method, live })
    }

    /// What the scheduler says of a run schedule. That it says nothing is no error.
    pub(super) async fn live(&self, schedule: &RunSchedule) -> Live {
        let Some(scheduler) = &self.scheduler else { return Live::Unavailable };
        match scheduler.describe(&names::clock_id(&schedule.id)).await {
            Ok(description) => Live::Known(Box::new(description)),
            Err(error) => {
                tracing::warn!(schedule.id = %schedule.id, %error, "nothing is known about the clock of a schedule");
                Live::Unavailable
            }
        }
    }

    /// The clock is changed before the row, so that a failure leaves both as they were or the clock ahead, which the next
    /// change mends.
    pub(super) async fn update_run(&self, schedule: RunSchedule, change: ScheduleChange) -> Result<RunSchedule, Error> {
        if matches!((&change.cron_expression, &change.interval_seconds), (Patch::Set(_), Patch::Set(_))) {
            let text = "Provide only one of cron_expression or interval_seconds, not both".to_owned();
            return Err(Error::Unprocessable(vec![Problem { path: "body".to_owned(), text }]));
        }
        let scheduler = self.scheduler()?;
        let mut before = schedule;
        for _ in 0..TRIES {
            let mut after = changed(before.clone(), change.clone())?;
            after.updated_at = self.clock.now();
            check_run(&after)?;
            if after.name != before.name {
                self.require_free_name(&after.agent_id, &after.name).await?;
            }
            self.push(&**scheduler, &after).await?;
            match self.stores.run_schedules.update(&after).await {
                Ok(Some(stored)) => return Ok(stored),
                Ok(None) => {
                    let now = self.stores.run_schedules.find(&before.id).await?.filter(|row| row.deleted_at.is_none());
                    let Some(now) = now else {
                        // Deleted meanwhile; a clock that came back with the change goes again.
                        let _ = scheduler.delete(&names::clock_id(&before.id)).await;
                        return Err(Error::NotFound(absent_run(before.id.as_str(), &before.agent_id)));
                    };
                    before = now;
                }
                Err(error) => {
                    if let Err(error) = self.push(&**scheduler, &before).await {
                        tracing::warn!(schedule.id = %before.id, %error, "a clock is ahead of its schedule");
                    }
                    return Err(match error {
                        StoreError::Duplicate { .. } => taken(&after.name, &after.agent_id),
                        error => error.into(),
                    });
                }
            }
        }
        Err(Error::Conflict("The schedule is being changed by somebody else; try again".to_owned()))
    }

    /// Brings the clock in line with the row. One that is missing is started again.
    async fn push(&self, scheduler: &dyn Scheduler, schedule: &RunSchedule) -> Result<(), Error> {
        let clock = clock_of(schedule);
        let updated = scheduler.update(&clock).await;
        failure::count("update", &updated);
        match updated {
            Ok(()) => Ok(()),
            Err(ScheduleError::NotFound) => {
                let created = scheduler.create(&clock).await;
                failure::count("create", &created);
                match created {
                    Ok(()) | Err(ScheduleError::AlreadyExists) => {
                        tracing::warn!(schedule.id = %schedule.id, "a schedule without a clock was given one");
                    }
                    Err(error) => {
                        tracing::warn!(schedule.id = %schedule.id, %error, "a schedule has no clock");
                    }
                }
                Ok(())
            }
            Err(error) => Err(failure::of_run("update", schedule, error)),
        }
    }

    pub(super) async fn set_run_paused(
        &self,
        mut schedule: RunSchedule,
        paused: bool,
        note: &str,
    ) -> Result<RunSchedule, Error> {
        let (scheduler, id) = (self.scheduler()?, names::clock_id(&schedule.id));
        let (verb, outcome) = if paused {
            ("pause", scheduler.pause(&id, note).await)
        } else {
            ("unpause", scheduler.resume(&id, note).await)
        };
        match outcome {
            Ok(()) => {}
            Err(ScheduleError::NotFound) => {
                schedule.paused = paused;
                self.push(&**scheduler, &schedule).await?;
            }
            Err(error) => return Err(failure::of_run(verb, &schedule, error)),
        }
        let stored = self.stores.run_schedules.set_paused(&schedule.id, paused, self.clock.now()).await?;
        stored.ok_or_else(|| Error::NotFound(absent_run(schedule.id.as_str(), &schedule.agent_id)))
    }

    pub(crate) async fn delete_run(&self, caller: &Caller, schedule: &RunSchedule) -> Result<(), Error> {
        let deleted = self.scheduler()?.delete(&names::clock_id(&schedule.id)).await;
        failure::count("delete", &deleted);
        match deleted {
            Ok(()) | Err(ScheduleError::NotFound) => {}
            Err(error) => return Err(failure::of_run("delete", schedule, error)),
        }
        if self.forget_row(caller, schedule).await? {
            Ok(())
        } else {
            Err(Error::NotFound(absent_run(schedule.id.as_str(), &schedule.agent_id)))
        }
    }

    /// Stops the clock of a schedule that will never do anything again. Nobody waits for this.
    pub(crate) fn stop_clock(&self, id: &RunScheduleId) -> impl Future<Output = ()> + Send + 'static {
        let (scheduler, clock) = (self.scheduler.clone(), names::clock_id(id));
        async move {
            let Some(scheduler) = scheduler else { return };
            match scheduler.delete(&clock).await {
                Ok(()) | Err(ScheduleError::NotFound) => {}
                Err(error) => tracing::warn!(clock, %error, "the clock of a deleted schedule goes on"),
            }
        }
    }

    /// Pauses a schedule on the server's own account.
    pub(crate) async fn give_up(&self, schedule: RunSchedule, note: &str) -> Result<(), Error> {
        self.set_run_paused(schedule, true, note).await.map(drop)
    }
}

pub(super) fn clock_of(schedule: &RunSchedule) -> NewSchedule {
    NewSchedule {
        id: names::clock_id(&schedule.id),
        timing: schedule.timing(),
        action: ScheduledAction::Run(schedule.id.clone()),
        paused: schedule.paused,
        definition: None,
    }
}

fn taken(name: &str, agent: &AgentId) -> Error {
    Error::Invalid(format!("Run schedule '{name}' already exists for agent '{agent}'"))
}

/// Whether it is known what became of a create that failed so.
const fn is_definite(error: &ScheduleError) -> bool {
    !matches!(error, ScheduleError::Unknown(_) | ScheduleError::Failed(_))
}

/// Whether the clock was started although nobody said so.
async fn is_there_all_the_same(scheduler: &dyn Scheduler, schedule: &RunSchedule, error: &ScheduleError) -> bool {
    !is_definite(error) && scheduler.describe(&names::clock_id(&schedule.id)).await.is_ok()
}

fn changed(mut schedule: RunSchedule, change: ScheduleChange) -> Result<RunSchedule, Error> {
    let ScheduleChange {
        name,
        description,
        cron_expression,
        interval_seconds,
        timezone,
        start_at,
        end_at,
        paused,
        task_params,
        task_metadata,
        initial_input,
        workflow_params: _,
        execution_timeout_seconds: _,
    } = change;
    name.replace(&mut schedule.name);
    description.apply(&mut schedule.description);
    timezone.replace(&mut schedule.timezone);
    start_at.apply(&mut schedule.start_at);
    end_at.apply(&mut schedule.end_at);
    paused.replace(&mut schedule.paused);
    task_params.apply(&mut schedule.task_params);
    task_metadata.apply(&mut schedule.task_metadata);
    initial_input.replace(&mut schedule.initial_input);
    schedule.cadence = match (cron_expression, interval_seconds, schedule.cadence) {
        (Patch::Set(expression), _, _) => Cadence::Cron(expression),
        (_, Patch::Set(seconds), _) => Cadence::Interval(seconds),
        (Patch::Clear, _, Cadence::Cron(_)) | (_, Patch::Clear, Cadence::Interval(_)) => {
            let text = "Schedule must have exactly one of cron_expression or interval_seconds";
            return Err(Error::Invalid(text.to_owned()));
        }
        (_, _, cadence) => cadence,
    };
    Ok(schedule)
}
